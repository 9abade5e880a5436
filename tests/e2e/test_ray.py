"""Stages by workers of a Ray cluster: what other launchers learn, whatever worker or node is lost."""

from __future__ import annotations

import json
import os
import signal
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from support.best_step import assert_same_best_step, measured, overtrained
from support.small import WEIGHTS, environment, one_stage, pt, rewarded_by, run_here, write_recipe

from ptspec.diagnostics import Exit
from ptspec.events import (
    BestStep,
    RunStarted,
    StageFinished,
    StagePicked,
    StageStarted,
    StageStep,
    StepEvaluated,
    Warned,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("ray") is None,
        reason="NOT RUN: ray is not installed (pip install 'ptspec[ray]'); its launcher was not tested",
    ),
]
STEPS = 20


@pytest.fixture
def two_nodes(monkeypatch):
    """A cluster of two nodes of one logical CPU each, both of this machine; the second can be removed."""
    from ray.cluster_utils import Cluster

    # Its processes find this checkout, and its libraries as quiet as the tests have them.
    for name, text in {**environment(), "RAY_USAGE_STATS_ENABLED": "0"}.items():
        monkeypatch.setenv(name, text)
    head = {"num_cpus": 1, "include_dashboard": False}
    cluster = tried(lambda: Cluster(initialize_head=True, head_node_args=head))
    try:
        second = tried(lambda: cluster.add_node(num_cpus=1))
        cluster.wait_for_nodes()
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        yield cluster, second
    finally:
        cluster.shutdown()


def tried(begin):
    """Ray gives a node half a minute to begin, in which a busy machine may not come to it."""
    for tries_left in (2, 1, 0):
        try:
            return begin()
        except Exception as error:
            if not tries_left or "timed out during startup" not in str(error):
                raise
    raise AssertionError


def tree(recipe):
    """sft → dpo and sft → kto → orpo."""
    recipe["data"]["train"]["limit"] = 32
    recipe["data"]["heldout"]["limit"] = 6
    recipe["eval"] |= {"max_new_tokens": 6, "samples": 3}
    sft, dpo = recipe["stages"]
    sft["config"] |= {"max_steps": 2, "per_device_train_batch_size": 4}
    long = {"max_steps": STEPS, "save_steps": 1, "per_device_train_batch_size": 4}
    dpo["config"] |= long
    kto = {"name": "kto", "method": "kto", "data": "train", "from": "sft", "config": dict(long)}
    orpo = {"name": "orpo", "method": "orpo", "data": "train", "from": "kto", "config": {"max_steps": 2}}
    recipe["stages"] = [sft, dpo | {"from": "sft"}, kto, orpo]


def tried_values(recipe):
    """sft → two values of dpo, of which one is handed on."""
    tree(recipe)
    recipe["stages"] = recipe["stages"][:2]
    recipe["stages"][1] |= {"matrix": {"beta": [0.1, 0.5]}, "pick": {"metric": "loss"}}
    recipe["stages"][1]["config"] |= {"max_steps": 4}


def on_ray(change, **compute):
    def both(recipe):
        change(recipe)
        recipe["compute"] = {"launcher": "ray", **compute}

    return both


def recipe_in(folder, change):
    folder.mkdir()
    return write_recipe(folder, change)


