"""Config entries as the texts that MLflow's clients write and read.

A text that is a number is kept as one, so that it can be compared and sorted like any other config entry; where the
number alone would not give the text back (`1e-3`), the text is kept beside it.
"""

from __future__ import annotations

import math
import re
from typing import Final

from trackkit.backend.store.entries import EXACT, Encoded

Sql = tuple[str, list[object]]

_INT = re.compile(r"-?(?:0|[1-9]\d{0,15})")
_FLOAT = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_BOOLS: Final = {"True": 1.0, "False": 0.0}
SHOWN: Final = """(case when {c}.text is not null then {c}.text
    when {c}.type = 'int' then cast(cast({c}.number as bigint) as text)
    when {c}.type = 'float' then coalesce(cast({c}.number as text), 'nan')
    when {c}.type = 'bool' then case {c}.number when 1 then 'True' else 'False' end else 'None' end)"""
"""A config entry as text in SQL; `{c}` is the table's name. Of numbers with an exponent databases write some otherwise
than Python."""


def encode(text: str) -> Encoded:
    """The columns `type`, `number` and `text` of a parameter.

    Examples
    --------
    >>> encode("3"), encode("1e-3"), encode("adam")
    (('int', 3.0, None), ('float', 0.001, '1e-3'), ('str', None, 'adam'))
    """
    if text in _BOOLS:
        return "bool", _BOOLS[text], None
    if _INT.fullmatch(text) and text != "-0" and abs(int(text)) <= EXACT:
        return "int", float(text), None
    if len(text) < 64 and _FLOAT.fullmatch(text):
        number = float(text)
        if math.isfinite(number):
            return "float", number, None if repr(number) == text else text
    return "str", None, text


def decode(type: str, number: float | None, text: str | None) -> str:
    """A config entry as the text that an MLflow client would have logged."""
    if text is not None:
        return text
    match type:
        case "int":
            return str(int(number or 0))
        case "float":
            return "nan" if number is None else str(number)
        case "bool":
            return str(bool(number))
        case _:
            return "None"


def equals(column: str, text: str) -> Sql:
    """The condition that a config entry is a text, as SQL on the table `column` stands for."""
    type, number, kept = encode(text)
    same = f"{column}.text is not null and {column}.text = ?"  # never NULL, so that `not` is its opposite
    if type == "str":
        alone = {"None": f"{column}.type = 'null'", "nan": f"{column}.type = 'float' and {column}.number is null"}
        other = f" or ({alone[text]} and {column}.text is null)" if text in alone else ""
        return f"({same}{other})", [text]
    if kept is not None:
        return f"({same})", [text]
    alike = f"{column}.type = ? and {column}.number = ? and {column}.text is null"
    return f"(({alike}) or ({same}))", [type, number, text]
