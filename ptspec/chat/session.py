"""A conversation with one or several models. Each model sees only its own answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ptspec.chat.generate import (
    NO_LIMIT,
    Answer,
    AnyChatModel,
    Message,
    Settings,
    encode,
    generate_answer,
    room,
)
from ptspec.chat.served import ServedChatModel
from ptspec.diagnostics import Diagnostic, InputError, Location, PtError

TellPiece = Callable[[int, str], None]
AGAIN_TEMPERATURE = 1.0
"""Temperature of /again under greedy settings, which would repeat the answer."""


@dataclass(frozen=True)
class Turn:
    """A prompt and the answer of each model."""

    prompt: str
    answers: tuple[Answer, ...]
    forgotten: int = 0


@dataclass
class Session:
    """The `turns` of a conversation, under the `system` message if there is one."""

    models: Sequence[AnyChatModel]
    settings: Settings
    system: str | None = None
    turns: list[Turn] = field(default_factory=list)
    _drawn: int = 0

    @property
    def has_template(self) -> bool:
        """Whether every model has a chat template."""
        return all(chat_model.has_template for chat_model in self.models)

    @property
    def served_by(self) -> str | None:
        """The server that generates the answers, in words; None if the models run here."""
        return next(
            (
                chat_model.served.words
                for chat_model in self.models
                if isinstance(chat_model, ServedChatModel)
            ),
            None,
        )

    def ask(self, prompt: str, tell: TellPiece = lambda chat_model, piece: None) -> Turn:
        """Return every model's answer to `prompt`; `tell` receives a model's index and a piece of its text.

        The oldest turns that exceed a model's context are left out of its prompt; the turn holds their
        number. Raises `InputError` if a model cannot take the prompt, `ServerError` if its server fails; the
        turn is not kept then.
        """
        turn = self._answered(prompt, self.settings, tell)
        self.turns.append(turn)
        return turn

    def regenerate(self, tell: TellPiece = lambda chat_model, piece: None) -> Turn:
        """Replace the last answers with ones sampled at the next seed.

        Raises `InputError` if there is no turn yet, and what `ask` raises; the old answers are kept then.
        """
        if not self.turns:
            raise InputError(Diagnostic("wrong-usage", "there is no answer yet to draw again"))
        last = self.turns.pop()
        self._drawn += 1
        warm = self.settings.temperature or AGAIN_TEMPERATURE
        try:
            turn = self._answered(last.prompt, replace(self.settings, temperature=warm), tell)
        except PtError:
            self.turns.append(last)
            raise
        self.turns.append(turn)
        return turn

    def instruct(self, system: str | None) -> None:
        """Set the system message (None: none) and start a new conversation.

        Raises `InputError` if a model has no chat template.
        """
        if system is not None and not self.has_template:
            message = "there is no system message without a chat template"
            raise InputError(Diagnostic("wrong-usage", message))
        self.system = system
        self.reset()

    def reset(self) -> None:
        """Forget the turns; keep the system message."""
        self.turns.clear()
        self._drawn = 0

    def save(self, path: Path) -> int:
        """Write the conversation as JSONL, one line per model; return the number of turns.

        `{"messages": [...], "model": name}` is chat data that `pt run` reads. Raises `InputError` if there is
        nothing to save, the file exists, or it cannot be written.
        """
        if not self.turns:
            raise InputError(Diagnostic("wrong-usage", "nothing was said yet, so there is nothing to save"))
        lines = [
            json.dumps(
                {"messages": self._messages(index, self.turns), "model": chat_model.name}, ensure_ascii=False
            )
            for index, chat_model in enumerate(self.models)
        ]
        try:
            with path.open("x", encoding="utf-8", errors="backslashreplace") as file:
                file.write("\n".join(lines) + "\n")
        except FileExistsError:
            message = f"{path} exists already; nothing was written"
            raise InputError(Diagnostic("file-exists", message, Location(str(path)))) from None
        except (OSError, ValueError) as error:
            message = f"{path} cannot be written: {getattr(error, 'strerror', None) or error}"
            raise InputError(Diagnostic("cannot-write", message, Location(str(path)))) from error
        return len(self.turns)

    def _answered(self, prompt: str, settings: Settings, tell: TellPiece) -> Turn:
        seed = settings.seed + len(self.turns) + 1000 * self._drawn
        answers: list[Answer] = []
        forgotten = 0
        for index in range(len(self.models)):
            if answers and answers[-1].stopped:
                answers.append(Answer("", 0, finished=False, stopped=True))
                continue
            answer, left_out = self._model_answers(index, prompt, settings, seed, tell)
            answers.append(answer)
            forgotten = max(forgotten, left_out)
        return Turn(prompt, tuple(answers), forgotten)

    def _model_answers(
        self, index: int, prompt: str, settings: Settings, seed: int, tell: TellPiece
    ) -> tuple[Answer, int]:
        """Return a model's answer and how many of the oldest turns did not fit its context."""
        chat_model = self.models[index]

        def told(piece: str) -> None:
            tell(index, piece)

        ids, left_out = self._seen(index, prompt, settings.max_new_tokens)
        return generate_answer(chat_model, ids, settings, seed, told), left_out

    def _seen(self, index: int, prompt: str, max_new_tokens: int) -> tuple[list[int], int]:
        """Return a model's prompt ids and how many of the oldest turns they leave out."""
        chat_model = self.models[index]
        past = self.turns if chat_model.has_template else []
        wanted = min(max_new_tokens, (chat_model.context or NO_LIMIT) // 4)
        for left_out in range(len(past)):
            ids = encode(chat_model, self._messages(index, past[left_out:], prompt))
            if room(chat_model, ids) >= wanted:
                return ids, left_out
        return encode(chat_model, self._messages(index, (), prompt)), len(past)

    def _messages(self, index: int, turns: Sequence[Turn], prompt: str | None = None) -> list[Message]:
        messages: list[Message] = [{"role": "system", "content": self.system}] if self.system else []
        for turn in turns:
            messages.append({"role": "user", "content": turn.prompt})
            messages.append({"role": "assistant", "content": turn.answers[index].text})
        return messages if prompt is None else [*messages, {"role": "user", "content": prompt}]
