"""Score labelled positions only: without Triton TRL's fused head scores prompts and padding too."""

from __future__ import annotations

from ptspec.methods.types import Head
from ptspec.performance.choice import HEAD, LABELS, Choice, Effect, Situation


def choose(situation: Situation) -> tuple[Choice, ...]:
    """Choose it on a CPU; on a GPU TRL's fused head does so itself."""
    if not situation.machine.is_cpu or situation.stage.method.loss.head is not Head.TILES:
        return ()
    about = "head on labels alone"
    if situation.settings.value("torch_compile"):
        reason = "each number of labels would be compiled anew"
        return (Choice({HEAD: "all"}, "head on every position", reason, effect=Effect.KEPT),)
    return (Choice({HEAD: LABELS}, about, "TRL scores prompts and padding too on a CPU"),)
