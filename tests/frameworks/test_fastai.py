"""fastai's Learners, training real models: what is logged, and what can go wrong."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastai.callback.core import Callback
from fastai.callback.schedule import lr_find  # noqa: F401  it adds fit_one_cycle and lr_find to Learner
from fastai.callback.tracker import EarlyStoppingCallback, SaveModelCallback
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.metrics import accuracy
from fastai.tabular.all import (
    Categorify,
    CategoryBlock,
    FillMissing,
    Normalize,
    TabularDataLoaders,
    tabular_learner,
)
from sklearn.datasets import load_digits, load_iris
from torch.nn.functional import cross_entropy

import trackkit
from tests.conftest import RunScript
from tests.frameworks.digits import dataset, network
from tests.frameworks.tracking import (
    BROKEN_INIT,
    FAULTS,
    INIT,
    QUIET,
    break_tracking,
    only,
    recorded,
    values,
    versions,
)
from trackkit.integrations.fastai import TrackkitCallback

pytestmark = pytest.mark.filterwarnings("ignore")


def learner(*callbacks: Any, **options: Any) -> Any:
    """Six batches an epoch."""
    torch.manual_seed(0)
    data = DataLoaders.from_dsets(dataset(600), dataset(200), bs=100, shuffle=False, device="cpu", num_workers=0)
    learn = Learner(data, network(), loss_func=cross_entropy, metrics=accuracy, cbs=list(callbacks), **options)
    return learn


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    from fastai.callback.progress import ProgressCallback

    monkeypatch.setattr(ProgressCallback, "before_fit", lambda self: None)
    for name in ("before_epoch", "before_train", "after_train", "before_validate", "after_validate", "after_batch"):
        monkeypatch.setattr(ProgressCallback, name, lambda self: None)
    monkeypatch.setattr(ProgressCallback, "after_fit", lambda self: None)


class Keep(Callback):  # type: ignore[misc]
    """Keeps what a test compares with."""

    order = 70

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[float] = []
        self.rates: list[float] = []

    def after_batch(self) -> None:
        if self.training:
            self.losses.append(self.learn.loss.item())
            self.rates.append(self.learn.opt.hypers[-1]["lr"])


class FailIn(Callback):  # type: ignore[misc]
    """Raises in an epoch."""

    def __init__(self, epoch: int) -> None:
        super().__init__()
        self.when = epoch

    def before_epoch(self) -> None:
        if self.learn.epoch == self.when:
            raise ZeroDivisionError("in a later epoch")


def end() -> None:
    trackkit.finish()


def test_every_batch_is_a_step_with_losses_and_the_optimizer_s_hyperparameters(folder: Path) -> None:
    keep = Keep()
    learn = learner(TrackkitCallback(name="first", tags=["baseline"], log_preds=False, **INIT), keep)
    learn.fit_one_cycle(2, 0.01)
    end()
    run = only()
    assert (run.name, run.state, list(run.tags)) == ("first", "finished", ["baseline"])
    assert list(values(run, "train/loss").values()) == pytest.approx(keep.losses, rel=1e-5)
    assert list(values(run, "train/loss")) == list(range(1, 13))
    assert list(values(run, "lr/0").values()) == pytest.approx(keep.rates)
    assert {"mom/0", "sqr_mom/0", "eps/0", "wd/0", "train/smooth_loss"} <= set(run.keys())
    assert values(run, "epoch")[9] == 1.5
    batches, samples = (run.series(f"throughput/{what}_per_second").value for what in ("batches", "samples"))
    assert samples == pytest.approx(100 * batches)


def test_the_recorder_s_metrics_are_logged_every_epoch(folder: Path) -> None:
    learn = learner(TrackkitCallback(log_preds=False, **INIT))
    learn.fit(2, 0.01)
    end()
    run = only()
    names = list(learn.recorder.metric_names[1:-1])
    for key, name in (("train/epoch_loss", "train_loss"), ("valid/loss", "valid_loss"), ("valid/accuracy", "accuracy")):
        expected = [record[names.index(name)] for record in learn.recorder.values]
        assert list(values(run, key)) == [6, 12]
        assert list(values(run, key).values()) == pytest.approx(expected)
    assert run.summary["valid/accuracy.max"] == pytest.approx(max(record[2] for record in learn.recorder.values))
    assert (run.summary["epochs"], run.summary["batches"]) == (2, 12)


def test_settings_of_learner_model_data_and_callbacks_are_in_the_config(folder: Path) -> None:
    stopping = EarlyStoppingCallback(patience=3)
    learn = learner(TrackkitCallback(config={"note": "mine"}, log_preds=False, **INIT), stopping, wd=0.1)
    learn.fit(1, 0.01)
    end()
    config = only().config
    assert config["note"] == "mine"
    told = config["learner"]
    assert (told["loss_func"], told["opt_func"], told["n_epoch"], told["wd"]) == ("cross_entropy", "Adam", 1, 0.1)
    assert told["metrics"] == ["accuracy"]
    assert config["model"]["parameters"] == 64 * 16 + 16 + 16 * 10 + 10
    assert config["model"]["input_shapes"] == [[100, 64]]
    assert (config["optimizer"]["lr"], config["optimizer"]["groups"]) == (0.01, 1)
    assert config["callbacks"]["EarlyStoppingCallback"]["patience"] == 3
    assert config["data"]["train"]["samples"] == 600
    assert config["data"]["train"]["batch_size"] == 100


def test_every_so_many_batches_are_logged(folder: Path) -> None:
    learner(TrackkitCallback(log_every=4, log_preds=False, **INIT)).fit(2)
    end()
    assert list(values(only(), "train/loss")) == [4, 8, 12]


def tabular(*callbacks: Any) -> Any:
    data = load_iris(as_frame=True).frame
    data["size"] = np.where(data["petal length (cm)"] > 3, "large", "small")
    data["target"] = data["target"].map({0: "setosa", 1: "versicolor", 2: "virginica"})
    loaders = TabularDataLoaders.from_df(
        data, procs=[Categorify, FillMissing, Normalize], cat_names=["size"], cont_names=list(data.columns[:4]),
        y_names="target", y_block=CategoryBlock, valid_idx=list(range(0, 150, 5)), bs=30, device="cpu", num_workers=0,
    )  # fmt: skip
    return tabular_learner(loaders, layers=[8], metrics=accuracy, cbs=list(callbacks))


def test_predictions_for_rows_are_a_table(folder: Path) -> None:
    tabular(TrackkitCallback(n_preds=10, **INIT)).fit(2, 0.05)
    end()
    run = only()
    assert run.config["data"]["cont_names"][0] == "sepal length (cm)"
    table = run.table("predictions")
    frame = table.pandas()
    assert len(frame) == 10
    assert set(frame["target_pred"]) <= {"setosa", "versicolor", "virginica"}
    assert {"size", "petal width (cm)", "target"} <= set(frame.columns)
    assert len(run.media("predictions")) == 1


def test_predictions_can_be_logged_every_epoch(folder: Path) -> None:
    tabular(TrackkitCallback(log_preds_every_epoch=True, **INIT)).fit(3, 0.05)
    end()
    assert [item.step for item in only().media("predictions")] == [4, 8, 12]


def images() -> Any:
    """A data block of digits as images, on the parts of fastai that need no torchvision."""
    from fastai.data.block import CategoryBlock as Category
    from fastai.data.block import DataBlock, TransformBlock
    from fastai.data.transforms import IntToFloatTensor, RandomSplitter
    from fastai.torch_core import TensorImage
    from fastai.vision.core import PILImageBW

    pixels, digits = load_digits(return_X_y=True)
    block = DataBlock(
        blocks=(TransformBlock(type_tfms=PILImageBW.create, batch_tfms=IntToFloatTensor), Category),
        get_x=lambda place: (pixels[place].reshape(8, 8) * 15).astype(np.uint8),
        get_y=lambda place: str(digits[place]),
        splitter=RandomSplitter(seed=0),
    )
    assert TensorImage is not None
    return block.dataloaders(list(range(300)), bs=60, device="cpu", num_workers=0)


def test_predictions_for_images_are_a_table_of_images_with_probabilities(folder: Path) -> None:
    import fastai.vision.data  # noqa: F401  it knows how images are shown

    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    learn = Learner(images(), model, metrics=accuracy, cbs=TrackkitCallback(n_preds=8, **INIT))
    learn.fit(1, 0.01)
    end()
    table = only().table("predictions")
    frame = table.pandas()
    assert table.types["input"].startswith("image")
    assert table.columns == ["input", "target", "prediction", *(f"p({digit})" for digit in range(10))]
    chances = frame[[f"p({digit})" for digit in range(10)]].to_numpy()
    assert chances.sum(axis=1) == pytest.approx(np.ones(8), abs=1e-4)
    assert frame["prediction"].tolist() == [str(place) for place in chances.argmax(axis=1)]


def test_predictions_for_images_with_masks_are_images_with_both_masks(folder: Path) -> None:
    from fastai.data.block import DataBlock, TransformBlock
    from fastai.data.transforms import IntToFloatTensor, RandomSplitter
    from fastai.losses import CrossEntropyLossFlat
    from fastai.vision.core import AddMaskCodes, PILImageBW, PILMask

    pixels, _ = load_digits(return_X_y=True)
    block = DataBlock(
        blocks=(
            TransformBlock(type_tfms=PILImageBW.create, batch_tfms=IntToFloatTensor),
            TransformBlock(type_tfms=PILMask.create, item_tfms=AddMaskCodes(codes=["ground", "digit"])),
        ),
        get_x=lambda place: (pixels[place].reshape(8, 8) * 15).astype(np.uint8),
        get_y=lambda place: (pixels[place].reshape(8, 8) > 7).astype(np.uint8),
        splitter=RandomSplitter(seed=0),
    )
    data = block.dataloaders(list(range(100)), bs=20, device="cpu", num_workers=0)
    model = torch.nn.Conv2d(1, 2, 3, padding=1)
    learn = Learner(data, model, loss_func=CrossEntropyLossFlat(axis=1), cbs=TrackkitCallback(n_preds=4, **INIT))
    learn.fit(1, 0.01)
    end()
    table = only().table("predictions")
    cell = table.pandas()["input"][0]
    assert table.types["input"].startswith("image")
    assert '"ground_truth"' in cell
    assert '"prediction"' in cell


def test_better_models_are_versions_of_an_artifact_as_they_are_made(folder: Path) -> None:
    learn = learner(TrackkitCallback(log_model=True, log_preds=False, **INIT), FailIn(2))
    with pytest.raises(ZeroDivisionError):
        learn.fit(4, 0.01)
    run = only()
    assert run.state == "failed"
    found = versions(run)
    scores = values(run, "valid/loss")
    assert [(one.metadata["step"], one.metadata["score"]) for one in found.values()] == [
        (step, pytest.approx(score)) for step, score in scores.items()
    ]
    assert sorted(found["v1"].aliases) == ["best", "epoch_1", "latest"]
    assert (found["v1"].metadata["monitor"], found["v1"].metadata["mode"]) == ("valid_loss", "min")
    assert "accuracy" in found["v1"].metadata
    again = learner()
    again.load(Path(found["v1"].download(), "model").resolve())
    assert torch.equal(again.model[0].weight, learn.model[0].weight)


def test_what_fastai_s_own_callback_saves_is_logged(folder: Path) -> None:
    saving = SaveModelCallback(monitor="accuracy", fname="kept", every_epoch=True)
    learner(saving, TrackkitCallback(log_model=True, model_name="mine", log_preds=False, **INIT)).fit(3, 0.01)
    end()
    run = only()
    found = [one for one in run.logged_artifacts() if one.name.startswith("mine")]
    assert [one.metadata["original_filename"] for one in found] == ["kept_0.pth", "kept_1.pth", "kept_2.pth"]
    best = [one for one in found if "best" in one.aliases]
    assert len(best) == 1
    assert best[0].metadata["score"] == max(values(run, "valid/accuracy").values())


def test_the_data_s_folder_is_an_artifact(folder: Path) -> None:
    Path("data/train").mkdir(parents=True)
    Path("data/train/a.csv").write_text("1")
    Path("data/models").mkdir()
    learner(TrackkitCallback(log_dataset="data", log_preds=False, **INIT)).fit(1)
    end()
    (used,) = only().used_artifacts()
    assert (used.type, [entry.path for entry in used.files()]) == ("dataset", ["train/a.csv"])


def test_watch_is_one_argument(folder: Path) -> None:
    learner(TrackkitCallback(watch="gradients", watch_freq=3, log_preds=False, **INIT), opt_func=sgd).fit(2, 0.01)
    end()
    watched = only().watched("gradients")
    assert watched.layers == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert watched.step.tolist() == [1, 4, 7, 10]


def sgd(parameters: Any, lr: float, **options: Any) -> Any:
    from fastai.optimizer import OptimWrapper

    return OptimWrapper(parameters, torch.optim.SGD, lr=lr)


def test_fine_tuning_is_one_run(folder: Path) -> None:
    learn = learner(TrackkitCallback(log_preds=False, **INIT))
    learn.fit(1, 0.01)
    learn.fit(2, 0.001)
    end()
    assert list(values(only(), "train/loss")) == list(range(1, 19))


def test_every_learner_without_a_run_is_a_run(folder: Path) -> None:
    for _ in range(2):
        learner(TrackkitCallback(log_preds=False, **INIT)).fit(1)
    end()
    assert [(run.state, len(values(run, "train/loss"))) for run in recorded()] == [("finished", 6)] * 2


def test_the_run_going_on_is_used_and_left_open(folder: Path) -> None:
    with trackkit.init(**INIT) as run:
        learner(TrackkitCallback(log_preds=False, project="other")).fit(1)
        learner(TrackkitCallback(log_preds=False)).fit(1)
        assert run.state == "running"
    assert list(values(only(), "train/loss")) == list(range(1, 13))


def test_a_callback_for_one_fit_alone_logs_it(folder: Path) -> None:
    learn = learner()
    learn.fit(1)
    learn.fit(1, cbs=TrackkitCallback(log_model=True, log_preds=False, **INIT))
    end()
    assert len(values(only(), "train/loss")) == 6
    assert versions(only())


def test_a_search_for_a_learning_rate_is_no_training(folder: Path) -> None:
    learn = learner(TrackkitCallback(log_preds=False, **INIT))
    learn.lr_find(num_it=5, show_plot=False)
    assert not Path(".trackkit").exists()
    learn.fit(1)
    learn.get_preds()
    end()
    assert len(values(only(), "train/loss")) == 6


def test_a_validation_after_the_training_goes_into_its_run(folder: Path) -> None:
    learn = learner(TrackkitCallback(log_preds=False, **INIT))
    learn.fit(1)
    loss, rate = learn.validate()
    end()
    points = only().series("valid/accuracy")
    assert points.value[-1] == pytest.approx(rate)
    assert only().series("valid/loss").value[-1] == pytest.approx(loss)


TRAIN = f"""
import os, sys
import torch
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.callback.core import Callback
from tests.frameworks.digits import dataset, network
from trackkit.integrations.fastai import TrackkitCallback
data = DataLoaders.from_dsets(dataset(600), dataset(200), bs=100, device="cpu", num_workers=0)
callback = TrackkitCallback(project="tests", log_preds=False, settings={QUIET})
learn = Learner(data, network(), loss_func=torch.nn.functional.cross_entropy, cbs=callback)
if sys.argv[1] == "crash":
    class SaveFirst(Callback):
        order = 61
        def after_epoch(self):
            if self.epoch == 0:
                self.learn.save("first")
    learn.fit(2, 0.01, cbs=SaveFirst())
    os._exit(1)
