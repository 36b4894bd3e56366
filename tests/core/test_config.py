"""`run.config` reads like a dict and like an object, takes whatever people keep settings in, and records changes."""

from __future__ import annotations

import argparse
import dataclasses
import enum
import json
import math
import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from absl import flags
from omegaconf import OmegaConf

import trackkit
from trackkit.core.config import Config, to_json
from trackkit.core.records import Json


@dataclasses.dataclass
class Optimizer:
    name: str = "adam"
    betas: tuple[float, float] = (0.9, 0.999)


@dataclasses.dataclass
class Training:
    lr: float = 0.1
    optimizer: Optimizer = dataclasses.field(default_factory=Optimizer)


class Mode(enum.Enum):
    FAST = "fast"


class Recorded:
    """A config that notes what it would record."""

    def __init__(self) -> None:
        self.changes: list[tuple[dict[str, Json], list[str]]] = []
        self.config = Config(lambda values, removed: self.changes.append((values, removed)))


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


def test_entries_are_read_and_set_as_items_and_as_attributes(recorded: Recorded) -> None:
    config = recorded.config
    config["lr"] = 0.1
    config.epochs = 3

    assert (config.lr, config["epochs"], config.get("momentum", 0.9)) == (0.1, 3, 0.9)
    assert "lr" in config
    assert (list(config), len(config)) == (["lr", "epochs"], 2)
    assert config.as_dict() == {"lr": 0.1, "epochs": 3}
    assert recorded.changes == [({"lr": 0.1}, []), ({"epochs": 3}, [])]


def test_nested_entries_read_as_attributes_and_stay_dicts(recorded: Recorded) -> None:
    recorded.config.update({"model": {"head": {"width": 64}}})

    assert recorded.config.model.head.width == 64
    assert recorded.config["model"]["head"]["width"] == 64
    assert json.dumps(recorded.config.model) == '{"head": {"width": 64}}'
    with pytest.raises(AttributeError, match="depth"):
        _ = recorded.config.model.depth


def test_a_missing_entry_is_named_with_those_there_are(recorded: Recorded) -> None:
    recorded.config.update(lr=0.1, epochs=3)

    with pytest.raises(AttributeError, match=r"config has no entry 'momentum'; it has: lr, epochs"):
        _ = recorded.config.momentum
    with pytest.raises(KeyError):
        _ = recorded.config["momentum"]
    assert not hasattr(recorded.config, "momentum")


def test_a_removed_entry_is_recorded_as_removed(recorded: Recorded) -> None:
    recorded.config.update(lr=0.1, epochs=3)
    del recorded.config["lr"]
    del recorded.config.epochs

    assert recorded.config.as_dict() == {}
    assert recorded.changes[1:] == [({}, ["lr"]), ({}, ["epochs"])]


def test_defaults_set_what_is_not_set_yet(recorded: Recorded) -> None:
    recorded.config.update(lr=0.1)
    recorded.config.setdefaults({"lr": 1.0, "epochs": 3})

    assert recorded.config.as_dict() == {"lr": 0.1, "epochs": 3}
    assert recorded.changes[-1] == ({"epochs": 3}, [])


def _absl() -> flags.FlagValues:
    values = flags.FlagValues()  # type: ignore[no-untyped-call]
    flags.DEFINE_float("lr", 0.1, "", flag_values=values)
    flags.DEFINE_integer("epochs", 3, "", flag_values=values)
    values(["train.py", "--epochs=3"])
    return values


