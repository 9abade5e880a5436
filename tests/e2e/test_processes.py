"""A recipe in two processes: what one process learns and measures, and an end that loses nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load
from support.small import (
    ROOT,
    WEIGHTS,
    environment,
    one_stage,
    rewarded_by,
    run_here,
    two_ranks,
    wait_until_it_trains,
    write_recipe,
)

from ptspec.diagnostics import Exit
from ptspec.events import StageStep
from ptspec.launch import several

pytestmark = pytest.mark.slow

TWO = {"launcher": "accelerate", "processes": 2}
STEPS = 8


def sft_alone(recipe):
    one_stage(recipe, max_steps=STEPS, save_steps=1)
    recipe["stages"][0]["config"]["per_device_train_batch_size"] = 4


def measured(recipe):
    recipe["stages"] = recipe["stages"][:1]
    recipe["stages"][0]["config"]["max_steps"] = 3


def in_two(change):
    def both(recipe):
        change(recipe)
        recipe["compute"] = TWO

    return both


def recipe_in(folder, change):
    folder.mkdir()
    return write_recipe(folder, change)


def cosine(ours: bytes, theirs: bytes) -> float:
    first, second = load(ours), load(theirs)
    assert first.keys() == second.keys()
    one, other = (torch.cat([part[name].flatten() for name in first]).double() for part in (first, second))
    return torch.nn.functional.cosine_similarity(one, other, dim=0).item()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    return run_here(write_recipe(folder, sft_alone), folder / "out").weights["sft"]


def at_step(step, act):
    """Hears the events of a run, and acts once in its step number `step`."""

    def hear(event):
        if isinstance(event, StageStep) and event.step == step:
            act()

    return hear


def worker(index, module=b"ptspec.worker", of=b""):
    """The process id of a worker: the environment of its process tells its rank. `of`: in its arguments."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line, environment = ((process / name).read_bytes() for name in ("cmdline", "environ"))
        except OSError:
            continue
        if module in line and of in line and f"RANK={index}".encode() in environment.split(b"\0"):
            return int(process.name)
    raise AssertionError(f"no worker {index}")


def events(output):
    """The kinds of what happened, in its order."""
    return [json.loads(line)["event"] for line in (output / "events.jsonl").read_text().splitlines()]


def telling_loads(arguments):
    """`pt`, which writes beside its output folder whenever it loads weights."""
    from ptspec import cli
    from ptspec.model import model_cache

    load = model_cache.load_base

    def loading(spec, adapter, device, folder):
        with (Path(arguments[-1]).parent / f"loads.{os.environ['RANK']}").open("a") as file:
            file.write(f"{folder or 'base'}\n")
        return load(spec, adapter, device, folder)

    model_cache.load_base = loading
    cli.main(arguments)


