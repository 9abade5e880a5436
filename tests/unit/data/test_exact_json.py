"""Every row comes out of the table as it went in, whatever the other rows are."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptspec.data.exact_json import BATCH, Kind, Table, common_kinds
from ptspec.diagnostics import InputError

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
SCALAR = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT
VALUE = st.recursive(
    SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=6
)
ROW = st.fixed_dictionaries({"prompt": TEXT}, optional={"a": VALUE, "b": VALUE, "c": VALUE})


def dataset_of(rows):
    table = Table()
    for row in rows:
        table.add(row)
    return table.dataset(table.kinds)


def given_back(rows, found):
    for row, read in zip(rows, found, strict=True):
        assert {name: value for name, value in read.items() if value is not None} == {
            name: value for name, value in row.items() if value is not None
        }


@given(st.lists(ROW, min_size=1, max_size=6))
@settings(deadline=None)
def test_no_key_or_value_of_one_row_appears_in_another(rows):
    given_back(rows, dataset_of(rows))


@given(st.lists(ROW, min_size=1, max_size=4), st.lists(ROW, min_size=1, max_size=4))
@settings(deadline=None)
def test_nor_where_two_sources_are_joined(one, other):
    import datasets

    tables = [Table(), Table()]
    for table, rows in zip(tables, (one, other), strict=True):
        for row in rows:
            table.add(row)
    kinds = common_kinds(tables)
    joined = datasets.concatenate_datasets([table.dataset(kinds) for table in tables])
    given_back([*one, *other], joined)


@pytest.mark.parametrize("late", [5, {"x": 1}, True, date(2026, 1, 2)], ids=repr)
def test_a_value_of_another_type_far_down(late):
    rows = [{"a": f"text {i}"} for i in range(BATCH + 5)] + [{"a": late}]
    table = Table()
    for row in rows:
        table.add(row)
    if isinstance(late, date):
        with pytest.raises(InputError, match='the column "a" holds values of the types date, str') as error:
            table.dataset(table.kinds)
        assert error.value.diagnostics[0].code == "mixed-types"
        return
    assert list(table.dataset(table.kinds)) == rows


def test_kinds_and_what_missing_values_become():
    found = dataset_of(
        [{"t": "5", "b": True}, {"t": "x", "j": "5", "chat_template_kwargs": {"a": 1}}, {"j": 5}]
    )
    assert list(found) == [
        {"t": "5", "b": True, "j": None, "chat_template_kwargs": {}},
        {"t": "x", "b": None, "j": "5", "chat_template_kwargs": {"a": 1}},
        {"t": None, "b": None, "j": 5, "chat_template_kwargs": {}},
    ]


def test_dates_of_parquet_stay_dates():
    days = [{"d": date(2026, 1, 2)}, {"d": None}]
    assert list(dataset_of(days)) == days


def test_kinds_are_the_simplest_that_hold_the_values():
    table = Table()
    table.add({"t": "x", "b": True, "n": 1, "d": date(2026, 1, 2)})
    assert table.kinds == {"t": Kind.STRING, "b": Kind.BOOL, "n": Kind.JSON, "d": Kind.NATIVE}
