"""Numbers in a model's output, and which right answers are numbers."""

from __future__ import annotations

import re
from decimal import Decimal

from ptspec.rewards.letters import boxed

_DIGITS = (
    r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d{1,3}(?:\.\d{3})+,\d+|\d{1,3}(?:[\u00a0\u202f']\d{3})+(?!\d)|\d+,\d+|\d+)"
)
NUMBER = re.compile(rf"(?<![\w.,])[-+−]?(?:{_DIGITS})?(?:\.\d+)?(?:[eE][-+]?\d+)?(?:/\d+)?(?:\s?\\?%)?")

_CURRENCY = r"(?:[$€£¥₹]|\\\$|USD|EUR)"
_UNIT = r"(?:%|\\%|°|[A-Za-zÀ-ÿ°²³/]{1,12}\.?)"
_ALONE = re.compile(rf"\s*{_CURRENCY}?\s?{NUMBER.pattern}\s?(?:{_UNIT}|{_CURRENCY})?\s*")

_EXPRESSION = re.compile(
    r"[\\^√π{}]|\$|\bsqrt\b|\bpi\b|[\[(]\s*-?\d+(?:\.\d+)?\s*,"
    r"|(?<![A-Za-z])[A-Za-z]\s*[+*/^=]|[+*/^=]\s*[A-Za-z](?![A-Za-z])|\d[xyz](?![A-Za-z])"
)
_PRICE = re.compile(r"\\?\$(?=\s?[-−]?\d)|\\(?=%)")
"""A dollar sign before a number, which is not a formula, and the backslash before a percent sign."""


def last_number(text: str) -> Decimal | None:
    r"""Return the number in the last `\boxed{…}` of `text`, else its last number, or None.

    "1,200", "1.200,5", "3,5" (a decimal comma), "-3.5", "2e3", "3/4", "50%" (50).
    """
    found = _last(text)
    return None if found is None else _value(found)


def same_number(text: str, gold: str, tolerance: Decimal) -> bool | None:
    """Return whether the last numbers differ by at most `tolerance`; None if `gold` has none.

    With a percent sign on one side only, "50%" is 50 and 0.5.
    """
    said, wanted = _last(text), _last(gold)
    right = None if wanted is None else _value(wanted)
    if wanted is None or right is None:
        return None
    value = None if said is None else _value(said)
    if said is None or value is None:
        return False
    if _is_percent(said) == _is_percent(wanted):
        return within(value, right, tolerance)
    other = (value / 100, right) if _is_percent(said) else (value, right / 100)
    return within(value, right, tolerance) or within(*other, tolerance)


def is_number(gold: str) -> bool:
    """Return whether `gold` is one number, with a currency or unit, or ends in "#### number"."""
    last = gold.rpartition("####")[2] if "####" in gold else gold
    if is_expression(last) or not any(sign.isdigit() for sign in last):
        return False
    return _ALONE.fullmatch(last.strip().rstrip(".")) is not None


def is_expression(gold: str) -> bool:
    """Return whether `gold` is an expression (LaTeX, formula, interval), not given by its last number."""
    last = gold.rpartition("####")[2]
    return _EXPRESSION.search(last if last.count("$") > 1 else _PRICE.sub("", last)) is not None


def within(said: Decimal, wanted: Decimal, tolerance: Decimal) -> bool:
    """Return whether two numbers differ by at most `tolerance`; False if the difference overflows."""
    try:
        return said == wanted or abs(said - wanted) <= tolerance
    except ArithmeticError:
        return False


def _last(text: str) -> str | None:
    """Return the last number of `text` as written."""
    inside = boxed(text)
    for part in (inside, text) if inside else (text,):
        found = [m.group() for m in NUMBER.finditer(part) if any(c.isdigit() for c in m.group())]
        if found:
            return found[-1]
    return None


def _is_percent(number: str) -> bool:
    return number.endswith("%")


def _value(number: str) -> Decimal | None:
    bare = re.sub(r"[\s\\%\u00a0\u202f']", "", number).replace("−", "-")
    above, _, below = bare.partition("/")
    above = _with_point(above)
    try:
        return Decimal(above) / Decimal(below) if below else Decimal(above)
    except ArithmeticError:
        return None


def _with_point(number: str) -> str:
    """Return a number with a decimal point and without thousands separators."""
    if re.fullmatch(r"[-+]?\d{1,3}(?:\.\d{3})+,\d+", number):
        return number.replace(".", "").replace(",", ".")
    if re.fullmatch(r"[-+]?\d+,\d+(?:[eE][-+]?\d+)?", number) and not re.fullmatch(
        r"[-+]?\d{1,3},\d{3}", number
    ):
        whole, _, rest = number.partition(",")
        return f"{whole}.{rest}"
    return number.replace(",", "")
