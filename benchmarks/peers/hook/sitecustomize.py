"""Looks on while a peer trains. Python imports this by itself where the folder is on PYTHONPATH.

Every peer trains with a subclass of `transformers.Trainer`. Each call of its `train` leaves a numbered file
in $HANDOVER_RECORDS: log-probabilities of the sequences in $HANDOVER_PROBES under the policy in memory before
the first step and after the last, and everything that was logged. Knows no peer and changes nothing.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

WATCHED = "transformers.trainer"


class Finder(MetaPathFinder):
    """Lets the module be imported as ever, and then wraps `Trainer.train` in it."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if name != WATCHED:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        loader: Any = spec.loader
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            watch(module.Trainer)

        loader.exec_module = exec_module
        return spec


def watch(trainer_class: Any) -> None:
    train = trainer_class.train

    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        before = logps(self)
        result = train(self, *args, **kwargs)
        record = {
            "trainer": f"{type(self).__module__}.{type(self).__qualname__}",
            "before": before,
            "after": logps(self),
            "logged": self.state.log_history,
        }
        folder = Path(os.environ["HANDOVER_RECORDS"])
        (folder / f"{len(list(folder.iterdir()))}.json").write_text(json.dumps(record))
        return result

    trainer_class.train = watched


def logps(trainer: Any) -> list[float]:
    import torch

    model = trainer.accelerator.unwrap_model(trainer.model)
    training, found = model.training, []
    model.eval()
    with torch.no_grad():
        for ids in json.loads(Path(os.environ["HANDOVER_PROBES"]).read_text()):
            tokens = torch.tensor([ids], device=next(model.parameters()).device)
            logits = model(input_ids=tokens, use_cache=False).logits[0, :-1].float()
            found += torch.log_softmax(logits, -1).gather(1, tokens[0, 1:, None])[:, 0].tolist()
    model.train(training)
    return found


if "HANDOVER_RECORDS" in os.environ:
    sys.meta_path.insert(0, Finder())
