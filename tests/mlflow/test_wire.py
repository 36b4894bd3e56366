"""Answers of our server and of the original to the same requests, field by field, those that are refused among them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from tests.mlflow.wire import PROXY, Pair
from tests.servers import Serving


@pytest.fixture
def both(original: str, ours: Serving) -> Iterator[Pair]:
    """Both servers, with an experiment `e` and a run `r`; what they are asked they must answer alike."""
    pair = Pair(original, ours.address)
    name = f"e {uuid.uuid4().hex[:8]}"
    for server in (pair.original, pair.ours):
        server.names["name"] = name
    tags = [{"key": "a", "value": "b"}]
    pair.same("POST", "experiments/create", json={"name": name, "tags": tags}, name=("experiment_id",), as_="e")
    run = {"experiment_id": "{e}", "start_time": 123, "user_id": "u", "run_name": "n",
           "tags": [{"key": "mlflow.user", "value": "u"}]}  # fmt: skip
    pair.same("POST", "runs/create", json=run, name=("run", "info", "run_id"), as_="r")
    yield pair
    assert not pair.differences, "\n".join(["the answers differ:", *pair.differences])


def test_experiments(both: Pair) -> None:
    assert both.get("experiments/get?experiment_id={e}")[0] == 200
    both.get("experiments/get-by-name?experiment_name={name}")
    both.get("experiments/get-by-name?experiment_name=none")
    both.get("experiments/get?experiment_id=abc")
    both.get("experiments/get?experiment_id=123456789")
    both.get("experiments/get")
    both.post("experiments/create", name="{name}")
    both.post("experiments/create", name=1)
    both.post("experiments/create", name="")
    both.post("experiments/create", name="x" * 501)
    both.post("experiments/create")
    both.same("POST", "experiments/create", data='{"name":"x"}')
    both.same("POST", "experiments/create", data="{", headers={"content-type": "application/json"})
    both.post("experiments/set-experiment-tag", experiment_id="{e}", key="k", value="v")
    both.post("experiments/set-experiment-tag", experiment_id="{e}", key="k", value="w")
    both.post("experiments/set-experiment-tag", experiment_id="{e}", key="", value="w")
    both.post("experiments/set-experiment-tag", experiment_id="{e}", key="x" * 251, value="w")
    both.post("experiments/set-experiment-tag", experiment_id="{e}", key="k", value="x" * 20_001)
    both.post("experiments/delete-experiment-tag", experiment_id="{e}", key="a")
    both.post("experiments/delete-experiment-tag", experiment_id="{e}", key="a")
    assert both.get("experiments/get?experiment_id={e}")[1]["experiment"]["tags"] == [{"key": "k", "value": "w"}]
    both.post("experiments/update", experiment_id="{e}", new_name="{name} again")
    both.get("experiments/get?experiment_id={e}")
    both.post("experiments/update", experiment_id="{e}", new_name="{name}")


def test_searching_experiments(both: Pair) -> None:
    for search in (
        {"filter": "name = '{name}'"},
        {"filter": "name LIKE '%{name}%' AND tags.a = 'b'"},
        {"filter": "tags.a != 'b' AND name = '{name}'"},
        {"filter": "name ILIKE 'E %' and name = '{name}'"},
        {"filter": "experiment_id IN ('{e}')"},
        {"filter": "experiment_id = '{e}'", "order_by": ["name DESC"]},
        {"filter": "creation_time > 5 AND name = '{name}'"},
        {"filter": "foo = 'x'"},
        {"filter": "name > 'x'"},
        {"filter": "creation_time = 'x'"},
        {"filter": "name = 'x' OR name = 'y'"},
        {"order_by": ["foo"]},
        {"max_results": 0},
        {"max_results": 50_001},
        {"filter": "name = '{name}'", "view_type": "DELETED_ONLY"},
        {"filter": "name = '{name}'", "view_type": "ALL"},
    ):
        both.post("experiments/search", **{"max_results": 10, **search})


def test_lifecycles(both: Pair) -> None:
    both.post("experiments/delete", experiment_id="{e}")
    both.post("experiments/delete", experiment_id="{e}")
    both.get("experiments/get?experiment_id={e}")
    assert both.get("runs/get?run_id={r}")[1]["run"]["info"]["lifecycle_stage"] == "deleted"
    both.post("experiments/update", experiment_id="{e}", new_name="q")
    both.post("experiments/set-experiment-tag", experiment_id="{e}", key="k", value="v")
    both.post("runs/create", experiment_id="{e}")
    both.post("experiments/create", name="{name}")
    both.post("experiments/restore", experiment_id="{e}")
    both.post("experiments/restore", experiment_id="{e}")
    assert both.get("runs/get?run_id={r}")[1]["run"]["info"]["lifecycle_stage"] == "active"
    both.post("runs/delete", run_id="{r}")
    both.post("runs/delete", run_id="{r}")
    for view in ("ACTIVE_ONLY", "DELETED_ONLY", "ALL", 1, 2, 3):
        both.post("runs/search", experiment_ids=["{e}"], run_view_type=view)
    both.post("runs/log-metric", run_id="{r}", key="m", value=1, timestamp=1)
    both.post("runs/log-parameter", run_id="{r}", key="m", value="1")
    both.post("runs/set-tag", run_id="{r}", key="m", value="1")
    both.post("runs/log-batch", run_id="{r}", metrics=[])
    both.post("runs/update", run_id="{r}", status="FINISHED")
    both.post("runs/restore", run_id="{r}")
    both.post("runs/restore", run_id="nope")
    both.post("runs/delete", run_id="nope")


def test_metrics(both: Pair) -> None:
    for metric in (
        {"key": "m", "value": 1.5, "timestamp": 5, "step": 1},
        {"key": "m", "value": 1.5, "timestamp": 5, "step": 1},  # the same again
        {"key": "m", "value": "NaN", "timestamp": 6, "step": 2},
        {"key": "m", "value": "NaN", "timestamp": 6, "step": 2},
        {"key": "m", "value": 7, "timestamp": 9, "step": -4},  # later, of an earlier step
        {"key": "m", "value": 2, "timestamp": 6, "step": 2},
        {"key": "inf", "value": "Infinity", "timestamp": 6},
        {"key": "inf", "value": "-Infinity", "timestamp": 7},
        {"key": "text", "value": "0.25", "timestamp": "7", "step": "3"},
        {"key": "m", "value": "x", "timestamp": 6},
        {"key": "m", "value": 1},
        {"key": "m", "timestamp": 1},
        {"value": 1, "timestamp": 1},
        {"key": "", "value": 1, "timestamp": 1},
        {"key": "a?b", "value": 1, "timestamp": 1},
        {"key": "../x", "value": 1, "timestamp": 1},
        {"key": "a//b", "value": 1, "timestamp": 1},
        {"key": "a/b c:d-é", "value": 1, "timestamp": 1},
        {"key": "m", "value": 1, "timestamp": -1},
        {"key": "x" * 251, "value": 1, "timestamp": 1},
    ):
        both.post("runs/log-metric", run_id="{r}", **metric)
    both.post("runs/log-metric", run_id="nope", key="m", value=1, timestamp=1)
    both.post("runs/log-metric", run_uuid="{r}", key="by uuid", value=1, timestamp=1)
    both.post("runs/log-metric", key="m", value=1, timestamp=1)
    for key in ("m", "inf", "text", "nope", "by uuid"):
        both.get("metrics/get-history?run_id={r}&metric_key=" + key)
    for more in ("&max_results=1", "&max_results=2&page_token=eyJvZmZzZXQiOiAxfQ==", "&max_results=0"):
        both.get("metrics/get-history?run_id={r}&metric_key=m" + more)
    both.get("metrics/get-history?run_id={r}&metric_key=m&page_token=xx")
    both.get("metrics/get-history?run_id=nope&metric_key=m")
    both.get("metrics/get-history?run_id={r}")
    bulk = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"
    for query in (
        "?run_id={r}&metric_key=inf",
        "?run_id={r}&run_id=nope&metric_key=text&max_results=2",
        "?metric_key=m",
        "?run_id={r}",
    ):
        both.get(bulk + query)
    for query in (
        "?run_ids={r}&metric_key=m",
        "?run_ids={r}&metric_key=m&start_step=1&end_step=2",
        "?run_ids={r}&metric_key=m&start_step=1",
        "?run_ids={r}&metric_key=m&max_results=2",
        "?run_ids={r}&metric_key=m&max_results=3000",
    ):
        both.get(bulk + "-interval" + query)
    for server in (both.original, both.ours):
        found = server.ask("GET", "runs/get?run_id={r}").json()["run"]["data"]["metrics"]
        server.names["latest"] = str(sorted((one["key"], one["value"], one["step"], one["timestamp"]) for one in found))
    assert both.ours.names["latest"] == both.original.names["latest"]


def test_params_and_tags(both: Pair) -> None:
    values = [
        "1",
        "0.1",
        "1e-3",
        "1E5",
        "007",
        "True",
        "true",
        "None",
        "nan",
        "inf",
        "",
        "é ✓",
        "1_000",
        "+1",
        "-0",
        ".5",
    ]
    for position, value in enumerate(values):
        both.post("runs/log-parameter", run_id="{r}", key=f"p{position}", value=value)
        both.post("runs/log-parameter", run_id="{r}", key=f"p{position}", value=value)
    both.post("runs/log-parameter", run_id="{r}", key="p0", value="2")
    both.post("runs/log-parameter", run_id="{r}", key="p0", value="1.0")
    both.post("runs/log-parameter", run_id="{r}", key="p5", value="true")
    both.post("runs/log-parameter", run_id="{r}", key="p0")
    both.post("runs/log-parameter", run_id="{r}", key="long", value="x" * 6001)
    both.post("runs/log-parameter", run_id="{r}", key="x" * 251, value="x")
    both.post("runs/log-parameter", run_id="{r}", key="a.b", value="nested")
    both.post("runs/log-parameter", run_id="{r}", key="a", value="leaf")
    both.post("runs/set-tag", run_id="{r}", key="t", value="v")
    both.post("runs/set-tag", run_id="{r}", key="t", value="w")
    both.post("runs/set-tag", run_id="{r}", key="", value="v")
    both.post("runs/set-tag", run_id="{r}", key="..", value="v")
    both.post("runs/set-tag", run_id="{r}", key="long", value="x" * 8001)
    both.post("runs/set-tag", run_id="{r}", key="x" * 251, value="v")
    both.post("runs/set-tag", run_id="{r}", key="mlflow.note.content", value="a note")
    both.get("runs/get?run_id={r}")
    both.post("runs/delete-tag", run_id="{r}", key="t")
    both.post("runs/delete-tag", run_id="{r}", key="t")
    both.post("runs/delete-tag", run_id="{r}", key="mlflow.note.content")
    both.get("runs/get?run_id={r}")


def test_batches(both: Pair) -> None:
    one = {"key": "z", "value": 3, "timestamp": 1}
    for batch in (
        {"metrics": [one, {**one, "value": 4}, one], "params": [{"key": "p", "value": "1"}], "tags": [{"key": "t"}]},
        {"params": [{"key": "p", "value": "3"}, {"key": "q", "value": "4"}]},
        {"params": [{"key": "z", "value": "3"}, {"key": "z", "value": "3"}]},
        {"metrics": [{"key": "z", "value": "3"}]},
        {"metrics": [one, {"value": 1, "timestamp": 1}]},
        {"metrics": [{"key": "z", "timestamp": 1}]},
        {"metrics": [{"key": "a?", "value": 1, "timestamp": 1}]},
        {"metrics": "x"},
        {"params": [{"value": "3"}]},
        {"tags": [{"value": "3"}]},
        {"metrics": [one] * 1001},
        {"params": [{"key": f"k{i}", "value": "v"} for i in range(101)]},
        {"tags": [{"key": f"k{i}", "value": "v"} for i in range(101)]},
        {"metrics": [one] * 950, "params": [{"key": f"k{i}", "value": "v"} for i in range(51)]},
        {},
    ):
        both.post("runs/log-batch", run_id="{r}", **batch)
    both.post("runs/log-batch", run_id="nope", metrics=[one])
    both.post("runs/log-batch", metrics=[one])
    both.get("runs/get?run_id={r}")
    both.get("metrics/get-history?run_id={r}&metric_key=z")


def test_runs_are_made_and_changed(both: Pair) -> None:
    both.get("runs/get?run_id=nope")
    both.get("runs/get")
    both.get("runs/get?run_uuid={r}")
    both.post("runs/create", experiment_id="{e}", run_name="a", tags=[{"key": "mlflow.runName", "value": "b"}])
    both.post("runs/create", experiment_id="{e}", start_time=5, tags=[{"key": "mlflow.runName", "value": "b"}])
    both.post("runs/create", experiment_id="123456789", start_time=5)
    both.post("runs/create", experiment_id="{e}", start_time="x")
    both.post("runs/update", run_id="{r}", status="FINISHED", end_time=999)
    both.post("runs/update", run_id="{r}", status="BOGUS")
    both.post("runs/update", run_id="{r}", run_name="other")
    both.post("runs/update", run_id="{r}")
    both.post("runs/update", run_id="nope", status="FINISHED")
    both.post("runs/update", run_id="{r}", status="KILLED", end_time=1000)
    both.post("runs/update", run_id="{r}", status="FAILED", end_time=1001)
    both.get("runs/get?run_id={r}")
    both.post("runs/set-tag", run_id="{r}", key="mlflow.runName", value="renamed")
    both.get("runs/get?run_id={r}")


def test_searching_runs(both: Pair) -> None:
    for number in range(6):
        run = {
            "experiment_id": "{e}",
            "start_time": 1000 + (7 * number) % 6,
            "run_name": f"Run {number}",
            "user_id": "U",
            "tags": [{"key": "kind", "value": "Odd" if number % 2 else "even"}, {"key": "a b", "value": str(number)}],
        }
        both.same("POST", "runs/create", json=run, name=("run", "info", "run_id"), as_=f"r{number}")
        metrics = [{"key": "acc", "value": "NaN" if number == 4 else number / 10, "timestamp": 1, "step": 1}]
        metrics = [] if number == 5 else metrics
        params = [{"key": "lr", "value": str(0.1 * number)}, {"key": "opt", "value": "adam" if number % 2 else "SGD"}]
        both.post("runs/log-batch", run_id=f"{{r{number}}}", metrics=metrics, params=params)
    both.post("runs/update", run_id="{r3}", status="FINISHED", end_time=5000)
    for expression in (
        "metrics.acc > 0.1",
        "metrics.acc >= 0.1 and metrics.acc < 0.3",
        "metrics.acc != 0.1",
        "metrics.acc = 0.2",
        "metrics.`acc` <= 0.2",
        'metrics."acc" <= 0.2',
        "metric.acc > -1",
        "params.lr = '0.1'",
        "params.lr != '0.1'",
        "params.opt LIKE 'ad%'",
        "params.opt LIKE 'sgd'",
        "params.opt ILIKE 'sgd'",
        'param.opt = "adam"',
        "parameters.opt = 'adam' AND metrics.acc > 0",
        "params.nope IS NULL",
        "params.opt IS NOT NULL",
        "params.lr LIKE '0.%'",
        "tags.kind = 'Odd'",
        "tag.kind LIKE 'o%'",
        "tags.kind ILIKE 'o%'",
        "tags.`a b` = '3'",
        "tags.`a b` != '3'",
        "tags.nope IS NULL",
        "tags.kind IS NOT NULL and tags.kind != 'Odd'",
        "tags.mlflow.runName = 'Run 2'",
        "attributes.run_name LIKE 'Run %'",
        "run_name = 'Run 2'",
        "attr.status = 'FINISHED'",
        "status != 'FINISHED'",
        "status LIKE 'RUN%'",
        "attributes.start_time > 1000",
        "start_time <= 1001 and start_time > 999",
        "attributes.end_time = 5000",
        "created >= 1004",
        "run_id = '{r2}'",
        "run_id IN ('{r2}', '{r3}')",
        "run_id NOT IN ('{r2}','{r3}')",
        "attributes.user_id = 'U'",
        "user_id ILIKE 'u'",
        "artifact_uri LIKE '%artifacts'",
        "datasets.name = 'x'",
        "`run name` = 'Run 1'",
        "metrics.acc > 0.1 AND",
        "",
        "params.opt = '100%'",
        "metrics.m > 'x'",
        "foo.a = 'b'",
        "a = 'b'",
        "params.p > '1'",
        "params.p = 1",
        "params.p = '1' OR params.p = '2'",
        "(params.p = '1')",
        "metrics.m >",
        "tags.a IS",
        "attributes.start_time > 'x'",
        "status IN ('a')",
        "garbage",
        "metrics.acc LIKE '1'",
        "datasets.foo = 'x'",
        "params.p = abc",
        "run_id IN ()",
        "metrics.acc IS NULL",
        "NOT params.p = '1'",
    ):
        both.post("runs/search", experiment_ids=["{e}"], filter=expression)
    for order in (
        ["metrics.acc"],
        ["metrics.acc DESC"],
        ["metrics.acc asc", "start_time"],
        ["params.lr DESC"],
        ["tags.kind", "run_name"],
        ["attributes.start_time", "run_name DESC"],
        ["start_time DESC", "tags.`a b`"],
        ["status", "run_name"],
        ["end_time", "run_name"],
        ["created ASC", "run_name"],
        ["metrics.nope", "run_name"],
        ["params.`opt`", "run_name"],
        ["foo.x"],
        ["start_time descending"],
        ["metrics.m ASC extra"],
        ["params.`a"],
        ["foo"],
        [""],
    ):
        filter = "attributes.run_name LIKE 'Run%'" if order != ["status", "run_name"] else "tags.kind = 'Odd'"
        both.post("runs/search", experiment_ids=["{e}"], filter=filter, order_by=[*order])
    page = {"experiment_ids": ["{e}"], "order_by": ["run_name"]}
    _, found = both.post("runs/search", max_results=4, **page)
    assert len(found["runs"]) == 4
    both.post("runs/search", max_results=4, page_token=found["next_page_token"], **page)
    both.post("runs/search", max_results=7, **page)
    for wrong in (
        {"max_results": 0}, {"max_results": -1}, {"max_results": 50_001}, {"page_token": "xx"}, {"experiment_ids": []},
        {"experiment_ids": ["987654321"]}, {"experiment_ids": ["abc"]}, {"experiment_ids": "x"}, {"order_by": "x"},
        {"order_by": [1]}, {"filter": 1},
    ):  # fmt: skip
        both.post("runs/search", **{**page, **wrong})


def test_artifacts(both: Pair) -> None:
    place = f"{PROXY}/{{e}}/{{r}}/artifacts"
    for path, content in {"a.txt": b"hello", "d/b.json": b"[1", "d/e/c": b"", "a%25b+c é.txt": b"odd"}.items():
        both.same("PUT", f"{place}/{path}", data=content)
        both.get(f"{place}/{path}")
    both.same("PUT", f"{place}/seen%2525step%2522x", data=b"named by an old client")
    both.same("PUT", f"{place}/a.txt", data=b"hello again")
    both.get(f"{place}/a.txt")
    both.get(f"{place}/no.txt")
    for folder in ("", "/d", "/d/e", "/a.txt", "/nope"):
        both.get(f"{PROXY}?path={{e}}/{{r}}/artifacts{folder}")
    for folder in ("", "&path=d", "&path=d/e", "&path=nope", "&path=../d", "&path=/etc"):
        both.get(f"artifacts/list?run_id={{r}}{folder}")
    both.get("artifacts/list?run_id=nope")
    both.get("artifacts/list")
    for bad in (f"{PROXY}?path=../x", f"{PROXY}/%2e%2e/x", f"{PROXY}/a/..%2f..%2fx", f"{PROXY}/%2fetc/passwd"):
        both.get(bad)
    both.same("PUT", f"{PROXY}/a/..%2f..%2fx", data=b"1")
    both.same("DELETE", f"{place}/a.txt")
    both.same("DELETE", f"{place}/a.txt")
    both.same("DELETE", f"{place}/d")
    both.get(f"{PROXY}?path={{e}}/{{r}}/artifacts")
    both.same("PUT", f"{PROXY}/elsewhere/{{r}}/x.bin", data=b"x" * 100_000)
    both.get(f"{PROXY}?path=elsewhere/{{r}}")
    both.get(f"{PROXY}/elsewhere/{{r}}/x.bin")
    both.same("GET", "/api/2.0/mlflow-artifacts/presigned/x")


def test_what_there_is_not(both: Pair) -> None:
    both.post("nonexistent")
    both.get("runs/create")
    both.get("webhooks")
    both.get("webhooks/xyz")
    both.same("GET", "/api/2.0/preview/mlflow/experiments/list")
    both.same("POST", "/ajax-api/2.0/mlflow/nonexistent", json={})


def test_logged_models_and_the_registry(both: Pair) -> None:
    name = f"M{uuid.uuid4().hex[:8]}"
    for server in (both.original, both.ours):
        server.names["m"] = name
    both.same("PUT", f"{PROXY}/{{e}}/{{r}}/artifacts/model/MLmodel", data=b"hello")
    model = {"experiment_id": "{e}", "name": "mod", "source_run_id": "{r}", "params": [{"key": "a", "value": "b"}],
             "tags": [{"key": "t", "value": "v"}]}  # fmt: skip
    both.same("POST", "logged-models", json=model, name=("model", "info", "model_id"), as_="id")
    both.same("PUT", f"{PROXY}/{{e}}/models/{{id}}/artifacts/MLmodel", data=b"hello")
    both.same("PUT", f"{PROXY}/{{e}}/models/{{id}}/artifacts/data/w.bin", data=b"w" * 20_000)
    both.same("PATCH", "logged-models/{id}", json={"model_id": "{id}", "status": "LOGGED_MODEL_READY"})
    for path in ("", "?artifact_directory_path=data"):
        both.get("logged-models/{id}/artifacts/directories" + path)
    both.post("logged-models", name="no experiment")
    both.post("logged-models", experiment_id="{e}", name="a/b")
    for new in (
        {"name": "{m}"},
        {"name": "{m}"},
        {"name": "{m}t", "tags": [{"key": "a", "value": "b"}], "description": "d"},
        {"name": "a/b"},
        {"name": ""},
        {"name": "a:b"},
    ):
        both.post("registered-models/create", **new)
    for version in (
        {"source": "models:/{id}", "run_id": "{r}", "model_id": "{id}", "tags": [{"key": "x", "value": "y"}]},
        {"source": "mlflow-artifacts:/{e}/{r}/artifacts/model", "run_id": "{r}", "description": "desc"},
        {"source": "/tmp/x"}, {"source": "s3://b/x"}, {"source": "runs:/{r}/model", "run_id": "{r}"},
        {"source": "models:/{m}/1"}, {"source": ""}, {},
    ):  # fmt: skip
        both.post("model-versions/create", name="{m}", **version)
    both.post("model-versions/create", name="nope", source="s3://b/x")
    for version in ("1", "99", "x", ""):
        both.get(f"model-versions/get?name={{m}}&version={version}")
    for version in ("1", "2"):
        both.get(f"model-versions/get-download-uri?name={{m}}&version={version}")
    both.get("logged-models/{id}")
    for alias, version in (
        ("champ", 1),
        ("latest", 1),
        ("v1", 1),
        ("a b", 1),
        ("b", 99),
        ("", 1),
        ("champ", "2"),
        ("c", 1),
    ):
        both.post("registered-models/alias", name="{m}", alias=alias, version=str(version))
    for alias in ("champ", "latest", "nope", "c"):
        both.get(f"registered-models/alias?name={{m}}&alias={alias}")
    both.get("registered-models/alias?name=nope&alias=nope")
    both.get("registered-models/get?name={m}")
    both.get("registered-models/get?name=nope")
    for version, stage, archive in (
        ("1", "production", False),
        ("2", "Production", True),
        ("2", "Bogus", True),
        ("99", "None", False),
    ):
        transition = {"name": "{m}", "version": version, "stage": stage, "archive_existing_versions": archive}
        both.post("model-versions/transition-stage", **transition)
    for stages in ([], ["Production", "None"], ["zzz"]):
        both.post("registered-models/get-latest-versions", name="{m}", stages=stages)
    for update in ({"description": "new"}, {"description": ""}, {}):
        both.same("PATCH", "registered-models/update", json={"name": "{m}", **update})
    both.same("PATCH", "model-versions/update", json={"name": "{m}", "version": "1", "description": "new"})
    for method, tag in (("POST", "set-tag"), ("DELETE", "delete-tag"), ("DELETE", "delete-tag")):
        both.same(method, f"registered-models/{tag}", json={"name": "{m}", "key": "k", "value": "v"})
        both.same(method, f"registered-models/{tag}", json={"name": "nope", "key": "k", "value": "v"})
        both.same(method, f"model-versions/{tag}", json={"name": "{m}", "version": "1", "key": "k", "value": "v"})
        both.same(method, f"model-versions/{tag}", json={"name": "{m}", "version": "99", "key": "k", "value": "v"})
    for expression in ("name = '{m}'", "name LIKE '{m}%25'", "tags.a = 'b' and name ILIKE '{m}%25'", "foo = 'x'"):
        both.get(f"registered-models/search?filter={expression}")
    both.get("registered-models/search?filter=name LIKE '{m}%25'&max_results=1&order_by=name DESC")
    for expression in (
        "name = '{m}'",
        "run_id = '{r}' and name = '{m}'",
        "source_path LIKE 's3%25' and name='{m}'",
        "tags.x = 'y' and name='{m}'",
        "version_number > 2 and name = '{m}'",
        "run_id IN ('{r}')",
        "foo = 'x'",
    ):
        both.get(f"model-versions/search?filter={expression}&order_by=version_number ASC")
    both.get("model-versions/search?filter=name = '{m}'&max_results=1&order_by=version_number DESC")
    both.same("DELETE", "registered-models/alias", json={"name": "{m}", "alias": "champ"})
    both.same("DELETE", "registered-models/alias", json={"name": "{m}", "alias": "champ"})
    both.same("DELETE", "model-versions/delete", json={"name": "{m}", "version": "1"})
    both.same("DELETE", "model-versions/delete", json={"name": "{m}", "version": "1"})
    both.get("model-versions/get?name={m}&version=1")
    both.post("registered-models/rename", name="{m}", new_name="{m}2")
    both.post("registered-models/rename", name="{m}2", new_name="{m}t")
    both.post("registered-models/rename", name="{m}2", new_name="")
    both.same("DELETE", "registered-models/delete", json={"name": "{m}2"})
    both.same("DELETE", "registered-models/delete", json={"name": "{m}2"})
    for search in (
        {}, {"filter": "name = 'mod' AND params.a = 'b' and tags.t = 'v'"}, {"filter": "name = 'x'"},
        {"order_by": [{"field_name": "metrics.x", "ascending": False}]}, {"datasets": [{"dataset_name": "d"}]},
    ):  # fmt: skip
        both.post("logged-models/search", experiment_ids=["{e}"], **search)
    both.post("logged-models/search")
    both.same("PATCH", "logged-models/{id}/tags", json={"model_id": "{id}", "tags": [{"key": "t2", "value": "v"}]})
    both.same("DELETE", "logged-models/{id}/tags/t2")
    both.same("DELETE", "logged-models/{id}/tags/t2")
    both.post("runs/outputs", run_id="{r}", models=[{"model_id": "{id}", "step": 3}])
    dataset = {"name": "d", "digest": "1", "source_type": "local", "source": "{}", "schema": "{}", "profile": "{}"}
    used = {"tags": [{"key": "mlflow.data.context", "value": "train"}], "dataset": dataset}
    both.post("runs/log-inputs", run_id="{r}", datasets=[used, used], models=[{"model_id": "{id}"}])
    measured = {
        "key": "acc",
        "value": 1,
        "timestamp": 5,
        "model_id": "{id}",
        "dataset_name": "d",
        "dataset_digest": "1",
    }
    both.post("runs/log-metric", run_id="{r}", **measured)
    both.get("runs/get?run_id={r}")
    both.get("logged-models/{id}")
    for expression in (
        "datasets.name = 'd' and datasets.context = 'train'",
        "dataset.digest IN ('1')",
        "dataset.name != 'd'",
    ):
        both.post("runs/search", experiment_ids=["{e}"], filter=expression)
    both.post("logged-models/search", experiment_ids=["{e}"], filter="metrics.acc > 0.5")
    both.same("DELETE", "logged-models/{id}")
    both.get("logged-models/{id}")
    both.get("logged-models/m-nope")
