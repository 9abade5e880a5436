"""Which letter, or which of a few words, an answer chooses."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

ANSWER_WORDS = (
    *("answer", "choice", "option", "solution", "antwort", "lösung", "réponse", "respuesta", "risposta"),
    *(
        "resposta",
        "opción",
        "opção",
        "odpowiedź",
        "ответ",
        "antwoord",
        "svar",
        "cevap",
        "答案",
        "答え",
        "정답",
    ),
)
"""Words that announce an answer, in lower case."""

IS = (
    "is",
    "would be",
    "must be",
    "should be",
    "was",
    "to",
    "ist",
    "lautet",
    "est",
    "es",
    "è",
    "é",
    "jest",
    "är",
    "er",
)
_IS_DENSE = "是|为|は|은|는"
_ANNOUNCED = (
    rf"(?:{'|'.join(map(re.escape, ANSWER_WORDS))})(?:\s+(?!not\b)\w+){{0,3}}?\s*"
    rf"(?:[:：=—–-]|(?:{_IS_DENSE})|(?<!\w)(?:{'|'.join(IS)})(?!\w)\s*:?|(?<=[案え답]))\s*"
    r"(?:(?:the\s+)?(?:option|choice|letter|choix|opción|buchstabe)\s+)?"
)
_NOT = (
    r"(?:\b(?:not|isn't|isn’t|nor|than|instead of|nicht|kein|pas|non|não|no es|не)|不是)"
    r"\s+(?:option\s+|the\s+)*"
)
_BOXED = re.compile(r"\\boxed\s*\{\s*(?:\\(?:text|textbf|mathrm|mathbf)\s*\{)?\s*\(?([^{}()]*)\)?\s*\}?\s*\}")
_MARKS = re.compile(r"(?<![A-Za-z0-9])[*_`~\"“”„«»'‘’]|[*_`~\"“”„«»'‘’](?![A-Za-z0-9])")
_LOWER_WORD = re.compile(r"\s+[a-zà-ÿ]")
_NEAR = 80
"""Number of characters before a word that may announce or negate it."""


def plain_text(text: str) -> str:
    """Return `text` in NFKC without Markdown marks and quotes."""
    return _MARKS.sub("", unicodedata.normalize("NFKC", text)).strip()


def boxed(text: str) -> str | None:
    r"""Return the content of the last `\boxed{…}` of `text`, if it is one short piece; else None."""
    found = _BOXED.findall(text)
    return found[-1].strip() if found else None


def letter_of_gold(gold: str) -> str | None:
    """Return the letter of a right answer: "A", "(a)", "A.", "A) Paris"; None if it names none."""
    match = re.fullmatch(r"\(?\[?([A-Za-z])(?:[)\].:]*|[)\].:]+\s.*)", plain_text(gold), re.DOTALL)
    return match[1].upper() if match else None


def chosen_letter(text: str, letters: str = LETTERS) -> str | None:
    r"""Return the letter of `letters` that `text` chooses; None if it chooses none, or several at once.

    In this order: the last `\boxed{…}`; the whole text ("b", "(C)", "**D**"); the last announced letter ("The
    answer is D"); the letter at the beginning ("B. Because A is…"), unless several lines begin with one; the
    last single letter that is neither negated ("not A") nor a word ("A dog").
    """
    one = f"[{letters}]"
    if (inside := boxed(text)) is not None:
        match = re.match(rf"({one})(?!\w)", inside.upper())
        return match[1] if match else None
    said = plain_text(text)
    if match := re.fullmatch(rf"[(\[]?([{letters}{letters.lower()}])[)\].:,!]*", said):
        return match[1].upper()
    found = _last(rf"(?i:{_ANNOUNCED})[(\[]?({one})(?![A-Za-z0-9'’])", said)
    if found is None and len(set(re.findall(rf"(?m)^[^\w\n]{{0,8}}({one})[)\].:]", said))) <= 1:
        found = _at_the_beginning(said, one)
    if found is None:
        found = _last_alone(said, one)
    return None if found is None or _with_another(said, found, one) else found[1]


def _last(pattern: str, text: str) -> re.Match[str] | None:
    """Return the last match whose letter is neither an article nor the pronoun "I"."""
    return next((match for match in reversed(list(re.finditer(pattern, text))) if not _is_word(match)), None)


def _is_word(match: re.Match[str]) -> bool:
    """Return whether the letter is a word of a sentence: "A dog", "I think"."""
    return match[1] in "AIEO" and _LOWER_WORD.match(match.string, match.end(1)) is not None


def _at_the_beginning(said: str, one: str) -> re.Match[str] | None:
    right = r"(?:correct|right|best|richtig|correcte?|juste)"
    verb = rf"\s+(?:because|as|since|weil|car|porque|(?:is|ist|est|es)\s+(?:the\s+)?{right})\b"
    delimited = rf"\W*({one})(?=[)\].:,;]|\s*[-–—=]|\s*\n|{verb})(?![.,:]\w)"
    return re.match(delimited, said) or _first_word(said, one)


def _first_word(said: str, one: str) -> re.Match[str] | None:
    match = re.match(rf"\W*({one})(?=\s)", said)
    return None if match is None or _is_word(match) else match


def _last_alone(said: str, one: str) -> re.Match[str] | None:
    alone = list(re.finditer(rf"(?<![\w'’-])({one})(?![\w'’+#]|[.&]\w|-\w)", said))
    denied = {match.end() for match in re.finditer(_NOT, said, re.IGNORECASE)}
    left = [m for m in alone if not _is_word(m) and not {m.start(1), m.start(1) - 1} & denied]
    return left[-1] if left else None


def _with_another(said: str, found: re.Match[str], one: str) -> bool:
    """Return whether another letter is chosen along with it: "A or B", "A/B", "A and C"."""
    joint = r"\s*[)\]]?\s*(?:,|/|&|\b(?:or|and|oder|und|ou|et|o|y|или|и)\b)\s*[(\[]?"
    after = re.match(rf"{joint}({one})(?![\w'’])(?!\s+[a-zà-ÿ])", said[found.end(1) : found.end(1) + _NEAR])
    before = re.search(rf"(?<![\w'’])({one}){joint}$", said[max(0, found.start(1) - _NEAR) : found.start(1)])
    return any(other is not None and other[1] != found[1] for other in (after, before))


WORDS: tuple[tuple[str, ...], ...] = (
    ("yes", "no"),
    ("true", "false"),
    ("ja", "nein"),
    ("ja", "nee"),
    ("ja", "nej"),
    ("oui", "non"),
    ("vrai", "faux"),
    ("sí", "no"),
    ("si", "no"),
    ("sì", "no"),
    ("sim", "não"),
    ("verdadero", "falso"),
    ("verdadeiro", "falso"),
    ("wahr", "falsch"),
    ("да", "нет"),
    ("tak", "nie"),
    ("はい", "いいえ"),
)
"""Pairs of words that answer yes-no questions, to recognise right answers by."""

_FILLERS = re.compile(
    r"\b(?:no|without) (?:doubt|problem|question|wonder|idea|one|longer|matter|more|less|other|need|way)\b"
    r"|\byes or no\b|\btrue or false\b|\bno or yes\b",
)


def chosen_word(text: str, words: Sequence[str]) -> str | None:
    r"""Return the one of `words` (in lower case) that `text` chooses; None if it chooses none.

    In this order: `\boxed{…}`; the first word of the text ("No, because…"); the last announced one ("the
    answer is yes"); the last one anywhere. A negated one ("not true") is the other one of two.
    """
    inside = boxed(text)
    said = _FILLERS.sub(" ", plain_text(text if inside is None else inside).casefold())
    found = list(_words_in(said, words))
    if not found:
        return None
    first = re.match(r"\W*", said)
    if first is not None and found[0].start() == first.end():
        return found[0][1]
    announced = rf"(?i:{_ANNOUNCED})\W*$"
    last = next((m for m in reversed(found) if re.search(announced, _before(m))), found[-1])
    if re.search(rf"{_NOT}$", _before(last)) is None:
        return last[1]
    others = [word for word in words if word != last[1]]
    return others[0] if len(others) == 1 else None


def _before(match: re.Match[str]) -> str:
    return match.string[max(0, match.start() - _NEAR) : match.start()]


def _words_in(said: str, words: Sequence[str]) -> Iterator[re.Match[str]]:
    """Return whole words; substrings in scripts without spaces."""
    longest_first = sorted(words, key=len, reverse=True)
    parts = [rf"(?<!\w){re.escape(w)}(?!\w)" if _is_spaced(w) else re.escape(w) for w in longest_first]
    return re.finditer(f"({'|'.join(parts)})", said)


def _is_spaced(word: str) -> bool:
    return not any(unicodedata.name(sign, "").startswith(("HIRAGANA", "KATAKANA", "CJK")) for sign in word)
