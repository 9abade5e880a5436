"""What goes wrong while a run is under way, with the real thing: each is told with its place and with what
was kept, exits with 1, and the same command resumes from there to the same bytes."""

import contextlib
import ctypes
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trl
from support.small import (
    ROOT,
    WEIGHTS,
    environment,
    one_stage,
    pt_loaded,
    run_here,
    undisturbed_weights,
    write_recipe,
)

from ptspec.diagnostics import Exit
from ptspec.events import StageFinished, StageStarted, StageStep, Warned

pytestmark = pytest.mark.slow


def short(recipe):
    """One stage with a few checkpoints; nothing is evaluated."""
    one_stage(recipe, max_steps=8, save_steps=3, per_device_train_batch_size=4)


def at_step(step, act):
    """Calls `act` once, when that step is done."""
    done = []

    def hear(event):
        if isinstance(event, StageStep) and event.step == step and not done:
            done.append(step)
            act()

    return hear


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return undisturbed_weights(tmp_path_factory, short)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, of 12 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(disk)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"NOT TESTED: a full disk needs the right to mount a tmpfs ({mounted.stderr.strip()})")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(disk):
    with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)) == size:
                    pass


def test_a_disk_that_is_too_small_is_seen_before_the_run(small_disk, tmp_path):
    (small_disk / "filler").write_bytes(bytes(11 << 20))
    ran = run_here(write_recipe(tmp_path, short), small_disk / "out")
    assert "disk-full: the run writes up to" in ran.told and "nothing was started" in ran.told
    assert not list((small_disk / "out").glob("*/"))


def test_a_disk_that_fills_up(undisturbed, small_disk, tmp_path):
    recipe = write_recipe(tmp_path, short)
    ran = run_here(recipe, small_disk / "out", at_step(5, lambda: fill(small_disk)))
    assert "disk-full: the disk is full" in ran.told and "/stages/0" in ran.told
    assert "sft is saved up to step 3" in ran.told
    (small_disk / "filler").unlink()
    assert run_here(recipe, small_disk / "out").weights == undisturbed


def test_a_folder_that_becomes_read_only(undisturbed, small_disk, tmp_path):
    def remount(how):
        subprocess.run(["mount", "-o", f"remount,{how}", str(small_disk)], check=True)

    # Files that are open for writing keep a file system from being made read-only: between two starts, then.
    recipe, stop = write_recipe(tmp_path, short), lambda: os.kill(os.getpid(), signal.SIGTERM)
    assert run_here(recipe, small_disk / "out", at_step(4, stop)).error.exit is Exit.INTERRUPTED
    remount("ro")
    blocked = run_here(recipe, small_disk / "out")
    assert "not-writable: " in blocked.told and "Read-only file system" in blocked.told
    remount("rw")
    assert run_here(recipe, small_disk / "out").weights == undisturbed


def test_a_folder_that_vanishes(undisturbed, tmp_path):
    recipe, output = write_recipe(tmp_path, short), tmp_path / "out"
    ran = run_here(recipe, output, at_step(4, lambda: shutil.rmtree(output)))
    assert "not-writable: " in ran.told and "No such file or directory" in ran.told
    assert run_here(recipe, output).weights == undisturbed


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    ran = run_here(write_recipe(tmp_path, short), tmp_path / "file" / "out")
    assert ran.error.exit is Exit.WRONG_INPUT, "nothing was started"
    assert "the run's folder cannot be made: Not a directory" in str(ran.error)


@contextlib.contextmanager
def no_more_memory():
    """The system gives this process nothing more; torch's allocator is what fails. What the C library keeps
    of before is taken first: it would serve a pass without a byte of the system."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    library = ctypes.CDLL(None)
    library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    library.free.argtypes = [ctypes.c_void_p]
    resource.setrlimit(resource.RLIMIT_AS, (now, before[1]))
    kept = list(iter(lambda: library.malloc(256 << 10), None))
    # For what is small: Python's own objects, and what a library ends the process for where it gets none.
    resource.setrlimit(resource.RLIMIT_AS, (now + (1 << 20), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
        for block in kept:
            library.free(block)


def wide(recipe):
    short(recipe)
    recipe["stages"][0]["config"].update(per_device_train_batch_size=32, max_steps=4)


def limit_wide_passes(monkeypatch):
    """From step 3 on a pass of more than eight rows gets no memory. What is saved after it has what the
    machine has, as after a real one, whose pass has given back what it had."""
    whole_pass = trl.SFTTrainer.training_step

    def training_step(self, model, inputs, *more):
        is_limited = len(inputs["input_ids"]) > 8 and self.state.global_step >= 2
        with no_more_memory() if is_limited else contextlib.nullcontext():
            return whole_pass(self, model, inputs, *more)

    monkeypatch.setattr(trl.SFTTrainer, "training_step", training_step)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The wide recipe, undisturbed."""
    folder = tmp_path_factory.mktemp("whole")
    return run_here(write_recipe(folder, wide), folder / "out")


