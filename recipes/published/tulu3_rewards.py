"""Tulu 3's verifier of instructions: whether an answer keeps the one constraint that its row names.

The column `ground_truth` holds it as JSON: `func_name`, one of open-instruct's 25, and that function's
arguments. The constraint on the language needs langdetect; without it such rows have no say.
"""

import json
import re
from importlib.util import find_spec


def follows(completions, ground_truth, **columns):
    """1 where the constraint is kept, 0 where it is not; None where it cannot be told."""
    return [
        _kept(_text(text), json.loads(wanted)) for text, wanted in zip(completions, ground_truth, strict=True)
    ]


def _text(completion):
    return completion if isinstance(completion, str) else completion[0]["content"]


def _kept(text, wanted):
    check = CHECKS.get(wanted.pop("func_name", None))
    if check is None:
        return None
    kept = check(text, **{name: value for name, value in wanted.items() if value is not None})
    return None if kept is None else float(kept)


def _compared(found, number, quantifier, slack):
    """`found` against `number`: "at least", "at most", or "around", within `slack`."""
    if quantifier == "around":
        return abs(found - number) <= slack
    return {"at least": found >= number, "at most": found <= number}.get(quantifier, False)


def _tenth(number):
    return max(round(number / 10), 1)


def _language(text, language):
    if find_spec("langdetect") is None:
        return None
    from langdetect import LangDetectException, detect

    try:
        return detect(text) == language
    except LangDetectException:  # no letters
        return False


def _divided(text, N):
    """N paragraphs, none empty, between dividers * * *."""
    lines = "\n".join(line.strip() for line in text.splitlines())
    parts = [part.strip() for part in lines.split("* * *")]
    return len(parts) == N and all(parts)


def _sentences(text):
    return re.split(r"(?<!\w\.\w.)(?<![A-Z][a-z]\.)(?<=[.?!])\s", text)


def _begins(text, N, first_word, i):
    """N paragraphs between empty lines, the i-th of which begins with a word."""
    parts = text.split("\n\n")
    return len(parts) == N and parts[i - 1].strip().startswith(first_word)


def _postscript(text, postscript_marker):
    _, marker, after = text.partition(postscript_marker)
    return bool(marker and after.strip())


def _bullets(text):
    return sum(line.strip().startswith(("*", "-")) for line in text.split("\n"))


def _sections(text, N, section_splitter):
    parts = text.split(section_splitter)
    return len(parts[1:] if parts[0] == "" else parts) == N


def _is_json(text):
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _two_answers(text):
    first, *others = (part.strip() for part in text.split("******"))
    return len(others) == 1 and first != others[0]


CHECKS = {
    "verify_keywords": lambda text, keyword_list: all(word.lower() in text.lower() for word in keyword_list),
    "verify_keyword_frequency": lambda text, word, N: (
        re.findall(r"\b\w+\b", text.lower()).count(word.lower()) == N
    ),
    "validate_forbidden_words": lambda text, forbidden_words: all(
        word.lower() not in text.lower() for word in forbidden_words
    ),
    "verify_letter_frequency": lambda text, letter, N: text.count(letter) == N,
    "validate_response_language": _language,
    "verify_paragraph_count": _divided,
    "validate_word_constraint": lambda text, N, quantifier: _compared(
        len(text.split()), N, quantifier, _tenth(N)
    ),
    "verify_sentence_constraint": lambda text, N, quantifier: _compared(
        len(_sentences(text)), N, quantifier, 1
    ),
    "validate_paragraphs": _begins,
    "verify_postscript": _postscript,
    "validate_placeholders": lambda text, N: len(re.findall(r"\[.*?\]", text)) >= N,
    "verify_bullet_points": lambda text, N: _bullets(text) == N,
    "validate_title": lambda text: re.search(r"<<.*?>>", text) is not None,
    "validate_choice": lambda text, options: any(option in text for option in options),
    "validate_highlighted_sections": lambda text, N: len(re.findall(r"\*.*?\*", text)) >= N,
    "validate_sections": _sections,
    "validate_json_format": _is_json,
    "validate_repeat_prompt": lambda text, original_prompt: text.startswith(original_prompt),
    "validate_two_responses": _two_answers,
    "validate_uppercase": lambda text: text == text.upper(),
    "validate_lowercase": lambda text: text == text.lower(),
    "validate_frequency_capital_words": lambda text, N, quantifier: _compared(
        len(re.findall(r"\b[A-Z]+\b", text)), N, quantifier, _tenth(N)
    ),
    "validate_end": lambda text, end_phrase: text.endswith(end_phrase),
    "validate_quotation": lambda text: text.startswith('"') and text.endswith('"'),
    "validate_no_commas": lambda text: "," not in text,
}
