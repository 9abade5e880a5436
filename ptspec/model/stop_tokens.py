"""The token that ends an answer, derived from the chat template. Imports no torch.

Many base models end a text with one token (`<|endoftext|>`) and their chat template ends an answer with
another (`<|im_end|>`): a policy that learned the second generates up to the limit if generation stops at the
first only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedTokenizerBase

GENERATION_CONFIG = "generation_config.json"

ANSWER = "Here."
PROBE = ({"role": "user", "content": "Where?"}, {"role": "assistant", "content": ANSWER})
"""Messages that the template is probed with."""


class AnswerEnd(NamedTuple):
    """The end of an answer; `text` is what the template puts after it.

    `token`: the first token in it that generation stops at, else the first special token, else None. `stops`:
    generation stops at it already.
    """

    text: str
    token: str | None
    stops: bool


def answer_end(
    render: Callable[[list[dict[str, str]]], str], special: Iterable[str], stops: Collection[str]
) -> AnswerEnd | None:
    """Return what ends an answer.

    `render` gives the text of a chat, `special` are the tokenizer's special tokens, `stops` those that
    generation stops at. None if the template refuses a plain question and answer, or omits the answer.
    """
    try:
        text = render([dict(message) for message in PROBE])
    except Exception:  # a template may raise any exception; rendering the rows reports it
        return None
    _, answer, after = text.rpartition(ANSWER)
    if not answer:
        return None
    if (known := _first(after, stops)) is not None:
        return AnswerEnd(after, known, stops=True)
    return AnswerEnd(after, _first(after, special), stops=False)


def _first(text: str, tokens: Iterable[str]) -> str | None:
    """Return the first token in `text`, the longest of several at one position."""
    found = [(text.index(token), -len(token), token) for token in tokens if token.strip() and token in text]
    return min(found)[2] if found else None


def stop_at_answer_end(generation: GenerationConfig, tokenizer: PreTrainedTokenizerBase) -> None:
    """Add the chat template's end of an answer to the end tokens of `generation`.

    Also the tokenizer's own, unless an answer ends with one of them already.
    """
    if not tokenizer.chat_template:
        return
    ids = [*end_ids(generation), *([tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else [])]
    stops = tokenizer.convert_ids_to_tokens(ids)
    special = {*tokenizer.get_added_vocab(), *tokenizer.all_special_tokens}
    end = answer_end(lambda chat: _rendered(tokenizer, chat), special, stops)
    if end is not None and end.token is not None and not end.stops:
        new = tokenizer.convert_tokens_to_ids(end.token)
        generation.eos_token_id = list(dict.fromkeys([*ids, new]))


def end_ids(generation: Any) -> list[int]:
    """Return the ids that end a sequence, of a generation config."""
    given = getattr(generation, "eos_token_id", None)
    return [given] if isinstance(given, int) else list(given or [])


def _rendered(tokenizer: PreTrainedTokenizerBase, chat: list[dict[str, str]]) -> str:
    return str(tokenizer.apply_chat_template(chat, tokenize=False))
