"""Tulu 3's verifier of instructions: each of its constraints, kept and not."""

import importlib.util
import json
from pathlib import Path

import pytest

FILE = Path(__file__).parent.parent.parent / "recipes" / "published" / "tulu3_rewards.py"
SPEC = importlib.util.spec_from_file_location("tulu3_rewards", FILE)
rewards = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(rewards)

CASES = [
    ("verify_keywords", {"keyword_list": ["Rome", "sea"]}, "The sea at rome.", "Rome."),
    ("verify_keyword_frequency", {"word": "sea", "N": 2}, "Sea, sea.", "Seaside sea."),
    ("validate_forbidden_words", {"forbidden_words": ["bad"]}, "Good.", "Bad."),
    ("verify_letter_frequency", {"letter": "a", "N": 2}, "data", "banana"),
    ("verify_paragraph_count", {"N": 2}, "One.\n* * *\nTwo.", "One.\n* * *\n"),
    ("validate_word_constraint", {"N": 3, "quantifier": "at most"}, "one two", "one two three four"),
    ("validate_word_constraint", {"N": 20, "quantifier": "around"}, "w " * 22, "w " * 23),
    ("verify_sentence_constraint", {"N": 2, "quantifier": "at least"}, "One. Two.", "One."),
    ("validate_paragraphs", {"N": 2, "first_word": "Then", "i": 2}, "So.\n\nThen it was.", "So.\n\nIt was."),
    ("verify_postscript", {"postscript_marker": "P.S."}, "Yes. P.S. No.", "Yes. P.S."),
    ("validate_placeholders", {"N": 2}, "[name] of [town]", "[name]"),
    ("verify_bullet_points", {"N": 2}, "* a\n- b", "* a"),
    ("validate_title", {}, "<<A title>> text", "A title"),
    ("validate_choice", {"options": ["yes", "no"]}, "I say yes", "maybe"),
    ("validate_highlighted_sections", {"N": 2}, "*a* and *b*", "*a*"),
    ("validate_sections", {"N": 2, "section_splitter": "Section"}, "Section 1. Section 2.", "Section 1."),
    ("validate_json_format", {}, '{"a": 1}', "a"),
    ("validate_repeat_prompt", {"original_prompt": "Who?"}, "Who? Mira.", "Mira. Who?"),
    ("validate_two_responses", {}, "a ****** b", "a ****** a"),
    ("validate_uppercase", {}, "YES.", "Yes."),
    ("validate_lowercase", {}, "yes.", "Yes."),
    ("validate_frequency_capital_words", {"N": 1, "quantifier": "at least"}, "A NEW one", "a new one"),
    ("validate_end", {"end_phrase": "Bye."}, "So. Bye.", "Bye. So."),
    ("validate_quotation", {}, '"Yes."', "Yes."),
    ("validate_no_commas", {}, "Yes", "Yes, no"),
]


@pytest.mark.parametrize(("name", "given", "kept", "broken"), CASES)
def test_a_constraint_is_reported_kept_or_not(name, given, kept, broken):
    # Rows of the set hold every argument that any constraint has, null where it is not theirs.
    wanted = json.dumps({"func_name": name, "unused": None, **given})
    assert rewards.follows([kept, [{"role": "assistant", "content": broken}]], [wanted] * 2) == [1.0, 0.0]


def test_every_constraint_has_a_case_and_an_unknown_one_has_no_say():
    assert {name for name, *_ in CASES} == rewards.CHECKS.keys() - {"validate_response_language"}
    assert rewards.follows(["text"], ['{"func_name": "validate_tone"}']) == [None]
