"""Keep keys and passwords out of files and messages: from the environment, in addresses, by their form.

A recipe that contains a secret is refused; everywhere else secrets are redacted.
"""

from __future__ import annotations

import os
import re

BLOT = "*"
SHORTEST = 8
"""Characters; a shorter environment value may be an ordinary word."""

# One run of characters including the colon: two runs would match in quadratic time.
_IN_ADDRESS = re.compile(r"(?<=://)(?!git@)[^/\s\"'@?#]+(?=@)")
_BY_FORM = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{30,}|sk-[A-Za-z0-9_-]{20,}|gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{22,}"
    r"|xox[abprs]-[A-Za-z0-9-]{10,}|AKIA[0-9A-Z]{16}|AIza[\w-]{35})"
)
_VARIABLE = re.compile(r"(?i)(^|_)(token|key|secret|password|passwd|credentials?|auth)s?$")
_NAME = (
    r"(?:[\w-]*(?:api_?key|(?:hub|hf|access|auth|api|bearer)_?token|secret|passw(?:or)?d|authorization)"
    r"|api_key_env|token|(?<=[?&])key)"
)
_PAIR = re.compile(rf'(?i)((?<![\w-])"?{_NAME}"?\s*[:=]\s*)("(?:[^"\\]|\\.)*"?|[^\s,"{{}}\[\]]+)')


def redacted(text: str) -> str:
    """Return `text` with every secret replaced by as many asterisks, so that columns stay aligned."""
    for value in _of_environment():
        text = text.replace(value, BLOT * len(value))
    text = _IN_ADDRESS.sub(_as_long, text)
    return _BY_FORM.sub(_as_long, text)


def redacted_source(text: str) -> str:
    """Like `redacted`, for a line of a recipe or command: also values of keys named like secrets."""
    return _PAIR.sub(_value_redacted, redacted(text))


def secret_in(text: str) -> str | None:
    """Return the kind of secret in `text`, in words that do not repeat it; None without one."""
    if _IN_ADDRESS.search(text):
        return "an address with a user or a password"
    return "what reads as an access key" if _BY_FORM.search(text) else None


def _of_environment() -> list[str]:
    """Values of variables that are called like secrets, the longest first."""
    found = {value.strip() for name, value in os.environ.items() if _VARIABLE.search(name)}
    return sorted((value for value in found if len(value) >= SHORTEST), key=len, reverse=True)


def _as_long(match: re.Match[str]) -> str:
    return BLOT * len(match[0])


def _value_redacted(match: re.Match[str]) -> str:
    """Return a match with its value redacted; the name of an environment variable is not a secret."""
    before, value = match[1], match[2]
    inside = value.strip('"')
    if "api_key_env" in before.lower() and re.fullmatch(r"[A-Z_][A-Z0-9_]*", inside):
        return match[0]
    return before + value.replace(inside, BLOT * len(inside)) if inside else match[0]
