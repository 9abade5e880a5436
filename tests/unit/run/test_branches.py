"""Stages that do not need one another go on at the same time; whatever is told comes by one thread."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from queue import SimpleQueue

import pytest
from support.small import write_recipe

from ptspec.diagnostics import CheckError, Diagnostic, Interrupted, StageError
from ptspec.events import Warned
from ptspec.recipe.plan import ComputeSpec
from ptspec.recipe.resolve import read_recipe
from ptspec.run.branches import SideBySide, needed
from ptspec.training.stop_request import StopRequest

ON_RAY = ComputeSpec(launcher="ray")


def tree(recipe):
    """sft → dpo → last, sft → kto; a reward model beside them, by which "online" is judged."""
    sft, dpo = recipe["stages"]
    recipe["stages"] = [
        sft,
        dpo | {"from": "sft"},
        dpo | {"name": "kto", "method": "kto", "from": "sft"},
        {"name": "reward", "method": "reward", "data": "train", "from": "base"},
        dpo
        | {"name": "last", "from": "dpo", "checks": [{"metric": "accuracy", "min_gain": 0, "over": "kto"}]},
        {"name": "online", "method": "grpo", "data": "train", "from": "sft", "rewards": ["by_model"]},
    ]
    recipe["rewards"] = {"by_model": {"model": "reward"}}


@pytest.fixture
def plan(tmp_path):
    reading = read_recipe(write_recipe(tmp_path, tree))
    assert reading.plan is not None, reading.diagnostics
    plan = reading.plan
    return replace(plan, stages=tuple(replace(stage, compute=ON_RAY) for stage in plan.stages))


def test_a_stage_needs_its_parent_its_reward_models_and_what_it_is_compared_with(plan):
    found = {name: set(asked) for name, asked in needed(plan, plan.stages).items()}
    assert found == {
        "sft": set(),
        "dpo": {"sft"},
        "kto": {"sft"},
        "reward": set(),
        "last": {"dpo", "kto"},
        "online": {"sft", "reward"},
    }


def test_a_merge_waits_for_all_its_parts(tmp_path):
    def change(recipe):
        tree(recipe)
        recipe["stages"].append({"name": "soup", "method": "merge", "of": {"dpo": 0.5, "kto": 0.5}})

    plan = read_recipe(write_recipe(tmp_path, change)).plan
    assert needed(plan, plan.stages)["soup"] == {"dpo", "kto"}


def test_of_stages_from_one_outside_folder_the_first_measures_it(plan):
    outside = tuple(replace(stage, parent="/elsewhere", checks=()) for stage in plan.stages[1:3])
    assert needed(plan, outside) == {"dpo": frozenset(), "kto": frozenset({"dpo"})}
    assert needed(replace(plan, evaluation=None), outside)["kto"] == frozenset()


@dataclass(frozen=True)
class Job:
    stage: str
    compute: ComputeSpec


class Tree:
    """A run of `plan` whose jobs are functions of the test, by stage; `begun`: in what order they came."""

    def __init__(self, plan, work, alone=lambda job: None):
        self.plan, self.work, self.begun, self.finished, self.told = plan, work, [], [], []
        self.threads = set()
        self.messages = SimpleQueue()
        self.stop_request = StopRequest()
        self.side_by_side = SideBySide(
            jobs=self.jobs,
            needed=needed(plan, plan.stages),
            workers=self.do,
            alone=alone,
            messages=self.messages,
            listener=self.told.append,
            stop_request=self.stop_request,
        )

    def jobs(self, stage):
        self.threads.add(threading.current_thread())
        yield Job(stage.name, stage.compute)
        self.threads.add(threading.current_thread())
        self.finished.append(stage.name)

    def do(self, job):
        self.begun.append(job.stage)
        self.messages.put(Warned("works", job.stage))
        self.work.get(job.stage, lambda: None)()

    def run(self):
        self.side_by_side.run(self.plan.stages)


def test_branches_go_on_at_the_same_time_and_wait_for_what_they_need(plan):
    meeting = threading.Barrier(2, timeout=20)
    ran = Tree(plan, {"dpo": meeting.wait, "kto": meeting.wait})
    ran.run()
    assert set(ran.finished) == {stage.name for stage in plan.stages}
    for name, asked in needed(plan, plan.stages).items():
        assert all(ran.finished.index(other) < ran.begun.index(name) for other in asked)
    assert sorted(event.stage for event in ran.told) == sorted(ran.finished)
    assert ran.threads == {threading.current_thread()}


def fails(kind, message):
    def work():
        raise kind(Diagnostic("oh", message))

    return work


def test_after_an_error_what_goes_on_is_finished_and_nothing_is_begun(plan):
    both, failed = threading.Barrier(2, timeout=20), threading.Event()

    def dpo():
        both.wait()
        fails(StageError, "dpo fails")()

    def kto():
        both.wait()
        assert failed.wait(20)

    ran = Tree(plan, {"dpo": dpo, "kto": kto})
    hear = ran.told.append
    ran.side_by_side.listener = lambda event: (hear(event), "finished first" in event.text and failed.set())
    with pytest.raises(StageError, match="dpo fails"):
        ran.run()
    assert "kto" in ran.finished and "last" not in ran.begun and "dpo" not in ran.finished
    assert "ended with an error: dpo fails; the stages running beside it are finished first: kto" in str(
        ran.told
    )


def test_a_stop_request_ends_all_and_each_says_what_it_has_saved(plan):
    both = threading.Barrier(2, timeout=20)
    ran = Tree(plan, {})

    def stopped(name):
        def work():
            both.wait()
            ran.stop_request.ask("SIGINT was received")
            fails(Interrupted, f"{name} is saved")()

        return work

    ran.work.update(dpo=stopped("dpo"), kto=stopped("kto"))
    with pytest.raises(Interrupted) as ended:
        ran.run()
    assert sorted(told.message for told in ended.value.diagnostics) == ["dpo is saved", "kto is saved"]
    assert "last" not in ran.begun


def test_a_check_that_stops_leaves_later_stages_unbegun(plan):
    ran = Tree(plan, {})

    def jobs(stage):
        yield from Tree.jobs(ran, stage)
        if stage.name == "sft":
            raise CheckError(Diagnostic("check-failed", "sft is not good enough"))

    ran.side_by_side.jobs = jobs
    with pytest.raises(CheckError):
        ran.run()
    assert set(ran.begun) == {"sft", "reward"}


def test_a_stage_of_another_launcher_goes_alone(plan):
    here = ComputeSpec()
    stages = tuple(replace(stage, compute=here) if stage.name == "kto" else stage for stage in plan.stages)
    going = set()
    seen = []

    def around(name):
        def work():
            going.add(name)
            threading.Event().wait(0.05)
            going.discard(name)

        return work

    work = {stage.name: around(stage.name) for stage in stages}
    ran = Tree(replace(plan, stages=stages), work, alone=lambda job: seen.append((job.stage, set(going))))
    ran.run()
    assert seen == [("kto", set())] and len(ran.finished) == len(stages)


def test_variants_go_side_by_side_and_what_is_picked_waits_for_all_of_them(tmp_path):
    def tried(recipe):
        recipe["stages"][1] |= {"matrix": {"beta": [0.1, 0.5]}, "pick": {"metric": "loss"}}
        recipe["stages"].append({"name": "last", "method": "kto", "data": "train"})

    plan = read_recipe(write_recipe(tmp_path, tried)).plan
    assert {name: set(asked) for name, asked in needed(plan, plan.stages).items()} == {
        "sft": set(),
        "dpo.1": {"sft"},
        "dpo.2": {"sft"},
        "dpo": {"sft", "dpo.1", "dpo.2"},
        "last": {"dpo"},
    }
