"""The chat session on the shipped base: what a model sees, what it answers, and what each command does."""

from __future__ import annotations

import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from ptspec.chat.generate import Answer, Settings, encode, room
from ptspec.chat.lines import COMMANDS, HELP, converse
from ptspec.chat.models import open_models
from ptspec.chat.piped import Pipe, lines_of
from ptspec.chat.session import Session
from ptspec.chat.terminal import Terminal
from ptspec.diagnostics import Diagnostic, InputError
from ptspec.report.clean import CleanStream, clean

ROOT = Path(__file__).parents[3]
BASE = str(ROOT / "data/base_model")
QUESTION = "Which animal does Tofer keep?"


@pytest.fixture(scope="module")
def model():
    (model,) = open_models([BASE])
    return model


@pytest.fixture
def session(model):
    return Session([model], Settings(max_new_tokens=12))


def test_a_greedy_answer_is_what_the_evaluation_generates(model, session):
    from ptspec.evaluation.generation import respond

    pieces: list[str] = []
    turn = session.ask(QUESTION, lambda index, piece: pieces.append(piece))
    ids = encode(model, [{"role": "user", "content": QUESTION}])
    (response,) = respond(model.model, model.tokenizer, [ids], 12)
    assert turn.answers[0].text == response.text
    assert turn.answers[0].finished == response.finished
    assert "".join(pieces).strip() == response.text.strip()
    assert len(pieces) > 1


def test_a_second_turn_sees_the_first(model, session):
    first = session.ask(QUESTION).answers[0].text
    session.system = "Be brief."
    ids, left_out = session._seen(0, "And the other?", 12)
    text = model.tokenizer.decode(ids)
    order = [text.index(part) for part in ("Be brief.", QUESTION, first[:8], "And the other?")]
    assert order == sorted(order)
    assert left_out == 0
    assert text.endswith("<|assistant|>")


def test_what_no_longer_fits_is_left_out_the_oldest_first(model, session):
    short = replace(model, context=90)
    session.models = [short]
    seen = [session.ask(f"{QUESTION} {number}") for number in range(6)]
    assert seen[0].forgotten == 0
    assert seen[-1].forgotten > 0
    ids, left_out = session._seen(0, "now", 12)
    assert room(short, ids) >= 12
    assert f"{QUESTION} {left_out - 1}" not in model.tokenizer.decode(ids)
    assert f"{QUESTION} {left_out}" in model.tokenizer.decode(ids)


def test_a_prompt_that_does_not_fit_is_a_fault_and_is_forgotten(model, session):
    session.models = [replace(model, context=16)]
    with pytest.raises(InputError, match="leave no room"):
        session.ask(QUESTION * 5)
    assert session.turns == []


def test_sampling_repeats_with_its_seed_and_changes_with_it(model):
    def sampled(seed: int) -> str:
        return Session([model], Settings(24, 1.0, seed)).ask(QUESTION).answers[0].text

    assert sampled(1) == sampled(1)
    assert len({sampled(seed) for seed in range(4)}) > 1


def test_an_answer_drawn_again_takes_the_place_of_the_last(session):
    with pytest.raises(InputError, match="no answer yet"):
        session.regenerate()
    greedy = session.ask(QUESTION)
    again = {session.regenerate().answers[0].text for _ in range(4)}
    assert len(again | {greedy.answers[0].text}) > 1
    assert len(session.turns) == 1
    assert session.settings.temperature == 0


def test_ctrl_c_stops_the_answer_and_keeps_what_was_said(session):
    def interrupt(index: int, piece: str) -> None:
        raise KeyboardInterrupt

    turn = session.ask(QUESTION, interrupt)
    assert turn.answers[0].stopped
    assert turn.answers[0].text
    assert session.ask(QUESTION).answers[0].stopped is False


def test_ctrl_c_stops_the_policies_that_come_after_it_too(model):
    session = Session([model, replace(model, name="other")], Settings(8))

    def interrupt(index: int, piece: str) -> None:
        raise KeyboardInterrupt

    assert [answer.stopped for answer in session.ask(QUESTION, interrupt).answers] == [True, True]


