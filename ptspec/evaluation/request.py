"""`pt eval`: what to measure (runs, stages, adapters, models), and stored or new measurements."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptspec.checks.code_permission import model_spec
from ptspec.data.checks.row_checks import Use
from ptspec.data.dataset import Loading, load_evaluation
from ptspec.data.layouts.evaluation import EvaluationRow
from ptspec.data.readers.placed import first_row, shown
from ptspec.data.readers.scan import scan
from ptspec.diagnostics import Diagnostic, InputError, Location
from ptspec.evaluation import store
from ptspec.evaluation.choice import chosen
from ptspec.evaluation.comparison import Comparison
from ptspec.evaluation.comparison_store import COMPARISON
from ptspec.evaluation.measurement import DataStamp, Measurement, trained_by
from ptspec.evaluation.targets import Target, last_of_each, targets
from ptspec.events import EvaluationStarted, Listener, StageEvaluated, Warned
from ptspec.recipe.names import each
from ptspec.recipe.paths import exists, is_file
from ptspec.recipe.plan import EvaluationSpec, ModelSpec
from ptspec.recipe.rules import accuracy
from ptspec.recipe.sections import reward_spec
from ptspec.recipe.sources import Source
from ptspec.rewards.build import measured_builtins, measured_functions
from ptspec.rewards.builtin import RewardFunction
from ptspec.store.file_hashes import known_content
from ptspec.store.rerun import recorded_plan

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from ptspec.generation_server.client import GenerationServer


@dataclass(frozen=True)
class Held:
    """The held-out rows to measure on (`prompts`: so many seeded ones), and how."""

    source: Source
    spec: EvaluationSpec
    seed: int
    prompts: int | None = None


@dataclass(frozen=True)
class EvaluationRequest:
    """A request of `pt eval`.

    `held` None: use stored measurements. `output`: the folder of the evaluation files; None writes nothing.
    `server`: generates the answers.
    """

    targets: tuple[Target, ...]
    held: Held | None
    output: Path | None
    allow_code: bool = False
    server: GenerationServer | None = None


def make_request(
    paths: Sequence[str],
    data: Path | None,
    compare: bool,
    output: Path | None,
    max_new_tokens: int | None,
    allow_code: bool = False,
    prompts: int | None = None,
    server: GenerationServer | None = None,
) -> EvaluationRequest:
    """Return the request of `pt eval`'s options. Raises `InputError` before anything is loaded."""
    asked = last_of_each(paths) if compare else targets(paths)
    if data is not None:
        if not is_file(data):
            raise InputError(Diagnostic("missing-file", f"there is no file {data}", Location("--data")))
        asked = _policies(asked)
    if compare and len(asked) < 2:
        hint = "pt eval --compare outputs/a outputs/b"
        raise InputError(Diagnostic("wrong-usage", "--compare takes two or more policies", hint=hint))
    held = None if data is None else held_out(data, max_new_tokens, prompts, asked[0])
    if held is not None:
        _must_be_measurable(held.source)
    if held is None and (without := [target for target in asked if target.stored is None]):
        raise InputError(_not_evaluated(without[0]))
    if output is not None:
        _must_be_ours(output)
    if held is not None:
        for target in asked:
            model_spec(target.model, target.recipe, allow_code=allow_code)
    return EvaluationRequest(tuple(asked), held, output, allow_code, server)


def _policies(asked: Sequence[Target]) -> list[Target]:
    """Return the targets that answer prompts. Raises `InputError` if there are none."""
    found = [target for target in asked if not target.is_reward_model]
    if not found:
        message = f"{asked[0].name} is a reward model: it answers no prompts"
        raise InputError(
            Diagnostic("not-a-policy", message, hint="without --data its stored evaluation is shown")
        )
    return found


def _must_be_measurable(source: Source) -> None:
    """Raise `InputError` for a file without rows, or without anything to measure."""
    data = shown(source.paths[0])
    rows = load_evaluation({"data": source}, "data")
    if not rows:
        raise InputError(Diagnostic("empty-data", f"{data} has no rows", Location(data)))
    if not any(row.prompt or row.expected for row in rows):
        message = f"no row of {data} can be measured; it has the columns {', '.join(rows[0].columns)}"
        hint = "rows are messages, text, prompt with completion, chosen and rejected, or a prompt alone"
        raise InputError(Diagnostic("missing-column", message, Location(data), hint=hint))


def judge_name(asked: Sequence[Target], name: str | None) -> str | None:
    """Return the judge of the responses: `name`, else the first run's `eval.judge`; None for none."""
    if name is None:
        recipe = next((target.recipe for target in asked if target.recipe), {})
        name = (recipe.get("eval") or {}).get("judge")
    return None if name == "none" else name