def workers(output):
    """Stage -> process ids of its workers, by their rank."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().decode().split("\0")
            environ = dict(one.partition("=")[::2] for one in _environ(process))
            job = json.loads(Path(line[line.index("ptspec.worker") + 1]).read_text())["job"]
        except (OSError, ValueError, IndexError):
            continue
        if job["plan"]["output"] == str(output):
            found.setdefault(job["stage"], {})[int(environ.get("RANK", 0))] = int(process.name)
    return found


def _environ(process):
    return (process / "environ").read_bytes().decode(errors="replace").split("\0")


def parent(process):
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def warnings(ran):
    return [f"{event.stage}: {event.text}" for event in ran.events if isinstance(event, Warned)]


def files(output, name):
    return {path.parent.name: path.read_bytes() for path in sorted(output.glob(f"*/{name}"))}


def told_of(output):
    """What an evaluation says, but for how long it took."""
    stats = {name: json.loads(text) for name, text in files(output, "evaluation_stats.json").items()}
    return {name: {key: one for key, one in told.items() if key != "seconds"} for name, told in stats.items()}


def test_two_branches_outlive_a_worker_and_a_node_and_end_as_one_after_the_other(tmp_path, two_nodes):
    cluster, second = two_nodes
    raylet = second.all_processes["raylet"][0].process.pid
    output = tmp_path / "out"
    one = run_here(recipe_in(tmp_path / "a", tree), tmp_path / "one")
    gone = {}

    def hear(event):
        if not isinstance(event, StageStep) or event.stage not in ("dpo", "kto") or event.step < 2:
            return
        if event.stage in gone or not (there := workers(output).get(event.stage)):
            return
        on_second = parent(parent(there[0])) == raylet
        if on_second and "node" not in gone.values():
            gone[event.stage] = "node"
            cluster.remove_node(second, allow_graceful=False)
        elif not on_second and "worker" not in gone.values():
            gone[event.stage] = "worker"
            os.kill(there[0], signal.SIGKILL)

    ran = run_here(recipe_in(tmp_path / "b", on_ray(tree)), output, hear)
    told = warnings(ran)
    assert ran.weights.keys() == {"sft", "dpo", "kto", "orpo"}, told
    assert sorted(gone.values()) == ["node", "worker"]
    for stage, what in gone.items():
        why = "its node is gone" if what == "node" else "it was killed by SIGKILL"
        (lost,) = [text for text in told if text.startswith(f"{stage}: process 0 of 1 on node ")]
        assert f"is lost: {why}; training begins again from step " in lost and "(time 1 of at most 3)" in lost
        resumed = [
            e.resumed_from_step for e in ran.events if isinstance(e, StageStarted) and e.stage == stage
        ]
        assert len(resumed) == 2 and resumed[0] == 0 and 0 < resumed[1] < STEPS
    began = [event.stage for event in ran.events if isinstance(event, StageStarted)]
    assert set(began[1:3]) == {"dpo", "kto"}, "side by side"
    assert ran.weights == one.weights
    assert told_of(output) == told_of(one.output)
    for name in ("sample_responses.json", "comparison.json", "model_comparison.png", "response_lengths.png"):
        assert files(output, name) == files(one.output, name), name
    made = [json.loads((folder / "manifest.json").read_text())["stages"] for folder in (one.output, output)]
    assert list(made[0]) == list(made[1])
    assert [one["fingerprint"] for one in made[0].values()] == [
        one["fingerprint"] for one in made[1].values()
    ]
    assert sorted(path.name for path in output.glob(".*")) == [".lock"]
    started = next(event for event in ran.events if isinstance(event, RunStarted))
    assert started.device == f"Ray, the cluster at {cluster.address}: 2 nodes (2 × 1 CPU)"
    again = run_here(tmp_path / "b/recipe.json", output)
    assert not [event for event in again.events if isinstance(event, StageStarted)] and again.error is None


def sft_alone(recipe):
    one_stage(recipe, max_steps=8, save_steps=1, per_device_train_batch_size=4)


def test_two_workers_learn_what_two_of_accelerate_do_also_where_one_is_killed(tmp_path, two_nodes):
    def by_accelerate(recipe):
        sft_alone(recipe)
        recipe["compute"] = {"launcher": "accelerate", "processes": 2}

    one = run_here(recipe_in(tmp_path / "a", by_accelerate), tmp_path / "one")
    output, killed = tmp_path / "out", []

    def hear(event):
        if isinstance(event, StageStep) and event.step == 2 and not killed:
            killed.append(workers(output)["sft"][1])
            os.kill(killed[0], signal.SIGKILL)

    change = on_ray(sft_alone, nodes=2, ray={"resources_per_worker": {"CPU": 1}, "max_failures": 1})
    ran = run_here(recipe_in(tmp_path / "b", change), output, hear)
    assert ran.weights == one.weights and killed
    (lost,) = [text for text in warnings(ran) if "is lost" in text]
    assert "process 1 of 2 on node " in lost
    assert "is lost: it was killed by SIGKILL; training begins again" in lost


def test_a_node_that_goes_is_told_and_one_that_comes_takes_its_place(tmp_path, two_nodes):
    cluster, _ = two_nodes
    third = tried(lambda: cluster.add_node(num_cpus=1, resources={"mine": 1}))
    undisturbed = run_here(recipe_in(tmp_path / "a", sft_alone), tmp_path / "one")
    gone = []

    def hear(event):
        if isinstance(event, StageStep) and event.step == 2 and not gone:
            gone.append(third)
            cluster.remove_node(third, allow_graceful=False)
        if isinstance(event, Warned) and "waits 300 s for a node to come back" in event.text:
            tried(lambda: cluster.add_node(num_cpus=1, resources={"mine": 1}))

    change = on_ray(sft_alone, ray={"resources_per_worker": {"CPU": 1, "mine": 1}})
    ran = run_here(recipe_in(tmp_path / "b", change), tmp_path / "out", hear)
    lost, waits, *more = warnings(ran)
    assert all(" waits for 1 × (1 CPU, 1 mine) of the cluster" in one for one in more), (
        "while the node begins"
    )
    assert "is lost: its node is gone; training begins again from step " in lost
    assert (
        "1 worker of 1 CPU, 1 mine needs" in waits and "the cluster has room for 0: 2 nodes (2 × 1" in waits
    )
    assert ran.weights == undisturbed.weights


def test_workers_that_are_lost_too_often_end_the_run_which_goes_on_and_stops(tmp_path, two_nodes):
    """A run that may lose nothing ends at the first loss; the same command goes on, and is stopped."""
    output = tmp_path / "out"

    def act(what):
        done = []

        def hear(event):
            if isinstance(event, StageStep) and event.step >= 2 and not done:
                done.append(event)  # a second signal would stop it at once
                what()

        return hear

    change = on_ray(sft_alone, ray={"max_failures": 0})
    recipe = recipe_in(tmp_path / "a", change)
    first = run_here(recipe, output, act(lambda: os.kill(workers(output)["sft"][0], signal.SIGKILL)))
    assert first.told.startswith(
        'worker-died: workers of "sft" were lost 1 time, the last one: process 0 of 1'
    )
    assert "max_failures" in first.told and "the same command resumes from there" in first.told
    stopped = run_here(recipe, output, act(lambda: os.kill(os.getpid(), signal.SIGINT)))
    assert stopped.error.exit is Exit.INTERRUPTED
    assert "SIGINT was received: sft is saved up to step " in str(stopped.error)
    assert stopped.resumed["sft"] >= 1


def test_what_the_cluster_can_never_give_and_what_nodes_do_not_see_is_told_at_once(
    tmp_path, two_nodes, monkeypatch
):
    change = on_ray(sft_alone, processes=4, ray={"resources_per_worker": {"CPU": 1, "TPU": 1}})
    ran = run_here(recipe_in(tmp_path / "a", change), tmp_path / "out")
    assert ran.error.exit is Exit.WRONG_INPUT and not (tmp_path / "out").exists()
    (told,) = ran.error.diagnostics
    assert told.code == "no-room" and told.pointer == "/stages/0"
    assert "4 workers of 1 CPU, 1 TPU need places, and the cluster has room for 0: 2 nodes" in told.message
    from ptspec.launch import ray as launcher

    # The node reads another text than was written: it has a folder of its own under that path.
    monkeypatch.setattr(launcher, "paths_of", lambda job: ["/there/is/nothing"])
    ran = run_here(recipe_in(tmp_path / "b", on_ray(sft_alone)), tmp_path / "out")
    assert ran.told.startswith("not-shared: node ") and "has no /there/is/nothing" in ran.told


def test_an_address_where_nothing_answers_is_told_in_seconds(tmp_path):
    recipe = recipe_in(tmp_path / "a", on_ray(sft_alone, ray={"address": "127.0.0.1:9"}))
    begun = time.monotonic()
    ran = run_here(recipe, tmp_path / "out")
    assert time.monotonic() - begun < 30
    assert ran.error.exit is Exit.WRONG_INPUT and not (tmp_path / "out").exists()
    (told,) = ran.error.diagnostics
    assert told.code == "no-cluster" and "no Ray cluster at 127.0.0.1:9" in told.message


def test_the_error_of_a_reward_is_told_and_nothing_begins_again(tmp_path, two_nodes):
    (tmp_path / "mine.py").write_text(
        "def reward(prompts, completions, **columns):\n    raise KeyError('oh')\n"
    )

    change = rewarded_by(tmp_path / "mine.py")
    ran = run_here(recipe_in(tmp_path / "a", on_ray(change, processes=2)), tmp_path / "out")
    assert "KeyError" in ran.told and " on node " in ran.told and "run.grpo" in ran.told
    assert not [text for text in warnings(ran) if "is lost" in text]


def test_under_torchrun_it_is_refused(tmp_path, monkeypatch):
    recipe = recipe_in(tmp_path / "a", on_ray(sft_alone, processes=2))
    for name, text in {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "localhost"}.items():
        monkeypatch.setenv(name, text)
    monkeypatch.setenv("MASTER_PORT", "29500")
    done = pt("run", recipe, "--output", tmp_path / "out")
    assert done.code == Exit.WRONG_INPUT and not (tmp_path / "out").exists()
    assert 'torchrun or accelerate launch started 2 processes, and "ray" starts its own' in done.stderr


def test_a_local_cluster_begins_and_ends_with_the_run(tmp_path):
    import ray

    ran = run_here(recipe_in(tmp_path / "a", on_ray(sft_alone)), tmp_path / "out")
    assert WEIGHTS and ran.weights.keys() == {"sft"} and not ray.is_initialized()
    started = next(event for event in ran.events if isinstance(event, RunStarted))
    assert started.device.startswith("Ray, a local cluster: 1 node (")


def test_variants_go_side_by_side_and_come_to_what_they_come_to_one_after_the_other(two_nodes, tmp_path):
    ran = run_here(recipe_in(tmp_path / "ray", on_ray(tried_values)), tmp_path / "ray" / "out")
    assert ran.error is None, ran.error.diagnostics
    told = [(type(e), e.stage) for e in ran.events if isinstance(e, StageStarted | StageFinished)]
    first = told.index((StageFinished, "dpo.1")), told.index((StageFinished, "dpo.2"))
    begun = told.index((StageStarted, "dpo.1")), told.index((StageStarted, "dpo.2"))
    assert max(begun) < min(first) < told.index((StageFinished, "dpo"))
    here = run_here(recipe_in(tmp_path / "here", tried_values), tmp_path / "here" / "out")
    assert here.error is None
    picked = [[e.variant for e in one.events if isinstance(e, StagePicked)] for one in (ran, here)]
    assert picked[0] == picked[1] and len(picked[0]) == 1
    assert ran.weights == here.weights and set(ran.weights) == {"sft", "dpo.1", "dpo.2", "dpo"}
    for name in ("dpo.2", "dpo"):
        for file in ("sample_responses.json", "comparison.json"):
            assert (ran.output / name / file).read_bytes() == (here.output / name / file).read_bytes()


def test_best_steps_are_handed_on_though_a_worker_is_killed_behind_them(two_nodes, tmp_path):
    """Two stages side by side, each past its best step; what is told of them comes once."""
    output, killed = tmp_path / "out", []

    def hear(event):
        if isinstance(event, StageStep) and (event.stage, event.step) == ("lora", 6) and not killed:
            killed.append(workers(output)["lora"][0])
            os.kill(killed[0], signal.SIGKILL)

    ran = run_here(recipe_in(tmp_path / "ray", on_ray(overtrained)), output, hear)
    assert ran.error is None, ran.error.diagnostics
    (lost,) = [text for text in warnings(ran) if "is lost: it was killed by SIGKILL" in text]
    assert lost.startswith("lora: ")
    here = run_here(recipe_in(tmp_path / "here", overtrained), tmp_path / "one")
    assert ran.weights == here.weights and killed
    assert_same_best_step(here.output, output)
    best = [{e.stage: e.words for e in one.events if isinstance(e, BestStep)} for one in (ran, here)]
    assert best[0] == best[1] and set(best[0]) == {"lora", "whole"}
    for stage in best[0]:
        assert measured(output, stage) == measured(here.output, stage)
        told = {e.step for e in ran.events if isinstance(e, StepEvaluated) and e.stage == stage}
        assert told == set(range(1, 9))