def test_the_host_s_memory_runs_out(whole, tmp_path, monkeypatch):
    recipe, output = write_recipe(tmp_path, wide), tmp_path / "out"
    with monkeypatch.context() as limited:
        limit_wide_passes(limited)
        ran = run_here(recipe, output)
    assert "out-of-memory: out of memory: the host has not the" in ran.told
    assert '"per_device_train_batch_size": 16, "gradient_accumulation_steps": 2: it then needs' in ran.told
    assert "pt plan says that sft needs" in ran.told and "activations" in ran.told
    assert "sft is saved up to step 2" in ran.told
    shutil.copytree(output, tmp_path / "advised")
    again = run_here(recipe, output)
    assert again.weights == whole.weights

    def advised(recipe):
        wide(recipe)
        changes = {"per_device_train_batch_size": 16, "gradient_accumulation_steps": 2}
        recipe["stages"][0]["config"] |= {**changes, "gradient_checkpointing": True}

    smaller = run_here(write_recipe(tmp_path, advised), tmp_path / "advised")
    (started,) = [event for event in smaller.events if isinstance(event, StageStarted)]
    assert started.resumed_from_step == 2 and smaller.error is None


def test_auto_find_batch_size_keeps_the_effective_batch(whole, tmp_path, monkeypatch):
    def auto(recipe):
        wide(recipe)
        recipe["stages"][0]["config"].update(auto_find_batch_size=True)

    recipe, output = write_recipe(tmp_path, auto), tmp_path / "out"
    limit_wide_passes(monkeypatch)
    ran = run_here(recipe, output)
    assert ran.error is None, ran.error.diagnostics
    told = [event.text for event in ran.events if isinstance(event, Warned)]
    found = [text.partition(" from here on")[0] for text in told if "out of memory: " in text]
    assert found == [f"out of memory: the rows a pass are {part}" for part in ("1/2", "1/4")]
    config = json.loads((output / "sft" / "stage.json").read_text())["config"]
    assert (config["per_device_train_batch_size"], config["gradient_accumulation_steps"]) == (8, 4)
    losses = [
        [json.loads(line)["loss"] for line in (folder / "sft" / "metrics.jsonl").read_text().splitlines()]
        for folder in (whole.output, output)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


BROKEN = """
calls = 0

def reward(prompts, completions, **columns):
    global calls
    calls += 1
    if calls >= 4:
        {fault}
    return [float(len(text) % 5) for text in completions]
"""


def online(recipe, **stage):
    recipe["stages"] = [
        {
            "name": "online",
            "data": "train",
            "config": {
                "per_device_train_batch_size": 8,
                "num_generations": 4,
                "max_completion_length": 6,
                "max_steps": 5,
                "save_steps": 100,
                "learning_rate": 1e-3,
            },
            **stage,
        }
    ]
    recipe.pop("eval")


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        ("raise ValueError('odd')", "failing-reward", "failed with ValueError: odd for row 1 of the 8"),
        ("return [1.0] * 7", "wrong-reward-count", "returned 7 numbers for 8 rows: row 8 is the first"),
    ],
)
def test_a_reward_function_that_breaks(tmp_path, fault, code, words):
    (tmp_path / "mine.py").write_text(BROKEN.format(fault=fault))

    def rewarded(recipe):
        recipe["rewards"] = {"mine": {"function": f"{tmp_path / 'mine.py'}:reward"}}
        online(recipe, method="grpo", rewards=["mine"])

    ran = run_here(write_recipe(tmp_path, rewarded), tmp_path / "out")
    assert ran.told.startswith(f'{code}: the reward "mine" ') and words in ran.told
    assert "online is saved up to step 3" in ran.told and "/rewards/mine" in ran.told


class MoodyServer:
    """An OpenAI-compatible server that prefers the longer answer, until its `mood` is another."""

    def __init__(self):
        self.mood = None
        self.asked = 0
        self.answers = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.asked += 1
                text = body["messages"][0]["content"]
                a, b = (text.split(f"<answer_{side}>")[1].split("</")[0] for side in "ab")
                verdict = "A" if len(a) > len(b) else "B"
                said = json.dumps({"choices": [{"message": {"role": "assistant", "content": verdict}}]})
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    self.answer(said.encode())

            def answer(self, said):
                if outer.mood == "down":
                    self.connection.close()
                    return
                if outer.mood == "slow":
                    outer.answers.wait()
                content = b"<html>under construction</html>" if outer.mood == "rubbish" else said
                self.send_response(503 if outer.mood == "overloaded" else 200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self):
        self.answers.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def server():
    running = MoodyServer()
    yield running
    running.close()


def judged(server, **waiting):
    def change(recipe):
        options = {"timeout": 30, "retries": 1, **waiting}
        recipe["judges"] = {"fair": {"endpoint": server.address, "model": "tiny", **options}}
        online(recipe, method="nash_md", judge="fair")

    return change


