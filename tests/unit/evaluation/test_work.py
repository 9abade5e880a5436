"""What there is to compute, and what fits in the model's context."""

from support.tiny_llama import ROWS

from ptspec.data.layouts.evaluation import evaluation_row
from ptspec.evaluation.batching import batches
from ptspec.evaluation.encoding import Encoded
from ptspec.evaluation.work import prepare
from ptspec.metrics import METRICS


def test_prompts_leave_room_for_the_answer(tokenizer, rows):
    whole = prepare(tokenizer, rows, frozenset(METRICS), None, 10)
    work = prepare(tokenizer, rows, frozenset(METRICS), 40, 10)
    assert max(len(ids) for ids in whole.prompts.values()) > 30
    assert all(ids == whole.prompts[i][-30:] for i, ids in work.prompts.items())
    assert all(len(text.ids) <= 40 for text in work.texts)
    assert (whole.shortened, work.shortened) == (0, len(rows))


def test_a_context_smaller_than_the_answer_still_leaves_one_token(tokenizer, rows):
    assert {len(ids) for ids in prepare(tokenizer, rows, frozenset(METRICS), 8, 10).prompts.values()} == {1}


def test_cutting_keeps_the_end():
    assert Encoded((1, 2, 3, 4, 5), 3).last(3) == Encoded((3, 4, 5), 1)
    assert Encoded((1, 2, 3, 4, 5), 2).last(2) == Encoded((4, 5), 1)
    assert Encoded((1, 2, 3), 2).last(9) == Encoded((1, 2, 3), 2)


def test_equal_texts_are_computed_once(tokenizer):
    row = evaluation_row(ROWS[0])
    assert len(prepare(tokenizer, [row, row], frozenset(METRICS), None, 4).texts) == 2  # chosen, rejected


def test_batches_hold_every_sequence_within_the_budget():
    lengths = [5, 90, 3, 40, 40, 7, 1, 200]
    parts = list(batches(lengths, 100, extra=10))
    assert sorted(index for part in parts for index in part) == list(range(len(lengths)))
    for part in parts:
        assert len(part) == 1 or len(part) * (max(lengths[i] for i in part) + 10) <= 100
    assert parts[0] == [7]
    assert list(batches([], 100)) == []
