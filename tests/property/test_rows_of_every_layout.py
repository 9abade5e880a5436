"""Of any rows in any layout: what `pt rows` shows is what the trainer holds and what evaluation scores, and
nothing of one row is in another."""

from __future__ import annotations

import json
import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support.as_trained import MODEL, TOOLS_TEMPLATE, quiet_transformers, sequences, trainer_for

from ptspec.checks.preflight import preflight
from ptspec.data.chosen_rows import first_rows, sources_of
from ptspec.data.dataset import load_evaluation, strings_in
from ptspec.data.encoded_rows import RowEncoder, StageRow
from ptspec.data.layouts.convert import context_of
from ptspec.data.tokens.template import tokenizer_files
from ptspec.methods.types import Rows
from ptspec.recipe.effective_config import EffectiveConfig
from ptspec.report.encoded_rows import as_json
from ptspec.rewards.build import no_model, reward_functions

pytestmark = pytest.mark.slow

MARK = re.compile(r"Zq(\d+)n(\d+)Z")
PLAIN = st.text("ab 7éß😀\n\t{}<>/\"'\\", max_size=6)
NUMBER = st.floats(allow_nan=False, allow_infinity=False)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | NUMBER | st.just("s"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)  # fmt: skip
OBJECT = st.dictionaries(st.sampled_from("abc"), VALUE, max_size=3)
REWARD = """
import json
from pathlib import Path

def reward(prompts, completions, **columns):
    known = ("completion_ids", "trainer_state", "log_extra", "log_metric")
    given = {"prompts": prompts, **{name: columns[name] for name in columns if name not in known}}
    Path(__file__).with_name("given.json").write_text(json.dumps(given))
    return [0.0] * len(prompts)
"""


class Writer:
    """Writes row number `row`; every key and every text that it makes holds a mark of its own. `unseen` are
    the marks that the model is not to see."""

    def __init__(self, draw, row):
        self.draw, self.row, self.count, self.unseen = draw, row, 0, set()

    def mark(self):
        self.count += 1
        return f"Zq{self.row}n{self.count}Z"

    def text(self):
        return f"{self.mark()}{self.draw(PLAIN)}."

    def marked(self, value):
        if isinstance(value, str):
            return self.text()
        if isinstance(value, list):
            return [self.marked(item) for item in value]
        if isinstance(value, dict):
            return {self.mark(): self.marked(item) for item in value.values()}
        return value

    def hidden(self, write):
        before = self.count
        made = write()
        self.unseen |= set(range(before + 1, self.count + 1))
        return made

    def maybe(self, **writers):
        return {name: write() for name, write in writers.items() if self.draw(st.booleans())}

    def either(self, *writers):
        return self.draw(st.sampled_from(writers))()

    def as_json(self, value):
        return json.dumps(value) if self.draw(st.booleans()) else value

    def content(self):
        return self.either(self.text, lambda: [{"type": "text", "text": self.text()} for _ in "ab"])

    def call(self):
        return {"name": self.mark(), "arguments": self.as_json(self.marked(self.draw(OBJECT)))}

    def user(self):
        return {"role": "user", "content": self.content()}

    def bot(self):
        return {"role": "assistant", "content": self.content()}

    def calling(self):
        calls = [{"type": "function", "function": self.call()} for _ in range(self.draw(st.integers(1, 2)))]
        said = self.either(lambda: None, self.text)
        return [
            {"role": "assistant", "content": said, "tool_calls": calls},
            {"role": "tool", "content": self.text()},
        ]

    def human(self):
        return {"from": "human", "value": self.text()}

    def gpt(self):
        return {"from": "gpt", "value": self.text()}

    def functions(self):
        return [
            {"from": "function_call", "value": json.dumps(self.call())},
            {"from": "observation", "value": self.text()},
        ]

    def asked(self):
        """Messages that end with a question or the result of a tool."""
        head = self.either(list, lambda: [{"role": "system", "content": self.text()}])
        return [
            *head,
            *self.either(list, lambda: [self.user(), self.bot()]),
            self.user(),
            *self.either(list, self.calling),
        ]

    def shared(self):
        """The same as ShareGPT turns."""
        head = self.either(list, lambda: [{"from": "system", "value": self.text()}])
        return [
            *head,
            *self.either(list, lambda: [self.human(), self.gpt()]),
            self.human(),
            *self.either(list, self.functions),
        ]

    def tools(self):
        made = [self.tool() for _ in range(self.draw(st.integers(1, 2)))]
        wrapped = [{"type": "function", "function": tool} for tool in made]
        return self.as_json(self.either(lambda: made, lambda: wrapped))

    def tool(self):
        parameters = self.marked(self.draw(OBJECT))
        return {"name": self.mark(), "description": self.text(), "parameters": parameters}

    def template_kwargs(self):
        return self.as_json({"mode": self.text(), **self.hidden(lambda: self.marked(self.draw(OBJECT)))})

    def history(self):
        return self.either(lambda: [[self.text(), self.text()]], lambda: [self.user(), self.bot()])

    def around(self, *, has_head):
        """Columns that belong to a chat beside its turns; those that are for rewards alone."""
        context = self.maybe(tools=self.tools, chat_template_kwargs=self.template_kwargs)
        context |= {} if has_head else self.maybe(system=self.text, history=self.history)
        return context | self.reference()

    def reference(self):
        return self.maybe(answer=lambda: self.hidden(self.text), meta=self.value, n=self.value)

    def value(self):
        return self.hidden(lambda: self.marked(self.draw(VALUE)))


