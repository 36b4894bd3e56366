"""What may be logged, what it becomes, and what is said about the rest."""

from __future__ import annotations

import datetime
import math
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackkit.core.values import (
    MAX_KEY_CHARACTERS,
    MAX_TEXT_BYTES,
    as_number_or_text,
    check_key,
    check_step,
    flatten,
    split,
)


class TorchLike:
    """A tensor as torch and JAX have them: `item()` gives the only element, or raises."""

    def __init__(self, *elements: Any) -> None:
        self.elements = elements
        self.dtype = "torch.float32"
        self.shape = (len(elements),)

    def item(self) -> Any:
        if len(self.elements) != 1:
            raise RuntimeError(f"a Tensor with {len(self.elements)} elements cannot be converted to Scalar")
        return self.elements[0]


class ScalarTorchLike(TorchLike):
    """A tensor of no dimension."""

    def __init__(self, element: Any) -> None:
        super().__init__(element)
        self.shape = ()


class TensorFlowLike:
    """An eager tensor: `numpy()` gives an array; there is no `item()`."""

    def __init__(self, content: Any) -> None:
        self._array = np.asarray(content)
        self.dtype, self.shape = self._array.dtype, self._array.shape

    def numpy(self) -> Any:
        return self._array


class OwnNumber:
    def __float__(self) -> float:
        return 2.5


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (1, 1.0),
        (-2.5, -2.5),
        (True, 1.0),
        (False, 0.0),
        (2**53 + 1, float(2**53 + 1)),
        (10**300, 1e300),
        (math.inf, math.inf),
        (-math.inf, -math.inf),
        (5e-324, 5e-324),
        (Decimal("0.1"), 0.1),
        (Decimal("-Infinity"), -math.inf),
        (Fraction(1, 4), 0.25),
        (OwnNumber(), 2.5),
        *[(kind(3), 3.0) for kind in (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint64)],
        *[(kind(0.5), 0.5) for kind in (np.float16, np.float32, np.float64, np.longdouble)],
        (np.bool_(True), 1.0),
        (np.array(1.5), 1.5),
        (np.array([1.5]), 1.5),
        (np.array([[7]]), 7.0),
        (np.array([True]), 1.0),
        (TorchLike(0.5), 0.5),
        (TorchLike(3), 3.0),
        (ScalarTorchLike(True), 1.0),
        (TensorFlowLike(0.25), 0.25),
        (TensorFlowLike([0.25]), 0.25),
    ],
    ids=repr,
)
def test_a_number_of_any_library_becomes_a_double(value: object, number: float) -> None:
    found = as_number_or_text("loss", value)

    assert type(found) is float
    assert found == number


@pytest.mark.parametrize(
    "value", [math.nan, Decimal("NaN"), np.float32("nan"), np.array([np.nan]), TorchLike(math.nan)], ids=repr
)
def test_not_a_number_is_a_number(value: object) -> None:
    found = as_number_or_text("loss", value)

    assert isinstance(found, float)
    assert math.isnan(found)


@pytest.mark.parametrize("value", ["", "epoch 1", "ünïcödé 🚂", "0.5", np.str_("numpy's")])
def test_text_stays_text(value: str) -> None:
    found = as_number_or_text("stage", value)

    assert type(found) is str
    assert found == value


def test_half_a_surrogate_pair_in_text_is_spelled_out() -> None:
    assert as_number_or_text("stage", "broken \ud83d end") == "broken \\ud83d end"


@pytest.mark.parametrize(
    ("value", "described"),
    [
        (None, "None of type NoneType"),
        (1 + 2j, "of type complex"),
        (np.complex128(1 + 2j), "of type complex128"),
        (b"bytes", "b'bytes' of type bytes"),
        (bytearray(b"x"), "of type bytearray"),
        (np.bytes_(b"3"), "of type bytes_"),
        (datetime.datetime(2024, 1, 1), "of type datetime"),
        (datetime.timedelta(1), "of type timedelta"),
        (np.datetime64("2024-01-01"), "of type datetime64"),
        (np.datetime64("2024-01-01", "ns"), "of type datetime64"),
        (np.timedelta64(5, "ns"), "of type timedelta64"),
        ([1.0], r"\[1.0\] of type list"),
        ((1,), "of type tuple"),
        ({1}, "of type set"),
        (object, "of type type"),
        (len, "of type builtin_function_or_method"),
        (np.array([1, 2]), r"a ndarray of shape \(2,\), not of one element"),
        (np.array([]), r"a ndarray of shape \(0,\), not of one element"),
        (TorchLike(1, 2, 3), r"a TorchLike of shape \(3,\), not of one element"),
        (TensorFlowLike([[1, 2]]), r"a TensorFlowLike of shape \(1, 2\), not of one element"),
        (np.array(None), "of type ndarray"),
        (Decimal("sNaN"), "of type Decimal"),
    ],
    ids=repr,
)
def test_what_is_no_number_and_no_text_is_refused_by_name(value: object, described: str) -> None:
    with pytest.raises(TypeError, match=f"^the value of 'val/loss' can't be logged: it is .*{described}.*; expected"):
        as_number_or_text("val/loss", value)