def evaluate_targets(request: EvaluationRequest, listener: Listener) -> list[Measurement]:
    """Return the requested measurements, stored or new, in the order of the targets. Writes nothing."""
    if request.held is None:
        return [stored_measurement(target) for target in request.targets]
    return measure_all(request.targets, request.held, listener, request.allow_code, request.server)


def write(
    request: EvaluationRequest,
    measured: Sequence[Measurement],
    compared: Mapping[str, Comparison] | None = None,
) -> None:
    """Write the files of the evaluations to the request's output, if it has one.

    `compared`: the comparison with its parent, by name.
    """
    if (output := request.output) is None:
        return
    from ptspec.evaluation.files import write_evaluation

    verdicts = {name: comparison.verdicts() for name, comparison in (compared or {}).items()}
    samples = request.held.spec.samples if request.held else EvaluationSpec.samples
    names = folder_names([measurement.name for measurement in measured])
    for index, measurement in enumerate(measured):
        folder = output if len(measured) == 1 else output / names[index]
        folder.mkdir(parents=True, exist_ok=True)
        write_evaluation(measurement, measured[:index], folder, (), samples, verdicts)


def folder_names(names: Sequence[str]) -> list[str]:
    """Return a unique folder name for each policy, one level deep, whatever its name."""
    made: list[str] = []
    for name in names:
        safe = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.").lower()[-64:].lstrip("-.") or "policy"
        numbered = (safe, *(f"{safe}-{number}" for number in range(2, len(names) + 2)))
        made.append(next(candidate for candidate in numbered if candidate not in made))
    return made


def _must_be_ours(output: Path) -> None:
    """Raise `InputError` for an output folder with files of anything but an evaluation."""
    if not exists(output):
        return
    if not output.is_dir():
        raise InputError(Diagnostic("not-a-folder", f"--output {output} is a file", Location(str(output))))
    ours = {store.STATS, store.SAMPLES, store.ROWS, store.DOCUMENTS, REPORT, COMPARISON, *PICTURES}
    strange = [p.name for p in output.iterdir() if p.name not in ours and not (p / store.STATS).is_file()]
    if strange:
        message = f"--output {output} holds something else: {strange[0]}"
        hint = "give a new folder, or one that holds an evaluation"
        raise InputError(Diagnostic("folder-in-use", message, Location(str(output)), hint=hint))


REPORT = "report.html"
PICTURES = (
    "training_curves.png",
    "perplexity_distribution.png",
    "response_lengths.png",
    "model_comparison.png",
)


def stored_measurement(target: Target) -> Measurement:
    """Return the stored evaluation of `target`. Raises `InputError` if there is none."""
    if target.stored is None:
        raise InputError(_not_evaluated(target))
    return trained_by(replace(store.load_measurement(target.stored), name=target.name), target.method)


def _not_evaluated(target: Target) -> Diagnostic:
    hint = "say what to measure it on: --data FILE"
    if target.run is not None and not target.recipe.get("eval"):
        hint = 'its recipe has no "eval"; say what to measure it on: --data FILE'
    return Diagnostic("not-evaluated", f"{target.name} has no evaluation of its own", hint=hint)


def held_out(path: Path, max_new_tokens: int | None, prompts: int | None, first: Target) -> Held:
    """Return the rows of the file at `path`; missing settings are those of the recipe of `first`."""
    asked = first.recipe.get("eval") or {}
    tokens = max_new_tokens or asked.get("max_new_tokens", EvaluationSpec.max_new_tokens)
    refusals = asked.get("refusals") or ()
    source = _source(path, first)
    spec = EvaluationSpec(
        "data",
        max_new_tokens=tokens,
        samples=asked.get("samples", EvaluationSpec.samples),
        sampled=asked.get("sampled", EvaluationSpec.sampled),
        refusals=(refusals,) if isinstance(refusals, str) else tuple(refusals),
        cluster=asked.get("cluster") if asked.get("cluster") in _first_row(source) else None,
        accuracy=accuracy(asked.get("accuracy")),
        batch_tokens=asked.get("batch_tokens"),
    )
    return Held(source, spec, int(first.recipe.get("seed", 42)), prompts)


def _source(path: Path, first: Target) -> Source:
    """Return the file at `path`, read as the recipe of `first` reads it, its held-out rows, or training rows.

    `chat`, `system`, and `columns` as far as the file has the original names.
    """
    asked = _as_read(path, first.recipe)
    source = Source("data", (path.absolute(),), chat=asked.get("chat", True), system=asked.get("system"))
    row = _first_row(source)
    columns = {new: old for new, old in (asked.get("columns") or {}).items() if old in row}
    return replace(source, columns=columns)


