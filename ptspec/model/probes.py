"""Probes of a policy: the log-probabilities of a few fixed token sequences.

Stored when a stage ends, and reproduced when its folder is opened and when the next stage starts. A dropped
adapter gives loss ln 2 and margin 0 as well, since policy and reference are then both the bare base: only
probes show it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ptspec.data.layouts.convert import context_of
from ptspec.diagnostics import Diagnostic, InputError, Location
from ptspec.model.precision import weights_precision
from ptspec.store.files import read_json, write_json

FILE = "probes.json"
SEQUENCES = 4
TOKENS = 64

FINE = 1e-4
COARSE = 0.05
"""Mean difference of token log-probabilities, in nats, that rounding explains: of float32 weights, and of
coarser ones (bf16, fp16, 8 or 4 bits, a bf16 adapter)."""


@dataclass(frozen=True)
class Probes:
    """Token sequences and the log-probability, in nats, of each token but the first.

    Of a reward model one score per sequence. `tolerance`: the difference that rounding of weights explains.
    """

    ids: tuple[tuple[int, ...], ...]
    logps: tuple[tuple[float, ...], ...]
    tolerance: float = FINE

    def distance(self, other: Probes) -> float:
        """Return the mean absolute difference of the log-probabilities of the same tokens, in nats."""
        ours = torch.tensor([value for row in self.logps for value in row], dtype=torch.float64)
        theirs = torch.tensor([value for row in other.logps for value in row], dtype=torch.float64)
        return float((ours - theirs).abs().mean())

    def bound(self, other: Probes) -> float:
        """Return the distance that rounding explains: the larger tolerance of the two policies."""
        return max(self.tolerance, other.tolerance)


TEXTS = ("prompt", "completion", "chosen", "messages", "text")


def sequences(
    tokenizer: Any, rows: Iterable[Mapping[str, Any]], *, prompts_only: bool = False
) -> tuple[tuple[int, ...], ...]:
    """Return the first rows of a stage's data as token sequences of at most 64 tokens.

    A row of one token is doubled, since the first token has no log-probability. `prompts_only`: only the
    prompt is text; other columns are for rewards.
    """
    names = ("prompt",) if prompts_only else TEXTS
    found = []
    for row in rows:
        ids = _encoded(tokenizer, row, names)[:TOKENS]
        if ids:
            found.append(tuple(ids if len(ids) > 1 else ids * 2))
        if len(found) == SEQUENCES:
            break
    return tuple(found)


def _encoded(tokenizer: Any, row: Mapping[str, Any], names: Sequence[str]) -> list[int]:
    if row.get("input_ids"):
        return list(row["input_ids"])
    parts = [row[name] for name in names if row.get(name)]
    if parts and isinstance(parts[0], list):
        # If prompts became chats, the other columns may still be plain strings.
        turns = [turn for part in parts[:2] if isinstance(part, list) for turn in part]
        context = context_of(row)
        variables = context.template_kwargs
        return list(
            tokenizer.apply_chat_template(
                turns, tools=context.tools, tokenize=True, return_dict=False, **variables
            )
        )
    return list(tokenizer("".join(parts[:2]))["input_ids"])


def measure(model: Any, ids: tuple[tuple[int, ...], ...]) -> Probes:
    """Return the probes of `model` in evaluation mode and in its weights' precision.

    Undoes a trainer's mixed precision meanwhile; restores the modules' modes.
    """
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), weights_precision(model):
            return Probes(ids, tuple(_logps(model, row) for row in ids), tolerance(model))
    finally:
        model.train(training)


def _logps(model: Any, ids: tuple[int, ...]) -> tuple[float, ...]:
    tokens = torch.tensor([ids], device=model.device)
    logits = model(input_ids=tokens, use_cache=False).logits[0].float()
    if logits.dim() == 1:
        return tuple(logits.tolist())
    found = torch.log_softmax(logits[:-1], dim=-1).gather(1, tokens[0, 1:, None])[:, 0]
    return tuple(found.tolist())


def tolerance(model: torch.nn.Module) -> float:
    """Return the distance that rounding alone can cause between two computations of this policy."""
    coarse = (getattr(model, "is_loaded_in_4bit", False), getattr(model, "is_loaded_in_8bit", False))
    dtypes = {parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()}
    return COARSE if any(coarse) or not dtypes <= {torch.float32, torch.float64} else FINE


def store(probes: Probes, folder: Path) -> None:
    """Write the probes to `folder`."""
    write_json(folder / FILE, asdict(probes))


def load(folder: Path) -> Probes | None:
    """Return the probes that a stage saved in `folder`; None if there are none.

    Raises `InputError` if they are damaged.
    """
    if not (folder / FILE).is_file():
        return None
    found = read_json(folder / FILE)
    ids, logps = (_rows(found.get(name), kind) for name, kind in (("ids", int), ("logps", float)))
    if ids is None or logps is None or len(ids) != len(logps):
        where = Location(str(folder / FILE))
        raise InputError(Diagnostic("damaged-file", "these probes lack numbers", where))
    tolerance = found.get("tolerance")
    return Probes(ids, logps, tolerance if tolerance in (FINE, COARSE) else FINE)


def _rows(value: Any, kind: type) -> tuple[tuple[Any, ...], ...] | None:
    """Return lists of numbers of `kind`; None if `value` is something else."""
    rows = value if isinstance(value, list) else [None]
    right = all(isinstance(row, list) and all(type(number) is kind for number in row) for row in rows)
    return tuple(map(tuple, rows)) if right else None
