"""Tiny random models of the kinds that people train, each with a tokenizer and a chat template of its family.

About 100,000 parameters in two layers: what counts is the configuration, the classes and names of the
modules, the kind of tokenizer, its special tokens and the chat template. Templates are those that TRL ships,
by name, or one of `WRITTEN`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    PreTrainedTokenizerFast,
)

ROOT = Path(__file__).parent.parent.parent
SHIPPED = Path((find_spec("trl").submodule_search_locations or [""])[0]) / "chat_templates"  # type: ignore[union-attr]  # TRL is installed

WRITTEN = {
    "chatml": "{%- for m in messages -%}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}"
    "{%- endfor -%}{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}",
    "inst": "{{- bos_token -}}{%- for m in messages -%}{%- if m.role == 'user' -%}"
    "{{ '[INST] ' + m.content + ' [/INST]' }}{%- elif m.role == 'assistant' -%}"
    "{{ ' ' + m.content + eos_token }}{%- else -%}{{ raise_exception('user and assistant only') }}"
    "{%- endif -%}{%- endfor -%}",
    "granite": "{%- for m in messages -%}"
    "{{ '<|start_of_role|>' + m.role + '<|end_of_role|>' + m.content + eos_token + '\\n' }}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|start_of_role|>assistant<|end_of_role|>' }}{%- endif -%}",
}
MARKS = re.compile(
    r"<\|[A-Za-z0-9_]+\|>|<｜[^>｜]+｜>|<start_of_turn>|<end_of_turn>|\[/?INST\]|\[gMASK\]|<sop>"
    r"|<\|turn>|<turn\|>|<\|channel>|<channel\|>|<start_of_image>"
)
"""What templates mark turns with: special tokens."""


@dataclass(frozen=True)
class Tokens:
    """A family's tokenizer. `kind`: byte (byte-level BPE), pieces (BPE with byte fallback) or unigram.

    `more` are special tokens besides; `adds_bos`: a BOS stands before every text without a template's doing.
    """

    template: str | None = None
    kind: str = "byte"
    bos: str | None = None
    eos: str | None = None
    pad: str | None = None
    unk: str | None = None
    more: tuple[str, ...] = ()
    adds_bos: bool = True

    def tokenizer(self) -> PreTrainedTokenizerFast:
        text = self._text()
        named = {"unk_token": self.unk, "pad_token": self.pad, "bos_token": self.bos, "eos_token": self.eos}
        named = {name: token for name, token in named.items() if token}
        special = dict.fromkeys([*named.values(), *self.more, *MARKS.findall(text or "")])
        inner = Tokenizer.from_str(_trained(self.kind, tuple(special), self.unk, text or ""))
        if self.bos and self.adds_bos:
            inner.post_processor = processors.TemplateProcessing(
                single=f"{self.bos} $A",
                pair=f"{self.bos} $A $B",
                special_tokens=[(self.bos, inner.token_to_id(self.bos))],
            )
        made = PreTrainedTokenizerFast(tokenizer_object=inner, **named)
        if text:
            made.chat_template = text
        return made

    def _text(self) -> str | None:
        if self.template is None or self.template in WRITTEN:
            return WRITTEN.get(self.template or "")
        return (SHIPPED / f"{self.template}.jinja").read_text(encoding="utf-8")


@cache
def _trained(kind: str, special: tuple[str, ...], unk: str | None, template: str) -> str:
    """The tokenizer as JSON, trained on the shipped rows and on the template, some of which say a lot."""
    first = list(special)
    if kind == "byte":
        made = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer: trainers.Trainer = trainers.BpeTrainer(
            vocab_size=700 + len(first),
            special_tokens=first,
            initial_alphabet=alphabet,
            show_progress=False,
        )
    elif kind == "pieces":
        made = Tokenizer(models.BPE(byte_fallback=True, unk_token=unk or first[0], fuse_unk=True))
        made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        back = [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
        made.decoder = decoders.Sequence(back)
        tokens = [*first, *(f"<0x{byte:02X}>" for byte in range(256))]
        trainer = trainers.BpeTrainer(
            vocab_size=1000 + len(first), special_tokens=tokens, show_progress=False
        )
    else:
        made = Tokenizer(models.Unigram())
        made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=700 + len(first),
            special_tokens=first,
            unk_token=unk or first[0],
            show_progress=False,
        )
    made.train_from_iterator([*_texts(), *[template] * 30], trainer)
    return str(made.to_str())


@cache
def _texts() -> list[str]:
    rows = map(json.loads, (ROOT / "data/train.jsonl").read_text(encoding="utf-8").splitlines())
    texts = [value for row in rows for value in row.values() if isinstance(value, str)]
    return [
        *texts,
        *["user assistant system tool model developer \n\n"] * 30,
        "".join(map(chr, range(32, 127))),
    ]


SIZES: dict[str, Any] = {
    "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 128, "max_position_embeddings": 512,
}  # fmt: skip


@dataclass(frozen=True)
class Family:
    """A kind of model: transformers' `model_type`, its tokenizer, what its config has besides `sizes`.

    `ends` are the tokens that end an answer besides EOS. `vision` makes it a model of several modalities,
    `fields` then being of its text; `whole` are fields of the whole config, tokens among them by their text.
    """

    model_type: str
    tokens: Tokens
    fields: Mapping[str, Any] = field(default_factory=dict)
    sizes: Mapping[str, Any] = field(default_factory=lambda: SIZES)
    ends: tuple[str, ...] = ()
    vision: Mapping[str, Any] | None = None
    whole: Mapping[str, Any] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Writes the model, of weights that are the same each time, and its tokenizer."""
        tokenizer = self.tokens.tokenizer()
        torch.manual_seed(0)
        kind = AutoModelForCausalLM if self.vision is None else AutoModelForImageTextToText
        model = kind.from_config(self._config(tokenizer))
        if self.ends:
            ends = tokenizer.convert_tokens_to_ids(list(self.ends))
            model.generation_config.eos_token_id = [tokenizer.eos_token_id, *ends]
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    def _config(self, tokenizer: PreTrainedTokenizerFast) -> Any:
        ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
        text = {"vocab_size": len(tokenizer), **ids, **self.sizes, **self.fields}
        if self.vision is None:
            return AutoConfig.for_model(self.model_type, **text)
        whole = {
            name: tokenizer.convert_tokens_to_ids(value) if isinstance(value, str) else value
            for name, value in self.whole.items()
        }
        return AutoConfig.for_model(
            self.model_type, text_config=text, vision_config=dict(self.vision), **whole
        )
