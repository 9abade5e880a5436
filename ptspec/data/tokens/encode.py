"""The tokens of a row that a trainer of TRL 1.16 holds, and those that it computes the loss over.

The only code that tokenises: `pt rows` shows it, `pt plan` and `pt validate` count it, evaluation scores it.
A chat goes through the tokenizer's template, plain text through the tokenizer directly, followed by the
end-of-sequence token; the completion starts where the ids of the prompt alone and of prompt + completion
differ. Contract tests compare with the trainers' own preparation and collators. Imports no torch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from ptspec.data.tokens.chat_tokenizer import CannotRender, Chat, ChatTokenizer, Plain, Tokens, TrainerRefuses
from ptspec.data.tokens.encoded import Encoded, Sequences
from ptspec.data.tokens.pair_texts import pair_sequences, pair_texts
from ptspec.data.tokens.training_template import training_template
from ptspec.data.tokens.truncation import Truncation, truncated
from ptspec.methods.types import Encoding, Rows
from ptspec.recipe.effective_config import EffectiveConfig

TrlRow = Mapping[str, Any]
"""A row in TRL's columns (`ptspec.data.layouts.to_trl`), with `tools` and `chat_template_kwargs`."""

FAULTS = (AttributeError, IndexError, KeyError, TypeError, ValueError)
"""Exceptions of a row whose columns do not hold what they should; `CannotRender` is one."""


class EncodedRow(NamedTuple):
    """A row's sequences: one, or chosen and rejected.

    `whole`: before truncation; `held`: what the trainer holds, empty for a dropped row.
    """

    whole: Sequences
    held: Sequences
    truncation: Truncation


class _Request(NamedTuple):
    """Texts and chats to tokenise for a row, and the function that makes sequences of their tokens."""

    parts: tuple[Chat | Plain, ...]
    finish: Callable[[Sequence[Tokens]], Sequences]


def encode(row: TrlRow, settings: EffectiveConfig, tokenizer: ChatTokenizer) -> EncodedRow:
    """Return the row as the stage's trainer holds it.

    Raises `CannotRender` if the chat template refuses it, `TrainerRefuses` if the trainer does, another of
    `FAULTS` if its columns do not hold what they should.
    """
    (found,) = encode_all([row], settings, tokenizer)
    if isinstance(found, Exception):
        raise found
    return found


def encode_all(
    rows: Sequence[TrlRow], settings: EffectiveConfig, tokenizer: ChatTokenizer
) -> list[EncodedRow | Exception]:
    """Return each of `rows` as the stage's trainer holds it, or the exception of `encode`; in one batch."""
    requests: list[_Request | Exception] = []
    for row in rows:
        try:
            requests.append(_request(row, settings, tokenizer))
        except FAULTS as error:
            requests.append(error)
    parts = [part for one in requests if isinstance(one, _Request) for part in one.parts]
    tokens = iter(tokenizer.tokenise(parts))
    return [
        one if isinstance(one, Exception) else _finished(one, [next(tokens) for _ in one.parts], settings)
        for one in requests
    ]


def encode_prompt(prompt: Any, row: TrlRow, tokenizer: ChatTokenizer) -> tuple[int, ...]:
    """Return the ids that a model continues; () without a prompt.

    The chat template with the start of the assistant's turn, or the string itself. `row` holds `tools` and
    `chat_template_kwargs`. Raises `CannotRender`.
    """
    if prompt is None or prompt == []:
        return ()
    return tuple(_tokens([_part(prompt, row, prompt=True)], tokenizer)[0].ids)


def encode_completions(
    prompt: Any, completions: Sequence[Any], row: TrlRow, tokenizer: ChatTokenizer
) -> Sequences:
    """Return each completion after the prompt, as SFT, KTO (one) and DPO (two) train on them, untruncated.

    The completion is learned; without a prompt everything is. Raises `CannotRender`.
    """
    if prompt is None or prompt == []:
        wholes = [_part(_ended(one, tokenizer), row) for one in completions]
        return tuple(_learned_from(0, found.ids) for found in _tokens(wholes, tokenizer))
    request = _answers(prompt, completions, row, tokenizer)
    return request.finish(_tokens(request.parts, tokenizer))


