"""What MLflow's clients may name things, and how much they may say at once: the limits of `mlflow.utils.validation`."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from typing import Any, Final

from trackkit.backend.server.mlflow.errors import invalid, wrong

MOST_METRICS: Final = 1000
MOST_PARAMS: Final = 100
MOST_TAGS: Final = 100
MOST_ENTITIES: Final = 1000
LONGEST_KEY: Final = 250
LONGEST_PARAM: Final = 6000
LONGEST_TAG: Final = 8000
LONGEST_EXPERIMENT: Final = 500
LONGEST_EXPERIMENT_TAG: Final = 20_000
LONGEST_REGISTRY_TAG: Final = 100_000
LONGEST_ALIAS: Final = 255
MOST_LISTED: Final = 50_000

_KEY = re.compile(r"[/\w.\- :]*")
_RUN_ID = re.compile(r"[a-zA-Z0-9][\w\-]{0,255}")
_ALIAS = re.compile(r"[\w\-]*")
_VERSION_ALIAS = re.compile(r"[vV]\d+")
_INTEGER = re.compile(r"[+-]?\d{1,19}")
_CHARACTERS: Final = (
    "Names may only contain alphanumerics, underscores (_), dashes (-), periods (.), spaces ( ), colon(:) "
    "and slashes (/)."
)
LAST: Final = 2**63 - 1


def check_key(key: str, path: str) -> None:
    """A name of a metric, parameter or tag."""
    if not _KEY.fullmatch(key):
        raise wrong(path, key, _CHARACTERS)
    normal = posixpath.normpath(key)
    if normal != key or normal == "." or normal.startswith(("..", "/")):
        text = (
            "Names may be treated as files in certain cases, and must not resolve to other names when treated as such. "
            f"This name would resolve to {normal!r}"
        )
        raise wrong(path, key, text)


def check_length(what: str, limit: int, value: str) -> str:
    """A text that is not too long."""
    if len(value) > limit:
        raise invalid(f"'{what}' exceeds the maximum length of {limit} characters")
    return value


def check_metric(key: str, value: float, timestamp: int, step: int, path: str = "") -> None:
    """A value of a metric; the timestamp is in milliseconds."""
    before = f"{path}." if path else ""
    check_key(key, f"{before}name")
    if timestamp < 0 or timestamp > LAST // 1000:
        text = f"metric '{key}' (value={value}). Timestamp must be a nonnegative long (64-bit integer) "
        raise wrong(f"{before}timestamp", timestamp, text)
    if not -LAST - 1 <= step <= LAST:
        text = f"metric '{key}' (value={value}). Step must be a valid long (64-bit integer)."
        raise wrong(f"{before}step", step, text)
    check_length("Metric name", LONGEST_KEY, key)


def checked_param(key: str, value: str, path: str = "") -> str:
    """The value of a parameter, cut where it is too long."""
    check_key(key, f"{path}.key" if path else "key")
    check_length("Param key", LONGEST_KEY, key)
    return value[:LONGEST_PARAM]


def checked_tag(key: str, value: str, path: str = "") -> str:
    """The value of a run's tag, cut where it is too long."""
    name = f"{path}.key" if path else "key"
    check_key(key, name)
    check_length(name, LONGEST_KEY, key)
    return value[:LONGEST_TAG]


def check_batch(metrics: Sequence[Any], params: Sequence[Any], tags: Sequence[Any]) -> None:
    """What is logged at once."""
    total = len(metrics) + len(params) + len(tags)
    for what, limit, count in (
        ("metrics", MOST_METRICS, len(metrics)),
        ("params", MOST_PARAMS, len(params)),
        ("tags", MOST_TAGS, len(tags)),
        ("metrics, params, and tags", MOST_ENTITIES, total),
    ):
        if count > limit:
            raise invalid(
                f"A batch logging request can contain at most {limit} {what}. Got {count} {what}. "
                f"Please split up {what} across multiple requests and try again."
            )


def check_run_id(run_id: str) -> None:
    """An id that a run may have."""
    if not _RUN_ID.fullmatch(run_id) and not run_id.startswith("_") and "." not in run_id:
        raise invalid(f"Invalid value {run_id!r} for parameter 'run_id' supplied.")


def experiment_number(text: str) -> int:
    """The number of an experiment."""
    if not _INTEGER.fullmatch(text.strip()) or abs(int(text)) > LAST:
        raise invalid(f"Invalid experiment ID '{text}'. Experiment ID must be a valid integer.")
    return int(text)


def check_experiment_name(name: str) -> None:
    """What an experiment may be called."""
    check_length("name", LONGEST_EXPERIMENT, name)


def check_experiment_tag(key: str, value: str) -> None:
    """A tag of an experiment."""
    check_key(key, "key")
    check_length("key", LONGEST_KEY, key)
    check_length("value", LONGEST_EXPERIMENT_TAG, value)


def check_registry_tag(key: str, value: str) -> None:
    """A tag of a registered model or of a version of one."""
    check_key(key, "key")
    check_length("key", LONGEST_KEY, key)
    check_length("value", LONGEST_REGISTRY_TAG, value)


def check_model_name(name: str, parameter: str = "name") -> None:
    """What a registered model may be called."""
    if not name:
        raise invalid(f"Missing value for required parameter '{parameter}'.")
    if "/" in name or ":" in name:
        raise invalid(f"Invalid model name '{name}'. Names cannot contain '/' or ':'.")


def check_alias(alias: str) -> None:
    """An alias of a version of a registered model."""
    if not alias:
        raise invalid("Registered model alias name cannot be empty.")
    if not _ALIAS.fullmatch(alias):
        text = "Names may only contain alphanumerics, underscores (_), and dashes (-)."
        raise invalid(f"Invalid alias name: '{alias}'. {text}")
    check_length("Registered model alias name", LONGEST_ALIAS, alias)


def check_free_alias(alias: str) -> None:
    """An alias that people may set."""
    check_alias(alias)
    if alias.lower() == "latest":
        raise invalid("'latest' alias name (case insensitive) is reserved.")
    if _VERSION_ALIAS.fullmatch(alias):
        raise invalid(f"Version alias name '{alias}' is reserved.")


def check_most(value: int, limit: int, *, told: bool = True) -> int:
    """How many results are asked for; `told` says whether the message tells the limit."""
    if value > limit and told:
        raise invalid(f"Invalid value {value} for parameter 'max_results' supplied. It must be at most {limit}")
    if value > limit:
        raise wrong(
            "max_results",
            value,
            f" Hint: Value was of type '{type(value).__name__}'. "
            "See the API docs for more information about request parameters.",
        )
    if value < 1:
        raise invalid(f"Invalid value {value} for parameter 'max_results' supplied. It must be a positive integer")
    return value
