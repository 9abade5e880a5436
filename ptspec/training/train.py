"""Train one stage: build a TRL trainer from its parts, train, save.

Independent of other stages and recipes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from transformers import PrinterCallback, TrainerCallback

from ptspec.diagnostics import Diagnostic, Interrupted, PtError, StageError, noted
from ptspec.events import Listener, StageTrained, Warned
from ptspec.model import probes
from ptspec.model.device import begin_peak_memory, peak_memory
from ptspec.model.handover import Policy
from ptspec.model.precision import float32_settings_kept, weights_precision
from ptspec.model.probes import Probes
from ptspec.model.save import save
from ptspec.performance.choice import (
    ADAPTER_INPUTS,
    ATTENTION,
    AUTOCAST,
    HEAD,
    LABELS,
    PROMPTS,
    ROW_ORDER,
    SHARED,
)
from ptspec.performance.free.passes import BY_LENGTH
from ptspec.processes import Agreed, current
from ptspec.recipe.plan import Stage
from ptspec.recipe.stage_evaluation import evaluation_of
from ptspec.recipe.vllm import vllm_of
from ptspec.store.half_made import saved_in_words
from ptspec.store.stage_folder import CHECKPOINTS
from ptspec.training.adapter_dtypes import keep_dtypes
from ptspec.training.adapter_inputs import adapter_inputs
from ptspec.training.attention import attention
from ptspec.training.checkpoint_callback import AlreadyTrained, CheckpointCallback
from ptspec.training.checkpoints import step_of
from ptspec.training.config import trainer_arguments
from ptspec.training.data_order import rows_repeated
from ptspec.training.drift import Watch
from ptspec.training.engines import elements, forgotten_afterwards, is_rounded, whole_weights
from ptspec.training.evaluating import Evaluating
from ptspec.training.faults import failure
from ptspec.training.job import Job, Trained
from ptspec.training.labels_alone import labels_alone
from ptspec.training.library_patches import taken_off
from ptspec.training.nonfinite_guard import NonfiniteGuard, Placed
from ptspec.training.progress import FrozenRanksCallback, Progress
from ptspec.training.reference import adopt, loading_none, takes_reference
from ptspec.training.resume_from import resume_from
from ptspec.training.row_order import sort_within_steps
from ptspec.training.row_templates import rendered
from ptspec.training.sharded import FreeBaseCallback
from ptspec.training.shared_prompts import prompts_shared
from ptspec.training.signal import nothing_learned
from ptspec.training.stage_events import about, started
from ptspec.training.start_checks import Beginning, check_beginning, unwrapped
from ptspec.training.stop_callback import StopCallback
from ptspec.training.stop_request import StopRequest
from ptspec.training.stream_place import StreamPlace
from ptspec.training.tracking import settle, tracked

if TYPE_CHECKING:
    from ptspec.training.vllm.start import PolicyServer


def train(job: Job, listener: Listener, stop_request: StopRequest) -> Trained:
    """Train `job.stage` and save its policy in `job.folder`, resuming from a checkpoint there.

    Raises `Interrupted` if `stop_request` ended it, with progress saved, and `StageError` for any failure,
    with the steps before it saved if possible; `OutOfMemory` is one.
    """
    patched = taken_off(job.policy.model) if job.stage.config.get("use_liger_kernel") else nullcontext()
    engine = forgotten_afterwards(job.stage.compute)
    head = labels_alone(_chosen(job, HEAD) == LABELS)
    pairs = prompts_shared(_chosen(job, PROMPTS) == SHARED, lambda why: listener(Warned(why, job.stage.name)))
    inputs = adapter_inputs(_chosen(job, ADAPTER_INPUTS) == AUTOCAST)
    with tracked(job.watched), float32_settings_kept(), patched, engine, head, pairs, inputs:
        return _train(job, listener, stop_request)


def _train(job: Job, listener: Listener, stop_request: StopRequest) -> Trained:
    checkpoints = job.folder / CHECKPOINTS
    checkpoints.mkdir(parents=True, exist_ok=True)
    team = current()
    trainer = _trainer(job, checkpoints)
    keep_dtypes(trainer)
    if _chosen(job, ROW_ORDER) == BY_LENGTH:
        sort_within_steps(trainer, team.size)
    with team.agreed():
        beginning = check_beginning(trainer, job.stage, job.handed_over)
    with sampling_server(trainer, job, listener) as server:
        return _steps(trainer, job, beginning, server, listener, stop_request)


def _steps(
    trainer: Any,
    job: Job,
    beginning: Beginning,
    server: PolicyServer | None,
    listener: Listener,
    stop_request: StopRequest,
) -> Trained:
    """Train and save. `server`: samples, if the trainer does not."""
    checkpoints, team = job.folder / CHECKPOINTS, current()
    now = (trainer.args.train_batch_size, team.size)
    resume = team.by_first(lambda: resume_from(checkpoints, job.stage, now, listener))
    # An online method's few prompts are read again up to the resumed step.
    watch = None if job.stage.method.online else job.watch
    place = StreamPlace(trainer, watch, resume) if watch is not None else None
    evaluating = _evaluating(trainer, job, resume, listener)
    keeps_best = evaluating is not None and evaluating.evaluation.hands_on_best
    saving = CheckpointCallback(trainer, checkpoints, resume, job.signals.judge, place, keeps_best=keeps_best)
    progress = Progress(started(job), about(job, beginning, server), job.folder, listener)
    finite = NonfiniteGuard(job.stage, trainer, _placed(trainer, job))
    drift: list[TrainerCallback] = [Watch(job.stage, listener)] if job.stage.method.online else []
    drift += [server.agreement] if server is not None else []
    measuring = [] if evaluating is None else [evaluating]
    _listen(trainer, job, (progress, *drift, StopCallback(stop_request), finite, *measuring, saving))
    if repeated := rows_repeated(trainer, team.size):
        listener(Warned(repeated, job.stage.name))
    settle(trainer, job.watched, step_of(resume) if resume else None)
    begin_peak_memory(job.device)
    begun = time.monotonic()
    try:
        with _attention(trainer, _chosen(job, ATTENTION)):
            trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    except AlreadyTrained:
        pass
    except Exception as error:
        notes = () if evaluating is None else evaluating.notes
        raise _ended_by(error, job.stage, saving, notes) from error
    finally:
        saving.close()
    seconds = time.monotonic() - begun
    if trainer.state.global_step < trainer.state.max_steps and stop_request.reason is not None:
        raise Interrupted(_interrupted(job.stage, trainer.state.global_step, stop_request.reason))
    best = None if evaluating is None else evaluating.hand_on()
    model = unwrapped(trainer, trainer.model)
    trained = Trained(
        steps=trainer.state.global_step,
        seconds=seconds,
        trainable_parameters=_trainable(model, job.policy),
        peak_memory_bytes=max(team.gathered(peak_memory(job.device))),
        beginning=beginning,
        probes=_probes(trainer, model, job.handed_over.ids),
        config=_plain(trainer.args.to_dict()),
        best=best,
    )
    whole = whole_weights(trainer)
    team.by_first(lambda: _save(model, job, trained, whole))
    listener(StageTrained(job.stage.name, trained.steps, seconds, progress.last))
    if why := nothing_learned(trainer.state.log_history):
        listener(Warned(why, job.stage.name))
    return trained


def _evaluating(trainer: Any, job: Job, resume: Path | None, listener: Listener) -> Evaluating | None:
    """Return the callback that evaluates `trainer` during training; None if nothing asks for it."""
    if (evaluation := evaluation_of(job.stage)) is None:
        return None
    return Evaluating(trainer, evaluation, job.stage, job.folder / CHECKPOINTS, resume, listener)


def _probes(trainer: Any, model: Any, ids: tuple[tuple[int, ...], ...]) -> Probes:
    """Return the probes of what was trained."""
    found = probes.measure(model, ids)
    return replace(found, tolerance=probes.COARSE) if is_rounded(trainer) else found


def _save(model: Any, job: Job, trained: Trained, whole: dict[str, Any] | None) -> None:
    with weights_precision(model):
        save(model, job.policy, job.base, job.folder, whole)
    probes.store(trained.probes, job.folder)


def _trainable(model: Any, policy: Policy) -> int:
    """Return the trained parameters: of an adapter with frozen ranks the others."""
    frozen = policy.frozen.elements if policy.frozen is not None else 0
    learn: int = sum(elements(parameter) for parameter in model.parameters() if parameter.requires_grad)
    return learn - frozen


def _listen(trainer: Any, job: Job, callbacks: Sequence[TrainerCallback]) -> None:
    """Add the callbacks to `trainer`, in order: progress, checks, saving."""
    if job.policy.frozen is not None:
        trainer.add_callback(FrozenRanksCallback(job.policy.frozen))
    if job.stage.compute.is_sharded:
        trainer.add_callback(FreeBaseCallback(job.base))
    trainer.remove_callback(PrinterCallback)
    for callback in callbacks:
        trainer.add_callback(callback)


def _placed(trainer: Any, job: Job) -> Placed:
    """Return a function from a trainer's row indices to where they come from.

    The rows of `job.dataset`, unless the trainer packed or dropped some, which are then shown by their text.
    """

    def placed(rows: Sequence[int]) -> Sequence[str]:
        if job.rows is None:
            return ()
        is_text = "input_ids" not in job.dataset.column_names
        if is_text and len(trainer.train_dataset) == job.rows:
            return job.placed(rows)
        tokens = [trainer.train_dataset[row].get("input_ids", [])[:24] for row in rows]
        return [f'"{job.base.tokenizer.decode(some)}…"' for some in tokens]

    return placed


def _ended_by(
    error: Exception, stage: Stage, saving: CheckpointCallback, notes: tuple[str, ...]
) -> StageError:
    """Save the steps before a failed one and return its error with `notes`.

    With several processes only if all of them know of the error.
    """
    try:
        saved = saving.rescue() if current().alone or isinstance(error, Agreed) else saving.saved
    except Exception:
        logging.getLogger("ptspec").exception("the progress could not be saved")
        saved = saving.saved
    kept = saved_in_words(stage.name, saved)
    if not isinstance(error, PtError):
        return failure(error, stage.at, (*notes, kept))
    return StageError(*noted(error.diagnostics, *notes, kept))


def _trainer(job: Job, checkpoints: Path) -> Any:
    trainer_class = resolve_name(job.stage.method.trainer)
    arguments = trainer_arguments(job.stage, job.device, job.precision, job.watched, job.seed, checkpoints)
    parts = _parts(job, arguments)
    reference = job.policy.reference_model
    if reference is None:
        return trainer_class(**parts)
    if takes_reference(trainer_class):
        return trainer_class(ref_model=reference, **parts)
    with loading_none(arguments):
        trainer = trainer_class(**parts)
    adopt(trainer, reference)
    return trainer


def _parts(job: Job, arguments: Any) -> dict[str, Any]:
    parts: dict[str, Any] = {
        "model": job.policy.model,
        "args": arguments,
        "train_dataset": _as_trained(job, job.dataset),
        "processing_class": job.base.tokenizer,
    }
    if job.eval_dataset is not None:
        parts["eval_dataset"] = _as_trained(job, job.eval_dataset)
    if "labels" in job.columns:
        arguments.assistant_only_loss = False  # the labels already mark what is learned
    if job.policy.adapter is not None:
        parts["peft_config"] = job.policy.adapter
    if job.signals.teacher is not None:
        parts["teacher_model"] = job.signals.teacher
    if job.signals.judge is not None:
        parts["judge"] = job.signals.judge
    elif job.signals.rewards:
        parts["reward_funcs"] = list(job.signals.rewards)
        arguments.reward_weights = list(job.signals.weights)
    return parts


def _as_trained(job: Job, rows: Any) -> Any:
    return rows if job.stage.method.renders_rows else rendered(rows, job.base.tokenizer)


def _interrupted(stage: Stage, step: int, reason: str) -> Diagnostic:
    return Diagnostic("interrupted", f"{reason}: {saved_in_words(stage.name, step)}", pointer=stage.at)


def _chosen(job: Job, field: str) -> Any:
    """Return the chosen value of a field; None if none was chosen."""
    return None if job.decision is None else job.decision.values.get(field)


def _attention(trainer: Any, kernel: str | None) -> AbstractContextManager[None]:
    """Use the chosen attention kernel in the policy and its reference."""
    reference = getattr(trainer, "ref_model", None)
    return attention((unwrapped(trainer, trainer.model), reference), kernel)


@contextmanager
def sampling_server(trainer: Any, job: Job, listener: Listener) -> Iterator[PolicyServer | None]:
    """Set up the server that samples for `trainer` within the context; None without one."""
    spec = vllm_of(job.stage)
    if spec is None or not spec.is_plain_server:
        yield None
        return
    from ptspec.training.vllm.start import Sampled, begin_sampling

    parts = (job.stage, job.policy, job.base, job.handed_over, job.folder, job.seed, job.watched.run)
    server = begin_sampling(trainer, spec, Sampled(*parts), listener)
    try:
        yield server
    finally:
        server.close()


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    secrets = ("hub_token", "push_to_hub_token")
    return {name: value for name, value in config.items() if name not in secrets and name != "output_dir"}