def _finished(
    request: _Request, tokens: Sequence[Tokens | CannotRender], settings: EffectiveConfig
) -> EncodedRow | Exception:
    found = [one for one in tokens if isinstance(one, Tokens)]
    if len(found) < len(tokens):
        return next(one for one in tokens if isinstance(one, CannotRender))
    try:
        whole = request.finish(found)
    except CannotRender as error:
        return error
    return EncodedRow(whole, *truncated(whole, settings))


def _tokens(parts: Sequence[Chat | Plain], tokenizer: ChatTokenizer) -> list[Tokens]:
    found = []
    for one in tokenizer.tokenise(parts):
        if isinstance(one, CannotRender):
            raise one
        found.append(one)
    return found


ENCODED_BY = ("assistant_only_loss", "completion_only_loss", "chat_template_kwargs")
"""The fields of a stage's config that decide its tokens before truncation."""


def _request(row: TrlRow, settings: EffectiveConfig, tokenizer: ChatTokenizer) -> _Request:
    method = settings.stage.method
    match method.tokens.encoding:
        case Encoding.COMPLETION:
            return _sft(row, settings, tokenizer)
        case Encoding.ANSWERS:
            is_pair = method.rows is Rows.PREFERENCE
            names = ("chosen", "rejected") if is_pair else ("completion",)
            return _answers(row["prompt"], [row[name] for name in names], row, tokenizer)
        case Encoding.SCORED:
            return _reward(row, tokenizer)
        case Encoding.TEXTS:
            return _texts(row, settings, tokenizer)
        case Encoding.PROMPT:
            return _prompt_only(row, settings)


def _sft(row: TrlRow, settings: EffectiveConfig, tokenizer: ChatTokenizer) -> _Request:
    masked = bool(settings.value("assistant_only_loss"))
    template = _masking_template(row, tokenizer) if masked else None
    if "prompt" not in row:
        text = row["messages"] if isinstance(row.get("messages"), list) else _ended(row["text"], tokenizer)
        return _Request((_part(text, row, masked=masked, template=template),), _whole_text)
    given = settings.value("completion_only_loss")
    prompt, completion = row["prompt"], _ended(row["completion"], tokenizer)
    parts = (
        _part(prompt, row, prompt=True, template=template),
        _part(prompt + completion, row, masked=masked, template=template),
    )
    return _Request(parts, partial(_completion, only=given is None or bool(given)))


def _masking_template(row: TrlRow, tokenizer: ChatTokenizer) -> str | None:
    """Return the template to use under `assistant_only_loss`; None for the tokenizer's own."""
    if not isinstance(row.get("messages", row.get("prompt")), list):
        raise TrainerRefuses('"assistant_only_loss" needs chats, and this row is plain text')
    own = tokenizer.template
    found = None if own is None else training_template(own)
    if found is None:
        raise TrainerRefuses('"assistant_only_loss" needs a chat template with {% generation %}')
    return None if found == own else found


def _whole_text(tokens: Sequence[Tokens]) -> Sequences:
    (found,) = tokens
    return (Encoded(tuple(found.ids), _with_assistant((True,) * len(found.ids), found), 0),)


def _completion(tokens: Sequence[Tokens], only: bool) -> Sequences:
    prompt, whole = tokens
    start = shared(prompt.ids, whole.ids)
    learned = (not only,) * start + (True,) * (len(whole.ids) - start)
    return (Encoded(tuple(whole.ids), _with_assistant(learned, whole), start),)


def _with_assistant(learned: tuple[bool, ...], tokens: Tokens) -> tuple[bool, ...]:
    """Return `learned` restricted to the assistant's tokens, if the trainer masks others."""
    if tokens.assistant is None:
        return learned
    if not any(tokens.assistant):
        raise TrainerRefuses('"assistant_only_loss" finds no token of the assistant in this row')
    return tuple(a and b for a, b in zip(learned, tokens.assistant, strict=True))