@pytest.mark.parametrize(
    "source",
    [
        {"lr": 0.1, "epochs": 3},
        argparse.Namespace(lr=0.1, epochs=3),
        OmegaConf.create({"lr": 0.1, "epochs": 3}),
        dataclasses.make_dataclass("Made", [("lr", float), ("epochs", int)])(0.1, 3),
        _absl(),
    ],
    ids=["dict", "argparse", "omegaconf", "dataclass", "absl"],
)
def test_what_people_keep_settings_in_is_taken(recorded: Recorded, source: Any) -> None:
    recorded.config.update(source)

    assert recorded.config.lr == 0.1
    assert recorded.config.epochs == 3
    assert recorded.changes[0][0]["lr"] == 0.1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.yaml", "lr: 0.1\nmodel:\n  depth: 3\n"),
        ("config.yml", "{lr: 0.1, model: {depth: 3}}"),
        ("config.json", '{"lr": 0.1, "model": {"depth": 3}}'),
        ("config.toml", "lr = 0.1\n[model]\ndepth = 3\n"),
    ],
)
def test_files_are_read(recorded: Recorded, tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    recorded.config.update(str(tmp_path / name))

    assert recorded.config.as_dict() == {"lr": 0.1, "model": {"depth": 3}}


def test_nested_dataclasses_and_interpolated_omegaconf_are_resolved(recorded: Recorded) -> None:
    recorded.config.update(Training())
    recorded.config.update(OmegaConf.create({"width": 64, "model": {"hidden": "${width}", "layers": [1, 2]}}))

    assert recorded.config.optimizer.name == "adam"
    assert recorded.changes[0][0]["optimizer"] == {"name": "adam", "betas": [0.9, 0.999]}
    assert recorded.changes[1][0]["model"] == {"hidden": 64, "layers": [1, 2]}


def test_sources_are_joined_and_the_later_wins(recorded: Recorded) -> None:
    recorded.config.update({"lr": 0.1, "epochs": 3}, argparse.Namespace(lr=0.2), epochs=4)

    assert recorded.config.as_dict() == {"lr": 0.2, "epochs": 4}
    assert len(recorded.changes) == 1


@pytest.mark.parametrize("source", [3, 0.1, [1, 2], Training, OmegaConf.create([1, 2])], ids=repr)
def test_what_holds_no_settings_is_refused(recorded: Recorded, source: Any) -> None:
    with pytest.raises(TypeError, match="config can't be read from"):
        recorded.config.update(source)
    assert recorded.changes == []


def test_a_file_without_settings_is_refused(recorded: Recorded, tmp_path: Path) -> None:
    (tmp_path / "list.yaml").write_text("- 1\n- 2\n")

    with pytest.raises(TypeError, match="holds a list"):
        recorded.config.update(tmp_path / "list.yaml")
    with pytest.raises(FileNotFoundError):
        recorded.config.update(tmp_path / "missing.yaml")


@pytest.mark.parametrize(("key", "error"), [(3, TypeError), ("", ValueError), ("x" * 1025, ValueError)])
def test_a_bad_key_is_refused_and_nothing_is_set(recorded: Recorded, key: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        recorded.config.update({"lr": 0.1, key: 1})
    assert recorded.config.as_dict() == {}
    assert recorded.changes == []


@pytest.mark.parametrize(
    ("value", "recorded_as"),
    [
        (None, None),
        (True, True),
        ("text", "text"),
        ("\ud800", "\\ud800"),
        (2**64 - 1, 2**64 - 1),
        (2**64, str(2**64)),
        (np.float64(0.5), 0.5),
        (np.int32(3), 3),
        (np.bool_(True), True),
        (np.arange(3), [0, 1, 2]),
        ((1, [2, {"a": (3,)}]), [1, [2, {"a": [3]}]]),
        ({3: "three"}, {"3": "three"}),
        ({"b", "a"}, ["a", "b"]),
        (Path("/data/digits"), "/data/digits"),
        (Optimizer(), {"name": "adam", "betas": [0.9, 0.999]}),
        (Optimizer, f"{__name__}.Optimizer"),
        (math.sqrt, "math.sqrt"),
        (Mode.FAST, "<Mode.FAST: 'fast'>"),
        (Fraction(1, 3), "Fraction(1, 3)"),
    ],
    ids=repr,
)
def test_values_are_recorded_as_json_or_by_their_repr(recorded: Recorded, value: Any, recorded_as: Json) -> None:
    recorded.config["value"] = value

    assert recorded.changes[0][0]["value"] == recorded_as
    assert type(recorded.changes[0][0]["value"]) is type(recorded_as)


def test_a_value_whose_repr_fails_does_not_stop_the_run(recorded: Recorded) -> None:
    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    recorded.config["value"] = Broken()

    assert recorded.changes[0][0]["value"] == "<Broken>"


def test_a_value_that_holds_itself_ends_somewhere() -> None:
    loop: dict[str, Any] = {}
    loop["self"] = loop

    assert json.dumps(to_json(loop)).count("self") >= 32


def test_a_config_is_kept_with_its_changes_and_without_its_secrets(folder: Path) -> None:
    settings = {"system": False, "git": False, "packages": False, "console": "off"}
    with trackkit.init(id="abc", config={"lr": 0.1, "api_key": "sk-123"}, settings=settings) as run:
        run.config.lr = 0.2
        run.config.update({"model": {"depth": 3}, "gone": 1})
        del run.config["gone"]
        assert run.config.api_key == "sk-123"

    config = trackkit.Api(folder / ".trackkit").run("abc").config

    assert (config["lr"], config["model"]) == (0.2, {"depth": 3})
    assert "gone" not in config
    assert "sk-123" not in str(config)


def test_a_dataclass_may_hold_what_can_not_be_copied() -> None:
    @dataclasses.dataclass
    class Job:
        lock: Any = dataclasses.field(default_factory=threading.Lock)
        training: Training = dataclasses.field(default_factory=Training)

    recorded = Recorded()
    job = Job()
    recorded.config.update(job)

    assert recorded.config.lock is job.lock
    assert recorded.config["training"]["optimizer"]["betas"] == (0.9, 0.999)
    assert to_json({"job": job})["job"]["training"]["lr"] == 0.1  # type: ignore[call-overload, index]


def test_an_entry_of_a_nested_dict_is_not_set_in_vain() -> None:
    config = Config()
    config.update({"model": {"depth": 3}})

    with pytest.raises(TypeError, match=r"nested entry 'depth' can't be set on its own"):
        config.model.depth = 4
    assert config.model.depth == 3


def test_a_namespace_is_taken_whole_and_functions_and_modules_are_not() -> None:
    config = Config()
    config.update(argparse.Namespace(_seed=1, lr=0.1))

    assert config.as_dict() == {"_seed": 1, "lr": 0.1}
    for nothing in (lambda: 1, math, test_an_entry_of_a_nested_dict_is_not_set_in_vain):
        with pytest.raises(TypeError, match="config can't be read from"):
            config.update(nothing)


def test_the_module_s_config_is_one_to_read_from(folder: Path) -> None:
    with trackkit.init(config={"lr": 0.1}, settings={"quiet": True, "system": False, "console": "off"}):
        config = Config()
        config.update(trackkit.config)
        del trackkit.config.lr

        assert config.as_dict() == {"lr": 0.1}
        assert "lr" not in trackkit.config
