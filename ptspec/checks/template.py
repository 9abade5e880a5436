"""Check the chat template and the special tokens of the base model, before the run starts."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from ptspec.checks.stage_rows import first_rows, local_sources
from ptspec.data.checks.source_pass import Seen
from ptspec.data.readers.placed import first_row, shown
from ptspec.data.tokens.chat_tokenizer import NoTemplate
from ptspec.data.tokens.look import marks_in
from ptspec.data.tokens.template import TokenizerFiles, read_tokenizer
from ptspec.data.tokens.training_template import training_template
from ptspec.diagnostics import Diagnostic, Location, Severity
from ptspec.model.special_tokens import unknown_token
from ptspec.model.stop_tokens import GENERATION_CONFIG, AnswerEnd, answer_end
from ptspec.recipe.json_object import read_object
from ptspec.recipe.json_pointer import at, join
from ptspec.recipe.plan import Plan, Stage

TEMPLATE = "/model/chat_template"
GIVE_TEMPLATE = '"model": {"chat_template": FILE}'
_CHAT_COLUMNS = ("messages", "conversations", "prompt", "chosen", "completion")


def at_model(plan: Plan) -> str:
    """The pointer of the model's path."""
    return "/model" if isinstance(plan.document.get("model"), str) else "/model/path"


def check_special_tokens(plan: Plan) -> Iterator[Diagnostic]:
    """Yield `eos_token` and `pad_token` values that the local tokenizer does not have."""
    spec = plan.model
    given = {"eos_token": spec.eos_token, "pad_token": spec.pad_token}
    if spec.folder is None or not any(given.values()):
        return
    tokenizer = read_tokenizer(spec.folder, added=spec.additional_special_tokens)
    if tokenizer is None or not tokenizer.can_count:
        return
    for key, token in given.items():
        if token is not None and tokenizer.token_id(token) is None:
            yield unknown_token("/model", key, token, tokenizer.tokens)


def check_given_template(plan: Plan) -> Iterator[Diagnostic]:
    """Yield an error if the recipe's chat template does not compile."""
    text, file = plan.model.chat_template, plan.model.template_file
    if text is None:
        return
    try:
        TokenizerFiles(Path(plan.model.path), text, {}).check_template()
    except NoTemplate as error:
        message = f"this is not a chat template: {error}"
        if file is None and error.line:
            message += f" (line {error.line})"
        where = Location(shown(file), error.line) if file is not None else None
        yield Diagnostic("bad-template", message, where, TEMPLATE, "a chat template is a text in Jinja")


def stops(tokenizer: TokenizerFiles) -> frozenset[str]:
    """Return the tokens that end generation: those of the tokenizer and of the model's files."""
    folder = tokenizer.folder
    config = read_object(folder / GENERATION_CONFIG) or read_object(folder / "config.json")
    given = config.get("eos_token_id")
    ids = given if isinstance(given, list) else [given]
    tokens = [tokenizer.token(one) for one in ids if isinstance(one, int)] if tokenizer.can_count else []
    return frozenset(token for token in (*tokens, tokenizer.special.get("eos_token")) if token)


def end_of_answer(tokenizer: TokenizerFiles, known: Collection[str]) -> AnswerEnd | None:
    """Return what the template ends an answer with; `known` are the tokens that end generation."""
    special = tokenizer.tokens if tokenizer.can_count else frozenset(tokenizer.special.values())
    return answer_end(tokenizer.render, special, known)


def check_answer_end(plan: Plan, tokenizer: TokenizerFiles, end: AnswerEnd | None) -> Iterator[Diagnostic]:
    """Yield a warning if the template ends answers with another token than generation, or with none."""
    if end is None or end.stops:
        return
    where = TEMPLATE if plan.model.chat_template is not None else at_model(plan)
    yield _other_stop(end.token, tokenizer, where) if end.token is not None else _no_stop(end.text, where)


def _other_stop(token: str, tokenizer: TokenizerFiles, where: str) -> Diagnostic:
    eos = tokenizer.special.get("eos_token")
    own = f"the tokenizer's eos_token is {eos}" if eos else "the tokenizer has no eos_token"
    also = "generation stops at both" if eos else "generation stops there"
    message = f"the chat template ends answers with {token}, {own}: {also}"
    hint = f'"eos_token": "{token}" in /model makes it the tokenizer\'s own'
    return Diagnostic("other-stop-token", message, None, where, hint, severity=Severity.WARNING)


def _no_stop(after: str, where: str) -> Diagnostic:
    found = f"{after!r} after an answer, and" if after.strip() else "nothing after an answer, and"
    message = f"the chat template puts {found} generation does not stop there: answers never end"
    hint = f"a copy of the template with {{{{ eos_token }}}} after the answer: {GIVE_TEMPLATE}"
    if marks := marks_in(after):
        tokens = json.dumps(marks, ensure_ascii=False)
        hint = f'"additional_special_tokens": {tokens} in /model makes it a token, and generation stops there'
    return Diagnostic("no-stop-token", message, None, where, hint, severity=Severity.WARNING)


def check_stage_template(
    plan: Plan, stage: Stage, tokenizer: TokenizerFiles, seen: Mapping[str, Seen]
) -> Iterator[Diagnostic]:
    """Yield errors for chats without a template, and warnings about what the loss covers."""
    where = join(stage.at, "config", "assistant_only_loss")
    if tokenizer.template is None and (name := chat_source(plan, stage, seen)):
        message = (
            f'stage "{stage.name}": the rows of "{name}" are chats, and the tokenizer has no chat template'
        )
        hint = '"model": {"chat_template": FILE}, or the name of one: "chatml", "qwen3", "llama3", …'
        yield Diagnostic("no-chat-template", message, None, at_model(plan), hint)
    elif stage.config.get("assistant_only_loss") and not can_mark(tokenizer):
        message = (
            '"assistant_only_loss" needs a chat template with {% generation %}, and the tokenizer\'s has none'
        )
        hint = f"leave it out, or give a template that has it: {GIVE_TEMPLATE}"
        yield Diagnostic("no-generation-marks", message, None, where, hint)


def can_mark(tokenizer: TokenizerFiles) -> bool:
    """Return whether answers can be masked (`assistant_only_loss`).

    The template has the marks, or TRL has a version of it that does.
    """
    return tokenizer.template is not None and training_template(tokenizer.template) is not None


def chat_source(plan: Plan, stage: Stage, seen: Mapping[str, Seen]) -> str | None:
    """Return the pointer of the stage's first source with chats, or with texts to be turned into chats."""
    for source in local_sources(plan, stage):
        given = at(plan.document, source.at)
        if isinstance(given, dict) and given.get("chat"):
            return source.name
        first = first_row(first_rows(seen, source))
        if first is not None and is_chat(first.values):
            return source.name
    return None


def is_chat(values: Mapping[str, Any]) -> bool:
    """Return whether a row in TRL's columns is a chat: a message list in a text column."""
    return any(isinstance(values.get(name), list) for name in _CHAT_COLUMNS)
