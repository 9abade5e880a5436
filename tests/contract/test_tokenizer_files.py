"""A tokenizer read from its files against the same one in transformers: ids, special tokens, text."""

from __future__ import annotations

import json

import pytest

from ptspec.data.tokens.chat_tokenizer import CannotRender, Chat, Plain
from ptspec.data.tokens.encode import encode_completions
from ptspec.data.tokens.pieces import pieces
from ptspec.data.tokens.template import read_tokenizer
from ptspec.data.tokens.transformers_tokenizer import TransformersTokenizer

pytestmark = pytest.mark.slow

TEXTS = ["Where does Mira live?", " naïve 😀 日本語 ", "", "<|im_end|> and <s>", "a\n\nb\tc"]
TEMPLATE = """{{ bos_token }}
{%- for m in messages %}
    {{- '<|im_start|>' + m.role + '\n' }}
    {%- if m.role == 'assistant' %}
        {%- generation %}{{ m.content + '<|im_end|>' }}{% endgeneration %}
    {%- else %}
        {{- m.content + '<|im_end|>' }}
    {%- endif %}
    {{- '\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"""
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
CHAT = [{"role": "user", "content": "Où? 😀"}, {"role": "assistant", "content": "là 日本."}]


def bpe():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>", "<|im_start|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=300, special_tokens=special, initial_alphabet=alphabet)
    )
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return made


def unigram():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    special = ["<s>", "</s>", "<unk>"]
    made.train_from_iterator(
        TEXTS, trainers.UnigramTrainer(vocab_size=80, special_tokens=special, unk_token="<unk>")
    )
    return made


@pytest.fixture(params=[bpe, unigram])
def folder(request, tmp_path):
    """A tokenizer whose file says to truncate and to pad, and whose end of turn its config alone knows."""
    made = request.param()
    made.enable_truncation(4)
    made.enable_padding(length=9)
    made.save(str(tmp_path / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": {"content": "<|im_end|>", "__type": "AddedToken"},
        "pad_token": "<pad>",
        "chat_template": [
            {"name": "default", "template": TEMPLATE},
            {"name": "tool_use", "template": "{{ tools | tojson }}" + TEMPLATE},
        ],
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    return tmp_path


@pytest.fixture
def both(folder):
    from transformers import AutoTokenizer

    return read_tokenizer(folder), TransformersTokenizer(AutoTokenizer.from_pretrained(folder))


def test_ids_are_those_of_transformers(both):
    ours, theirs = both
    chats = [Chat(CHAT), Chat(CHAT, masked=True), Chat(CHAT[:1], prompt=True), Chat(CHAT, tools=TOOLS)]
    parts = [*(Plain(text, special) for text in TEXTS for special in (True, False)), *chats]
    for a, b in zip(ours.tokenise(parts), theirs.tokenise(parts), strict=True):
        assert (list(a.ids), a.assistant and list(a.assistant)) == (list(b.ids), b.assistant)
    assert (ours.bos_id, ours.eos_id, ours.eos_token) == (theirs.bos_id, theirs.eos_id, theirs.eos_token)
    assert ours.size == len(theirs.tokenizer)


def test_texts_are_those_of_transformers(both):
    ours, theirs = both
    for text in TEXTS:
        ids = theirs.tokenizer(text)["input_ids"]
        assert ours.decode(ids) == theirs.decode(ids)


def test_pieces_are_the_text(both):
    for tokenizer in both:
        for prompt, answer in ((CHAT[:1], CHAT[1:]), ("Où? 😀", "là 日本."), ("日", "本")):
            (encoded,) = encode_completions(prompt, [answer], {}, tokenizer)
            found = pieces(encoded, tokenizer)
            assert "".join(piece.text for piece in found) == tokenizer.decode(encoded.ids)
            assert [piece.learned for piece in found] == [False, True]
            if isinstance(answer, list):  # elsewhere the answer may merge with the end of the prompt
                assert found[1].text.startswith("l")


def test_an_empty_conversation_is_refused(both):
    for tokenizer in both:
        (found,) = tokenizer.tokenise([Chat([])])
        assert isinstance(found, CannotRender)
        with pytest.raises(CannotRender):
            tokenizer.rendered(Chat([]))


def test_the_template_is_that_of_transformers(both):
    ours, theirs = both
    assert ours.template == theirs.template