def dialogue(turns):
    names = ("Human", "Assistant")
    return "".join(f"\n\n{names[n % 2]}: {text}" for n, text in enumerate(turns))


def whole_chats(w):
    turns = w.asked()
    return {"chosen": [*turns, w.bot()], "rejected": [*turns, w.bot()]}


def dialogues(w):
    turns = [w.text() for _ in range(w.draw(st.sampled_from((1, 3))))]
    return {side: dialogue([*turns, w.text()]) for side in ("chosen", "rejected")}


def beside_a_prompt(w):
    asked, head = w.text(), w.either(list, lambda: [{"role": "system", "content": w.text()}])
    turns = [*head, {"role": "user", "content": asked}]
    return {"prompt": asked, "chosen": [*turns, w.bot()], "rejected": [*turns, w.bot()]}


def sides(write):
    return {"chosen": write(), "rejected": write()}


def alpaca(w, answers):
    return {"instruction": w.text(), **w.maybe(input=w.text), **answers()}


def labelled(w, row):
    some = (True, False, 1.0, 0.0)
    return {**row, "label": w.draw(st.sampled_from(some)) if w.row > 1 else some[w.row]}  # one of each


# A layout -> what writes a row of it, and whether it holds a system turn of its own.
DEMONSTRATIONS = {
    "messages": (lambda w: {"messages": [*w.asked(), w.bot()]}, True),
    "ShareGPT": (lambda w: {"conversations": [*w.shared(), w.gpt()]}, True),
    "Alpaca": (lambda w: alpaca(w, lambda: {"output": w.text()}), False),
    "strings": (lambda w: {"prompt": w.text(), "completion": w.text()}, False),
    "lists": (lambda w: {"prompt": w.asked(), "completion": w.either(w.bot, lambda: [w.bot()])}, True),
}
PAIRS = {
    "strings": (lambda w: {"prompt": w.text(), **sides(w.text)}, False),
    "lists": (lambda w: {"prompt": w.asked(), **sides(lambda: [w.bot()])}, True),
    "ShareGPT lists": (lambda w: {"prompt": w.shared(), **sides(lambda: [w.gpt()])}, True),
    "whole chats beside a prompt": (beside_a_prompt, True),
    "whole chats": (whole_chats, True),
    "hh-rlhf strings": (dialogues, False),
    "ShareGPT and a turn": (lambda w: {"conversations": w.shared(), **sides(w.gpt)}, True),
    "messages and a turn": (lambda w: {"messages": w.asked(), **sides(w.bot)}, True),
    "Alpaca": (lambda w: alpaca(w, lambda: sides(w.text)), False),
}
LAYOUTS = {
    "sft": {**DEMONSTRATIONS, "text": (lambda w: {"text": w.text()}, None)},
    "dpo": PAIRS,
    "orpo": PAIRS,
    "reward": PAIRS,
    "kto": {
        **{name: (lambda w, of=of: labelled(w, of(w)), head) for name, (of, head) in DEMONSTRATIONS.items()},
        **{f"pairs of {name}": PAIRS[name] for name in ("strings", "whole chats", "ShareGPT and a turn")},
    },
    "grpo": {
        "strings": (lambda w: {"prompt": w.text()}, False),
        "lists": (lambda w: {"prompt": w.asked()}, True),
        "messages": (lambda w: {"messages": [*w.asked(), *w.either(list, lambda: [w.hidden(w.bot)])]}, True),
        "ShareGPT": (lambda w: {"conversations": [*w.shared(), w.hidden(w.gpt)]}, True),
        "Alpaca": (lambda w: {**alpaca(w, dict), "output": w.hidden(w.text)}, False),
        "demonstrations": (lambda w: {"prompt": w.text(), "completion": w.hidden(w.text)}, False),
        "pairs": (lambda w: {"prompt": w.text(), **w.hidden(lambda: sides(w.text))}, False),
    },
}  # fmt: skip
CASES = [(method, layout) for method, layouts in LAYOUTS.items() for layout in layouts]
CONFIG = {"max_length": 100_000}
SHRINKS_NOT = (Phase.explicit, Phase.reuse, Phase.generate)
"""Each try makes a trainer."""
ONLINE = {"num_generations": 2, "per_device_train_batch_size": 2}