def test_without_a_chat_template_a_prompt_is_continued_alone(model):
    import copy

    tokenizer = copy.deepcopy(model.tokenizer)
    tokenizer.chat_template = None
    session = Session([replace(model, tokenizer=tokenizer)], Settings(4))
    session.ask("The pet of Tofer")
    ids, _ = session._seen(0, "The home of", 4)
    assert ids == tokenizer(text="The home of")["input_ids"]
    with pytest.raises(InputError, match="no system message without a chat template"):
        session.instruct("Be brief.")


def test_a_template_that_refuses_a_role_says_so(model):
    import copy

    tokenizer = copy.deepcopy(model.tokenizer)
    tokenizer.chat_template = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system here') }}{% endif %}x"
    )
    session = Session([replace(model, tokenizer=tokenizer)], Settings(4), system="s")
    with pytest.raises(InputError, match="no system here"):
        session.ask(QUESTION)


def test_a_saved_conversation_is_chat_data_that_a_recipe_can_train_on(session, tmp_path):
    from ptspec.data.layouts.table import Layout, layout_for
    from ptspec.methods.types import Rows

    file = tmp_path / "said.jsonl"
    with pytest.raises(InputError, match="there is no turn to save yet"):
        session.save(file)
    session.instruct("Be brief.")
    said = session.ask(QUESTION).answers[0].text
    assert session.save(file) == 1
    (line,) = file.read_text().splitlines()
    row = json.loads(line)
    assert [m["role"] for m in row["messages"]] == ["system", "user", "assistant"]
    assert row["messages"][2]["content"] == said
    assert layout_for(Rows.PROMPT_COMPLETION, frozenset(row)) == Layout(("messages",))
    with pytest.raises(InputError, match="exists already"):
        session.save(file)
    with pytest.raises(InputError, match="cannot be written"):
        session.save(tmp_path / "no" / "such" / "folder")


def say(session: Session, *lines: str, apart: bool = False) -> tuple[str, str, bool]:
    out, beside = io.StringIO(), io.StringIO()
    good = converse(session, lines, Pipe(out, beside), apart=apart)
    return out.getvalue(), beside.getvalue(), good


def test_every_command_of_the_help_is_there_and_the_others_are_not():
    assert tuple(re.findall(r"^/(\w+)", HELP, re.M)) == (
        "system",
        "regenerate",
        "reset",
        "save",
        "help",
        "quit",
    )
    assert set(re.findall(r"(?<![/\w])/(\w+)", HELP)) == set(COMMANDS)


@pytest.mark.parametrize("word", ["/quit", "/exit"])
def test_two_words_leave(session, word):
    out, _, good = say(session, word, "never asked")
    assert (out, good, session.turns) == ("", True, [])


