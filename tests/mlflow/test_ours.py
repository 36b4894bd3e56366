"""One store, two ways in: what trackkit's own clients see of MLflow's, and the other way round; and who may do what."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import mlflow
import pytest
import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

import trackkit
from tests.mlflow.wire import API, PROXY
from tests.servers import Serving, serving, until
from tests.store.conftest import Filler
from trackkit.backend.store import artifacts, collection, maintenance
from trackkit.backend.store.sqlite import SQLiteDatabase


@pytest.fixture
def client(ours: Serving) -> MlflowClient:
    mlflow.set_tracking_uri(ours.address)
    return MlflowClient(ours.address)


def test_runs_of_both_are_side_by_side(ours: Serving, client: MlflowClient, tmp_path: Path) -> None:
    mlflow.set_experiment("digits")
    with mlflow.start_run(run_name="theirs") as run:
        mlflow.log_param("lr", 0.1)
        mlflow.log_param("momentum", "1e-3")
        for step in range(3):
            mlflow.log_metric("loss", 1 / (step + 1), step=step)
        mlflow.log_text("hello", "notes.txt")
        mlflow.set_tag("kind", "test")
    config = {"lr": 0.25, "model": {"depth": 2}, "name": "x", "flag": True, "none": None, "list": [1, 2]}
    with trackkit.init(project="digits", name="ours", config=config, tags=["base"], notes="a note", sink=ours.address,
                       dir=tmp_path / "mine") as mine:  # fmt: skip
        for step in range(3):
            mine.log({"loss": 0.5 / (step + 1)}, step=step)
    listed = {one["name"]: one for one in ours.get("/runs", project="digits", columns="*")["runs"]}
    assert listed["theirs"]["state"] == "finished"
    assert listed["theirs"]["values"]["config.lr"] == 0.1
    assert listed["theirs"]["values"]["config.momentum"] == 0.001
    assert listed["theirs"]["values"]["summary.loss"] == pytest.approx(1 / 3)
    assert [one["path"] for one in ours.get(f"/runs/{run.info.run_id}/files")["files"]] == ["notes.txt"]
    assert ours.get("/runs", filter="config.lr < 0.2")["total"] == 1
    assert ours.get(f"/runs/{run.info.run_id}")["run"]["metadata"]["tags"]["kind"] == "test"
    experiment = client.get_experiment_by_name("digits")
    found = {one.info.run_name: one for one in client.search_runs([experiment.experiment_id])}
    theirs = found["ours"]
    assert theirs.info.run_id == mine.id
    assert theirs.info.status == "FINISHED"
    assert theirs.data.metrics == {"loss": pytest.approx(0.5 / 3)}
    assert theirs.data.params == {
        "lr": "0.25", "model.depth": "2", "name": "x", "flag": "True", "none": "None", "list": "[1,2]",
    }  # fmt: skip
    tags = theirs.data.tags
    assert (tags["mlflow.runName"], tags["mlflow.note.content"], tags["base"]) == ("ours", "a note", "true")
    assert [one.value for one in client.get_metric_history(mine.id, "loss")] == [0.5, 0.25, pytest.approx(0.5 / 3)]
    for expression in (
        "params.lr = '0.25'",
        "params.model.depth = '2'",
        "params.flag = 'True'",
        "tags.base = 'true'",
        "metrics.loss < 0.2",
        "params.none = 'None'",
        "params.lr LIKE '0.2%'",
        "tags.mlflow.note.content LIKE 'a%'",
    ):
        hits = client.search_runs([experiment.experiment_id], expression)
        assert [one.info.run_name for one in hits] == ["ours"], expression
    assert [one.info.run_name for one in client.search_runs([experiment.experiment_id], "params.lr != '0.25'")] == [
        "theirs"
    ]


def test_a_trackkit_run_goes_on_with_mlflow(ours: Serving, client: MlflowClient, tmp_path: Path) -> None:
    with trackkit.init(project="p", sink=ours.address, dir=tmp_path / "mine") as run:
        run.log({"a": 1.0}, step=0)
    with mlflow.start_run(run_id=run.id):
        assert ours.get(f"/runs/{run.id}")["run"]["state"] == "running"
        mlflow.log_metric("a", 2.0, step=1)
        mlflow.log_metric("b", 3.0)
    shown = ours.get(f"/runs/{run.id}")["run"]
    assert shown["state"] == "finished"
    assert shown["summary"] == {"a": 2.0, "b": 3.0}
    assert client.get_run(run.id).data.metrics == {"a": 2.0, "b": 3.0}


def test_what_mlflow_logs_is_seen_live(ours: Serving, client: MlflowClient) -> None:
    run = client.create_run(client.create_experiment("live")).info.run_id
    version = ours.get("/runs")["version"]
    client.log_metric(run, "m", 1.0)
    with ours.session.get(f"{ours.address}/api/v1/events?after={version}", stream=True, timeout=20) as stream:
        lines = stream.iter_lines(decode_unicode=True)
        assert any(run in line for line in lines if line.startswith("data:"))


def test_long_series_are_compressed_once_the_run_ends(ours: Serving, client: MlflowClient, fill: Filler) -> None:
    run = client.create_run(client.create_experiment("long")).info.run_id
    for step in range(600):
        client.log_metric(run, "m", float(step) if step % 100 else math.nan, timestamp=step, step=step)
    assert fill.db.query("select count(*) from chunks")[0][0] == 0
    client.set_terminated(run)
    assert fill.db.query("select sum(count) from chunks")[0][0] == 600
    history = client.get_metric_history(run, "m")
    assert len(history) == 600
    assert math.isnan(history[100].value)
    client.log_metric(run, "m", 599.0, timestamp=599, step=599)  # is there, compressed
    client.log_metric(run, "m", 600.0, timestamp=600, step=600)
    assert len(client.get_metric_history(run, "m")) == 601


def test_a_logged_model_is_an_artifact(ours: Serving, client: MlflowClient, tmp_path: Path) -> None:
    experiment = client.create_experiment("vision")
    run = client.create_run(experiment).info.run_id
    model = client.create_logged_model(experiment, "net", source_run_id=run)
    (tmp_path / "w.bin").write_bytes(b"w" * 50_000)
    client.log_model_artifact(model.model_id, str(tmp_path / "w.bin"))
    client.finalize_logged_model(model.model_id, "READY")
    client.create_registered_model("net")
    client.create_model_version("net", f"models:/{model.model_id}", run, model_id=model.model_id)
    client.set_registered_model_alias("net", "best", 1)
    api = trackkit.Api(ours.address)
    assert api.artifact("vision/net:latest").metadata["mlflow"]["model_id"] == model.model_id
    registered = api.artifact("registry/net:best")
    assert registered.version == "v1"
    registered.download(tmp_path / "down")
    assert (tmp_path / "down" / "w.bin").read_bytes() == b"w" * 50_000


def test_a_registered_artifact_is_a_registered_model(ours: Serving, client: MlflowClient, tmp_path: Path) -> None:
    (tmp_path / "m.txt").write_text("weights")
    with trackkit.init(project="p", sink=ours.address, dir=tmp_path / "mine") as run:
        artifact = run.log_artifact(str(tmp_path / "m.txt"), name="net", type="model").wait()
        run.link_artifact(artifact, "registry/net", aliases=["production"])
    until(lambda: client.search_registered_models("name = 'net'"))
    version = client.get_model_version_by_alias("net", "production")
    assert version.run_id == run.id
    uri = client.get_model_version_download_uri("net", version.version)
    down = Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(tmp_path / "down")))
    assert (down / "m.txt").read_text() == "weights"
    client.create_model_version("net", f"models:/net/{version.version}")
    assert [one.version for one in client.search_model_versions("name = 'net'")] == ["1", "0"]


def test_files_in_use_are_kept(ours: Serving, client: MlflowClient, tmp_path: Path) -> None:
    experiment = client.create_experiment("kept")
    model = client.create_logged_model(experiment, "net")
    (tmp_path / "w.bin").write_bytes(b"v" * 50_000)
    client.log_model_artifact(model.model_id, str(tmp_path / "w.bin"))
    run = client.create_run(experiment).info.run_id
    (tmp_path / "x.bin").write_bytes(b"x" * 50_000)
    client.log_artifact(run, str(tmp_path / "x.bin"))
    blobs = ours.services.storage.blobs
    db = SQLiteDatabase(ours.config.root / "trackkit.db")
    digests = [state.digest for state in blobs.states()]
    assert len(digests) == 2
    collection.delete(db, ours.config.root, blobs, digests)
    assert blobs.lacking(digests) == []
    db.close()


def test_what_is_deleted_for_long_is_forgotten(
    ours: Serving, client: MlflowClient, fill: Filler, tmp_path: Path
) -> None:
    experiment = client.create_experiment("old")
    client.create_run(experiment)
    model = client.create_logged_model(experiment, "net")
    (tmp_path / "w.bin").write_bytes(b"v" * 50_000)
    client.log_model_artifact(model.model_id, str(tmp_path / "w.bin"))
    client.delete_logged_model(model.model_id)
    client.delete_experiment(experiment)
    assert maintenance.gc(ours.config.root).runs == 0
    for table in ("runs", "experiments", "logged_models"):
        fill.db.execute(f"update {table} set deleted = 1 where deleted is not null")
    assert maintenance.gc(ours.config.root).runs == 1
    assert fill.db.query("select count(*) from proxied_files") == [(0,)]
    assert client.get_experiment_by_name("old") is None
    assert client.create_experiment("old") != experiment


def test_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(tmp_path / "store", auth=True) as guarded:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", guarded.address)
        answer = requests.get(f"{guarded.address}{API}experiments/get?experiment_id=0", timeout=5)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Basic")
        assert answer.json()["error_code"] == "UNAUTHENTICATED"
        assert requests.get(f"{guarded.address}/version", timeout=5).status_code == 200
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", guarded.token())
        MlflowClient().create_experiment("by bearer")
        monkeypatch.delenv("MLFLOW_TRACKING_TOKEN")
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "anybody")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", guarded.token())
        experiment = MlflowClient().create_experiment("by password")
        run = MlflowClient().create_run(experiment).info.run_id
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", guarded.token(scope="read"))
        assert MlflowClient().get_run(run).info.run_id == run
        with pytest.raises(MlflowException, match="scope"):
            MlflowClient().log_metric(run, "m", 1)
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", guarded.token(projects=["by bearer"]))
        limited = MlflowClient()
        assert [one.name for one in limited.search_experiments()] == ["by bearer"]
        for refused in (
            lambda: limited.get_run(run),
            lambda: limited.log_metric(run, "m", 1),
            lambda: limited.create_experiment("another"),
            lambda: limited.get_experiment(experiment),
            lambda: limited.create_registered_model("net"),
            lambda: limited.create_run(experiment),
            lambda: limited.log_text(run, "x", "x.txt"),
        ):
            with pytest.raises(MlflowException):
                refused()
        assert limited.search_runs([experiment]) == []
        own = limited.create_run(limited.get_experiment_by_name("by bearer").experiment_id)
        limited.log_metric(own.info.run_id, "m", 1)
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
        with pytest.raises(MlflowException):
            MlflowClient().get_experiment("0")


def test_pages_of_other_sites_are_refused(ours: Serving) -> None:
    for headers in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
        answer = requests.post(f"{ours.address}{API}experiments/create", json={"name": "x"}, headers=headers, timeout=5)
        assert answer.status_code == 403
    plain = {"content-type": "text/plain"}  # what a page may send anywhere without asking
    answer = requests.post(f"{ours.address}{API}experiments/create", data='{"name": "x"}', headers=plain, timeout=5)
    assert answer.status_code == 400


WRONG: list[Any] = [None, 1, -1, 1.5, "", "x", "\0", "é" * 9000, [], [None], [[]], {}, {"key": {}}, True, 2**70, "NaN",
                    [{"key": None}], [{"key": "k", "value": {}}], "../..", "\ud800"]  # fmt: skip


def test_no_request_makes_the_server_fail(ours: Serving, client: MlflowClient) -> None:
    """Every procedure with every kind of nonsense in every field: what is wrong is said in MLflow's words."""
    from trackkit.backend.server.mlflow import table

    run = client.create_run(client.create_experiment("hostile")).info.run_id
    asked = 0
    for procedure in table.PROCEDURES:
        fields = procedure.message.__struct_fields__ if procedure.message else ()
        path = API.rstrip("/") + procedure.path.replace("{", "").replace("}", "").replace(":path", "")
        for name in fields:
            for value in WRONG:
                body = {
                    "run_id": run,
                    "experiment_id": "0",
                    "key": "k",
                    "name": "n",
                    "value": "1",
                    "timestamp": 1,
                    "version": "1",
                    "source": "s3://x/y",
                    "max_results": 5,
                    "experiment_ids": ["0"],
                    name: value,
                }
                sent = {"params": _query(body)} if procedure.method == "GET" else {"data": _json(body)}
                answer = ours.session.request(
                    procedure.method,
                    ours.address + path,
                    headers={"content-type": "application/json"},
                    timeout=20,
                    **sent,
                )
                asked += 1
                assert answer.status_code < 500, (procedure, name, value, answer.text)
                assert answer.status_code == 200 or "error_code" in answer.json(), (procedure, name, value)
    assert asked > 1000


