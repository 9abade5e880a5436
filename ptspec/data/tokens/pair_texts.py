r"""How TRL's experimental trainers (ORPO's) tokenise a pair, unlike the other trainers.

They render a chat to text first and tokenise prompt and answer without special tokens; then they add a
beginning-of-sequence token before the prompt and an end-of-sequence token after the answer if missing. With a
template that ends a turn with something else ("<|im_end|>\n"), the answer has an end token more than in
generation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Any

from ptspec.data.tokens.chat_tokenizer import Chat, ChatTokenizer, TrainerRefuses
from ptspec.data.tokens.encoded import Encoded, Sequences


def pair_texts(row: Mapping[str, Any], tokenizer: ChatTokenizer, trainer: str) -> tuple[str, str, str]:
    """Return prompt, chosen and rejected as text.

    Raises `CannotRender`, and `TrainerRefuses` for a prompt that `trainer` (its name) refuses.
    """
    prompt, chosen, rejected = (row[name] for name in ("prompt", "chosen", "rejected"))
    if isinstance(prompt, str):
        return prompt, chosen, rejected
    last = prompt[-1]["role"] if prompt else None
    if last not in ("user", "tool", "assistant"):
        raise TrainerRefuses(f"{trainer} takes no prompt that ends with the role {last!r}")
    chat = Chat(prompt, tools=row.get("tools") or None, variables=row.get("chat_template_kwargs") or {})
    is_open = last == "assistant"
    head = tokenizer.rendered(replace(chat, prompt=not is_open, continued=is_open))
    wholes = [tokenizer.rendered(replace(chat, messages=prompt + one)) for one in (chosen, rejected)]
    for whole in wholes:
        head = "".join(a for a, _ in takewhile(_alike, zip(head, whole, strict=False)))
    return head, wholes[0][len(head) :], wholes[1][len(head) :]


def _alike(pair: tuple[str, str]) -> bool:
    return pair[0] == pair[1]


def pair_sequences(ids: Sequence[Sequence[int]], bos: int | None, eos: int | None, trainer: str) -> Sequences:
    """Return chosen and rejected from the ids of the prompt, prompt + chosen, prompt + rejected.

    Raises `TrainerRefuses` if `trainer` (its name) refuses the pair.
    """
    prompt, *wholes = ids
    starts = [_start(prompt, whole, trainer) for whole in wholes]
    heads = [whole[:start] for whole, start in zip(wholes, starts, strict=True)]
    unlike = sum(a != b for a, b in zip(*heads, strict=False))
    if unlike > 1 or abs(starts[0] - starts[1]) > 1:
        raise TrainerRefuses(f"{trainer} takes no pair whose prompts differ by more than a token")
    return tuple(
        _sequence(head, whole[len(head) :], bos, eos) for head, whole in zip(heads, wholes, strict=True)
    )


def _start(prompt: Sequence[int], whole: Sequence[int], trainer: str) -> int:
    """Return the start of the answer: one token earlier if the prompt's last one merges with it."""
    if len(whole) < len(prompt):
        raise TrainerRefuses(f"{trainer} takes no answer that makes the prompt shorter")
    return len(prompt) if list(whole[: len(prompt)]) == list(prompt) else len(prompt) - 1


def _sequence(prompt: Sequence[int], answer: Sequence[int], bos: int | None, eos: int | None) -> Encoded:
    head = [*prompt] if bos is None or (prompt and prompt[0] == bos) else [bos, *prompt]
    tail = [*answer] if eos is None or (answer and answer[-1] == eos) else [*answer, eos]
    return Encoded((*head, *tail), (False,) * len(head) + (True,) * len(tail), len(head))
