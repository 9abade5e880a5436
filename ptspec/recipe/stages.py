"""The stages of a recipe: names, what each starts from, its adapter, and what becomes of the incoming one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ptspec import methods
from ptspec.methods.types import Feedback, Method, Yields
from ptspec.recipe.findings import Findings
from ptspec.recipe.hints import did_you_mean, listed
from ptspec.recipe.places import Places
from ptspec.recipe.plan import BASE, AdapterSpec, Handover, Stage
from ptspec.recipe.text import join

Value = dict[str, Any]

_WINDOWS_DEVICES = frozenset(("con", "prn", "aux", "nul")) | {
    f"{d}{n}" for d in ("com", "lpt") for n in range(10)
}
_RUN_FILES = frozenset(("manifest", "events", "report"))
_SWITCHES = ("use_lora", "use_qlora", "quantization")


@dataclass(frozen=True)
class Names:
    """What a stage may name: keys of /data, /rewards and /judges."""

    data: Sequence[str]
    rewards: Sequence[str]
    judges: Sequence[str]


@dataclass
class Chain:
    """The stages resolved so far, by name; `methods` knows the method of each stage of the recipe, or None
    where it is not known."""

    methods: Mapping[str, str | None]
    done: dict[str, Stage] = field(default_factory=dict)
    before: list[str] = field(default_factory=list)

    def policies(self) -> list[str]:
        """Names of the earlier stages that yield a policy, or may (their method is faulty)."""
        return [name for name in self.before if self.methods[name] != "reward"]


def named(value: Sequence[Any]) -> Iterator[tuple[int, str, Value]]:
    """Index, name and value of each stage that has a name."""
    for index, given in enumerate(value):
        if isinstance(given, dict) and isinstance(given.get("name"), str):
            yield index, given["name"], given


def stages(
    value: Sequence[Any], adapter: Value, names: Names, places: Places, findings: Findings
) -> tuple[Stage, ...]:
    """The stages, in order; a faulty one may be left out."""
    chain = Chain({name: given.get("method") for _, name, given in named(value)})
    for index, name, given in named(value):
        at = join("/stages", index)
        check_slug(name, join(at, "name"), findings, "stage")
        if name in chain.before:
            first = next(i for i, other, _ in named(value) if other == name)
            where = findings.document.locate(join("/stages", first, "name"))
            hint = f"the first is at line {where.line}" if where.line else None
            findings.error("duplicate-name", join(at, "name"), f'two stages are called "{name}"', hint)
            continue
        _check_names(given, at, names, findings)
        made = _stage(name, given, at, adapter, chain, places, findings)
        if made is not None:
            chain.done[name] = made
        chain.before.append(name)
    return tuple(chain.done.values())


def check_slug(name: str, at: str, findings: Findings, kind: str) -> None:
    """Names of folders: the schema knows the letters, here are the reserved ones."""
    if name in _WINDOWS_DEVICES:
        findings.error("reserved-name", at, f'"{name}" cannot be a folder on Windows', "choose another name")
    elif kind == "stage" and name == BASE:
        findings.error("reserved-name", at, f'"{BASE}" is the base model\'s own name', "choose another name")


def _check_names(given: Value, at: str, names: Names, findings: Findings) -> None:
    if given.get("data") is not None:
        check_known(given["data"], join(at, "data"), "unknown-data", names.data, findings)
    if given.get("judge") is not None:
        check_known(given["judge"], join(at, "judge"), "unknown-judge", names.judges, findings)
    for where, name in each(given.get("rewards"), join(at, "rewards")):
        check_known(name, where, "unknown-reward", names.rewards, findings)


def each(value: str | list[Any] | None, at: str) -> Iterator[tuple[str, str]]:
    """Pointer and text of a name, or of each of a list of names."""
    if isinstance(value, str):
        yield at, value
    for index, name in enumerate(value if isinstance(value, list) else []):
        if isinstance(name, str):
            yield join(at, index), name


_SECTIONS = {"unknown-data": "/data", "unknown-reward": "/rewards", "unknown-judge": "/judges"}


def check_known(name: str, at: str, code: str, known: Sequence[str], findings: Findings) -> None:
    """`name` must be a key of the section that `code` is about."""
    if name not in known:
        section = _SECTIONS[code]
        there = f"there: {listed(known)}" if known else f"{section} is empty"
        message = f'"{name}" is not in {section}'
        findings.error(code, at, message, did_you_mean(name, known) or there)


def _stage(
    name: str, given: Value, at: str, adapter: Value, chain: Chain, places: Places, findings: Findings
) -> Stage | None:
    parent = _parent(name, given, at, chain, places, findings)
    if given.get("method") is None or given.get("data") is None:
        return None
    method = methods.get(given["method"])
    own = adapter_spec(adapter, given.get("adapter"), at, findings)
    _check_feedback(method, name, given, at, findings)
    return Stage(
        name=name,
        method=method,
        parent=parent,
        handover=_handover(name, given, method, own, parent, at, chain, findings),
        data=given["data"],
        adapter=own,
        rewards=tuple(text for _, text in each(given.get("rewards"), "")),
        judge=given.get("judge"),
        config=given.get("config", {}),
        at=at,
    )


def _parent(name: str, given: Value, at: str, chain: Chain, places: Places, findings: Findings) -> str:
    """What the stage starts from; of a faulty one, what it would by default."""
    text, where = given.get("from"), join(at, "from")
    earlier = chain.policies()
    default = BASE if given.get("method") == "reward" or not earlier else earlier[-1]
    if text is None or text == BASE:
        return default if text is None else BASE
    if text in chain.before:
        if chain.methods[text] == "reward":
            message = f'stage "{name}" starts from "{text}", which trains a reward model, not a policy'
            hint = f"stages that yield a policy: {listed(earlier) or 'none'}"
            findings.error("not-a-policy", where, message, hint)
            return default
        return str(text)
    if text == name or text in chain.methods:
        what = "itself" if text == name else f'"{text}", which comes later'
        hint = (
            f"stages before it: {listed(chain.before)}" if chain.before else "it is the first: leave it out"
        )
        findings.error("unknown-stage", where, f'stage "{name}" starts from {what}', hint)
        return default
    return _outside(name, text, where, chain, places, findings) or default


def _outside(name: str, text: str, at: str, chain: Chain, places: Places, findings: Findings) -> str | None:
    """A path to an adapter or model, or a hub id; a bare word that is no folder was meant for a stage."""
    found = places.find(text)
    if found is not None and found.is_dir():
        if any((found / file).is_file() for file in ("config.json", "adapter_config.json")):
            return str(found)
        message = f'"{text}" holds neither a model nor an adapter'
        findings.error("not-a-model", at, message, "it has no config.json and no adapter_config.json")
        return None
    if "/" in text and places.hub_id(text):
        return text
    is_path = "/" in text or "\\" in text
    what = "neither a stage nor a folder" if is_path else "not a stage"
    message = f'stage "{name}" starts from "{text}", which is {what}'
    hint = places.nearest(text) if is_path else did_you_mean(text, [*chain.before, BASE])
    there = (
        f"stages before it: {listed(chain.before)}" if chain.before else 'no stage is before it; "base" is'
    )
    findings.error("unknown-stage", at, message, hint or there, places.looked(text) if is_path else ())
    return None


def adapter_spec(common: Value, own: Value | None, at: str, findings: Findings) -> AdapterSpec:
    """The recipe's adapter with the stage's overrides."""
    merged = {**common, **(own or {})}
    where = "/adapter" if own is None else join(at, "adapter")
    use_lora, use_qlora = bool(merged.get("use_lora", False)), bool(merged.get("use_qlora", False))
    if use_qlora and not use_lora:
        place = join(where, "use_qlora") if "use_qlora" in (own if own is not None else common) else where
        message = '"use_qlora" is true but "use_lora" is not: QLoRA is LoRA over a 4-bit base'
        findings.error("contradiction", place, message, 'set "use_lora": true')
    quantization = merged.get("quantization", {})
    if quantization and not use_qlora and "quantization" in (own or common):
        findings.warn(
            "unused-key",
            join(where, "quantization"),
            '"quantization" has no effect without use_qlora',
            key=True,
        )
    lora = {key: value for key, value in merged.items() if key not in _SWITCHES}
    return AdapterSpec(
        use_lora, use_qlora, lora if use_lora else {}, quantization if use_qlora else {}, where
    )


def _check_feedback(method: Method, name: str, given: Value, at: str, findings: Findings) -> None:
    has_rewards, has_judge = bool(given.get("rewards")), given.get("judge") is not None
    if method.feedback is Feedback.REWARDS and not has_rewards:
        hint = '"rewards": [names in /rewards]'
        findings.error("missing-reward", at, f'stage "{name}" ({method.name}) needs a reward', hint)
    if method.feedback is Feedback.JUDGE_OR_REWARDS and not (has_rewards or has_judge):
        hint = '"judge": a name in /judges, or "rewards": [names in /rewards]'
        findings.error(
            "missing-reward", at, f'stage "{name}" ({method.name}) needs a judge or a reward', hint
        )
    unused = [("rewards", has_rewards and method.feedback is Feedback.NONE)]
    unused += [("judge", has_judge and method.feedback is not Feedback.JUDGE_OR_REWARDS)]
    for key, is_unused in unused:
        if is_unused:
            message = f'"{key}" has no effect: {method.name} does not ask for one while it trains'
            findings.warn("unused-key", join(at, key), message, key=True)


def _handover(
    name: str,
    given: Value,
    method: Method,
    own: AdapterSpec,
    parent: str,
    at: str,
    chain: Chain,
    findings: Findings,
) -> Handover | None:
    asked = Handover(given["handover"]) if given.get("handover") else None
    incoming = _incoming(parent, chain)
    if incoming is None:
        if asked and not _may_bring_adapter(parent, chain):
            message = f'"handover" is given, but no adapter comes in from "{parent}"'
            findings.error("no-adapter", join(at, "handover"), message, "leave it out", key=True)
        return asked
    fits = _fits(incoming, own, parent, chain)
    if asked is not None:
        _check_handover(name, asked, own, fits, at, findings)
        return asked
    if method.yields is Yields.REWARD_MODEL or not own.use_lora:
        return Handover.MERGE
    if fits:
        return Handover.CONTINUE
    return Handover.STACK if own.use_qlora else Handover.MERGE


def _may_bring_adapter(parent: str, chain: Chain) -> bool:
    """Whether what comes from `parent` is not known here: a faulty stage, or a repository on the hub."""
    if parent in chain.before:
        return parent not in chain.done
    return parent != BASE and not Path(parent).is_dir()


def _check_handover(
    name: str, asked: Handover, own: AdapterSpec, fits: bool, at: str, findings: Findings
) -> None:
    where = join(at, "handover")
    if asked is not Handover.MERGE and not own.use_lora:
        message = f'"{asked.value}" needs an adapter to train, and stage "{name}" has use_lora false'
        findings.error("handover-mismatch", where, message, 'use "merge", or set "use_lora": true')
    elif asked is Handover.CONTINUE and not fits:
        message = f'stage "{name}" cannot continue the incoming adapter: its adapter settings are different'
        findings.error("handover-mismatch", where, message, 'give the same settings, or use "merge"')


def _incoming(parent: str, chain: Chain) -> AdapterSpec | None:
    """The adapter that comes in, as far as it is known without a model."""
    if parent in chain.done:
        before = chain.done[parent].adapter
        return before if before.use_lora else None
    config = Path(parent) / "adapter_config.json"
    try:
        loaded = json.loads(config.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return AdapterSpec(True, lora=loaded if isinstance(loaded, dict) else {})


def _fits(incoming: AdapterSpec, own: AdapterSpec, parent: str, chain: Chain) -> bool:
    """Whether the incoming adapter is one that this stage's settings would make."""
    if parent not in chain.done:
        # A saved config spells out every field, and module names where a recipe says "all-linear".
        fields = {key: value for key, value in own.lora.items() if value != "all-linear"}
        return own.use_lora and all(incoming.lora.get(key) == value for key, value in fields.items())
    # A stacked adapter has the rank of both its parts.
    stacked = chain.done[parent].handover is Handover.STACK
    return (
        not stacked
        and incoming.lora == own.lora
        and (incoming.use_qlora, incoming.quantization)
        == (
            own.use_qlora,
            own.quantization,
        )
    )