def test_commands(session, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out, beside, good = say(
        session,
        "/help",
        "",
        "/system Be brief.",
        QUESTION,
        "/regenerate",
        "/save a.jsonl",
        "/reset",
        "/quit",
        "x",
    )
    assert good
    assert len(out.splitlines()) >= 2
    assert HELP in beside
    assert "a.jsonl: written (1 turn)" in beside
    assert session.system == "Be brief."
    assert session.turns == []


def test_a_wrong_command_is_reported_and_the_rest_goes_on(session):
    out, beside, good = say(session, "/sytem x", "/save", "//quit", "\udcff")
    assert not good
    assert 'did you mean "system"?' in beside
    assert "/save takes the name of a file" in beside
    assert [turn.prompt for turn in session.turns] == ["/quit", "?"]
    assert out


def test_through_a_pipe_each_line_is_asked_alone(session):
    one, _, _ = say(session, QUESTION, apart=True)
    two, _, _ = say(session, "Something else?", QUESTION, apart=True)
    assert two.endswith(one)
    assert list(lines_of(io.BytesIO(b"a\xff\nb"))) == ["a\ufffd\n", "b"]


class Saying:
    """An `ask` with a fixed text: how it looks is the matter here, not who says it."""

    def __init__(self, session: Session, *texts: str) -> None:
        self.session, self.texts = session, texts

    def __call__(self, tell):
        from ptspec.chat.session import Turn

        for model, text in enumerate(self.texts):
            for piece in text:
                tell(model, piece)
        return Turn("?", tuple(Answer(text, 1, finished=True) for text in self.texts))


NASTY = "\n\x1b]0;title\x07red \x1b[31mtext\x1b[0m \u202egnp\u202c\r\nend"


@pytest.mark.parametrize("width", [120, 40])
def test_no_escape_sequence_of_an_answer_reaches_the_terminal(session, model, width):
    def drawn(*texts: str) -> str:
        console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
        screen = Terminal(console)
        session.models = [replace(model, name=f"n{index}") for index in range(len(texts))]
        screen.answer(session, Saying(session, *texts))
        return console.file.getvalue()

    assert drawn(NASTY) == "red text gnp\nend\n"
    both = drawn(NASTY, "other words")
    for bad in ("\x1b]0", "\x1b[31m", "\u202e", "\r\n"):
        assert bad not in both
    assert "red text gnp" in both
    together = any("end" not in line and "red text" in line and "other" in line for line in both.split("\n"))
    assert together == (width == 120)


def test_answers_taller_than_the_window_leave_no_copies_in_the_scrollback(session, model):
    height, lines = 24, [f"line {number}" for number in range(40)]
    console = Console(file=io.StringIO(), width=80, height=height, force_terminal=True, color_system=None)
    session.models = [replace(model, name=name) for name in ("one", "two")]
    Terminal(console).answer(session, Saying(session, *["\n".join(lines)] * 2))
    drawn = console.file.getvalue()
    moves = [len(found) // len("\x1b[1A\x1b[2K") for found in re.findall(r"(?:\x1b\[1A\x1b\[2K)+", drawn)]
    assert max(moves) < height  # a real terminal moves no higher than its first line
    last = drawn[drawn.rindex("\x1b[1A") :]
    rows = [row.split() for row in last.splitlines() if "line" in row]
    assert rows == [[*line.split()] * 2 for line in lines]


def test_remarks_and_errors_break_between_words():
    console = Console(file=io.StringIO(), width=50, soft_wrap=True)
    screen = Terminal(console)
    screen.remark(HELP)
    screen.fault(
        InputError(Diagnostic("x", "a message of several words that goes on " * 3, hint="and a hint"))
    )
    rows = console.file.getvalue().splitlines()
    assert max(map(len, rows)) <= 50
    assert {word for row in rows for word in row.split()} <= {
        *HELP.split(),
        *["a", "message", "of", "several", "words", "that", "goes", "on", "(and", "a", "hint)"],
    }
    assert rows[0] == "/system TEXT   a system message, and a new"
    assert rows[1] == "               conversation under it; without TEXT"


@given(st.lists(st.text("\x1b\x9b\x9d\x90\x07\x9c[]P\\;0m \r\nab?\u202e\t!", max_size=6), max_size=8))
def test_a_text_cleaned_in_pieces_is_the_text_cleaned_whole(pieces):
    stream = CleanStream()
    assert "".join([*map(stream.add, pieces), stream.end()]) == clean("".join(pieces), keep_lines=True)


def test_what_is_no_policy_is_refused_before_anything_is_loaded(tmp_path):
    with pytest.raises(InputError, match="there is no run"):
        open_models([str(tmp_path / "nothing")])
    reward = tmp_path / "reward"
    reward.mkdir()
    (reward / "adapter_config.json").write_text(
        json.dumps({"task_type": "SEQ_CLS", "base_model_name_or_path": BASE})
    )
    with pytest.raises(InputError, match="is a reward model"):
        open_models([str(reward)])
    damaged = tmp_path / "damaged"
    shutil.copytree(BASE, damaged)
    (damaged / "model.safetensors").write_bytes(b"half a file")
    with pytest.raises(InputError, match="cannot be loaded"):
        open_models([str(damaged)])
