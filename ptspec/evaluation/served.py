"""Answers by a generation server: which policies it can serve, and whether it has the right ones."""

from __future__ import annotations

import math
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ptspec.diagnostics import Diagnostic, StageError
from ptspec.generation_server.client import HOW_TO_SERVE, Completion, GenerationServer, Sampling, ServedModel
from ptspec.generation_server.requests import ServerError
from ptspec.model import probes
from ptspec.model.probes import COARSE, SEQUENCES, TOKENS, Probes
from ptspec.model.vocabulary import rows_saved
from ptspec.processes import current
from ptspec.recipe.adapter_rules import takes_from_base
from ptspec.recipe.handovers import beyond_low_rank
from ptspec.recipe.paths import is_folder
from ptspec.recipe.plan import AdapterSpec
from ptspec.store.content_hashes import hash_folder
from ptspec.store.files import read_json
from ptspec.store.stage_folder import ADAPTER_CONFIG, ADAPTER_WEIGHTS, Artifact

PORTION = 256
"""Prompts requested between progress reports."""
COMPARED = 32
"""Answers compared when all are there."""
SAMPLED = 16
"""Tokens after each of a few prompts for comparing a server's policy with the local one."""
FINEST = 0.01
"""In nats: a smaller difference of a token's log-probability is never an error."""
EVERY = 8
"""One of so many tokens of a stage's stored probes is compared."""
REPORTED = 1e-6
"""If no log-probability is below −REPORTED, a server reports 0 for every forced token."""


