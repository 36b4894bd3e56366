"""Requests sent to two servers, and what differs in their answers."""

from __future__ import annotations

import re
from typing import Any

import requests

API = "/api/2.0/mlflow/"
PROXY = "/api/2.0/mlflow-artifacts/artifacts"
_NAMES = re.compile(r"\b(?:m-|tr-|a-)?[0-9a-f]{32}\b|\b\d{13}\b|\b[1-9]\d{15,18}\b")
_SETS = re.compile(r"(?:not one of|Valid keys are) .*")


class Wire:
    """One server, and the names it gave things."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.names: dict[str, str] = {}
        self.session = requests.Session()
        self.session.trust_env = False

    def ask(self, method: str, path: str, **arguments: Any) -> requests.Response:
        """The answer to a request; `{name}` stands for what the server called something."""
        full = path if path.startswith("/") else API + path
        if "json" in arguments:
            arguments["json"] = self._named(arguments["json"])
        return self.session.request(method, self.address + self._named(full), timeout=30, **arguments)

    def _named(self, value: Any) -> Any:
        if isinstance(value, str):
            return re.sub(r"{(\w+)}", lambda found: self.names.get(found[1], found[0]), value)
        if isinstance(value, dict):
            return {key: self._named(one) for key, one in value.items()}
        return [self._named(one) for one in value] if isinstance(value, list) else value

    def normal(self, answer: requests.Response) -> tuple[int, Any]:
        """Status and body without what differs from server to server: ids, times, the order of sets."""
        if "html" in answer.headers.get("content-type", "") or answer.status_code == 405:
            return answer.status_code, "no such endpoint"
        if "json" not in answer.headers.get("content-type", ""):
            return answer.status_code, (answer.headers.get("content-type"), answer.text)
        found = answer.json()
        if found.get("error_code") == "ENDPOINT_NOT_FOUND":
            return answer.status_code, "no such endpoint"
        return answer.status_code, self._plain(found)

    def _plain(self, value: Any, name: str = "") -> Any:
        if isinstance(value, dict):
            return {
                key: "time" if "time" in key and isinstance(one, int) and one > 10**12 else self._plain(one, key)
                for key, one in value.items()
                if key not in ("sqlstate", "error_class")
            }
        if isinstance(value, list):
            plain = [self._plain(one) for one in value]
            if plain and all(isinstance(one, dict) and "key" in one and "timestamp" not in one for one in plain):
                return sorted(plain, key=lambda one: str(one["key"]))
            if name == "latest_versions":
                return sorted(plain, key=lambda one: int(one["version"]))
            return plain
        if isinstance(value, str):
            for name, given in self.names.items():
                value = re.sub(rf"(?<![\w.]){re.escape(given)}(?![\w.])", f"<{name}>", value)
            value = _SETS.sub("...", _NAMES.sub("<id>", value))
            return re.sub(r"already exists\. Error: .*", "already exists.", value, flags=re.DOTALL)
        return value


class Pair:
    """The original and our server, asked the same."""

    def __init__(self, original: str, ours: str) -> None:
        self.original, self.ours = Wire(original), Wire(ours)
        self.differences: list[str] = []

    def same(self, method: str, path: str, *, name: tuple[str, ...] = (), as_: str = "", **arguments: Any) -> Any:
        """What we answer; where that is not what the original does, it is among the differences.

        Parameters
        ----------
        name
            Where in the answer there is the name of something.
        as_
            What that is called in further requests.
        """
        answers = []
        for server in (self.original, self.ours):
            answer = server.ask(method, path, **dict(arguments))
            if as_:
                assert answer.status_code == 200, answer.text
                found = answer.json()
                for step in name:
                    found = found[step]
                server.names[as_] = str(found)
            answers.append(server.normal(answer))
        if answers[1] != answers[0]:
            asked = f"{method} {path} {str(arguments)[:300]}"
            self.differences.append(f"{asked}\n    the original: {answers[0]}\n    ours:         {answers[1]}")
        return answers[1]

    def post(self, path: str, **json: Any) -> Any:
        """What we answer to a POST of a JSON object."""
        return self.same("POST", path, json=json)

    def get(self, path: str) -> Any:
        """What we answer to a GET."""
        return self.same("GET", path)
