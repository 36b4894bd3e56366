"""A run's config as params, which MLflow lets nobody change.

A value that changed goes to a tag `trackkit.config.NAME`, and the param keeps the first one. The whole config, with its
types and at full length, is the artifact `trackkit/config.json`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any, Final

from trackkit.backend.store import entries
from trackkit.core import records
from trackkit.sinks.mlflow.client import Client, Rejected, TooLarge
from trackkit.sinks.mlflow.limits import PAIRS, Limits, Names, as_text, fitting_key, shortened
from trackkit.sinks.mlflow.outbox import check_active
from trackkit.sinks.mlflow.tracked import Tracked, read

logger = logging.getLogger("trackkit")

CHANGED: Final = "trackkit.config."
CUT: Final = "trackkit.truncated_params"
"""The tag that names the params whose values were too long."""
_REMOVED: Final = "(removed)"


class Params:
    """The config of a run at MLflow.

    Parameters
    ----------
    client
        A connection to the server.
    run
        The run as the server has it.
    limits
        What the server takes.
    names
        How keys are called there.
    config
        The config so far.
    """

    def __init__(
        self, client: Client, run: Tracked, limits: Limits, names: Names, config: dict[str, records.Json]
    ) -> None:
        self.config = config
        self._client = client
        self._run = run.id
        self._limits = limits
        self._names = names
        self._known = dict(run.params)
        self._changed = {key: value for key, value in run.tags.items() if key.startswith(CHANGED)}
        self._cut = _listed(run.tags.get(CUT, "[]"))

    def change(self, record: records.Config) -> dict[str, str]:
        """Take a Config record: send what params can hold; the tags that tell the rest."""
        before = entries.flatten(
            {key: self.config[key] for key in [*record.values, *record.removed] if key in self.config}
        )
        self.merge(record)
        now = entries.flatten(record.values)
        texts = {self._names.name(key): as_text(value) for key, value in now.items()}
        gone = [self._names.name(key) for key in before if key not in now]
        cut = [name for name, text in texts.items() if len(text) > self._limits.param]
        values = {name: shortened(text, self._limits.param) for name, text in texts.items()}
        self._send({name: value for name, value in values.items() if name not in self._known})
        tags = self._tags({**{name: texts[name] for name in texts}, **dict.fromkeys(gone, _REMOVED)})
        if not self._cut.issuperset(cut):
            self._cut.update(cut)
            tags[CUT] = shortened(json.dumps(sorted(self._cut), ensure_ascii=False), self._limits.tag)
        return tags

    def merge(self, record: records.Config) -> None:
        """Take over what a record changes, and send nothing."""
        for key in record.removed:
            self.config.pop(key, None)
        self.config.update(record.values)

    def _tags(self, texts: Mapping[str, str]) -> dict[str, str]:
        """What differs from the params that are there."""
        tags: dict[str, str] = {}
        for name, text in texts.items():
            key = fitting_key(f"{CHANGED}{name}", self._limits)
            value = shortened(text, self._limits.tag)
            if self._known.get(name) == shortened(text, self._limits.param) and key not in self._changed:
                continue
            if self._changed.get(key) != value:
                tags[key] = self._changed[key] = value
        return tags

    def _send(self, values: dict[str, str]) -> None:
        """Send new params; of those that another process has sent meanwhile, what it sent stands."""
        fresh = list(values.items())
        for start in range(0, len(fresh), PAIRS):
            some = fresh[start : start + PAIRS]
            try:
                self._log(some)
                self._known.update(some)
            except (Rejected, TooLarge) as error:
                if isinstance(error, Rejected):
                    check_active(error)
                found = read(self._client, self._run)
                self._known.update(found.params if found is not None else {})
                for name, value in some:
                    if name not in self._known:
                        self._send_alone(name, value)

    def _send_alone(self, name: str, value: str) -> None:
        try:
            self._log([(name, value)])
            self._known[name] = value
        except (Rejected, TooLarge) as error:
            logger.warning("trackkit: %s does not take the param %r: %s", self._client.address, name, error)

    def _log(self, some: list[tuple[str, str]]) -> None:
        params: list[dict[str, Any]] = [{"key": name, "value": value} for name, value in some]
        self._client.post("runs/log-batch", {"run_id": self._run, "metrics": [], "params": params, "tags": []})


def _listed(text: str) -> set[str]:
    try:
        found = json.loads(text)
    except ValueError:
        return set()
    return {str(each) for each in found} if isinstance(found, list) else set()
