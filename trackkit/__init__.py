"""trackkit: an experiment tracker that never slows, stalls or loses a run.

>>> import trackkit
>>> run = trackkit.init(project="digits", config={"lr": 0.1})  # doctest: +SKIP
>>> run.log({"loss": 0.5})  # doctest: +SKIP
>>> run.finish()  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec as msgspec  # a third of what init() would otherwise wait for

from trackkit.version import __version__

if TYPE_CHECKING:
    from trackkit import plot
    from trackkit.core.alerts import AlertLevel
    from trackkit.core.artifact import Artifact
    from trackkit.core.lifecycle import RunStopped
    from trackkit.core.media.audio import Audio
    from trackkit.core.media.chart import Chart
    from trackkit.core.media.figure import Figure, Plotly
    from trackkit.core.media.graph import Graph
    from trackkit.core.media.histogram import Histogram
    from trackkit.core.media.image import Image
    from trackkit.core.media.markup import Html, Markdown, Text
    from trackkit.core.media.molecule import Molecule
    from trackkit.core.media.object3d import Object3D
    from trackkit.core.media.overlays import Classes
    from trackkit.core.media.video import Video
    from trackkit.core.run import Run
    from trackkit.core.session import (
        alert,
        config,
        define_metric,
        finish,
        init,
        log,
        log_artifact,
        log_code,
        login,
        restore,
        save,
        summary,
        unwatch,
        use_artifact,
        watch,
    )
    from trackkit.core.settings import Settings
    from trackkit.core.table import Table
    from trackkit.integrations import accelerate as accelerate
    from trackkit.integrations import catboost as catboost
    from trackkit.integrations import fastai as fastai
    from trackkit.integrations import ignite as ignite
    from trackkit.integrations import keras as keras
    from trackkit.integrations import lightgbm as lightgbm
    from trackkit.integrations import lightning as lightning
    from trackkit.integrations import optuna as optuna
    from trackkit.integrations import sb3 as sb3
    from trackkit.integrations import sklearn as sklearn
    from trackkit.integrations import torch as torch
    from trackkit.integrations import transformers as transformers
    from trackkit.integrations import trl as trl
    from trackkit.integrations import xgboost as xgboost
    from trackkit.plot import plot_table
    from trackkit.query import Api

    run: Run | None

_HOMES = {
    **dict.fromkeys(
        (
            "init login log finish define_metric alert log_code watch unwatch log_artifact use_artifact save restore "
            "config summary"
        ).split(),
        "trackkit.core.session",
    ),
    **{
        name: f"trackkit.core.media.{module}"
        for module, names in {
            "audio": ("Audio",),
            "chart": ("Chart",),
            "figure": ("Figure", "Plotly"),
            "graph": ("Graph",),
            "histogram": ("Histogram",),
            "image": ("Image",),
            "markup": ("Html", "Markdown", "Text"),
            "molecule": ("Molecule",),
            "object3d": ("Object3D",),
            "overlays": ("Classes",),
            "video": ("Video",),
        }.items()
        for name in names
    },
    "Table": "trackkit.core.table",
    "plot_table": "trackkit.plot",
    "AlertLevel": "trackkit.core.alerts",
    "Artifact": "trackkit.core.artifact",
    "Run": "trackkit.core.run",
    "RunStopped": "trackkit.core.lifecycle",
    "Settings": "trackkit.core.settings",
    "Api": "trackkit.query",
}
_INTEGRATIONS = (
    "accelerate", "catboost", "fastai", "ignite", "keras", "lightgbm", "lightning", "optuna", "sb3", "sklearn", "torch",
    "transformers", "trl", "xgboost",
)  # fmt: skip

__all__ = [
    "AlertLevel",
    "Api",
    "Artifact",
    "Audio",
    "Chart",
    "Classes",
    "Figure",
    "Graph",
    "Histogram",
    "Html",
    "Image",
    "Markdown",
    "Molecule",
    "Object3D",
    "Plotly",
    "Run",
    "RunStopped",
    "Settings",
    "Table",
    "Text",
    "Video",
    "__version__",
    "alert",
    "config",
    "define_metric",
    "finish",
    "init",
    "log",
    "log_artifact",
    "log_code",
    "login",
    "plot",
    "plot_table",
    "restore",
    "run",
    "save",
    "summary",
    "unwatch",
    "use_artifact",
    "watch",
]


def __getattr__(name: str) -> Any:
    """The public names, imported when first used; `run` is the current run, or None."""
    if name == "run":
        from trackkit.core.session import current

        return current()
    import importlib

    if name == "plot":
        return importlib.import_module("trackkit.plot")
    if name in _INTEGRATIONS:
        return importlib.import_module(f"trackkit.integrations.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'trackkit' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
