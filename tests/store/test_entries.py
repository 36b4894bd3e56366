"""What goes into a config or summary row comes back as it was."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackkit.backend.store import entries

leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers() | st.text()))
keys = st.text(st.characters(exclude_characters=".", exclude_categories=["Cs"]), min_size=1)
trees = st.dictionaries(keys, st.recursive(leaves, lambda below: st.dictionaries(keys, below), max_leaves=10))


@given(leaves)
def test_a_leaf_comes_back_with_its_type(leaf):
    back = entries.decode(*entries.encode(leaf))

    assert type(back) is type(leaf)
    assert repr(back) == repr(leaf)


@given(trees)
def test_nested_dicts_come_back_from_flat_rows(tree):
    assert repr(entries.unflatten(entries.flatten(tree))) == repr(tree)


def test_a_key_below_a_leaf_keeps_its_dots():
    flat = {"loss": 0.5, "loss.min": 0.1, "a.b": 1, "a.b.c.d": 2}

    assert entries.unflatten(flat) == {"loss": 0.5, "loss.min": 0.1, "a": {"b": 1, "b.c.d": 2}}


def test_integers_beyond_the_doubles_keep_their_digits():
    assert entries.encode(2**63 + 1) == ("int", float(2**63), "9223372036854775809")
    assert entries.encode(10**400)[1] == math.inf
    assert entries.decode(*entries.encode(10**400)) == 10**400


def test_a_value_json_cannot_hold_is_refused_by_its_type():
    with pytest.raises(TypeError, match="a value of type set can't be stored"):
        entries.encode({1, 2})
