"""What a script writes for TensorBoard is in its run, live or from the files."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import tensorboardX
import torch
from click.testing import CliRunner
from sklearn.datasets import load_digits
from torch.utils.tensorboard import SummaryWriter

import trackkit
from trackkit.cli.commands import main
from trackkit.imports.tensorboard import import_tensorboard
from trackkit.integrations import tensorboard

QUIET: dict[str, Any] = {"system": False, "git": False, "packages": False, "console": "off", "quiet": True}
LOSSES = [1.0, 0.5, math.nan, 0.25, math.inf]


@pytest.fixture(autouse=True)
def _heard_no_more():
    yield
    tensorboard.unpatch()


def write(writer: Any, losses: list[float] = LOSSES, first: int = 0) -> None:
    for step, loss in enumerate(losses, first):
        writer.add_scalar("loss", loss, step)
    writer.flush()


def runs(folder: Path, project: str) -> dict[str, Any]:
    return {run.name: run for run in trackkit.Api(folder / ".trackkit").runs(project)}


@pytest.mark.parametrize("kind", [SummaryWriter, tensorboardX.SummaryWriter])
def test_scalars_texts_and_hyperparameters_are_imported(folder: Path, kind: Any) -> None:
    with kind(str(folder / "logs")) as writer:
        write(writer)
        writer.add_text("note", "**bold**", 3)
        writer.add_hparams({"lr": 0.1, "layers": 2, "adam": True, "name": "mlp"}, {"accuracy": 0.9})

    import_tensorboard(folder / "logs", project="digits")

    run = runs(folder, "digits")["logs"]
    assert run.state == "finished"
    loss = run.series("loss")
    assert (loss.step.tolist(), str(loss.value.tolist())) == ([0, 1, 2, 3, 4], str(LOSSES))
    assert run.texts("note").value.tolist() == ["**bold**"]
    assert run.series("accuracy").value.tolist() == [pytest.approx(0.9)]
    assert run.config == {"lr": 0.1, "layers": 2, "adam": True, "name": "mlp"}


def test_new_style_scalars_and_the_time_of_each_are_kept(folder: Path) -> None:
    with SummaryWriter(str(folder / "logs")) as writer:
        writer.add_scalar("loss", 0.5, 1, walltime=1_700_000_000.25, new_style=True)

    import_tensorboard(folder / "logs")

    loss = runs(folder, "logs")["logs"].series("loss")
    assert (loss.value.tolist(), loss.time.tolist()) == ([0.5], [1_700_000_000.25])


def test_each_folder_is_a_run(folder: Path) -> None:
    for name in ("mlp/train", "mlp/validation", "."):
        with SummaryWriter(str(folder / "logs" / name)) as writer:
            write(writer)

    import_tensorboard(folder / "logs", project="p")

    assert sorted(runs(folder, "p")) == ["logs", "mlp/train", "mlp/validation"]


def test_an_import_repeated_changes_nothing_and_brings_what_is_new(folder: Path) -> None:
    writer = SummaryWriter(str(folder / "logs"))
    write(writer, [3.0, 2.0])
    first = import_tensorboard(folder / "logs")
    again = import_tensorboard(folder / "logs")
    write(writer, [1.0], first=2)
    writer.close()
    with SummaryWriter(str(folder / "logs"), filename_suffix=".later") as later:
        write(later, [0.5], first=3)
    grown = import_tensorboard(folder / "logs")

    assert [each.new for each in (*first, *again)] == [3, 0]
    assert [(each.run, each.new) for each in grown] == [(first[0].run, 3)]  # two points, and a writer's beginning
    run = runs(folder, "logs")["logs"]
    assert (run.state, run.series("loss").value.tolist()) == ("finished", [3, 2, 1, 0.5])


def test_a_file_cut_off_in_the_middle_is_read_to_there(folder: Path) -> None:
    with SummaryWriter(str(folder / "logs")) as writer:
        write(writer)
    (file,) = (folder / "logs").iterdir()
    file.write_bytes(file.read_bytes()[:-5])

    import_tensorboard(folder / "logs")

    assert len(runs(folder, "logs")["logs"].series("loss").value) == len(LOSSES) - 1


def test_a_folder_without_event_files_is_an_error(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no event files"):
        import_tensorboard(folder)


def test_the_command_imports_and_says_what(folder: Path) -> None:
    with SummaryWriter(str(folder / "logs")) as writer:
        write(writer)

    said = CliRunner().invoke(main, ["import", "tensorboard", "logs", "--json"])
    told = CliRunner().invoke(main, ["import", "tensorboard", "logs"])

    (found,) = json.loads(said.output)
    assert (found["name"], found["records"], found["new"]) == ("logs", 6, 6)
    assert told.output.endswith("logs: 6 records, 0 of them new\n")
    assert CliRunner().invoke(main, ["import", "tensorboard", "."]).exit_code == 0
    (folder / "empty").mkdir()
    assert "no event files" in CliRunner().invoke(main, ["import", "tensorboard", "empty"]).output


@pytest.mark.parametrize("kind", [SummaryWriter, tensorboardX.SummaryWriter])
def test_a_real_training_is_heard_as_it_is_written(folder: Path, kind: Any) -> None:
    images, labels = load_digits(return_X_y=True)
    inputs, targets = torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)
    model = torch.nn.Linear(64, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    losses = []
    with trackkit.init(project="p", settings=QUIET, sync_tensorboard=True) as run, kind(str(folder / "logs")) as writer:
        for step in range(10):
            loss = torch.nn.functional.cross_entropy(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            writer.add_scalar("train/loss", losses[-1], 10 * step)
        writer.add_hparams({"lr": 0.5}, {"final": losses[-1]})

    kept = trackkit.Api().run(run.path)
    found = kept.series("train/loss")
    assert found.step.tolist() == list(range(0, 100, 10))
    assert found.value.tolist() == pytest.approx(losses, rel=1e-6)
    assert kept.config == {"lr": 0.5}
    assert kept.summary["final"] == pytest.approx(losses[-1])
    assert list((folder / "logs").glob("*tfevents*"))  # TensorBoard has its files all the same


def test_several_writers_are_told_apart(folder: Path) -> None:
    with trackkit.init(settings=QUIET) as run:
        tensorboard.patch(run)
        for name in ("logs", "logs/validation", "elsewhere"):
            with SummaryWriter(str(folder / name)) as writer:
                writer.add_scalar("loss", 1.0, 0)

    assert trackkit.Api().run(run.path).keys() == ["elsewhere/loss", "loss", "validation/loss"]


def test_a_fault_of_ours_does_not_reach_the_script(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trackkit.core.adapter._reported", set())
    with trackkit.init(settings=QUIET) as run:
        tensorboard.patch(run)
        monkeypatch.setattr(run, "log", lambda *_, **__: 1 / 0)
        with SummaryWriter(str(folder / "logs")) as writer, pytest.warns(RuntimeWarning, match="tracking failed"):
            writer.add_scalar("loss", 1.0, 0)

    assert list((folder / "logs").glob("*tfevents*"))


def test_after_unpatch_nothing_is_heard(folder: Path) -> None:
    with trackkit.init(settings=QUIET) as run:
        tensorboard.patch(run)
        tensorboard.unpatch()
        with SummaryWriter(str(folder / "logs")) as writer:
            writer.add_scalar("loss", 1.0, 0)

    assert trackkit.Api().run(run.path).keys() == []
