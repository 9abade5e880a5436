"""Fingerprints of a policy: the log-probabilities of a few fixed token sequences.

Stored when a stage ends, reproduced when its folder is opened and when the next stage begins. A dropped
adapter gives loss ln 2 and margin 0 as well, since policy and reference are then both the bare base: only
this tells.
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
"""Mean difference of token log-probabilities, in nats, that rounding explains: of weights in float32, and of
any in less (bf16, fp16, 8 or 4 bits, a bf16 adapter over them)."""


@dataclass(frozen=True)
class Probes:
    """Token sequences and the log-probability, in nats, of each token but the first of each; of a reward
    model the one score of each sequence. `tolerance`: the difference that rounding of weights explains."""

    ids: tuple[tuple[int, ...], ...]
    logps: tuple[tuple[float, ...], ...]
    tolerance: float = FINE

    def distance(self, other: Probes) -> float:
        """Mean absolute difference of the log-probabilities of the same tokens."""
        ours = torch.tensor([value for row in self.logps for value in row], dtype=torch.float64)
        theirs = torch.tensor([value for row in other.logps for value in row], dtype=torch.float64)
        return float((ours - theirs).abs().mean())

    def bound(self, other: Probes) -> float:
        """The distance that rounding explains: one of the two policies may have coarser weights."""
        return max(self.tolerance, other.tolerance)


TEXTS = ("prompt", "completion", "chosen", "messages", "text")


def sequences(
    tokenizer: Any, rows: Iterable[Mapping[str, Any]], *, prompts_only: bool = False
) -> tuple[tuple[int, ...], ...]:
    """The first rows of a stage's data as token sequences, cut to 64 tokens; a row of one token stands twice,
    since the first token of a sequence has no log-probability. `prompts_only`: the prompt alone is text,
    every other column is for rewards."""
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
        # Of prompts that were made turns, the other columns may be plain strings still.
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
    """The probes of `model` in evaluation mode and at the precision of its weights, whether a trainer has
    prepared it for another or not; its own mode is put back."""
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
    """The distance that rounding alone can make between two computations of this model's policy."""
    coarse = (getattr(model, "is_loaded_in_4bit", False), getattr(model, "is_loaded_in_8bit", False))
    dtypes = {parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()}
    return COARSE if any(coarse) or not dtypes <= {torch.float32, torch.float64} else FINE


def store(probes: Probes, folder: Path) -> None:
    write_json(folder / FILE, asdict(probes))


def load(folder: Path) -> Probes | None:
    """The probes that a stage left in `folder`; None where it left none.

    Raises `InputError` where they are damaged."""
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
    """Lists of numbers of `kind`; None where `value` is something else."""
    rows = value if isinstance(value, list) else [None]
    right = all(isinstance(row, list) and all(type(number) is kind for number in row) for row in rows)
    return tuple(map(tuple, rows)) if right else None
