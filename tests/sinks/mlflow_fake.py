"""As much of an MLflow server as the sink asks for, in memory: for what is tested where no MLflow is installed.

It says nothing about MLflow; what a real server makes of the same requests is tested in `tests/mlflow_sink`.
"""

from __future__ import annotations

import json
import threading
import urllib.parse
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class NotFound(Exception):
    """There is no such thing."""


class FakeMLflow:
    """A server on loopback, until it is closed."""

    def __init__(self) -> None:
        self.experiments: dict[str, str] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.files: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.lock = threading.RLock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def respond(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                path, _, query = self.path.partition("?")
                with outer.lock:
                    outer.requests.append((self.command, path))
                    try:
                        status, content = 200, outer.answer(self.command, urllib.parse.unquote(path), query, body)
                    except NotFound as error:
                        told = {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": str(error)}
                        status, content = 404, json.dumps(told).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = respond  # noqa: N815

            def log_message(self, *arguments: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.sink = f"mlflow+http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=[0.01], daemon=True).start()

    def close(self) -> None:
        """Stop it."""
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, path: str, query: str, body: bytes) -> bytes:
        """The answer to a request."""
        if path == "/version":
            return b"3.17.2"
        if path == "/api/3.0/mlflow/server-info":
            return b'{"store_type": "SqlStore"}'
        if path.startswith("/api/2.0/mlflow-artifacts/artifacts"):
            return self._artifacts(
                method, path.removeprefix("/api/2.0/mlflow-artifacts/artifacts").strip("/"), query, body
            )
        name = path.removeprefix("/api/2.0/mlflow/")
        asked = json.loads(body) if body else dict(urllib.parse.parse_qsl(query))
        found: dict[str, Any] = getattr(self, "_" + name.replace("/", "_").replace("-", "_"))(asked)
        return json.dumps(found).encode()

    def _artifacts(self, method: str, path: str, query: str, body: bytes) -> bytes:
        if method == "PUT":
            self.files[path] = body
            return b"{}"
        if path:
            return self.files[path]
        folder = dict(urllib.parse.parse_qsl(query))["path"].strip("/")
        names = [each.removeprefix(f"{folder}/") for each in self.files if each.startswith(f"{folder}/")]
        return json.dumps({"files": [{"path": name, "is_dir": False} for name in names if "/" not in name]}).encode()

    def _experiments_get_by_name(self, asked: dict[str, Any]) -> dict[str, Any]:
        if asked["experiment_name"] not in self.experiments:
            raise NotFound("no such experiment")
        return {"experiment": {"experiment_id": self.experiments[asked["experiment_name"]]}}

    def _experiments_get(self, asked: dict[str, Any]) -> dict[str, Any]:
        name = next(name for name, id in self.experiments.items() if id == asked["experiment_id"])
        return {"experiment": {"experiment_id": asked["experiment_id"], "name": name}}

    def _experiments_create(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.experiments[asked["name"]] = str(len(self.experiments) + 1)
        return {"experiment_id": self.experiments[asked["name"]]}

    def _experiments_search(self, asked: dict[str, Any]) -> dict[str, Any]:
        return {"experiments": [{"experiment_id": id, "name": name} for name, id in self.experiments.items()]}

    def _runs_create(self, asked: dict[str, Any]) -> dict[str, Any]:
        id = uuid.uuid4().hex
        self.runs[id] = {
            "experiment": asked["experiment_id"], "name": asked["run_name"], "start": asked["start_time"],
            "status": "RUNNING", "tags": {each["key"]: each["value"] for each in asked["tags"]}, "params": {},
            "metrics": {}, "deleted": False,
        }  # fmt: skip
        return {"run": self._told(id)}

    def _told(self, id: str) -> dict[str, Any]:
        run = self.runs[id]
        return {
            "info": {
                "run_id": id, "experiment_id": run["experiment"], "run_name": run["name"], "status": run["status"],
                "start_time": run["start"], "artifact_uri": f"mlflow-artifacts:/{run['experiment']}/{id}/artifacts",
                "lifecycle_stage": "deleted" if run["deleted"] else "active",
            },
            "data": {
                "tags": [{"key": key, "value": value} for key, value in run["tags"].items()],
                "params": [{"key": key, "value": value} for key, value in run["params"].items()],
                "metrics": [
                    {"key": key, "step": max(each[0] for each in points)} for key, points in run["metrics"].items()
                ],
            },
        }  # fmt: skip

    def _runs_get(self, asked: dict[str, Any]) -> dict[str, Any]:
        if asked["run_id"] not in self.runs:
            raise NotFound("no such run")
        return {"run": self._told(asked["run_id"])}

    def _runs_search(self, asked: dict[str, Any]) -> dict[str, Any]:
        wanted = asked["filter"].partition("= '")[2].rstrip("'")
        found = [id for id, run in self.runs.items() if run["tags"].get("trackkit.id") == wanted]
        return {"runs": [self._told(id) for id in found if self.runs[id]["experiment"] in asked["experiment_ids"]]}

    def _runs_update(self, asked: dict[str, Any]) -> dict[str, Any]:
        run = self.runs[asked["run_id"]]
        run["status"] = asked.get("status", run["status"])
        run["name"] = asked.get("run_name", run["name"])
        return {}

    def _runs_delete(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.runs[asked["run_id"]]["deleted"] = True
        return {}

    def _runs_set_tag(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.runs[asked["run_id"]]["tags"][asked["key"]] = asked["value"]
        return {}

    def _runs_delete_tag(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.runs[asked["run_id"]]["tags"].pop(asked["key"], None)
        return {}

    def _runs_log_batch(self, asked: dict[str, Any]) -> dict[str, Any]:
        run = self.runs[asked["run_id"]]
        run["params"].update({each["key"]: each["value"] for each in asked["params"]})
        for each in asked["metrics"]:
            points = run["metrics"].setdefault(each["key"], [])
            point = (each["step"], each["timestamp"], each["value"])
            if point not in points:
                points.append(point)
        run["tags"].update({each["key"]: each["value"] for each in asked["tags"]})
        return {}
