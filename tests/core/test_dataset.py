"""Facts about data tell two data sets apart, whatever library holds them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl

from trackkit.core import dataset
from trackkit.core.config import to_json

FRAME = pd.DataFrame({"age": [31, 47, 52], "city": ["Rome", "Bonn", "Oslo"]})


def test_an_array_s_shape_type_and_digest_are_told() -> None:
    found = dataset.facts(np.zeros((3, 2), dtype=np.float32))
    assert (found["type"], found["rows"], found["columns"], found["dtype"]) == ("numpy.ndarray", 3, 2, "float32")
    assert len(found["digest"]) == 64


def test_one_changed_value_changes_the_digest() -> None:
    data = np.arange(6.0).reshape(3, 2)
    changed = data.copy()
    changed[2, 1] = 7
    assert dataset.facts(data)["digest"] == dataset.facts(data.copy())["digest"] != dataset.facts(changed)["digest"]


def test_a_slice_that_is_not_contiguous_has_the_digest_of_its_copy() -> None:
    data = np.arange(40.0).reshape(10, 4)[::2, ::2]
    assert dataset.facts(data)["digest"] == dataset.facts(data.copy())["digest"]


def test_data_frames_have_names_and_types() -> None:
    for frame in (FRAME, pl.DataFrame(FRAME.to_dict("list"))):
        found = dataset.facts(frame)
        assert (found["rows"], found["columns"], found["names"]) == (3, 2, ["age", "city"])
        assert len(found["dtypes"]) == 2
        assert len(found["digest"]) == 64


def test_text_in_a_data_frame_counts_for_the_digest() -> None:
    changed = FRAME.assign(city=["Rome", "Bonn", "Oslo!"])
    assert dataset.facts(FRAME)["digest"] != dataset.facts(changed)["digest"]


def test_large_data_is_sampled() -> None:
    data = np.zeros((5_000_000, 1))
    assert dataset.facts(data)["digest"] != dataset.facts(np.zeros((5_000_001, 1)))["digest"]


def test_classes_are_counted() -> None:
    assert dataset.target_facts(["cat", "dog", "cat"])["classes"] == {"cat": 2, "dog": 1}
    assert dataset.target_facts(np.array([0.0, 1.0, 1.0]))["classes"] == {"0": 1, "1": 2}
    assert dataset.target_facts(np.array([True, False, True]))["classes"] == {"False": 1, "True": 2}


def test_numbers_have_their_range() -> None:
    found = dataset.target_facts(np.array([0.5, 1.5, 4.0]))
    assert (found["min"], found["mean"], found["max"]) == (0.5, 2.0, 4.0)


def test_what_can_not_be_told_is_left_out() -> None:
    class Odd:
        pass

    found = dataset.facts(Odd(), Odd())
    assert set(found) == {"type", "target"}
    assert to_json(dataset.facts(iter([1]))) == {"type": "builtins.list_iterator"}