def test_a_long_value_is_not_repeated_in_full() -> None:
    with pytest.raises(TypeError) as raised:
        as_number_or_text("k", list(range(100_000)))

    assert len(str(raised.value)) < 200


@pytest.mark.parametrize("value", [10**400, -(10**400), Fraction(10**400)])
def test_an_integer_too_large_for_a_double_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="the value of 'n' is too large for a 64-bit float"):
        as_number_or_text("n", value)


def test_text_of_a_hundred_megabytes_is_refused_with_the_limit() -> None:
    with pytest.raises(ValueError, match=r"'log' has 100,000,000 characters; the limit is 10,485,760 bytes"):
        as_number_or_text("log", "x" * 100_000_000)


def test_the_limit_of_text_counts_bytes() -> None:
    fits = "x" * MAX_TEXT_BYTES

    assert as_number_or_text("log", fits) == fits
    with pytest.raises(ValueError, match="the limit is"):
        as_number_or_text("log", "é" * (MAX_TEXT_BYTES // 2 + 1))


@pytest.mark.parametrize("key", ["loss", "val/loss", "ключ", "🚂", " ", "a.b", "x" * MAX_KEY_CHARACTERS, "\x00"])
def test_any_text_of_up_to_1024_characters_is_a_key(key: str) -> None:
    assert check_key(key) == key


@pytest.mark.parametrize(
    ("key", "error", "message"),
    [
        ("", ValueError, "must not be empty"),
        ("x" * 1025, ValueError, r"'x{40}'… has 1,025 characters; the limit is 1,024"),
        (1, TypeError, "must be a string, not int: 1"),
        (None, TypeError, "must be a string, not NoneType"),
        (b"loss", TypeError, "must be a string, not bytes"),
        (("a", "b"), TypeError, "must be a string, not tuple"),
        ("\ud800", ValueError, "half a surrogate pair"),
    ],
)
def test_what_can_not_be_a_key_is_refused_with_the_reason(key: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        check_key(key)
    with pytest.raises(error, match=message):
        split({key: 1.0})


@given(st.integers(-(2**63), 2**63 - 1))
def test_any_64_bit_integer_is_a_step(step: int) -> None:
    assert check_step(step) == step


@pytest.mark.parametrize("step", [np.int64(5), np.uint8(5), np.array(5)])
def test_integers_of_numpy_are_steps(step: Any) -> None:
    found = check_step(step)

    assert type(found) is int
    assert found == 5


@pytest.mark.parametrize(
    ("step", "error", "message"),
    [
        (2**63, ValueError, "step 9223372036854775808 does not fit a signed 64-bit integer"),
        (-(2**63) - 1, ValueError, "does not fit"),
        (1.0, TypeError, "step must be a whole number, not float: 1.0"),
        ("1", TypeError, "step must be a whole number, not str: '1'"),
        (True, TypeError, "step must be a whole number, not bool: True"),
        (np.float64(1), TypeError, "not float64"),
    ],
)
def test_what_is_no_step_is_refused(step: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        check_step(step)


def test_nested_dicts_flatten_with_dots() -> None:
    nested = {"a": 1, "val": {"loss": 2, "deep": {"er": 3}}, "proxy": MappingProxyType({"x": 4}), "empty": {}}

    assert flatten(nested) == {"a": 1, "val.loss": 2, "val.deep.er": 3, "proxy.x": 4}


def test_a_flattened_key_counts_as_a_whole() -> None:
    with pytest.raises(ValueError, match="1,201 characters"):
        flatten({"x" * 600: {"y" * 600: 1}})


def test_a_dict_that_holds_itself_is_refused() -> None:
    endless: dict[str, Any] = {}
    endless["again"] = endless

    with pytest.raises(ValueError, match="the limit is 1,024"):
        flatten(endless)


def test_numbers_and_texts_are_told_apart() -> None:
    assert split({"loss": 1, "stage": {"name": "warm-up"}}) == ({"loss": 1.0}, {"stage.name": "warm-up"}, {})


@pytest.mark.parametrize("values", [None, 1.0, "loss", ["loss"], [("loss", 1)], {"loss"}])
def test_log_takes_nothing_but_a_dict(values: Any) -> None:
    with pytest.raises(TypeError, match=r"^log\(\) takes a dict of values by key, not "):
        split(values)
