"""Media over HTTP: which there are, across runs and steps, and their content, shown only where that is harmless."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import trackkit
from tests.servers import Serving

SETTINGS = {"quiet": True, "system": False, "console": "off", "git": False, "packages": False, "code": False}


def noise(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def started(server: Serving, id: str, project: str = "p") -> trackkit.Run:
    """A run that is sent to the server, whatever database it has."""
    folder = server.config.root.parent / "client"
    return trackkit.init(
        project=project, id=id, dir=folder, sink=server.address, settings=SETTINGS, reinit="create_new"
    )


def log(server: Serving, id: str, values: list[dict[str, Any]], project: str = "p") -> None:
    with started(server, id, project) as run:
        for value in values:
            run.log(value)


def ask(server: Serving, path: str, **spec: Any) -> Any:
    return server.get(path, spec=json.dumps(spec))


def test_keys_of_several_runs_are_told_with_their_kinds_and_steps(server: Serving) -> None:
    log(server, "a", [{"picture": trackkit.Image(noise(4, 4))}, {"picture": trackkit.Image(noise(4, 4)), "loss": 1.0}])
    log(server, "b", [{"picture": trackkit.Image(noise(4, 4)), "weights": np.arange(5)}])

    found = ask(server, "/media/keys", project="p")["keys"]

    assert found == [
        {"key": "picture", "kind": "image", "runs": 2, "count": 3, "first_step": 0, "last_step": 1},
        {"key": "weights", "kind": "histogram", "runs": 1, "count": 1, "first_step": 0, "last_step": 0},
    ]
    assert [each["key"] for each in ask(server, "/media/keys", runs=["a", "b"], kinds=["histogram"])["keys"]] == [
        "weights"
    ]


def test_what_runs_logged_at_a_step_is_the_last_up_to_there(server: Serving) -> None:
    for id, steps in (("a", (0, 5, 9)), ("b", (7,))):
        with started(server, id) as run:
            for step in steps:
                run.log({"picture": [trackkit.Image(noise(4, 4)), trackkit.Image(noise(4, 4, seed=1))]}, step=step)

    def at(step: int | None) -> list[tuple[str, int, int]]:
        items = ask(server, "/media/items", runs=["a", "b"], key="picture", step=step)["items"]
        return sorted((item["run"], item["step"], item["metadata"]["index"]) for item in items)

    assert at(None) == [("a", 9, 0), ("a", 9, 1), ("b", 7, 0), ("b", 7, 1)]
    assert at(6) == [("a", 5, 0), ("a", 5, 1)]
    assert at(-1) == []
    assert ask(server, "/media/steps", project="p", key="picture")["steps"] == [0, 5, 7, 9]
    assert ask(server, "/media/steps", project="p", key="picture", most=2)["steps"] == [0, 9]
    page = ask(server, "/media/history", run="a", key="picture", offset=3, limit=2)
    assert (page["total"], [item["step"] for item in page["items"]]) == (6, [5, 9])


def test_contents_are_what_was_logged(server: Serving) -> None:
    small, large = trackkit.Image(noise(4, 4, 3)), trackkit.Image(noise(300, 300, 3))
    log(server, "a", [{"small": small, "large": large}])

    for key in ("small", "large"):
        (item,) = ask(server, "/media/items", runs=["a"], key=key)["items"]
        answer = server.session.get(server.address + item["content"])
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "image/png"
        assert "immutable" in answer.headers["cache-control"]
        assert answer.content.startswith(b"\x89PNG")
        assert (item["digest"] != "") == (key == "large")
    assert server.ask("GET", f"/runs/a/content/{item['digest']}").content == answer.content
    part = server.session.get(server.address + item["content"], headers={"range": "bytes=1-3"})
    assert (part.status_code, part.content) == (206, b"PNG")


def test_masks_and_svgs_are_found_by_digest(server: Serving) -> None:
    masks = {"m": {"mask_data": noise(4, 4) % 2}}
    log(server, "a", [{"picture": trackkit.Image(noise(4, 4), masks=masks)}])

    (item,) = ask(server, "/media/items", runs=["a"], key="picture")["items"]

    answer = server.ask("GET", f"/runs/a/content/{item['metadata']['masks']['m']['digest']}")
    assert answer.content.startswith(b"\x89PNG")
    assert server.ask("GET", f"/runs/a/content/{'0' * 64}").status_code == 404


def test_html_is_shown_only_in_a_frame_and_a_sandbox(server: Serving) -> None:
    log(server, "a", [{"page": trackkit.Html("<script>fetch('/api/v1/runs')</script>")}])
    (item,) = ask(server, "/media/items", runs=["a"], key="page")["items"]

    plain = server.session.get(server.address + item["content"])
    page = server.session.get(server.address + item["content"], headers={"sec-fetch-dest": "iframe"})

    assert plain.headers["content-disposition"].startswith("attachment")
    assert plain.headers["content-type"] == "application/octet-stream"
    policy = page.headers["content-security-policy"]
    assert page.headers["content-type"].startswith("text/html")
    assert "sandbox allow-scripts;" in policy
    assert "allow-same-origin" not in policy
    assert "default-src 'none'" in policy


def test_an_svg_can_run_no_script(server: Serving, root: Path) -> None:
    log(server, "a", [{"drawing": trackkit.Image(_svg(root))}])
    (item,) = ask(server, "/media/items", runs=["a"], key="drawing")["items"]

    answer = server.session.get(server.address + item["content"])

    assert answer.headers["content-type"] == "image/svg+xml"
    assert answer.headers["content-security-policy"].startswith("sandbox; default-src 'none'")


def _svg(root: Path) -> Path:
    root.mkdir(exist_ok=True)
    file = root / "drawing.svg"
    file.write_text('<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>')
    return file


def test_who_may_not_see_a_project_sees_none_of_its_media(guarded: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKKIT_TOKEN", guarded.token("script"))
    log(guarded, "a", [{"picture": trackkit.Image(noise(4, 4)), "table": trackkit.Table(columns=["a"], data=[[1]])}])
    owner = {"authorization": f"Bearer {guarded.token('owner', 'read')}"}
    stranger = {"authorization": f"Bearer {guarded.token('stranger', 'read', projects=['other'])}"}

    def get(path: str, who: dict[str, str], **spec: Any) -> Any:
        return guarded.ask("GET", path, params={"spec": json.dumps(spec)} if spec else None, headers=who)

    (item,) = get("/media/items", owner, runs=["a"], key="picture").json()["items"]
    content = item["content"].removeprefix("/api/v1")
    assert get(content, owner).status_code == 200
    assert get(content, stranger).status_code == 404
    assert get("/media/items", stranger, runs=["a"], key="picture").json()["items"] == []
    assert get("/media/keys", stranger, runs=["a"]).json()["keys"] == []
    assert get("/media/history", stranger, run="a", key="picture").status_code == 404
    assert get("/tables", owner, run="a", key="table").status_code == 200
    for path in ("/tables", "/tables/rows", "/tables/export"):
        assert get(path, stranger, run="a", key="table").status_code == 404
    sides = [{"run": "a", "key": "table"}] * 2
    assert get("/tables/comparison", stranger, sides=sides).status_code == 404
    assert get("/tables", {}, run="a", key="table").status_code == 401


def test_histograms_share_one_grid(server: Serving) -> None:
    values = [np.random.default_rng(step).normal(step, 1, 1000) for step in range(5)]
    log(server, "a", [{"weights": value} for value in values])

    answer = server.ask(
        "GET", "/media/histograms", params={"spec": json.dumps({"run": "a", "key": "weights", "bins": 40})}
    )

    length = int.from_bytes(answer.content[:4], "little")
    header = json.loads(answer.content[4 : 4 + length])
    matrix = np.frombuffer(answer.content[4 + length :], "<f4").reshape(len(header["steps"]), header["bins"])
    assert (4 + length) % 8 == 0
    assert header["steps"] == [0, 1, 2, 3, 4]
    assert (header["low"], header["high"]) == (
        min(value.min() for value in values),
        max(value.max() for value in values),
    )
    np.testing.assert_allclose(matrix.sum(1), 1000, rtol=1e-5)
    centres = np.linspace(header["low"], header["high"], 41)[:-1] + (header["high"] - header["low"]) / 80
    np.testing.assert_allclose(matrix @ centres / 1000, [value.mean() for value in values], atol=0.1)


def test_many_histograms_are_an_even_choice(server: Serving) -> None:
    log(server, "a", [{"weights": np.arange(10) + step} for step in range(30)])

    spec = json.dumps({"run": "a", "key": "weights", "most": 4, "range": [0, 10], "bins": 5})
    answer = server.ask("GET", "/media/histograms", params={"spec": spec})

    length = int.from_bytes(answer.content[:4], "little")
    header = json.loads(answer.content[4 : 4 + length])
    assert (header["steps"], header["total"], header["low"], header["high"]) == ([0, 10, 19, 29], 30, 0, 10)


@pytest.mark.parametrize(
    ("path", "spec", "status"),
    [
        ("/media/keys", {}, 400),
        ("/media/keys", {"project": "p", "runs": []}, 400),
        ("/media/keys", {"project": "p", "kinds": ["soup"]}, 400),
        ("/media/items", {"project": "p"}, 400),
        ("/media/items", {"project": "p", "key": "x", "step": 10**30}, 200),
        ("/media/history", {"run": "nobody", "key": "x"}, 404),
        ("/media/histograms", {"run": "nobody", "key": "x"}, 404),
        ("/media/keys", "no spec", 400),
    ],
)
def test_what_is_wrong_is_said(server: Serving, path: str, spec: Any, status: int) -> None:
    text = spec if isinstance(spec, str) else json.dumps(spec)

    assert server.ask("GET", path, params={"spec": text}).status_code == status


def test_media_do_not_crowd_the_list_of_files(server: Serving) -> None:
    log(server, "a", [{"picture": trackkit.Image(noise(4, 4))}])

    assert server.get("/runs/a/files")["files"] == []
    (file,) = server.get("/runs/a/files", media=True)["files"]
    assert server.ask("GET", f"/runs/a/files/{file['path']}", params={"inline": True}).content.startswith(b"\x89PNG")
