"""Save a trained policy so that plain PEFT or transformers can load it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model

from ptspec.model import low_rank
from ptspec.model.adapters import ADAPTER
from ptspec.model.base import Base
from ptspec.model.handover import Policy
from ptspec.store.files import read_json, write_json
from ptspec.store.stage_folder import ADAPTER_CONFIG


def save(model: Any, policy: Policy, base: Base, folder: Path, whole: dict[str, Any] | None = None) -> None:
    """Save the policy in `model`, which was trained as `policy`, over `base`.

    The trained adapter alone (without a reference adapter), after a merge the sum of the merged adapter and
    the new one, or full weights; with tokenizer, chat template and generation config. `whole` holds sharded
    weights.
    """
    if not isinstance(model, PeftModel):
        model.save_pretrained(str(folder), **_given(whole, model))
    elif policy.owns_weights and policy.merged is None:
        model.merge_and_unload().save_pretrained(str(folder))
    else:
        save_adapter(model, policy, base, folder, whole)
    if getattr(model, "generation_config", None) is not None:
        base.model.generation_config.save_pretrained(str(folder))
    base.tokenizer.save_pretrained(str(folder))


def save_adapter(
    model: PeftModel, policy: Policy, base: Base, folder: Path, whole: dict[str, Any] | None = None
) -> None:
    """Save the policy in `model` as one adapter over `base`.

    Over merged weights it is the sum of the merged adapter and the new one.
    """
    if policy.merged is not None:
        both = low_rank.total(policy.merged, low_rank.taken(model))
        save_sum(both, model.peft_config[ADAPTER], base, folder)
    else:
        _save_adapter(model, base, folder, whole)


def _given(whole: dict[str, Any] | None, model: Any) -> dict[str, Any]:
    """Return `whole` as transformers expects it: tied weights were gathered as separate tensors."""
    if whole is None:
        return {}
    tied = getattr(model, "all_tied_weights_keys", None) or {}
    return {"state_dict": {name: tensor for name, tensor in whole.items() if name not in tied}}


def _save_adapter(model: PeftModel, base: Base, folder: Path, whole: dict[str, Any] | None = None) -> None:
    model.peft_config[ADAPTER].base_model_name_or_path = base.path
    given = {} if whole is None else {"state_dict": whole}
    model.save_pretrained(str(folder), selected_adapters=[ADAPTER], **given)
    (folder / "README.md").unlink(missing_ok=True)
    config = read_json(folder / ADAPTER_CONFIG)
    if isinstance(config.get("target_modules"), list):
        # PEFT keeps these in a set, whose order changes from run to run.
        config["target_modules"].sort()
    write_json(folder / ADAPTER_CONFIG, config)


def save_sum(adapter: low_rank.LowRank, template: LoraConfig, base: Base, folder: Path) -> None:
    """Save `adapter` as one plain adapter over the bare `base`; its config is otherwise `template`."""
    bare = base.spawn()
    config = low_rank.config_for(adapter, bare, 1.0, template)
    summed = get_peft_model(bare, config, adapter_name=ADAPTER)
    low_rank.put(adapter, summed)
    _save_adapter(summed, base, folder)
