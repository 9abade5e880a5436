"""`pt chat` on a real pseudo-terminal, and through pipes, as a script uses it."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import signal
import time
from typing import IO

import pytest
from support.forked import Forked
from support.small import ROOT, Finished, environment

from ptspec.cli import main

pytestmark = pytest.mark.slow
QUESTION = "Which animal does Tofer keep?"
ENVIRONMENT = {**environment(), "TERM": "xterm-256color"}


def chat(*arguments: object, streams: list[int], **variables: str) -> Forked:
    """`pt chat` on these streams, which are closed here."""
    process = Forked("chat", *arguments, cwd=ROOT, environment=ENVIRONMENT | variables, streams=streams)
    for stream in set(streams):
        os.close(stream)
    return process


class ChatTerminal:
    """`pt chat` in a pseudo-terminal of 120 columns."""

    def __init__(self, *arguments: object) -> None:
        self.seen = ""
        self._at = 0
        self._terminal, its_end = pty.openpty()
        self._process = chat(*arguments, streams=[its_end] * 3, COLUMNS="120", LINES="40")

    def type(self, text: str) -> None:
        # Between drawing its prompt and waiting for a key, readline hears of a Ctrl-C only at the next key.
        time.sleep(0.5)
        os.write(self._terminal, text.encode())

    def wait_for(self, pattern: str, seconds: float = 60) -> str:
        """What came since the last call, up to `pattern`."""
        end = time.monotonic() + seconds
        while (found := re.compile(pattern).search(self.seen, self._at)) is None:
            assert time.monotonic() < end, f"no {pattern!r} in {self.seen[self._at :]!r}"
            if select.select([self._terminal], [], [], 0.2)[0]:
                self.seen += self._read()
        text, self._at = self.seen[self._at : found.end()], found.end()
        return text

    def leave(self) -> int:
        while piece := self._read():
            self.seen += piece
        return self._process.wait()

    def _read(self) -> str:
        try:
            return os.read(self._terminal, 65536).decode("utf-8", "replace")
        except OSError:  # the other end is closed
            return ""


def test_a_conversation_on_a_terminal(small_run, tmp_path):
    terminal = ChatTerminal(small_run.output, "--max-new-tokens", "100", "--temperature", "1.5")
    begun = terminal.wait_for("\n> ")
    assert begun.index(f"loading {small_run.output} …"[:119]) < begun.index(
        "dpo · sampled at temperature 1.5, seed 42"
    )
    terminal.type("\x03")
    terminal.wait_for("/quit or Ctrl-D leaves.*\n> ")
    terminal.type(f"{QUESTION}\n")
    terminal.wait_for(r"keep\?\r\n\S+")
    terminal.type("\x03")
    terminal.wait_for(r"\(stopped\)[^>]*> |\(cut[^>]*> |\n> ")
    terminal.type("\x1b[A")  # arrow up: the prompt before
    terminal.wait_for(re.escape(QUESTION))
    terminal.type("\n")
    terminal.wait_for(r"\n> ")
    terminal.type(f"/save {tmp_path}/said.jsonl\n")
    terminal.wait_for(r"written \(2 turns\)[^>]*> ")
    terminal.type("\x04")
    assert terminal.leave() == 0
    assert "Traceback" not in terminal.seen
    assert len(json.loads((tmp_path / "said.jsonl").read_text())["messages"]) == 4


def test_two_policies_answer_side_by_side(small_run):
    terminal = ChatTerminal(
        "--compare", small_run.output / "sft", small_run.output / "dpo", "--max-new-tokens", "6"
    )
    terminal.wait_for("\n> ")
    terminal.type(f"{QUESTION}\n")
    assert re.search(r"sft +.*dpo", terminal.wait_for("\n> "))
    terminal.type("/quit\n")
    assert terminal.leave() == 0


def piped_chat(*arguments: object) -> tuple[Forked, list[IO[str]]]:
    """`pt chat`, and this end of its stdin, stdout and stderr."""
    (its_in, stdin), (stdout, its_out), (stderr, its_err) = (os.pipe() for _ in range(3))
    process = chat(*arguments, streams=[its_in, its_out, its_err])
    return process, [open(stdin, "w"), open(stdout), open(stderr)]  # noqa: PTH123


def test_through_pipes(small_run):
    def piped(*arguments: object, text: str) -> Finished:
        process, (stdin, *outputs) = piped_chat(*arguments)
        with stdin:
            stdin.write(text)
        stdout, stderr = (output.read() for output in outputs)
        return Finished(process.wait(), stdout, stderr)

    done = piped("--max-new-tokens", 16, small_run.output, text=f"{QUESTION}\n{QUESTION}\n")
    assert (done.code, done.stderr) == (0, "")
    half = len(done.stdout) // 2
    assert done.stdout[:half] == done.stdout[half:] != ""
    assert "\x1b" not in done.stdout
    wrong = piped(small_run.output / "dpo", "--max-new-tokens", 4, text=f"/regenerate\n{QUESTION}\n")
    assert wrong.code == 2
    assert "no answer yet" in wrong.stderr
    assert wrong.stdout


def test_ctrl_c_in_a_pipe_ends_the_program(small_run):
    process, (stdin, stdout, stderr) = piped_chat(small_run.output)
    stdin.write(f"{QUESTION}\n")
    stdin.flush()
    stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert "Traceback" not in stderr.read()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda run: (run / "dpo/adapter_model.safetensors").write_bytes(b"half"), "cannot be loaded"),
        (lambda run: (run / "dpo/adapter_model.safetensors").unlink(), "there is no *.safetensors in it"),
        (lambda run: (run / "manifest.json").write_text("{"), "cannot be read"),
        (lambda run: shutil.rmtree(run / "dpo"), "has no stage"),
    ],
    ids=["half a file", "no weights", "half a manifest", "no such stage"],
)
def test_a_damaged_run(small_run, tmp_path, capsys, spoil, said):
    run = shutil.copytree(small_run.output, tmp_path / "run")
    spoil(run)
    with pytest.raises(SystemExit) as ended:
        main(["chat", str(run / "dpo")])
    told = capsys.readouterr()
    assert (ended.value.code, told.out) == (2, "")
    assert said in told.err