def _answers(prompt: Any, answers: Sequence[Any], row: TrlRow, tokenizer: ChatTokenizer) -> _Request:
    wholes = [_part(prompt + _ended(answer, tokenizer), row) for answer in answers]
    return _Request((_part(prompt, row, prompt=True), *wholes), _behind_prompt)


def _behind_prompt(tokens: Sequence[Tokens]) -> Sequences:
    """Return the answers' start: where the first of them differs from the prompt."""
    prompt, *wholes = tokens
    start = min(shared(prompt.ids, whole.ids) for whole in wholes)
    return tuple(_learned_from(start, whole.ids) for whole in wholes)


def _learned_from(start: int, ids: Sequence[int]) -> Encoded:
    return Encoded(tuple(ids), (False,) * start + (True,) * (len(ids) - start), start)


def _reward(row: TrlRow, tokenizer: ChatTokenizer) -> _Request:
    """Return chosen and rejected, scored as a whole: no token is learned."""
    prompt = row.get("prompt")
    answers = [_ended(row[name], tokenizer) for name in ("chosen", "rejected")]
    wholes = [answer if prompt is None else prompt + answer for answer in answers]
    return _Request(tuple(_part(whole, row) for whole in wholes), _unlearned)


def _unlearned(tokens: Sequence[Tokens]) -> Sequences:
    return tuple(Encoded(tuple(one.ids), (False,) * len(one.ids), 0) for one in tokens)


def _texts(row: TrlRow, settings: EffectiveConfig, tokenizer: ChatTokenizer) -> _Request:
    trainer = settings.stage.method.trainer.rpartition(":")[2]
    prompt, *answers = pair_texts(row, tokenizer, trainer)
    parts = [Plain(text, special=False) for text in (prompt, *(prompt + answer for answer in answers))]
    finish = partial(_joined, bos=tokenizer.bos_id, eos=tokenizer.eos_id, trainer=trainer)
    return _Request(tuple(parts), finish)


def _joined(tokens: Sequence[Tokens], bos: int | None, eos: int | None, trainer: str) -> Sequences:
    return pair_sequences([one.ids for one in tokens], bos, eos, trainer)


def _prompt_only(row: TrlRow, settings: EffectiveConfig) -> _Request:
    """Return the prompt of an online method.

    The row's template arguments take precedence over the stage's.
    """
    given = settings.value("chat_template_kwargs") or {}
    stage = json.loads(given) if isinstance(given, str) else given
    both = {**row, "chat_template_kwargs": {**stage, **_variables(row)}}
    return _Request((_part(row["prompt"], both, prompt=True),), _prompt_alone)


def _prompt_alone(tokens: Sequence[Tokens]) -> Sequences:
    (found,) = tokens
    return (Encoded(tuple(found.ids), (False,) * len(found.ids), len(found.ids)),)


def _part(text: Any, row: TrlRow, **how: Any) -> Chat | Plain:
    """Return `text` to tokenise: a chat with its template arguments, or a string."""
    if isinstance(text, str):
        return Plain(text)
    if not isinstance(text, list):
        raise TypeError(f"neither a string nor a list of messages: {text!r}")
    variables = _variables(row)
    tools = variables.pop("tools", row.get("tools"))
    template = variables.pop("chat_template", None)
    how = {**how, "template": template} if template is not None else how
    return Chat(
        text, tools=json.loads(tools) if isinstance(tools, str) else tools, variables=variables, **how
    )


def _variables(row: TrlRow) -> dict[str, Any]:
    return dict(row.get("chat_template_kwargs") or {})


def _ended(answer: Any, tokenizer: ChatTokenizer) -> Any:
    """Return a string followed by the end-of-sequence token; messages unchanged."""
    end = tokenizer.eos_token or ""
    return answer + end if isinstance(answer, str) and not answer.endswith(end) else answer


def shared(a: Sequence[int], b: Sequence[int]) -> int:
    """Return the number of leading tokens that both have."""
    if a == b[: len(a)]:
        return len(a)
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