@dataclass(frozen=True)
class Served:
    """A policy under its `name` on a server.

    `program`: the server's software, "vLLM 0.32.0"; `max_length`: of prompt and answer together, in tokens;
    `stands_on`: the base weights that it needs; `bound`: tolerance of a token's log-probability against the
    local policy's, in nats.
    """

    server: GenerationServer
    name: str
    program: str
    max_length: int | None
    stands_on: str = "MODEL"
    bound: float = math.inf

    @property
    def words(self) -> str:
        """The server in words."""
        return f"{self.program} at {self.server.base_url}"

    def respond(
        self,
        prompts: Sequence[Sequence[int]],
        max_new_tokens: int,
        ends: frozenset[int],
        *,
        draws: Sequence[Sequence[float] | None] = (),
        done: Callable[[int], None] = lambda count: None,
    ) -> list[Completion]:
        """Return the continuation of each prompt, greedy or sampled. Raises `ServerError`.

        Sampled at temperature 1 with a seed of its random numbers, if `draws` holds any for it.
        """
        self._must_have_room(prompts, max_new_tokens)
        numbers = draws or [None] * len(prompts)
        found: dict[int, Completion] = {}
        for drawn in (False, True):
            asked = [i for i, one in enumerate(numbers) if bool(one) is drawn]
            for start in range(0, len(asked), PORTION):
                portion = asked[start : start + PORTION]
                seeds = [seed_of(numbers[i] or ()) for i in portion] if drawn else None
                sampling = sampling_at(1.0 if drawn else 0.0, max_new_tokens, ends)
                made = self.server.complete([prompts[i] for i in portion], self.name, sampling, seeds)
                found.update(zip(portion, made, strict=True))
                done(len(portion))
        return [found[i] for i in range(len(prompts))]

    def checked(self, model: Any, prompts: Mapping[int, Sequence[int]]) -> Served:
        """Return this with a `bound` of ten times the present rounding difference.

        Raises `StageError`, in every process, if the server has another policy than `model`: by the
        log-probabilities of what it samples after a few of `prompts`, which `model` scores.
        """
        ids = [tuple(one[:TOKENS]) for one in prompts.values() if one][:SEQUENCES]
        sampling = sampling_at(1.0, SAMPLED, frozenset())
        seeds = range(len(ids))
        made = current().by_first(lambda: self.server.complete(ids, self.name, sampling, seeds))
        return replace(self, bound=max(FINEST, 10 * self.compare(model, ids, made)))

    def compare(self, model: Any, prompts: Sequence[Sequence[int]], said: Sequence[Completion]) -> float:
        """Return the mean difference of answers' log-probabilities from those of `model`, in nats.

        Raises `StageError`, in every process, if some differ by more than the bound. vLLM 0.32 on a CPU
        computes wrongly if the base and an adapter are used at once.
        """
        spoken = [i for i, one in enumerate(said) if one.token_ids]
        picked = spoken[:: max(1, -(-len(spoken) // COMPARED))]
        ids, made = [prompts[i] for i in picked], [said[i] for i in picked]
        whole = tuple((*one, *said.token_ids) for one, said in zip(ids, made, strict=True))
        scores = probes.measure(model, whole).logps
        ours = [row[len(row) - len(said.token_ids) :] for row, said in zip(scores, made, strict=True)]
        theirs = [said.logps for said in made]
        most = current().by_first(lambda: max(_differences(ours, theirs), default=0.0))
        current().by_first(lambda: self._must_agree(_apart(ours, theirs), most))
        return most

    def check_left(self, left: Probes) -> None:
        """Raise `StageError` if the server has another policy than a stage, by its stored probes `left`.

        The server is forced to their tokens. One that reports sampled log-probabilities (`--logprobs-mode
        processed_logprobs`) then reports 0 for each, and is not compared.
        """
        places = [(row, at) for row in range(len(left.ids)) for at in range(1, len(left.ids[row]), EVERY)]
        with_token: dict[int, list[tuple[int, int]]] = {}
        for row, at in places:
            with_token.setdefault(left.ids[row][at], []).append((row, at))
        ours, theirs = [], []
        for token, found in with_token.items():
            sampling = replace(sampling_at(1.0, 1, frozenset()), more={"allowed_token_ids": [token]})
            made = self.server.complete([left.ids[row][:at] for row, at in found], self.name, sampling)
            ours.append([left.logps[row][at - 1] for row, at in found])
            theirs.append([one.logps[0] for one in made])
        if any(logp < -REPORTED for row in theirs for logp in row):
            self._must_agree(_apart(ours, theirs))

    def _must_agree(self, apart: float, most: float = 0.0) -> None:
        if apart <= COARSE and most <= self.bound:
            return
        message = (
            f"the generation server at {self.server.base_url} does not have the policy that it is asked for: "
            f"log-probabilities differ by {apart:.3g} nats a token, {COARSE:g} is what rounding explains"
        )
        if apart <= COARSE:
            message = (
                f"the generation server at {self.server.base_url} computes some answers otherwise than the "
                f"policy: the log-probability of a token differs by {most:.3g} nats, rounding by less than "
                f"{self.bound:.2g}; is it asked for several policies at once?"
            )
        hint = f"{HOW_TO_SERVE.replace('MODEL', self.stands_on)}: the policy's base weights"
        notes = (f"it serves {self.server.model().root}",)
        raise StageError(Diagnostic("another-policy", message, None, self.server.requests.at, hint, notes))

    def _must_have_room(self, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> None:
        needed = max(map(len, prompts), default=0) + max_new_tokens
        if self.max_length is not None and needed > self.max_length:
            what = f"takes {self.max_length:,} tokens, prompt and answer together, and {needed:,} are needed"
            hint = f"start it with --max-model-len {needed} or more, or ask for fewer max_new_tokens"
            raise self.server.requests.failure(what, hint)


def sampling_at(temperature: float, max_new_tokens: int, ends: frozenset[int]) -> Sampling:
    """Return sampling parameters for the policy's own distribution (0: greedy), up to one of `ends`."""
    stops = tuple(sorted(ends))
    return Sampling(max_new_tokens, temperature=temperature, stop_token_ids=stops, more={"ignore_eos": True})


def seed_of(numbers: Sequence[float]) -> int:
    """Return a seed from a row's random numbers, which depend on its id and the evaluation's seed."""
    return int(numbers[0] * 2**53)


def _apart(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]]) -> float:
    """Return the mean difference of log-probabilities of the same tokens; 0 without tokens."""
    found = _differences(ours, theirs)
    return sum(found) / max(1, len(found))


def _differences(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]]) -> list[float]:
    pairs = [pair for one, other in zip(ours, theirs, strict=True) for pair in zip(one, other, strict=True)]
    return [abs(one - other) for one, other in pairs]


@dataclass(frozen=True)
class Asked:
    """A policy that a server may serve.

    Its folder (None: the base), how it is opened, and the folder or hub id of the base.
    """

    name: str
    artifact: Artifact | None
    adapter: AdapterSpec
    base: str

    @property
    def stands_on(self) -> str:
        """The weights of the policy, or below its adapter."""
        return self.base if self.artifact is None else self.artifact.weights