@pytest.fixture(scope="module")
def well_judged(server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("judged")
    server.mood = None
    return run_here(write_recipe(folder, judged(server)), folder / "out").weights


def test_a_judge_that_misbehaves(well_judged, server, tmp_path, monkeypatch):
    """In each way at another step of one run; at last a longer timeout goes on where a slow one stopped."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    recipe, output = write_recipe(tmp_path, judged(server)), tmp_path / "out"
    moods = {
        "down": "cannot be reached",
        "rubbish": "answered with something other than a chat completion",
        "overloaded": "answered 503",
        "slow": "did not answer in time",
    }
    for step, (mood, words) in enumerate(moods.items(), 1):
        server.mood = None
        if mood == "slow":
            recipe = write_recipe(tmp_path, judged(server, timeout=2))
        ran = run_here(recipe, output, at_step(step, lambda mood=mood: setattr(server, "mood", mood)))
        assert ran.resumed == {"online": step - 1}
        assert words in ran.told and "(asked 2 times)" in ran.told
        assert f"online is saved up to step {step}; the same command resumes from there" in ran.told
        assert "/judges/fair/endpoint" in ran.told
    waiting = {"timeout": 60, "retries": 7, "max_concurrency": 16}
    server.answers.set()
    again = run_here(write_recipe(tmp_path, judged(server, **waiting)), output)
    server.mood = None
    assert again.resumed == {"online": 4}
    assert again.weights == well_judged


def test_data_that_changes_under_the_run(tmp_path):
    data = tmp_path / "rows.jsonl"
    lines = (ROOT / "data/train.jsonl").read_text().splitlines(keepends=True)[:40]
    data.write_text("".join(lines))

    def change(recipe):
        recipe["data"]["train"] = {"path": str(data)}
        recipe.pop("eval")

    def hear(event):
        if isinstance(event, StageFinished):
            data.write_text("".join(lines[1:]))

    recipe = write_recipe(tmp_path, change)
    ran = run_here(recipe, tmp_path / "out", hear)
    assert 'data-changed: the data "train" changed after this run had begun' in ran.told
    assert "/data/train" in ran.told
    assert (tmp_path / "out" / "sft" / "stage.json").is_file() and not (tmp_path / "out" / "dpo").exists()
    again = run_here(recipe, tmp_path / "out")
    reasons = [event.reason for event in again.events if isinstance(event, StageStarted)]
    assert reasons == ["data changed", None]


def test_a_base_model_that_changes_under_the_run(tmp_path):
    model = tmp_path / "model"
    shutil.copytree(ROOT / "data/base_model", model)

    def change(recipe):
        recipe["model"] = {"path": str(model)}
        recipe.pop("eval")

    def hear(event):
        if isinstance(event, StageFinished) and event.stage == "sft":
            weights = model / "model.safetensors"
            weights.write_bytes(weights.read_bytes()[:-1] + b"\x00")

    ran = run_here(write_recipe(tmp_path, change), tmp_path / "out", hear)
    assert "model-changed: the base model in" in ran.told and ran.told.endswith("| /model")
    assert not (tmp_path / "out" / "dpo").exists()


def test_a_second_run_on_the_folder_is_refused(undisturbed, tmp_path):
    recipe, output = write_recipe(tmp_path, short), tmp_path / "out"
    second = []

    def start():
        second.append(pt_loaded("run", recipe, "--output", output))

    ran = run_here(recipe, output, at_step(2, start))
    assert (second[0].code, "is being written by process" in second[0].stderr) == (2, True)
    assert ran.weights == undisturbed


def test_a_writer_that_died_is_described(tmp_path):
    output = tmp_path / "out"
    holder = (
        "import pathlib, os, signal; from ptspec.store.lock import lock\n"
        f"output = pathlib.Path({str(output)!r}); output.mkdir()\n"
        "with lock(output): os.kill(os.getpid(), signal.SIGKILL)"
    )
    died = subprocess.Popen([sys.executable, "-c", holder], cwd=ROOT)
    died.wait()
    ran = run_here(write_recipe(tmp_path, short), output)
    (told,) = [event.text for event in ran.events if isinstance(event, Warned)]
    assert f"process {died.pid} on " in told and "was cut off" in told
    assert ran.error is None


def test_a_file_system_without_locks_and_flushes_where_no_cache_can_be_written(
    undisturbed, tmp_path, monkeypatch
):
    """The kernel's own answers, for the whole run: it goes on, and says so once. A process of its own, whose
    imports are tried too: libraries look for places to cache in."""
    for name in ("HF_HOME", "HF_DATASETS_CACHE", "XDG_CACHE_HOME", "MPLCONFIGDIR"):
        monkeypatch.setenv(name, "/proc/no-cache")
    monkeypatch.setenv("HOME", "/proc/no-home")
    recipe, output = write_recipe(tmp_path, short), tmp_path / "out"
    command = [
        sys.executable,
        str(ROOT / "tests" / "support" / "without_locks.py"),
        "ptspec.cli",
        "run",
        str(recipe),
    ]
    done = subprocess.run(
        [*command, "--output", str(output)],
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(),
        umask=0o022,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("has no locks") == done.stderr.count("cannot flush folders") == 1
    weights = output / "sft" / WEIGHTS
    assert weights.read_bytes() == undisturbed["sft"]
    assert weights.stat().st_mode & 0o777 == 0o644
    assert not (output / ".lock.soft").exists()