def _as_read(path: Path, recipe: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the source of the recipe that says how the file at `path` is read; {} without."""
    sources = {name: one for name, one in (recipe.get("data") or {}).items() if isinstance(one, dict)}
    same = (one for one in sources.values() if isinstance(one.get("path"), str) and _is(path, one["path"]))
    names = [(recipe.get("eval") or {}).get("data")]
    names += [stage.get("data") for stage in recipe.get("stages") or [] if isinstance(stage, dict)]
    named = (sources[name] for name in names if isinstance(name, str) and name in sources)
    return next(chain(same, named), {})


def _is(path: Path, text: str) -> bool:
    try:
        return path.resolve() == Path(text).resolve()
    except OSError:
        return False


def _first_row(source: Source) -> Mapping[str, Any]:
    first = first_row(scan(source))
    return first.values if first is not None else {}


def measure_all(
    asked: Sequence[Target],
    held: Held,
    listener: Listener,
    allow_code: bool,
    server: GenerationServer | None = None,
) -> list[Measurement]:
    """Measure each target on the same rows, loading shared base weights once.

    `server` generates the answers of those that it can serve.
    """
    from ptspec.evaluation.measure import measure
    from ptspec.evaluation.served import Asked, Host
    from ptspec.model.device import find_device
    from ptspec.model.model_cache import Bases

    def warn(text: str) -> None:
        listener(Warned(text))

    host = None if server is None else Host(server)
    rows_of: dict[ModelSpec, list[EvaluationRow]] = {}
    stamp = DataStamp(shown(held.source.paths[0]), known_content(held.source.paths), 0)
    device = find_device()
    shelves: dict[ModelSpec, Bases] = {}
    done: list[Measurement] = []
    by_stage: dict[tuple[Path | None, str], Measurement] = {}
    specs = [model_spec(target.model, target.recipe, allow_code=allow_code) for target in asked]
    for index, (target, spec) in enumerate(zip(asked, specs, strict=True)):
        bases = shelves.setdefault(spec, Bases(spec, device))
        left = list(zip(asked, specs, strict=True))[index:]
        for model_of, held_by in shelves.items():
            opened = [other for other, its_model in left if its_model == model_of]
            held_by.keep([held_by.weights(o.adapter, a) for o in opened for a in (None, o.artifact)])
        model, base = bases.open(target.adapter, target.artifact)
        rows = rows_of[spec] = rows_of.get(spec) or _rows(held, base.tokenizer)
        untrained = bases.open(target.adapter, None)[0] if target.artifact else None
        policy = Asked(target.name, target.artifact, target.adapter, target.model)
        with nullcontext() if host is None else host.answering(policy, warn) as served:
            listener(EvaluationStarted(target.name, len(rows), served.words if served else ""))
            measured = measure(
                model,
                base.tokenizer,
                rows,
                held.spec,
                seed=held.seed,
                name=target.name,
                rewards=_rewards(target, allow_code),
                reference=by_stage.get((target.run, target.parent or "")),
                base=untrained,
                base_name=shown(Path(target.model)) if exists(Path(target.model)) else target.model,
                data=replace(stamp, rows=len(rows)),
                warn=warn,
                served=served,
            )
        measured = trained_by(measured, target.method)
        done.append(measured)
        by_stage[target.run, target.name] = measured
        words = measured.settings.accuracy_in_words
        listener(StageEvaluated(target.name, measured.shown, measured.seconds, accuracy=words))
        del model, untrained
        bases.release()
    return done


def _rows(held: Held, tokenizer: PreTrainedTokenizerBase) -> list[EvaluationRow]:
    """Return the held-out rows; strings become chats if the model has a template for them.

    Raises `InputError` with the line of each row that the template refuses.
    """
    from ptspec.evaluation.measure import keys_of
    from ptspec.training.row_templates import refusal

    chat = held.source.chat and tokenizer.chat_template is not None
    loading = Loading(Use("eval", None), refusal(tokenizer))
    rows = load_evaluation({"data": replace(held.source, chat=chat)}, "data", loading)
    if held.prompts is None:
        return rows
    return [rows[i] for i in chosen(keys_of(rows), held.prompts, held.seed)]


def _rewards(target: Target, allow_code: bool) -> dict[str, RewardFunction]:
    """Return the reward functions of the target's run: built-in ones, and the user's if allowed."""
    if allow_code and target.run is not None:
        return measured_functions(recorded_plan(target.run), allow_code=True)
    given = target.recipe.get("rewards") or {}
    specs = {name: reward_spec(name, reward) for name, reward in given.items() if isinstance(reward, dict)}
    stages = target.recipe.get("stages") or []
    return measured_builtins(specs, {name for stage in stages for _, name in each(stage.get("rewards"), "")})