class Host:
    """A server that serves one policy after another."""

    def __init__(self, server: GenerationServer, folder: Path | None = None) -> None:
        """Set up; `folder`: where adapters are copied for the server (None: it sees their own folders)."""
        self.server = server
        self.folder = folder

    def why_not(self, policy: Asked) -> str | None:
        """Return why the server cannot serve `policy`; None if it can.

        Raises `ServerError` if it cannot be reached.
        """
        return current().by_first(lambda: self._why_not(policy))

    @contextmanager
    def answering(self, policy: Asked, warn: Callable[[str], None]) -> Iterator[Served | None]:
        """Like `serving`; None, with a message to `warn`, if the server cannot serve `policy`."""
        why_not = self.why_not(policy)
        if why_not is not None:
            where = f"generated here, not by the server at {self.server.base_url}"
            warn(f"{policy.name}: answers are {where}: {why_not}")
            yield None
            return
        with self.serving(policy) as served:
            yield served

    @contextmanager
    def serving(self, policy: Asked) -> Iterator[Served]:
        """Serve `policy` within the context. Raises `ServerError` if the server refuses it."""
        team, artifact, stands_on = current(), policy.artifact, policy.stands_on
        program = team.by_first(lambda: self._program)
        model = team.by_first(lambda: self._model)
        if artifact is None or not artifact.is_adapter:
            yield Served(self.server, model.name, program, model.max_length, stands_on)
            return
        # vLLM's prefix cache is keyed by name: use a name that was never served before.
        name = team.of_first(f"{label_of(policy.name)}.{uuid.uuid4().hex[:12]}")
        place = artifact.folder.absolute() if self.folder is None else self.folder.absolute() / name
        reached = True
        try:
            team.by_first(lambda: self._load(name, artifact.folder, place))
            yield Served(self.server, name, program, model.max_length, stands_on)
        except ServerError as error:
            reached = error.status is not None
            raise
        finally:
            if team.is_first:
                self._unload(name, place, reached=reached)

    @cached_property
    def _model(self) -> ServedModel:
        return self.server.model()

    @cached_property
    def _program(self) -> str:
        try:
            found = self.server.requests.get("/version")
        except ServerError as error:
            if error.status is None:
                raise
            return "a generation server"
        version = found.get("version") if isinstance(found, dict) else None
        return f"vLLM {version}" if version else "a generation server"

    def _why_not(self, policy: Asked) -> str | None:
        artifact, stands_on = policy.artifact, policy.stands_on
        if policy.adapter.use_qlora:
            return "its base is in 4 or 8 bits"
        if _are_others(self._model.root, stands_on, is_base=stands_on == policy.base):
            return f"it was trained over the weights in {stands_on}, and the server has {self._model.root}"
        if artifact is None or not artifact.is_adapter:
            return None
        config = read_json(artifact.folder / ADAPTER_CONFIG)
        beyond = "init_lora_weights" if takes_from_base(config) else beyond_low_rank(config)
        if beyond is not None:
            return f'vLLM serves no adapter with "{beyond}"'
        return "its adapter holds embeddings" if rows_saved(artifact.folder) else None

    def _load(self, name: str, folder: Path, place: Path) -> None:
        if self.folder is not None:
            place.mkdir(parents=True)
            for file in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
                shutil.copyfile(folder / file, place / file)
        self.server.load_adapter(name, place)

    def _unload(self, name: str, place: Path, *, reached: bool) -> None:
        """Stop serving it; ignore a server that is gone, whose error was reported."""
        if self.folder is not None:
            shutil.rmtree(place, ignore_errors=True)
        if reached:
            try:
                self.server.unload_adapter(name)
            except ServerError:
                return


def _are_others(root: str, stands_on: str, *, is_base: bool) -> bool:
    """Return whether the server's weights are known to differ from those at `stands_on`.

    A base name that is unknown here may be the base: log-probabilities decide.
    """
    here, there = Path(stands_on), Path(root)
    if root == stands_on or (is_folder(here) and is_folder(there) and here.resolve() == there.resolve()):
        return False
    if is_folder(here) and is_folder(there):
        return hash_folder(here) != hash_folder(there)
    return not is_base


def label_of(name: str) -> str:
    """Return a policy's name as valid in a request and a file name."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name)[-40:].strip("-") or "policy"