learn.load("first", with_opt=True)
learn.fit(3, 0.01, start_epoch=1)
"""


def test_a_model_that_is_loaded_goes_on_in_its_run_and_repeated_steps_are_superseded(
    folder: Path, run_script: RunScript
) -> None:
    run_script(TRAIN, "crash", timeout=250)
    assert list(values(only(), "train/loss")) == list(range(1, 13))
    done = run_script(TRAIN, "on", timeout=250)
    assert done.returncode == 0, done.stderr
    run = only()
    assert run.state == "finished"
    assert list(values(run, "train/loss")) == list(range(1, 19))
    assert run.series("train/loss", superseded=True).step.tolist().count(7) == 2


def test_loading_the_best_model_at_the_end_of_a_training_supersedes_nothing(folder: Path) -> None:
    learn = learner(TrackkitCallback(log_preds=False, **INIT), SaveModelCallback(fname="best"))
    learn.fit(2, 0.01)
    learn.load("best", weights_only=False)
    learn.fit(1, 0.01)
    end()
    assert list(values(only(), "train/loss")) == list(range(1, 19))


def test_a_learner_with_the_callback_can_be_exported(folder: Path) -> None:
    learn = learner(TrackkitCallback(log_preds=False, **INIT))
    learn.fit(1)
    again = pickle.loads(pickle.dumps(learn.trackkit))
    again.tracked.log({"after": 1.0})
    end()
    assert "after" in only().keys()
    pickle.dumps(learn.model)


def test_a_distributed_job_s_first_process_writes_or_all(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    learner(TrackkitCallback(log_model=True, log_preds=False, **INIT)).fit(1)
    assert not Path(".trackkit").exists()
    learner(TrackkitCallback(log_preds=False, all_ranks=True, id="shared", **INIT)).fit(1)
    end()
    assert len(values(only(), "train/loss")) == 6


@pytest.mark.parametrize("how", FAULTS)
def test_a_fault_of_tracking_never_stops_a_training(folder: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    break_tracking(monkeypatch, how)
    learn = tabular(TrackkitCallback(log_model=True, watch=True, **BROKEN_INIT))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        learn.fit(2, 0.01)
        trackkit.finish()
    assert len(learn.recorder.values) == 2
    assert caught


def test_wrong_options_are_told_at_the_call() -> None:
    for options in ({"watch": "weights"}, {"log": "weights"}, {"log_every": 0}):
        with pytest.raises(ValueError, match=next(iter(options))):
            TrackkitCallback(**options)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="'projekt'"):
        TrackkitCallback(projekt="x")


def test_without_fastai_the_error_names_the_extra(run_script: RunScript) -> None:
    done = run_script(
        """
        import sys
        sys.modules["fastai"] = None
        import trackkit.integrations.fastai
    """,
        timeout=250,
    )
    assert "pip install 'trackkit[fastai]'" in done.stderr.splitlines()[-1]
