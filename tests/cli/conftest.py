"""A store with real runs in it, and the command line called on it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import trackkit
from trackkit.cli import main

Call = Callable[..., Result]
QUIET = {"system": False, "console": "off", "git": False, "code": False, "packages": False, "quiet": True}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three finished runs and a failed one; tests that change it make a store of their own."""
    root = tmp_path_factory.mktemp("store")
    record(root, "slow", lr=0.01, tags=["baseline"])
    record(root, "fast", lr=1.0)
    record(root, "other", lr=0.1, project="letters")
    with contextlib.suppress(ZeroDivisionError):
        break_run(root, "broken")
    return root


@pytest.fixture
def call(store: Path) -> Call:
    """Calls `trackkit` on the store; on another with `root=`."""

    def call(*arguments: str, root: Path = store, **options: Any) -> Result:
        return CliRunner().invoke(main, list(arguments), env={"TRACKKIT_DIR": str(root)}, **options)

    return call


@pytest.fixture
def ask(call: Call) -> Callable[..., Any]:
    """Calls `trackkit` with `--json` and reads the answer."""

    def ask(*arguments: str, **options: Any) -> Any:
        result = call(*arguments, "--json", **options)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return ask


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., None]:
    """Records a finished run in `tmp_path`."""

    def make_run(id: str, **more: Any) -> None:
        record(tmp_path, id, lr=0.1, **more)

    return make_run


@pytest.fixture
def start_run(tmp_path: Path) -> Iterator[Callable[..., trackkit.Run]]:
    """Starts runs in `tmp_path` that capture nothing by themselves, and finishes them."""
    runs: list[trackkit.Run] = []

    def start_run(id: str, *, settings: dict[str, Any] | None = None, **more: Any) -> trackkit.Run:
        runs.append(trackkit.init(id=id, dir=tmp_path, settings={**QUIET, **(settings or {})}, **more))
        return runs[-1]

    yield start_run
    for run in runs:
        run.finish()


def record(root: Path, id: str, *, lr: float, steps: int = 20, project: str = "digits", **more: Any) -> None:
    """A finished run whose loss falls and whose accuracy rises, the faster the larger `lr` is."""
    with trackkit.init(
        project=project, id=id, name=f"net [lr={lr}]", config={"lr": lr, "model": {"depth": 3}}, dir=root,
        settings=QUIET, **more,
    ) as run:  # fmt: skip
        run.define_metric("loss", summary="min")
        for step in range(steps):
            run.log({"loss": 1 / (1 + lr * step), "accuracy": 1 - 1 / (1 + lr * step)})


def break_run(root: Path, id: str) -> None:
    """A run that ends by an exception."""
    with trackkit.init(project="digits", id=id, config={"lr": 9.0}, dir=root, settings=QUIET) as run:
        run.log({"loss": float("nan")})
        run.alert("the loss is no number", level="error")
        raise ZeroDivisionError
