"""What a saved policy gives held-out conversations, and how far two policies are apart. Loads torch."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import torch
from peft import AutoPeftModelForCausalLM, PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from peers import chain

Probes = list[list[int]]


def probes() -> Probes:
    """Conversations of the held-out file as token ids."""
    tokenizer = AutoTokenizer.from_pretrained(chain.BASE)
    lines = (chain.ROOT / "data/eval.jsonl").read_text(encoding="utf-8").splitlines()[:8]
    pairs = [(row["prompt"], row[kind]) for row in map(json.loads, lines) for kind in ("chosen", "rejected")]
    turns = [[chain.user(prompt), chain.assistant(answer)] for prompt, answer in pairs]
    return [list(tokenizer.apply_chat_template(turn, return_dict=False)) for turn in turns]


def logps(folder: Path, asked: Probes) -> tuple[list[float], bool]:
    """Return the probes' log-probabilities of what lies in `folder`, and whether PEFT opens it in one line.

    Otherwise it is put over the base by hand, as a user would.
    """
    opens = True
    if not (folder / "adapter_config.json").exists():
        model = AutoModelForCausalLM.from_pretrained(folder)
    else:
        try:
            model = AutoPeftModelForCausalLM.from_pretrained(folder)
        except (OSError, ValueError):  # it names no base
            opens = False
            model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(chain.BASE), folder)
    model.eval()
    found: list[float] = []
    with torch.no_grad():
        for ids in asked:
            tokens = torch.tensor([ids])
            logits = model(input_ids=tokens).logits[0, :-1].float()
            found += torch.log_softmax(logits, -1).gather(1, tokens[0, 1:, None])[:, 0].tolist()
    return found, opens


def distance(ours: list[float], theirs: list[float]) -> float:
    return statistics.fmean(abs(a - b) for a, b in zip(ours, theirs, strict=True))
