"""Start sampling by a generation server: check it, load the policy, and compare it with the server's."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptspec.diagnostics import Diagnostic, StageError
from ptspec.events import Listener
from ptspec.generation_server.client import HOW_TO_SERVE, GenerationServer, Sampling, ServedModel
from ptspec.model import probes
from ptspec.model.base import Base
from ptspec.model.handover import Policy
from ptspec.model.precision import weights_precision
from ptspec.model.probes import COARSE, Probes
from ptspec.model.save import save_adapter
from ptspec.processes import current
from ptspec.recipe.plan import Stage
from ptspec.recipe.vllm import SERVER, VLLMSpec
from ptspec.training.start_checks import unwrapped
from ptspec.training.vllm.adapter_sync import ServedAdapter
from ptspec.training.vllm.agreement import Agreement, ProbeLog
from ptspec.training.vllm.generation import ServerGeneration, sampling_of

if TYPE_CHECKING:
    from ptspec.training.vllm.opponents import ServedOpponent

WHERE = "/compute/vllm"
COMPARED = 32
"""Tokens sampled after half of each probe, at most, to be compared."""
FOLDER = "served_adapters"
"""Folder for the server's adapters in a stage's folder, if the recipe names no other."""


@dataclass(frozen=True)
class Sampled:
    """A stage's policy for the server.

    `handed_over`: its probes; `folder`: where it is trained; `run`: the run's name.
    """

    stage: Stage
    policy: Policy
    base: Base
    handed_over: Probes
    folder: Path
    seed: int
    run: str


@dataclass(frozen=True)
class PolicyServer:
    """A server that samples for a trainer.

    `difference` of its log-probabilities to the policy's, in nats per token, before the first step.
    """

    generation: ServerGeneration
    agreement: Agreement
    difference: float
    close: Callable[[], None]

    @property
    def words(self) -> str:
        """The checks in words."""
        return f"the server at {self.generation.server.base_url} agrees to {self.difference:.0e}"


def begin_sampling(trainer: Any, spec: VLLMSpec, sampled: Sampled, listener: Listener) -> PolicyServer:
    """Make the server of `spec` sample for `trainer`, whose policy is that of `sampled`.

    Raises `StageError` in every process if the server cannot be reached, refuses the adapter, or has another
    policy.
    """
    team, stage = current(), sampled.stage
    server = _server(spec)
    sampling = sampling_of(trainer, _more(trainer))
    team.by_first(lambda: _look_at(server, sampling))
    label, folder = _place(spec, sampled)
    if team.is_first:
        shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
    served = ServedAdapter(server, label, folder)

    def write(into: Path) -> None:
        model = unwrapped(trainer, trainer.model)
        with weights_precision(model):
            save_adapter(model, sampled.policy, sampled.base, into)

    prompts = [ids[: max(1, len(ids) // 2)] for ids in sampled.handed_over.ids]

    def difference() -> float:
        return difference_on(prompts, server, served.name, unwrapped(trainer, trainer.model))

    opponent = _opponent(trainer, server, sampled, label, folder)

    def close() -> None:
        served.remove()
        if opponent is not None:
            opponent.remove()
        shutil.rmtree(folder, ignore_errors=True)
        server.close()

    try:
        served.replace(write)
        apart = difference()
        with team.agreed():
            if not apart <= COARSE:
                raise StageError(_another_policy(server, sampled, apart))
        team.by_first(lambda: _must_report_what_it_samples(server, served.name, sampled, sampling, trainer))
    except BaseException:
        close()
        raise
    plain = _samples_plainly(sampling)
    compares = plain and getattr(trainer, "vllm_importance_sampling_correction", False)
    generation = ServerGeneration(
        *(server, served, write, sampling, sampled.seed, lambda: _now(trainer)),
        after_sync=_nothing if compares else ProbeLog(trainer, difference),
    )
    _attach(trainer, generation)
    agreement = Agreement(stage.name, apart, listener, samples_plainly=plain)
    return PolicyServer(generation, agreement, apart, close)


def _opponent(
    trainer: Any, server: GenerationServer, sampled: Sampled, label: str, folder: Path
) -> ServedOpponent | None:
    """Return Nash-MD's opponent, served beside the policy; None for other methods."""
    sampling = sampled.stage.method.sampling
    if sampling is None or sampling.opponent is None:
        return None
    from ptspec.training.vllm.opponents import ServedOpponent

    served = ServedOpponent(server, f"{label}.opponent", folder, sampled.policy, sampled.base)
    trainer.served_opponent = served
    return served


def _nothing() -> None:
    """Do nothing: TRL compares the log-probabilities itself."""