@st.composite
def rows_of(draw, method, layout):
    """Rows of a layout, and of each the marks that the model is to see."""
    write, has_head = LAYOUTS[method][layout]
    rows, seen = [], []
    for number in range(draw(st.integers(2, 6))):
        writer = Writer(draw, number)
        beside = writer.reference() if has_head is None else writer.around(has_head=has_head)
        row = {**write(writer), **beside}
        rows.append(dict(draw(st.permutations(list(row.items())))))
        seen.append(set(range(1, writer.count + 1)) - writer.unseen)
    return rows, seen


@pytest.fixture(scope="module")
def libraries():
    return quiet_transformers()


@dataclass(frozen=True)
class Base:
    """Small in the report of a failing example."""

    model: Any = field(repr=False)
    tokenizer: Any = field(repr=False)


@pytest.fixture(scope="module")
def base(libraries):
    tokenizer = libraries.AutoTokenizer.from_pretrained(MODEL)
    tokenizer.chat_template = TOOLS_TEMPLATE
    return Base(libraries.AutoModelForCausalLM.from_pretrained(MODEL), tokenizer)


def planned(folder, method, rows):
    (folder / "t.jinja").write_text(TOOLS_TEMPLATE)
    (folder / "r.py").write_text(REWARD)
    (folder / "d.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    stage = {"name": "s", "method": method, "data": "d", "config": ONLINE if method == "grpo" else CONFIG}
    recipe = {
        "model": {"path": str(MODEL), "chat_template": str(folder / "t.jinja")},
        "data": {"d": {"path": str(folder / "d.jsonl")}},
        "rewards": {"r": {"function": f"{folder / 'r.py'}:reward"}},
        "stages": [stage | ({"rewards": ["r"]} if method == "grpo" else {})],
    }
    (folder / "r.json").write_text(json.dumps(recipe))
    reading = preflight(folder / "r.json")
    assert reading.plan is not None, reading.errors
    return reading.plan


def shown(plan):
    """What `pt rows` shows of each row: its sequences as `--format json` has them, by line."""
    stage = plan.stages[0]
    encoder = RowEncoder(plan, EffectiveConfig(stage, stage.compute, gpu=False), tokenizer_files(plan.model))
    found = {}
    for row in encoder.rows(first_rows(sources_of(plan, stage), 99)):
        if isinstance(row, StageRow):
            found.setdefault(row.line - 1, []).extend(json.loads(as_json(row, one)) for one in row.sequences)
        else:
            assert row.severity.value == "warning", row
    return found


def marks_in(value):
    text = value if isinstance(value, str) else json.dumps(value)
    return {(int(row), int(number)) for row, number in MARK.findall(text)}


@pytest.mark.parametrize(("method", "layout"), CASES, ids=lambda value: value)
@settings(max_examples=2, deadline=None, phases=SHRINKS_NOT, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_rows_are_shown_as_they_are_trained_and_measured(base, method, layout, data):
    rows, seen = data.draw(rows_of(method, layout))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plan = planned(folder, method, rows)
        looks = shown(plan)
        assert list(looks) == list(range(len(rows)))
        for number, sequences_of_row in looks.items():
            texts = " ".join(one["text"] for one in sequences_of_row)
            assert marks_in(texts) == {(number, mark) for mark in seen[number]}
        for one in (one for ones in looks.values() for one in ones):
            assert one["text"] == base.tokenizer.decode(one["ids"])
        if method == "grpo":
            prompts_and_rewards(plan, base, folder, rows, looks)
        else:
            trained(plan, base, folder, looks)
        measured(plan, base.tokenizer, rows, looks)


def trained(plan, base, folder, looks):
    trainer = trainer_for(plan, base.model, base.tokenizer, folder)
    held = [
        (ids, [int(one) for one in learned], row.get("label"))
        for row in map(dict, trainer.train_dataset)
        for ids, learned in sequences(trainer, row)
    ]
    ours = [(one["ids"], one["learned_ids"], one["label"]) for ones in looks.values() for one in ones]
    if plan.stages[0].method.rows is Rows.UNPAIRED_PREFERENCE:  # they are shuffled
        held, ours = sorted(held), sorted(ours)
    assert held == ours


def prompts_and_rewards(plan, base, folder, rows, looks):
    """What the trainer goes on from, and what it hands to a reward of the user's."""
    from ptspec.model import probes

    strings = strings_in(plan.data["d"], plan.data)
    rewards = reward_functions(plan, ["r"], strings=strings, allow_code=True, open_model=no_model)
    trainer = trainer_for(plan, base.model, base.tokenizer, folder, reward_funcs=rewards)
    held = [dict(row) for row in trainer.train_dataset]
    prompts = [row["prompt"] for row in held]
    ids, _, _ = trainer._tokenize_with(prompts, [context_of(row) for row in held])
    assert [list(one) for one in ids] == [one["ids"] for (one,) in looks.values()]
    probed = probes.sequences(base.tokenizer, held, prompts_only=True)
    assert probed and all(tuple(all_of[: len(one)]) == one for one, all_of in zip(probed, ids, strict=False))
    trainer._calculate_rewards(held, prompts, [[{"role": "assistant", "content": "x"}]] * len(held), ids)
    found = json.loads((folder / "given.json").read_text())
    for number, row in enumerate(rows):
        got = {name: values[number] for name, values in found.items()}
        prompt = got.pop("prompts")
        assert marks_in(prompt) <= {(number, mark) for mark in marks_of(looks[number][0])}
        assert prompt == row["prompt"] if strings and "prompt" in row else prompt
        wanted = {name: value for name, value in row.items() if name not in ("prompt", "completion")}
        assert {name: value for name, value in got.items() if value not in (None, {})} == {
            name: value for name, value in wanted.items() if value not in (None, {})
        }


def marks_of(look):
    return {number for _, number in marks_in(look["text"])}


def measured(plan, tokenizer, rows, looks):
    """Evaluation encodes a row as the stage learns it, but ORPO, whose trainer tokenises in its own way."""
    from ptspec.evaluation.work import prepare

    found = load_evaluation(plan.data, "d")
    method = plan.stages[0].method
    work = prepare(tokenizer, found, frozenset(("loss", "preference_accuracy", "accuracy")), None, 1)
    for number, looked in looks.items():
        assert found[number].columns == rows[number]
        sequences_of_row = [(tuple(one["ids"]), max(1, one["prompt_tokens"])) for one in looked]
        if method.online:
            assert work.prompts[number] == sequences_of_row[0][0]
        elif method.name != "orpo" and len(sequences_of_row) == 2:
            pair = [(one.ids, one.start) for one in work.pairs[number]]
            assert [ids for ids, _ in pair] == [ids for ids, _ in sequences_of_row]
            assert method.name != "dpo" or pair == sequences_of_row
        elif method.name != "orpo":
            expected = work.expected[number]
            assert expected.ids == sequences_of_row[0][0]
            is_whole = "messages" in rows[number] or "conversations" in rows[number]
            if method.name == "kto" or not is_whole:
                assert expected.start == sequences_of_row[0][1]
