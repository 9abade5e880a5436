"""What the stages of real_model.json learn from: answers as equations whose arithmetic holds.

An answer is in form where it is one equation a line and then "#### 42" alone. A step is sound where its
arithmetic holds and it works on a number that the question gives or an earlier step has found.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Sequence
from typing import Any

FORM = re.compile(r"([^a-zA-Z=\n]+=[^a-zA-Z=\n]+\n)+#### -?[\d.,]+")
NUMBER = re.compile(r"\d+(?:\.\d+)?|\.\d+")
LONGEST = 60
"""Characters of one side of an equation; a longer one is not worked out."""
TOLERANCE = 0.005
"""Relative: 10 / 3 = 3.33 holds."""
OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def sound(prompts: Sequence[Any], completions: Sequence[str], **columns: Any) -> list[float]:
    """Return the share of an answer's steps that are sound; 0 where it is not in form."""
    return [share(prompt, answer) for prompt, answer in zip(prompts, completions, strict=True)]


def briefer(prompts: Sequence[Any], a: Sequence[str], b: Sequence[str]) -> list[float]:
    """Return 1 where a has the larger share of sound steps or, at the same share, fewer characters."""
    rows = zip(prompts, a, b, strict=True)
    ranks = ((_rank(prompt, x), _rank(prompt, y)) for prompt, x, y in rows)
    return [(1.0 + (x > y) - (x < y)) / 2 for x, y in ranks]


def _rank(prompt: Any, answer: str) -> tuple[float, int]:
    return share(prompt, answer), -len(answer)


def share(prompt: Any, answer: str) -> float:
    """Return the share of sound steps."""
    if not FORM.fullmatch(answer):
        return 0.0
    question = prompt if isinstance(prompt, str) else str(prompt[-1]["content"])
    known = numbers(question)
    found = 0
    lines = answer.splitlines()[:-1]
    for left, right in (line.split("=") for line in lines):
        result = worked_out(right)
        known_here = bool(numbers(left) & known)
        if known_here and result is not None and holds(left, result):
            found += 1
        if result is not None:
            known.add(result)
    return found / len(lines)


def numbers(text: str) -> set[float]:
    return {float(number) for number in NUMBER.findall(text.replace(",", ""))}


def holds(left: str, result: float) -> bool:
    value = worked_out(left)
    is_worked = any(sign in left for sign in "+-*/x")
    return value is not None and is_worked and abs(value - result) <= TOLERANCE * max(1.0, abs(result))


def worked_out(text: str) -> float | None:
    """Return the value of an arithmetic expression; None where it is none."""
    text = text.replace("$", "").replace(",", "").replace("x", "*").strip()
    if len(text) > LONGEST:
        return None
    try:
        return _value(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, OverflowError, MemoryError, RecursionError):
        return None


def _value(node: ast.expr) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return float(node.value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand)
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        return OPERATORS[type(node.op)](_value(node.left), _value(node.right))
    raise ValueError("not arithmetic")