def _attach(trainer: Any, generation: ServerGeneration) -> None:
    """Set what TRL's trainers set with `use_vllm`.

    Their own client would need vLLM installed here, a GPU and NCCL.
    """
    trainer.vllm_generation = generation
    trainer.use_vllm = trainer.args.use_vllm = True
    trainer.vllm_mode = trainer.args.vllm_mode = SERVER
    trainer._last_loaded_step = -1


def difference_on(prompts: Sequence[Sequence[int]], server: GenerationServer, name: str, model: Any) -> float:
    """Return the mean difference of log-probabilities, in nats per token, of the server and of `model`.

    Over completions of `prompts` that the server samples with its adapter `name`.
    """
    seeds = list(range(len(prompts)))
    found = current().by_first(lambda: server.complete(prompts, name, Sampling(COMPARED), seeds))
    ids = tuple((*prompt, *one.token_ids) for prompt, one in zip(prompts, found, strict=True))
    ours = probes.measure(model, ids).logps
    apart = [
        abs(own - other)
        for row, one in zip(ours, found, strict=True)
        for own, other in zip(row[-len(one.logps) :], one.logps, strict=True)
    ]
    return sum(apart) / max(1, len(apart))


def _server(spec: VLLMSpec) -> GenerationServer:
    key = os.environ.get(spec.given.get("api_key_env", ""))
    return GenerationServer(spec.base_url, at=WHERE, key=key)


def _more(trainer: Any) -> dict[str, Any]:
    regex = trainer.args.vllm_structured_outputs_regex
    own = {} if regex is None else {"structured_outputs": {"regex": regex}}
    return {**own, **(trainer.args.generation_kwargs or {})}


def _look_at(server: GenerationServer, sampling: Sampling) -> ServedModel:
    server.must_be_up()
    model = server.model()
    if model.max_length is not None and model.max_length <= sampling.max_tokens:
        what = f"takes {model.max_length} tokens, prompt and completion together"
        hint = f"a --max-model-len above max_completion_length, which is {sampling.max_tokens}"
        raise server.requests.failure(what, hint)
    return model


def _place(spec: VLLMSpec, sampled: Sampled) -> tuple[str, Path]:
    """Return the policy's name on the server, used by no other run, and the folder of its adapters."""
    own = hashlib.sha256(str(sampled.folder.absolute()).encode()).hexdigest()[:8]
    label = f"{sampled.run}.{sampled.stage.name}.{own}"
    given = spec.given.get("adapter_folder")
    folder = Path(given) / label if given is not None else sampled.folder / FOLDER
    return label, folder.absolute()


def _now(trainer: Any) -> tuple[int, bool]:
    """Return the trainer's step, and whether it trains or evaluates."""
    return int(trainer.state.global_step), bool(trainer.model.training)


def _samples_plainly(sampling: Sampling) -> bool:
    """Return whether tokens are sampled from the policy at its temperature without truncation."""
    cut = (sampling.top_p < 1, sampling.top_k > 0, sampling.min_p > 0, sampling.repetition_penalty != 1)
    return not any(cut) and not set(sampling.more) - {"ignore_eos"}


def _must_report_what_it_samples(
    server: GenerationServer, name: str, sampled: Sampled, sampling: Sampling, trainer: Any
) -> None:
    """Check that the server reports log-probabilities at its sampling temperature.

    TRL corrects by them. At top_k 1 the only token has probability 1, unless raw ones are reported.
    """
    corrected = getattr(trainer, "vllm_importance_sampling_correction", False)
    if not corrected or (sampling.temperature == 1 and sampling.repetition_penalty == 1):
        return
    prompts = [ids[:length] for ids in sampled.handed_over.ids for length in (1, len(ids))]
    greedy = server.complete(prompts, name, Sampling(1, temperature=sampling.temperature, top_k=1))
    if min(one.logps[0] for one in greedy) < -1e-4:
        what = "reports log-probabilities as they are before the temperature, and TRL corrects by them"
        raise server.requests.failure(
            what, 'start it with --logprobs-mode processed_logprobs, or "temperature": 1.0'
        )


def _another_policy(server: GenerationServer, sampled: Sampled, apart: float) -> Diagnostic:
    stands_on = sampled.base.path
    message = (
        f'the server at {server.base_url} would not sample from the policy of stage "{sampled.stage.name}": '
        f"log-probabilities of what it samples differ by {apart:.3g} nats a token, {COARSE:g} is what "
        "rounding explains"
    )
    hint = f"{HOW_TO_SERVE.replace('MODEL', stands_on)}: the weights that the stage stands on"
    notes = (f"it serves {server.model().root}",)
    return Diagnostic("another-policy", message, None, WHERE, hint, notes)
