"""Render chat templates and tokenise from a tokenizer's files, without transformers.

The environment is that of transformers 5.23 (`utils/chat_template_utils.py`); contract tests compare the
results. jinja2 and tokenizers are imported on use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptspec.data.tokens.chat_tokenizer import CannotRender, Chat, Messages, NoTemplate, Plain, Tokens
from ptspec.data.tokens.training_template import marks_answers
from ptspec.diagnostics import first_line
from ptspec.recipe.json_object import read_object
from ptspec.recipe.plan import ModelSpec

if TYPE_CHECKING:
    from ptspec.data.tokens.jinja import Rendered

CONFIG = "tokenizer_config.json"
FAST = "tokenizer.json"
OTHERS = ("tokenizer.model", "spiece.model", "vocab.json", "vocab.txt", "merges.txt", "tekken.json")
"""Files that a tokenizer may have instead of tokenizer.json."""

_FOR_TOOLS = "tool_use"
_SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")

REASONING = ("reasoning_content", "thinking", "reasoning")
"""Names of a message's reasoning; transformers fills the first two from either."""
_OPEN_END = "CONTINUE_FINAL_MESSAGE_TAG "


@dataclass(frozen=True)
class TokenizerFiles:
    """The tokenizer in `folder`; `tool_template`: a separate template for chats with tools, or None."""

    folder: Path
    template: str | None
    special: Mapping[str, str]
    added: tuple[str, ...] = ()
    tool_template: str | None = None

    @cached_property
    def is_template(self) -> bool:
        """Whether there is a chat template that compiles."""
        try:
            self.check_template()
        except NoTemplate:
            return False
        return self.template is not None

    def check_template(self) -> None:
        """Raise `NoTemplate` if the template is invalid."""
        _compiled(self.template or "")

    @cached_property
    def can_count(self) -> bool:
        """Whether texts can be tokenised without transformers: there is a valid tokenizer.json."""
        return (self.folder / FAST).is_file() and self.damage is None

    @cached_property
    def damage(self) -> str | None:
        """The tokenizers library's error about tokenizer.json; None if it is valid or missing."""
        if not (self.folder / FAST).is_file():
            return None
        try:
            _ = self._tokenizer
        except Exception as error:  # the library raises no narrower class
            return first_line(error)
        return None

    @cached_property
    def tokens(self) -> frozenset[str]:
        """The added tokens, which texts are never split across: end of turn, roles, padding."""
        known = self._tokenizer.get_added_tokens_decoder().values()
        return frozenset((*(token.content for token in known), *self.special.values()))

    def token_id(self, token: str) -> int | None:
        """Return the id of `token`, or None if it is not a single token."""
        found: int | None = self._tokenizer.token_to_id(token)
        return found

    def token(self, token_id: int) -> str | None:
        """Return the token with this id, or None."""
        found: str | None = self._tokenizer.id_to_token(token_id)
        return found

    @property
    def highest_id(self) -> int:
        """Return the highest token id."""
        return max((self.size - 1, *map(int, self._tokenizer.get_added_tokens_decoder())))

    def ids(self, texts: Sequence[str], *, special: bool) -> list[list[int]]:
        """Return the token ids of each text; `special` adds the special tokens of plain text.

        Raises the tokenizers library's errors for a damaged file: check `can_count` first.
        """
        encoded = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=special)
        return [one.ids for one in encoded]

    @property
    def has_generation_markers(self) -> bool:
        """Whether the template marks the assistant's tokens ({% generation %})."""
        return self.template is not None and marks_answers(self.template)

    @property
    def eos_token(self) -> str | None:
        """The end-of-sequence token, if any."""
        return self.special.get("eos_token")

    @property
    def eos_id(self) -> int | None:
        """The id of the end-of-sequence token, if any."""
        return self._id_of("eos_token")

    @property
    def bos_id(self) -> int | None:
        """The id of the beginning-of-sequence token, if any."""
        return self._id_of("bos_token")

    @property
    def size(self) -> int:
        """The number of tokens, including added ones."""
        return int(self._tokenizer.get_vocab_size(with_added_tokens=True))

    @property
    def vocabulary(self) -> Mapping[str, int]:
        """Every token, including added ones, with its id."""
        return dict(self._tokenizer.get_vocab(with_added_tokens=True))

    def _id_of(self, name: str) -> int | None:
        token = self.special.get(name)
        return None if token is None else self.token_id(token)

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        made = Tokenizer.from_file(str(self.folder / FAST))
        made.no_truncation()
        made.no_padding()
        made.add_special_tokens([*self.special.values(), *self.added])
        return made

    def render(
        self,
        messages: Messages,
        *,
        prompt: bool = False,
        tools: Any = None,
        kwargs: Mapping[str, Any] | None = None,
    ) -> str:
        """Return the text of a chat. Raises `CannotRender`.

        `prompt` adds the start of the assistant's turn; `kwargs` are the row's template arguments
        (`chat_template_kwargs`).
        """
        return self.rendered(Chat(messages, prompt=prompt, tools=tools, variables=kwargs or {}))

    def rendered(self, chat: Chat) -> str:
        """Return the text of a chat. Raises `CannotRender`."""
        return self._rendered(chat).text

    def _rendered(self, chat: Chat) -> Rendered:
        from ptspec.data.tokens.jinja import render

        template = chat.template or (self.tool_template if chat.tools is not None else None) or self.template
        if template is None:
            raise CannotRender("the tokenizer has no chat template")
        if not chat.messages:
            raise CannotRender("the conversation has no message")
        try:
            messages = [_message(one) for one in chat.messages]
            variables = {
                "messages": _left_open(messages) if chat.continued else messages,
                "tools": chat.tools,
                "documents": None,
                "add_generation_prompt": chat.prompt,
                **self.special,
                **chat.variables,
            }
            found = render(_compiled(template), variables, masked=chat.masked)
        except CannotRender:
            raise
        except Exception as error:  # a template may raise any exception
            raise _cannot_render(error) from error
        return _cut_open(found, messages[-1]) if chat.continued else found

    def tokenise(self, parts: Sequence[Chat | Plain]) -> list[Tokens | CannotRender]:
        """Return the tokens of each part, or its error; all parts of a kind at once."""
        found: dict[int, Tokens | CannotRender] = {}
        texts: dict[bool, dict[int, str]] = {False: {}, True: {}}
        masked: dict[int, Rendered] = {}
        for place, part in enumerate(parts):
            if isinstance(part, Plain):
                texts[part.special][place] = part.text
                continue
            try:
                rendered = self._rendered(part)
            except CannotRender as error:
                found[place] = error
                continue
            if part.masked:
                masked[place] = rendered
            else:
                texts[False][place] = rendered.text
        for special, group in texts.items():
            encodings = self._tokenizer.encode_batch_fast(list(group.values()), add_special_tokens=special)
            found.update(zip(group, (Tokens(one.ids) for one in encodings), strict=True))
        encodings = self._tokenizer.encode_batch(
            [one.text for one in masked.values()], add_special_tokens=False
        )
        for (place, rendered), encoding in zip(masked.items(), encodings, strict=True):
            found[place] = Tokens(encoding.ids, _assistant(encoding, rendered))
        return [found[place] for place in range(len(parts))]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`, including special tokens."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))


def _compiled(template: str) -> Any:
    """Return the compiled template. Raises `NoTemplate`."""
    from ptspec.data.tokens.jinja import compiled

    try:
        return compiled(template)
    except Exception as error:  # jinja's parser raises various exceptions
        raise NoTemplate(str(error), getattr(error, "lineno", None)) from error


def _cannot_render(error: Exception) -> CannotRender:
    """Return the template's own message, or the line at which it failed."""
    if type(error).__name__ == "TemplateError":  # raise_exception
        return CannotRender(str(error), own=True)
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    where = f"line {line} of the template" if line else "the template"
    return CannotRender(f"{where} fails on a value that it is not made for")


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message as transformers passes it to a template: without nulls, reasoning under both names."""
    kept = {name: value for name, value in message.items() if value is not None}
    reasoning = next((kept[name] for name in REASONING if name in kept), None)
    return kept if reasoning is None else {"thinking": reasoning, **kept, "reasoning_content": reasoning}


def _left_open(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the messages with the end of the last one marked."""
    last = messages[-1]
    if not isinstance(last.get("content"), str):
        raise CannotRender("the last message of the prompt has no text to continue")
    return [*messages[:-1], {**last, "content": last["content"] + _OPEN_END}]


def _cut_open(found: Rendered, last: Mapping[str, Any]) -> Rendered:
    """Return the text up to the mark, as transformers' `continue_final_message` does."""
    from ptspec.data.tokens.jinja import Rendered

    text = found.text
    if last["content"].strip() not in text or _OPEN_END.strip() not in text:
        raise CannotRender("the chat template leaves out the end of the prompt's last message")
    end = text.rindex(_OPEN_END.strip())
    is_whole = text[end : end + len(_OPEN_END)] == _OPEN_END
    return Rendered(text[:end] if is_whole else text[:end].rstrip(), found.spans)


def _assistant(encoding: Any, rendered: Rendered) -> list[bool]:
    """Return the tokens in {% generation %} blocks, found as in `apply_chat_template`."""
    mask = [False] * len(encoding.ids)
    for begin, end in rendered.spans:
        first, last = encoding.char_to_token(begin), encoding.char_to_token(end - 1)
        if first is None:
            break
        stop = last + 1 if last else len(mask)
        mask[first:stop] = [True] * (stop - first)
    return mask


def read_tokenizer(
    folder: Path,
    template: str | None = None,
    added: tuple[str, ...] = (),
    special: Mapping[str, str] | None = None,
) -> TokenizerFiles | None:
    """Return the tokenizer files in `folder`; None if there are none. Arguments replace its own values."""
    if not any((folder / name).is_file() for name in (FAST, *OTHERS)):
        return None
    config = read_object(folder / CONFIG)
    own, for_tools = _own_templates(folder, config) if template is None else (template, None)
    names = {**_special_tokens(folder, config), **(special or {})}
    return TokenizerFiles(folder, own, names, added, for_tools)


def tokenizer_files(spec: ModelSpec) -> TokenizerFiles | None:
    """Return the tokenizer files of the recipe's model; None if there are none, or they were not read."""
    if spec.folder is None:
        return None
    own = {"eos_token": spec.eos_token, "pad_token": spec.pad_token}
    special = {name: token for name, token in own.items() if token is not None}
    return read_tokenizer(spec.folder, spec.chat_template, spec.additional_special_tokens, special)


def _own_templates(folder: Path, config: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Return the tokenizer's default chat template and the one for tools; files take precedence."""
    files = {"default": folder / "chat_template.jinja"}
    files[_FOR_TOOLS] = folder / "additional_chat_templates" / f"{_FOR_TOOLS}.jinja"
    named = {name: _text(file) for name, file in files.items() if file.is_file()}
    if not named:
        found = config.get("chat_template")
        if isinstance(found, list):
            named = {str(one.get("name")): one.get("template") for one in found if isinstance(one, dict)}
        else:
            named = {"default": found}
    default, for_tools = (named.get(name) for name in ("default", _FOR_TOOLS))
    return (
        default if isinstance(default, str) else None,
        for_tools if isinstance(for_tools, str) else None,
    )


def _text(file: Path) -> str | None:
    try:
        return file.read_text("utf-8")
    except (OSError, ValueError):
        return None


def _special_tokens(folder: Path, config: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the special tokens by name; older repositories have a separate file, which takes precedence."""
    if "added_tokens_decoder" not in config:
        config = {**config, **read_object(folder / "special_tokens_map.json")}
    found = {}
    for name in _SPECIAL:
        value = config.get(name)
        text = value.get("content") if isinstance(value, dict) else value
        if isinstance(text, str):
            found[name] = text
    return found