def _query(body: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value.encode("utf-8", "replace") if isinstance(value, str) else str(value) for key, value in body.items()
    }


def _json(body: dict[str, Any]) -> bytes:
    return json.dumps(body).encode()


def test_bodies_that_are_none(ours: Serving) -> None:
    kinds = {"content-type": "application/json"}
    for body in (b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"1", b"[" * 100_000, b'{"a":' * 100_000, b'"{}"'):
        answer = ours.session.post(f"{ours.address}{API}runs/log-metric", data=body, headers=kinds, timeout=20)
        assert answer.status_code == 400, body[:20]
        assert answer.json()["error_code"] == "INVALID_PARAMETER_VALUE"


def test_paths_that_lead_elsewhere(ours: Serving, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    up = "%2e%2e%2f" * 12
    for path in (f"{up}{secret}", f"..%2f..%2f{secret}", f"a/%2e%2e/%2e%2e/{secret}", "%2fetc%2fpasswd", "a%5c..%5cb",
                 "a%00b", "a//b", "./a", "C:%5cx", "%252e%252e/x"):  # fmt: skip
        for method in ("GET", "PUT", "DELETE"):
            answer = ours.session.request(method, f"{ours.address}{PROXY}/{path}", data=b"x", timeout=20)
            assert "secret" not in answer.text or answer.status_code >= 400
            assert answer.status_code in (200, 400, 404, 405), (method, path, answer.text)
    assert secret.read_text() == "secret"
    assert not [one for one in tmp_path.iterdir() if one.name not in ("store", "secret")]


def test_ranges_of_files(ours: Serving, client: MlflowClient, tmp_path: Path) -> None:
    run = client.create_run(client.create_experiment("ranges"))
    (tmp_path / "x.bin").write_bytes(bytes(range(256)) * 200)
    client.log_artifact(run.info.run_id, str(tmp_path / "x.bin"))
    place = run.info.artifact_uri.removeprefix("mlflow-artifacts:/")
    answer = ours.session.get(f"{ours.address}{PROXY}/{place}/x.bin", headers={"range": "bytes=256-259"}, timeout=20)
    assert (answer.status_code, answer.content) == (206, bytes([0, 1, 2, 3]))


def test_large_files_come_in_parts(
    ours: Serving, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "true")
    monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE", "100000")
    monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE", "100000")
    run = client.create_run(client.create_experiment("parts")).info
    content = bytes(range(256)) * 2000
    (tmp_path / "large.bin").write_bytes(content)
    client.log_artifact(run.run_id, str(tmp_path / "large.bin"), "some/where")
    (tmp_path / "down").mkdir()
    down = client.download_artifacts(run.run_id, "some/where/large.bin", str(tmp_path / "down"))
    assert Path(down).read_bytes() == content
    spool = ours.services.storage.blobs.spool
    assert list(spool.iterdir()) == []
    mpu = f"{ours.address}/api/2.0/mlflow-artifacts/mpu"
    place = run.artifact_uri.removeprefix("mlflow-artifacts:/")
    begun = ours.session.post(f"{mpu}/create/{place}", json={"path": "x.bin", "num_parts": 2}, timeout=20).json()
    first = begun["credentials"][0]["url"]
    assert requests.put(first, data=b"part", timeout=20).headers["etag"]
    assert requests.put(first.replace(begun["upload_id"], "0" * 32), data=b"part", timeout=20).status_code == 404
    end = {"path": "x.bin", "upload_id": begun["upload_id"], "parts": [{"part_number": 1}, {"part_number": 2}]}
    assert ours.session.post(f"{mpu}/complete/{place}", json=end, timeout=20).status_code == 400
    assert ours.session.post(f"{mpu}/complete/elsewhere", json=end, timeout=20).status_code == 400
    assert ours.session.post(f"{mpu}/abort/{place}", json=end, timeout=20).status_code == 200
    assert list(spool.iterdir()) == []


def test_searching_ten_thousand_runs(ours: Serving, client: MlflowClient, fill: Filler) -> None:
    db = fill.db
    with db.atomic():
        for number in range(10_000):
            fill.run(
                f"r{number:05}",
                project="many",
                config={"lr": number % 10, "opt": "adam" if number % 2 else "sgd"},
                created=1_700_000_000_000_000 + number,
            )
    experiment = client.get_experiment_by_name("many").experiment_id
    found = mlflow.search_runs([experiment], "params.opt = 'adam' and params.lr != '3'", output_format="list")
    assert len(found) == 4000
    assert [run.info.run_id for run in found[:2]] == ["r09999", "r09997"]


def test_versions_that_mlflow_deletes_keep_their_numbers(ours: Serving, client: MlflowClient) -> None:
    client.create_registered_model("net")
    assert client.create_model_version("net", "s3://b/1").version == "1"
    client.delete_registered_model("net")
    client.create_registered_model("net")
    assert client.create_model_version("net", "s3://b/2").version == "2"
    with ours.services.storage.reading() as db:
        number = artifacts.find_collection(db, "registry", "net")
        assert number is not None
        assert [row.number for row in artifacts.versions(db, number)] == [2]


def test_tracing_does_no_harm(ours: Serving, client: MlflowClient) -> None:
    """There are no traces here, which the client is told at once: what is traced goes on."""
    mlflow.set_experiment("traced")

    @mlflow.trace  # type: ignore[untyped-decorator]
    def double(number: int) -> int:
        return 2 * number

    with mlflow.start_run() as run:
        assert double(4) == 8
        mlflow.log_metric("m", 1.0)
    mlflow.flush_trace_async_logging()
    assert client.get_run(run.info.run_id).info.status == "FINISHED"
