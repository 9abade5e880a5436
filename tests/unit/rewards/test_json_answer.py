"""JSON against JSON."""

import pytest
from support.scoring import score_of

score = score_of("json_answer")


@pytest.mark.parametrize(
    ("text", "gold", "right"),
    [
        ('{"a": 1, "b": [2]}', '{"b": [2.0], "a": 1}', 1),
        ('Here it is:\n```json\n{"a": 1}\n```\nDone.', {"a": 1}, 1),
        ('It is {"a": 1}.', {"a": 1}, 1),
        ('{"a": 2} or rather {"a": 1}', {"a": 1}, 1),
        ('{"a": 1} or rather {"a": 2}', {"a": 1}, 0),
        ('{"a": true}', {"a": 1}, 0),
        ('{"a": 1}', {"a": True}, 0),
        ('{"a": 1, "c": 2}', {"a": 1}, 0),
        ("[1, 2]", [1, 2], 1),
        ("[2, 1]", [1, 2], 0),
        ("true", True, 1),
        ('<think>{"a": 1}</think>{"a": 2}', {"a": 1}, 0),
        ("{", {"a": 1}, 0),
        ("", {"a": 1}, 0),
        ("[" * 5000, [1], 0),
        ("[" * 900 + "]" * 900, [1], 0),
    ],
)
def test_equal_values_are_right(text, gold, right):
    assert score(text, gold) == right


def test_a_right_answer_that_is_no_json_has_no_say():
    with pytest.warns(UserWarning, match="which are not JSON"):
        assert score("{}", "a: 1") is None
