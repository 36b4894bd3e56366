"""What goes to an MLflow server in requests of `log-batch`, within what one request may hold.

The server writes the params of a request first, then its metrics, its tags last. So the tag that tells how far the
journal is there is written when the rest is, and a request that was answered by nobody is told from one that came to
nothing by reading that tag. MLflow's SQL stores drop a metric that is there already (the same key, time, step and
value); of those that do not, what is there is asked for.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from trackkit.core.sink import SinkRefused
from trackkit.sinks.mlflow.client import Client, Rejected, TooLarge
from trackkit.sinks.mlflow.limits import METRICS, PAIRS

logger = logging.getLogger("trackkit")

FULL: Final = METRICS - PAIRS
"""Metrics in one request, so that tags fit beside them."""
Metric = dict[str, Any]


class Outbox:
    """Gathers metrics and tags, and sends them.

    Parameters
    ----------
    client
        A connection to the server.
    run
        The run's id at MLflow.
    drops_twins
        Whether the server drops metrics that it has already.
    """

    def __init__(self, client: Client, run: str, *, drops_twins: bool) -> None:
        self._client = client
        self._run = run
        self._metrics: list[Metric] = []
        self._tags: dict[str, str] = {}
        self._unsure = not drops_twins
        """Whether some of what comes next may be at the server already."""

    def add_metric(self, key: str, value: float | str, timestamp: int, step: int) -> None:
        """Add a point; time in milliseconds since the epoch."""
        self._metrics.append({"key": key, "value": value, "timestamp": timestamp, "step": step})

    def add_tags(self, tags: dict[str, str]) -> None:
        """Set tags with what goes next."""
        self._tags.update(tags)

    def forget_tag(self, key: str) -> None:
        """Do not set a tag that was to be set."""
        self._tags.pop(key, None)

    @property
    def is_full(self) -> bool:
        """Whether it is time to send."""
        return len(self._metrics) >= FULL

    def send(self, mark: dict[str, str]) -> None:
        """Send all; the tags in `mark` come with the last of it.

        Raises
        ------
        SinkError
            If the server does not take it now; nothing of it counts as sent then.
        SinkRefused
            If it never will.
        """
        metrics, tags = self._metrics, list(self._tags.items())
        self._metrics, self._tags = [], {}
        if self._unsure and metrics:
            metrics = self._without_known(metrics)
        while len(metrics) > FULL:
            self._log(metrics[:FULL], [])
            metrics = metrics[FULL:]
        room = PAIRS - len(mark)
        while len(tags) > room:
            self._log([], tags[:room])
            tags = tags[room:]
        self._log(metrics, [*tags, *mark.items()])
        self._unsure = False

    def _log(self, metrics: list[Metric], tags: list[tuple[str, str]]) -> None:
        body = {"run_id": self._run, "metrics": metrics, "params": [], "tags": _listed(tags)}
        try:
            self._client.post("runs/log-batch", body)
        except TooLarge:
            if len(metrics) + len(tags) < 2:
                raise
            self._log_in_halves(metrics, tags)
        except Rejected as error:
            check_active(error)
            if len(metrics) + len(tags) < 2:
                what = metrics[0]["key"] if metrics else tags[0][0] if tags else ""
                logger.warning(
                    "trackkit: %s does not take %r, which is left out: %s", self._client.address, what, error
                )
                return
            self._log_in_halves(metrics, tags)

    def _log_in_halves(self, metrics: list[Metric], tags: list[tuple[str, str]]) -> None:
        """Send less at a time, tags last."""
        if metrics and tags:
            self._log(metrics, [])
            self._log([], tags)
            return
        half = (len(metrics) + len(tags)) // 2
        self._log(metrics[:half], tags[:half])
        self._log(metrics[half:], tags[half:])

    def _without_known(self, metrics: list[Metric]) -> list[Metric]:
        """The metrics that the server does not have yet."""
        known = {
            (key, each["timestamp"], each.get("step", 0), str(_canonical(each["value"])))
            for key in dict.fromkeys(str(metric["key"]) for metric in metrics)
            for each in history(self._client, self._run, key)
        }
        return [
            metric
            for metric in metrics
            if (metric["key"], metric["timestamp"], metric["step"], str(_canonical(metric["value"]))) not in known
        ]


def history(client: Client, run: str, key: str) -> list[dict[str, Any]]:
    """All points of a metric."""
    found: list[dict[str, Any]] = []
    params: dict[str, Any] = {"run_id": run, "run_uuid": run, "metric_key": key, "max_results": 25_000}
    while True:
        answer = client.get("metrics/get-history", **params)
        found += answer.get("metrics", [])
        if not (token := answer.get("next_page_token")):
            return found
        params["page_token"] = token


def check_active(error: Rejected) -> None:
    """End the sending if the run is gone.

    Raises
    ------
    SinkRefused
        If it is.
    """
    if error.code == "RESOURCE_DOES_NOT_EXIST" or "must be in the 'active' state" in str(error):
        raise SinkRefused(f"the run is not there any more: {error}") from error


def _listed(pairs: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in pairs]


def _canonical(value: float | str) -> float:
    """A value as servers give it back, which have no infinity."""
    return max(-1.7976931348623157e308, min(1.7976931348623157e308, float(value)))
