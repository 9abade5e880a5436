"""Refuse pickled weights, which can run code when loaded, and say how to convert them. Opens no pickle."""

from __future__ import annotations

import shlex
from pathlib import Path

from ptspec.diagnostics import Diagnostic, InputError, Location

SUFFIXES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
ADAPTER = "adapter_model"
MODEL = "pytorch_model"

_WHOLE = (
    "import sys; from transformers import AutoModelForCausalLM as M; f = sys.argv[1]; "
    "M.from_pretrained(f).save_pretrained(f)"
)
_ONE = (
    "import sys, torch, safetensors.torch as s; "
    "w = torch.load(sys.argv[1], weights_only=True, map_location='cpu'); "
    "s.save_file({k: v.clone().contiguous() for k, v in w.items()}, sys.argv[2], {'format': 'pt'})"
)
"""Conversion script; paths are its arguments, so that a file name cannot be code."""


def pickled_weights(folder: Path) -> Path | None:
    """Return the pickle file that the weights in `folder` need; None if there is none."""
    try:
        files = sorted(path for path in folder.iterdir() if path.is_file())
    except OSError:
        return None
    is_adapter = any(path.name == "adapter_config.json" for path in files)
    safe = [path for path in files if path.suffix == ".safetensors"]
    if any(path.name == f"{ADAPTER}.safetensors" for path in safe) if is_adapter else safe:
        return None
    pickles = [path for path in files if path.suffix in SUFFIXES and path.name != "training_args.bin"]
    return next(iter(sorted(pickles, key=lambda path: not path.stem.startswith((ADAPTER, MODEL)))), None)


def conversion_command(pickle: Path) -> str:
    """Return the command that converts `pickle` to safetensors.

    It loads with weights_only, so that none of the pickle's code runs.
    """
    if pickle.stem.startswith(MODEL):
        program, paths = _WHOLE, [pickle.parent]
    else:
        stem = ADAPTER if pickle.stem.startswith(ADAPTER) else "model"
        program, paths = _ONE, [pickle, pickle.with_name(f"{stem}.safetensors")]
    command = shlex.join(["python", "-c", program, *map(str, paths)])
    return f"convert them, read as weights alone: {command}"


def refuse_pickles(path: str, at: str | None) -> None:
    """Raise `InputError` if the weights in the folder `path` are pickled."""
    if (pickle := pickled_weights(Path(path))) is not None:
        message = (
            f"{path} holds its weights as a pickle ({pickle.name}), which can run code when it is loaded"
        )
        raise InputError(
            Diagnostic("pickled-weights", message, Location(path), at, conversion_command(pickle))
        )
