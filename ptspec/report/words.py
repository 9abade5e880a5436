"""Numbers and times in words, with units, for every screen and table.

Uses a real minus sign; a value too small for its decimals is written in powers of ten (`2e-7`), so that
"0.0000" always means zero.
"""

from __future__ import annotations

import math

MINUS = "−"
NOTHING = "–"


def signed(text: str) -> str:
    """Return a number's text with a real minus sign instead of a leading hyphen."""
    return MINUS + text[1:] if text.startswith("-") else text


def count(value: int) -> str:
    """Return 1600 as "1,600"."""
    return signed(f"{value:,}")


def plural(value: int, noun: str) -> str:
    """Return "1 step", "1,600 rows"."""
    return f"{count(value)} {noun}" if value == 1 else f"{count(value)} {noun}s"


def _scaled(value: float, units: tuple[str, ...]) -> str:
    """Return `value` in the first unit (each 1,000 times the one before) that leaves it below 1,000."""
    steps = 0
    while value >= 999.5 and steps < len(units) - 1:
        value, steps = value / 1000, steps + 1
    digits = 1 if value < 9.95 else 0
    return f"{value:.{digits}f} {units[steps]}"


def parameters(value: int) -> str:
    """Return a number of parameters or tokens: "512", "61 k", "1.0 M", "7.6 bn" (B stands for bytes)."""
    return count(value) if value < 1000 else _scaled(value / 1000, ("k", "M", "bn", "T"))


def size(value: int) -> str:
    """Return bytes in decimal units: "512 B", "4.1 MB", "58 MB", "16 GB"."""
    return f"{value} B" if value < 1000 else _scaled(value / 1000, ("kB", "MB", "GB", "TB"))


def duration(seconds: float) -> str:
    """Return "40 ms", "12.4 s", "3 m 05 s", "1 h 02 m", "2 d 03 h"."""
    if seconds < 0.0995:
        return f"{max(seconds, 0) * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    return remaining(seconds)


def remaining(seconds: float) -> str:
    """Return an estimated duration to the second: "3 s", "3 m 05 s", "1 h 02 m"."""
    whole = round(max(seconds, 0))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} m {whole % 60:02d} s"
    minutes = round(seconds / 60)
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} m"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24:02d} h"


def rate(steps: int, seconds: float) -> str:
    """Return steps per second, or seconds per step if slower: "9.7 step/s", "3.2 s/step"."""
    if steps <= 0 or seconds <= 0:
        return NOTHING
    per_second = steps / seconds
    if per_second < 1:
        return f"{duration(seconds / steps)}/step"
    return f"{per_second:.1f} step/s" if per_second < 99.95 else f"{per_second:,.0f} step/s"


def number(value: float, spec: str = ".4f") -> str:
    """Return `value` in the format `spec` (".1%": "95.0 %"); in powers of ten if too small or large."""
    if not math.isfinite(value):
        return signed(f"{value}")
    if spec.endswith("%"):
        return percent(value, int(spec[1:-1]))
    text = format(value, spec)
    if "e+" in text and abs(value) < 1e5:
        text = f"{float(text):,.0f}"
    if value != 0 and _is_zero(text):
        return power(value, digits=0)
    return signed(_unsigned_zero(text)) if abs(value) < 1e5 else power(value, digits=1)


def power(value: float, digits: int = 1) -> str:
    """Return scientific notation without padding: "4.1e4", "2e-7"."""
    mantissa, exponent = f"{value:.{digits}e}".split("e")
    return f"{signed(mantissa)}e{int(exponent)}"


def fixed(value: float, decimals: int) -> str:
    """Return `value` to `decimals` places, halves away from zero, no negative zero.

    Names NaN and infinity.
    """
    nudged = value * (1 + 1e-12)  # 1.25 and a 1.25 from a subtraction are shown alike
    return signed(_unsigned_zero(f"{nudged:,.{decimals}f}"))


def percent(share: float, decimals: int = 1) -> str:
    """Return a share of one: 0.95 as "95.0 %"."""
    return f"{fixed(share * 100, decimals)} %"


def delta(change: float, decimals: int) -> str:
    """Return a change with its sign: "+89.0", "−0.5"; none for a change that rounds to 0."""
    text = fixed(change, decimals)
    return f"+{text}" if change > 0 and not _is_zero(text) else text


def _is_zero(text: str) -> bool:
    return not text.strip("-0.,")


def _unsigned_zero(text: str) -> str:
    return text.lstrip("-") if _is_zero(text) else text
