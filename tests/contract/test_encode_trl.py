"""The encoder's tokens and learned mask against TRL's own trainers, and against the transformers adaptor."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from support.as_trained import quiet_transformers
from support.trl_held import held

from ptspec import methods
from ptspec.data.tokens.chat_tokenizer import CannotRender, Chat
from ptspec.data.tokens.encode import encode, encode_all, encode_completions, encode_prompt
from ptspec.data.tokens.template import TokenizerFiles, read_tokenizer
from ptspec.data.tokens.training_template import training_template
from ptspec.data.tokens.transformers_tokenizer import TransformersTokenizer
from ptspec.recipe.effective_config import EffectiveConfig
from ptspec.recipe.plan import AdapterSpec, ComputeSpec, Stage

ROOT = Path(__file__).parent.parent.parent
MODEL = ROOT / "data" / "base_model"
TEMPLATES = Path(importlib.util.find_spec("trl").origin).parent / "chat_templates"
ALL = sorted(TEMPLATES.glob("*.jinja"))

pytestmark = pytest.mark.slow

USER = [{"role": "user", "content": "Where does Mira live?"}]
ANSWER = [{"role": "assistant", "content": "Mira lives in Tarn."}]
WORSE = [{"role": "assistant", "content": "Mira may live in Rome, naïve as it is 😀."}]
SYSTEM = [{"role": "system", "content": "Answer briefly."}]
TURNS = [*USER, *ANSWER, {"role": "user", "content": "And Noben?"}]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "find",
            "description": "Find somebody.",
            "parameters": {"type": "object", "properties": {"who": {"type": "string"}}, "required": ["who"]},
        },
    }
]
THOUGHT = [{"role": "assistant", "reasoning_content": "Tarn, I think.", "content": "Tarn."}]

KINDS = {
    "strings": ("Where does Mira live?", "Mira lives in Tarn.", "Rome", {}),
    "ended strings": ("Where? ", "Tarn<|end|>", " Rome", {}),
    "chats": (USER, ANSWER, WORSE, {}),
    "turns": (TURNS, ANSWER, WORSE, {}),
    "system": ([*SYSTEM, *USER], ANSWER, WORSE, {}),
    "tools": (USER, ANSWER, WORSE, {"tools": TOOLS}),
    "kwargs": (USER, ANSWER, WORSE, {"chat_template_kwargs": {"enable_thinking": False}}),
    "begun": ([*USER, {"role": "assistant", "content": "Mira lives "}], ANSWER, WORSE, {}),
    "thought": (USER, THOUGHT, WORSE, {}),
}
ALIKE = (
    *(("strings", "ended strings"), ("chats", "turns", "system", "begun")),
    *(("tools",), ("kwargs",), ("thought",)),
)
"""Kinds of rows that one data set may have."""
CASES = [
    ("base", None),
    ("qwen3", TEMPLATES / "qwen3.jinja"),
    ("llama3_1", TEMPLATES / "llama3_1.jinja"),
    ("gemma3", TEMPLATES / "gemma3.jinja"),
    ("deepseek_r1_distill", TEMPLATES / "deepseek_r1_distill.jinja"),
]


@pytest.fixture(scope="module")
def libraries():
    return quiet_transformers()


@pytest.fixture(scope="module")
def base(libraries):
    return libraries.AutoModelForCausalLM.from_pretrained(MODEL)


@pytest.fixture
def loaded(libraries):
    def load(template: Path | None):
        tokenizer = libraries.AutoTokenizer.from_pretrained(MODEL)
        if template is not None:
            tokenizer.chat_template = template.read_text("utf-8")
        return tokenizer

    return load


def files(template: Path | None) -> TokenizerFiles:
    return read_tokenizer(MODEL, None if template is None else template.read_text("utf-8"))


def settings(method: str, **config: object) -> EffectiveConfig:
    stage = Stage("s", methods.get(method), "base", None, "train", AdapterSpec(True), config=config)
    return EffectiveConfig(stage, ComputeSpec(), gpu=False)


def row_of(method: str, kind: str, form: str = "") -> dict:
    prompt, answer, worse, more = KINDS[kind]
    match methods.get(method).rows.value:
        case "prompt-completion":
            if form == "whole":
                return (
                    {"text": prompt + answer}
                    if isinstance(prompt, str)
                    else {"messages": prompt + answer, **more}
                )
            return {"prompt": prompt, "completion": answer, **more}
        case "preference":
            return {"prompt": prompt, "chosen": answer, "rejected": worse, **more}
        case "unpaired preference":
            return {"prompt": prompt, "completion": worse, "label": False, **more}
    return {"prompt": prompt, **more}


STAGES = [
    ("sft", {}, ""),
    ("sft", {"completion_only_loss": False}, ""),
    ("sft", {}, "whole"),
    ("sft", {"assistant_only_loss": True}, ""),
    ("sft", {"assistant_only_loss": True, "completion_only_loss": False}, ""),
    ("sft", {"assistant_only_loss": True}, "whole"),
    ("dpo", {}, ""),
    ("kto", {}, ""),
    ("orpo", {}, ""),
    ("cpo", {}, ""),
    ("reward", {}, ""),
    ("grpo", {"num_generations": 2}, ""),
    ("grpo", {"num_generations": 2, "chat_template_kwargs": {"enable_thinking": False}}, ""),
]


def cells():
    """SFT, the one with masks, with every template; the other methods, which render alike, with three."""
    for name, template in CASES:
        for method, config, form in STAGES:
            if method == "sft" or name in ("base", "qwen3", "gemma3"):
                yield pytest.param(template, method, config, form, id=f"{name}-{method}-{config}-{form}")


@pytest.mark.parametrize(("template", "method", "config", "form"), cells())
def test_a_row_is_held_as_by_the_trainer(libraries, base, loaded, tmp_path, template, method, config, form):
    """Every kind of row, those of one form in one data set, as the trainers tell chats by the first row."""
    if method == "reward":
        base = libraries.AutoModelForSequenceClassification.from_pretrained(MODEL, num_labels=1)
        base.config.pad_token_id = loaded(None).pad_token_id
    stage = settings(method, **config)
    readers = (files(template), TransformersTokenizer(loaded(template)))

    def theirs(*kinds: str) -> list:
        rows = [row_of(method, kind, form) for kind in kinds]
        return held(method, rows, base, loaded(template), tmp_path, **config)

    compared = 0
    for kinds in ALIKE:
        try:
            found = dict(zip(kinds, theirs(*kinds), strict=True))
        except Exception:  # of one of them: which?
            found = {}
        for kind in kinds:
            row = row_of(method, kind, form)
            try:
                expected = found[kind] if found else theirs(kind)[0]
            except Exception:
                with pytest.raises(CannotRender):
                    encode(row, stage, files(template))
                continue
            for ours in readers:
                sequences = encode(row, stage, ours).held
                assert [(list(one.ids), list(one.learned)) for one in sequences] == expected, kind
            compared += 1
    masks = config.get("assistant_only_loss") and training_template(files(template).template) is None
    assert compared >= (0 if masks else 2)


ROWS = [row_of("dpo", kind) for kind in ("chats", "turns", "system")]


@pytest.mark.parametrize("most", [8, 14, 20, 26, 33, 40])
@pytest.mark.parametrize(
    ("method", "config"),
    [
        ("sft", {}),
        ("sft", {"truncation_mode": "keep_end"}),
        ("sft", {"assistant_only_loss": True}),
        ("sft", {"completion_only_loss": False}),
        ("dpo", {}),
        ("dpo", {"truncation_mode": "keep_end"}),
        ("kto", {}),
        ("orpo", {}),
        ("cpo", {}),
        ("reward", {}),
    ],
    ids=str,
)
def test_a_long_row_is_cut_as_by_the_trainer(libraries, base, loaded, tmp_path, method, config, most):
    if method == "reward":
        base = libraries.AutoModelForSequenceClassification.from_pretrained(MODEL, num_labels=1)
        base.config.pad_token_id = loaded(None).pad_token_id
    config = {**config, "max_length": most}
    rows = [row_of(method, kind) for kind in ("chats", "turns", "system")]
    found = encode_all(rows, settings(method, **config), files(None))
    ours = [[(list(one.ids), list(one.learned)) for one in row.held] for row in found if row.held]
    if not ours:
        pytest.skip("every row is dropped, and the trainer fails")
    assert held(method, rows, base, loaded(None), tmp_path, **config) == ours


@pytest.mark.parametrize("template", [None, *ALL], ids=lambda file: file.name if file else "base")
def test_generation_blocks_are_where_transformers_finds_them(libraries, loaded, template):
    """Of templates without blocks the mask is empty on both sides."""
    tokenizer, ours = loaded(template), files(template)
    compared = 0
    for messages in ([*USER, *ANSWER], [*TURNS, *WORSE], [*SYSTEM, *TURNS, *ANSWER], [*USER, *THOUGHT]):
        for tools in (None, TOOLS):
            chat = Chat(messages, tools=tools, masked=True)
            (theirs,) = TransformersTokenizer(tokenizer).tokenise([chat])
            (found,) = ours.tokenise([chat])
            if isinstance(theirs, CannotRender):
                assert isinstance(found, CannotRender)
                continue
            assert (list(found.ids), list(found.assistant)) == (theirs.ids, theirs.assistant)
            compared += any(found.assistant)
    vision = {"idefics3_training.jinja", "llava_next_training.jinja", "smolvlm_training.jinja"}
    if training_template(ours.template) == ours.template and (
        template is None or template.name not in vision
    ):
        assert compared


@pytest.mark.parametrize("template", [None, *ALL], ids=lambda file: file.name if file else "base")
def test_a_training_template_is_the_one_that_trl_takes(loaded, template):
    from trl.chat_template_utils import get_training_chat_template, has_generation_markers

    tokenizer = loaded(template)
    own = tokenizer.chat_template
    if has_generation_markers(own):
        assert training_template(own) == own
        return
    try:
        theirs = get_training_chat_template(tokenizer)
    except ValueError:
        theirs = None
    assert training_template(own) == theirs


@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_scores_what_is_trained_on(loaded, kind):
    """A completion alone as SFT learns it, a pair as DPO does, and a prompt as it is gone on with."""
    tokenizer = TransformersTokenizer(loaded(TEMPLATES / "qwen3.jinja"))
    prompt, answer, worse, more = KINDS[kind]
    sft = encode(row_of("sft", kind), settings("sft"), tokenizer).whole
    dpo = encode(row_of("dpo", kind), settings("dpo"), tokenizer).whole
    assert encode_completions(prompt, [answer], more, tokenizer) == sft
    assert encode_completions(prompt, [answer, worse], more, tokenizer) == dpo
    ids = encode_prompt(prompt, more, tokenizer)
    assert dpo[0].ids[: dpo[0].prompt] == ids[: dpo[0].prompt]


@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_as_it_is_scores_the_same(loaded, kind):
    from ptspec.data.layouts.convert import context_of
    from ptspec.evaluation import encoding

    tokenizer = loaded(None)
    prompt, answer, worse, more = KINDS[kind]
    adapted = TransformersTokenizer(tokenizer)
    context = context_of(more)
    theirs = encoding.encode_completions(tokenizer, prompt, (answer, worse), context)
    ours = encode_completions(prompt, (answer, worse), more, adapted)
    assert [(one.ids, one.start) for one in theirs] == [(one.ids, one.prompt) for one in ours]
    assert encoding.encode_prompt(tokenizer, prompt, context) == encode_prompt(prompt, more, adapted)