def test_two_ranks_that_are_found_learn_and_measure_what_one_process_does(tmp_path):
    """The first is the controller; the other follows it, and leaves nothing of its own."""
    one = run_here(recipe_in(tmp_path / "a", measured), tmp_path / "one")
    output = tmp_path / "two"
    recipe = recipe_in(tmp_path / "b", measured)
    first, second = two_ranks("run", recipe, "--output", output, main=telling_loads)
    assert (first.wait(300), second.wait(60)) == (0, 0), first.told
    assert "sft" in first.told[1] and "sft" not in "".join(second.told)
    assert events(one.output) == events(output)
    assert cosine(one.weights["sft"], (output / "sft" / WEIGHTS).read_bytes()) > 0.9999
    losses = [
        [json.loads(line)["loss"] for line in (folder / "sft/metrics.jsonl").read_text().splitlines()]
        for folder in (one.output, output)
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    stats = [
        json.loads((folder / "base/evaluation_stats.json").read_text()) for folder in (one.output, output)
    ]
    assert [key for key in stats[0] if stats[0][key] != stats[1][key]] == ["seconds"]
    rows = [(folder / "base/evaluation_rows.jsonl").read_bytes() for folder in (one.output, output)]
    assert rows[0] == rows[1]
    manifest = json.loads((output / "manifest.json").read_text())
    assert manifest["recipe"]["compute"] == {"launcher": "accelerate", "processes": 2, "nodes": 1}
    assert sorted(path.name for path in output.glob(".*")) == [".lock"]
    loads = [(output.parent / f"loads.{rank}").read_text() for rank in (0, 1)]
    assert loads == ["base\n", "base\n"], "once for the base's evaluation and the stage"


def test_the_others_are_let_go_where_nothing_can_begin(tmp_path):
    """srun does not end them when the first one has ended."""

    def wrong(recipe):
        recipe["stages"][0]["metod"] = "sft"

    first, second = two_ranks("run", recipe_in(tmp_path / "a", wrong), "--output", tmp_path / "out")
    assert (first.wait(120), second.wait(60)) == (2, 0)
    assert "unknown-key" in first.told[1] and second.told == ("", "")


def test_two_processes_share_a_stream(tmp_path):
    def streamed(recipe):
        sft_alone(recipe)
        recipe["data"]["train"] = {"path": str(ROOT / "data/train.jsonl"), "streaming": True}

    recipe, output = recipe_in(tmp_path / "a", streamed), tmp_path / "two"
    one = run_here(recipe, tmp_path / "one")
    first, second = two_ranks("run", recipe, "--output", output)
    assert (first.wait(300), second.wait(60)) == (0, 0), first.told
    assert cosine(one.weights["sft"], (output / "sft" / WEIGHTS).read_bytes()) > 0.9999


def test_two_processes_ask_and_draw_what_one_does(tmp_path):
    """Each takes its part of a group of completions of streamed prompts."""
    (tmp_path / "mine.py").write_text(
        "import json, os\nfrom pathlib import Path\n\n"
        "def reward(prompts, completions, **columns):\n"
        "    asked = Path(__file__).with_name('asked.' + os.environ.get('RANK', 'alone'))\n"
        "    with asked.open('a') as file:\n        file.write(json.dumps([prompts, completions]) + '\\n')\n"
        "    return [float(len(str(text))) for text in completions]\n"
    )

    def change(recipe):
        recipe.pop("eval")
        recipe["data"]["train"] = {"path": str(ROOT / "data/train.jsonl"), "streaming": True}
        recipe["rewards"] = {"mine": {"function": f"{tmp_path / 'mine.py'}:reward"}}
        recipe["judges"] = {"longer": {"reward": "mine"}}
        config = {"max_steps": 2, "num_generations": 4, "max_completion_length": 2}
        common = {"data": "train", "from": "base", "config": {**config, "per_device_train_batch_size": 12}}
        recipe["stages"] = [
            {"name": "grpo", "method": "grpo", "rewards": ["mine"], **common},
            {"name": "nash", "method": "nash_md", "judge": "longer", **common},
        ]

    recipe = recipe_in(tmp_path / "a", change)
    alone = run_here(recipe, tmp_path / "one")
    assert alone.error is None, alone.error.diagnostics
    first, second = two_ranks("run", recipe, "--output", tmp_path / "two", "--allow-code")
    assert (first.wait(300), second.wait(60)) == (0, 0), first.told
    of_one, of_first, of_second = (
        [json.loads(line) for line in (tmp_path / f"asked.{name}").read_text().splitlines()]
        for name in ("alone", "0", "1")
    )
    assert all(len(set(map(str, prompts))) == 3 for prompts, _ in of_one), "groups of 4 in 12 rows"
    both = [
        sorted([*zip(*ours, strict=True), *zip(*theirs, strict=True)], key=str)
        for ours, theirs in zip(of_first, of_second, strict=True)
    ]
    assert both == [sorted(zip(*one, strict=True), key=str) for one in of_one]
    for stage in ("grpo", "nash"):
        losses = [
            [
                json.loads(line)["loss"]
                for line in (tmp_path / folder / stage / "metrics.jsonl").read_text().splitlines()
            ]
            for folder in ("one", "two")
        ]
        assert losses[0] == pytest.approx(losses[1], abs=1e-5), stage


def test_rows_of_a_stream_that_two_processes_leave_out_are_listed_once_and_reported(tmp_path):
    bad = tmp_path / "rows.jsonl"
    lines = (ROOT / "data/train.jsonl").read_text().splitlines(keepends=True)
    # The first row, which each of them looks at, and one of the second process.
    bad.write_text("".join(["no JSON\n", *lines[:2], "no JSON\n", *lines[2:100]]))

    def streamed(recipe):
        one_stage(recipe, max_steps=2, per_device_train_batch_size=4)
        recipe["data"]["train"] = {"path": str(bad), "streaming": True, "on_bad_row": "leave_out"}
        recipe["data"]["train"]["max_bad_rows"] = 0.1

    output = tmp_path / "two"
    first, second = two_ranks("run", recipe_in(tmp_path / "b", streamed), "--output", output)
    assert (first.wait(300), second.wait(60)) == (0, 0), first.told
    listed = [json.loads(line) for line in (output / "sft/left_out_rows.jsonl").read_text().splitlines()]
    assert sorted(one["line"] for one in listed) == [1, 4], "each once, by whichever process"
    assert "2 rows are left out, listed in sft/left_out_rows.jsonl" in first.told[1].replace("\n", " ")


def test_processes_are_stopped_and_killed_and_one_ends_what_they_began(undisturbed, tmp_path):
    alone, together = (
        recipe_in(tmp_path / name, change) for name, change in (("a", sft_alone), ("b", in_two(sft_alone)))
    )
    output = tmp_path / "out"
    first = run_here(alone, output, at_step(1, lambda: os.kill(os.getpid(), signal.SIGINT)))
    assert first.error.exit is Exit.INTERRUPTED
    stopped = run_here(together, output, at_step(3, lambda: os.kill(os.getpid(), signal.SIGINT)))
    assert stopped.error.exit is Exit.INTERRUPTED
    assert "SIGINT was received: sft is saved up to step " in str(stopped.error)
    step = stopped.resumed["sft"]
    told = f"from step {step + 1} on a pass has 2 rows in each of 2 processes, not a pass has 4 rows"
    assert told in str(stopped.events)
    killed = run_here(
        together, output, at_step(6, lambda: os.kill(worker(1, of=str(output).encode()), signal.SIGKILL))
    )
    assert killed.told.startswith('worker-died: process 1 of 2 of "sft" was killed by SIGKILL')
    assert "run.1.log" in killed.told and "sft is saved up to step " in killed.told
    assert killed.resumed["sft"] in (3, 4)
    last = run_here(alone, output)
    assert last.resumed["sft"] >= 4
    assert "a pass has 4 rows, not a pass has 2 rows in each of 2 processes" in str(last.events)
    assert cosine(last.weights["sft"], undisturbed) > 0.9999


def test_a_process_that_hangs_ends_the_run(tmp_path):
    recipe = recipe_in(tmp_path / "a", in_two(sft_alone))
    output = tmp_path / "out"

    def hang():
        """It stops; its last sign of life was long ago."""
        process, alive = worker(1, of=str(output).encode()), output / several.FOLDER / "1.alive"
        os.kill(process, signal.SIGSTOP)
        threads = [thread / "stat" for thread in Path(f"/proc/{process}/task").iterdir()]
        while any(file.read_text().rpartition(")")[2].split()[0] != "T" for file in threads):
            time.sleep(0.01)
        os.utime(alive, (1, 1))

    ran = run_here(recipe, output, at_step(2, hang))
    assert ran.told.startswith('worker-hangs: process 1 of 2 of "sft" hangs: no sign of life for 45 s')
    assert "sft is saved up to step 2" in ran.told or "sft is saved up to step 1" in ran.told


def test_the_error_of_one_process_is_reported_and_not_what_comes_of_it(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import os\n\ndef reward(prompts, completions, **columns):\n"
        "    if os.environ['RANK'] == '1':\n        raise KeyError('oh')\n"
        "    return [float(len(text)) for text in completions]\n"
    )

    change = rewarded_by(tmp_path / "mine.py")
    typed = ("run", recipe_in(tmp_path / "a", change), "--output", tmp_path / "out", "--allow-code")
    first, second = two_ranks(*typed)
    assert (first.wait(300), second.wait(60)) == (1, 1)
    told = first.told[1]
    assert "KeyError" in told and "process 1 of 2; its log: " in told
    assert "KeyError" in (tmp_path / "out/run.1.log").read_text()
    assert "Connection closed" not in told and "RuntimeError" not in told


def test_under_torchrun_a_process_that_is_killed_is_reported(tmp_path):
    recipe, output = recipe_in(tmp_path / "a", sft_alone), tmp_path / "out"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    process = subprocess.Popen(
        [*launch, "-m", "ptspec.cli", "run", str(recipe), "--output", str(output)],
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(),
    )
    wait_until_it_trains(output, "sft", process)
    os.kill(worker(1, b"ptspec.cli", str(output).encode()), signal.SIGKILL)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 1
    assert 'error[worker-died]: process 1 of 2 of "sft" has ended' in told
    assert "the same command resumes from there" in told


def test_a_stage_of_its_own_number_of_processes_is_not_for_torchrun(tmp_path, monkeypatch):
    def change(recipe):
        sft_alone(recipe)
        recipe["stages"][0]["compute"] = {"launcher": "local"}

    for name, text in {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "localhost"}.items():
        monkeypatch.setenv(name, text)
    ran = run_here(recipe_in(tmp_path / "a", change), tmp_path / "out")
    assert 'stage "sft" asks for 1 process, and torchrun or accelerate launch started 2' in str(ran.error)
