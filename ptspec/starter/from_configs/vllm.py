"""Whether vLLM samples, and how."""

from __future__ import annotations

from ptspec.starter.from_configs.draft import Draft


def carry_vllm(draft: Draft, default: str) -> None:
    """Carry `use_vllm` and `vllm_mode` (`default` if the file gives none).

    Without them every `vllm_` key has no effect.
    """
    used, mode = draft.take("use_vllm"), draft.take("vllm_mode")
    if used:
        draft.carry("use_vllm", "/compute/vllm", {"mode": mode or default})
        if mode:
            draft.carry("vllm_mode", "/compute/vllm/mode", mode)
        return
    off = "the trainer samples: use_vllm is not on"
    draft.leave("use_vllm", used, off)
    draft.leave("vllm_mode", mode, off)
    for key in [one for one in draft.rest if one.startswith("vllm_")]:
        draft.leave(key, draft.take(key), off)
