"""The Trainer of Transformers, training a real model: what is logged, and what can go wrong."""

from __future__ import annotations

import gc
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback

import trackkit
from tests.conftest import RunScript
from tests.frameworks.tracking import (
    BROKEN_INIT,
    FAULTS,
    INIT,
    QUIET,
    Fault,
    break_tracking,
    logged_versions,
    only,
    recorded,
    values,
)
from tests.frameworks.transformers_digits import model, trainer
from trackkit.integrations.transformers import TrackkitCallback, register
from trackkit.query.run import Run

pytestmark = pytest.mark.filterwarnings("ignore")


def callback(**options: Any) -> TrackkitCallback:
    return TrackkitCallback(**{**INIT, **options})


def steps(run: Run, key: str) -> list[int]:
    return run.series(key).step.tolist()


def test_metrics_are_logged_at_the_trainer_s_steps(folder: Path) -> None:
    used = callback(name="first", tags=["baseline"])
    training = trainer(used, eval_strategy="epoch")
    training.train()
    predicted = training.predict(training.eval_dataset)
    assert used.run.state == "running"
    used.run.finish()

    run = only()
    assert (run.name, run.state, list(run.tags)) == ("first", "finished", ["baseline"])
    history = [entry for entry in training.state.log_history if "loss" in entry]
    assert values(run, "train/loss") == {entry["step"]: entry["loss"] for entry in history}
    assert values(run, "train/learning_rate") == {entry["step"]: entry["learning_rate"] for entry in history}
    assert values(run, "train/grad_norm") == {entry["step"]: entry["grad_norm"] for entry in history}
    assert steps(run, "train/loss") == list(range(1, 9))
    assert steps(run, "eval/loss") == [4, 8]
    assert values(run, "test/loss") == {8: predicted.metrics["test_loss"]}
    assert steps(run, "epoch") == list(range(1, 9))
    assert values(run, "epoch")[8] == 2
    assert run.summary["train_loss"] == pytest.approx(sum(values(run, "train/loss").values()) / 8, rel=1e-3)
    assert run.summary["train_runtime"] > 0
    assert "train/train_runtime" not in run.keys()


def test_the_config_has_arguments_model_optimizer_schedule_and_data(folder: Path) -> None:
    used = callback(config={"note": "mine"})
    trainer(used, learning_rate=0.003, eval_strategy="epoch", lr_scheduler_type="cosine").train()
    used.run.finish()
    config = only().config
    assert (config["learning_rate"], config["num_train_epochs"], config["note"]) == (0.003, 2, "mine")
    assert (config["n_layer"], config["vocab_size"], config["model_type"]) == (2, 17, "gpt2")
    assert config["model"]["parameters"] == sum(one.numel() for one in model().parameters())
    assert config["optimizer"]["class"].startswith("AdamW")
    assert config["scheduler"]["class"] == "LambdaLR"
    assert config["data"]["train"]["samples"] == 64
    assert config["data"]["train"]["shuffled"]
    assert config["data"]["eval"]["samples"] == 32


def test_how_fast_training_goes_is_logged(folder: Path) -> None:
    used = callback()
    trainer(used, gradient_accumulation_steps=2, include_num_input_tokens_seen="all").train()
    used.run.finish()
    run = only()
    rates = run.series("throughput/steps_per_second").value
    assert len(rates) == 4
    assert run.series("throughput/samples_per_second").value == pytest.approx(rates * 32)
    assert run.series("throughput/tokens_per_second").value == pytest.approx(rates[1:] * 32 * 64)
    assert all(0 <= share <= 1 for share in run.series("throughput/waiting_for_data").value)


def test_the_project_and_the_name_are_the_trainer_s_where_none_is_given(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = TrackkitCallback(settings=QUIET)
    trainer(used, epochs=1, run_name="from the arguments").train()
    assert (used.run.project, used.run.name) == ("huggingface", "from the arguments")
    used.run.finish()

    monkeypatch.setenv("TRACKKIT_PROJECT", "of the team")
    used = TrackkitCallback(settings=QUIET)
    trainer(used).evaluate()
    assert used.run.project == "of the team"
    assert used.run.name == used.run.id


def test_the_run_going_on_is_used_and_left_open(folder: Path) -> None:
    with trackkit.init(**INIT) as run:
        trainer(TrackkitCallback(project="other"), epochs=1).train()
        assert run.state == "running"
    assert steps(only(), "train/loss") == [1, 2, 3, 4]


def test_a_run_that_is_given_is_used(folder: Path) -> None:
    given = trackkit.init(**INIT)
    trackkit.init(project="other", settings=QUIET, reinit="create_new")
    trainer(TrackkitCallback(given), epochs=1).train()
    assert given.state == "running"
    given.finish()
    assert "train/loss" in only().keys()


def test_every_training_is_a_run(folder: Path) -> None:
    used = callback()
    first = trainer(used, epochs=1)
    first.train()
    first.evaluate()
    first.train()
    other = callback()
    trainer(other, epochs=1).train()
    other.run.finish()
    runs = recorded()
    assert [run.state for run in runs] == ["finished"] * 3
    assert [steps(run, "train/loss") for run in runs] == [[1, 2, 3, 4]] * 3
    assert [("eval/loss" in run.keys()) for run in runs] == [True, False, False]


def test_early_stopping_and_the_best_checkpoint_are_in_the_summary(folder: Path) -> None:
    used = callback()
    options = {"eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 2}
    training = trainer(
        used,
        epochs=5,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        greater_is_better=True,
        callbacks=[EarlyStoppingCallback(2)],
        **options,
    )
    training.train()
    used.run.finish()
    run = only()
    assert run.summary["best_metric"] == training.state.best_metric
    assert run.summary["best_model_checkpoint"].endswith("checkpoint-2")
    assert max(steps(run, "train/loss")) == training.state.global_step == 6


def test_report_to_names_trackkit_once_it_is_registered(folder: Path) -> None:
    register(**INIT, name="registered")
    training = trainer(epochs=1, report_to="trackkit")
    training.train()
    assert trackkit.run is not None
    trackkit.run.finish()
    assert only().name == "registered"
    assert "trackkit" in trainer(report_to="all").args.report_to
    register()
    assert trainer(report_to="all").args.report_to.count("trackkit") == 1


CRASH = """
    import os
    from transformers import TrainerCallback
    from tests.frameworks.tracking import INIT
    from tests.frameworks.transformers_digits import trainer
    from trackkit.integrations.transformers import TrackkitCallback

    class Crash(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 7:
                os._exit(7)

    options = {"save_strategy": "steps", "save_steps": 5, "eval_strategy": "steps", "eval_steps": 5}
    trainer(TrackkitCallback(**INIT), 3, callbacks=[Crash()], **options).train()
"""


@pytest.mark.parametrize("restored", [False, True])
def test_training_goes_on_from_a_checkpoint_in_the_same_run(
    folder: Path, run_script: RunScript, restored: bool
) -> None:
    crashed = run_script(CRASH)
    assert crashed.returncode == 7, crashed.stderr
    before = only()
    assert before.state == "crashed"
    assert steps(before, "train/loss") == [1, 2, 3, 4, 5, 6]
    saved = json.loads((folder / "out/checkpoint-5/trainer_state.json").read_text())
    assert saved["stateful_callbacks"]["trackkit"]["attributes"]["run"] == before.id

    used = callback()
    training = trainer(used, 3, restore_callback_states_from_checkpoint=restored)
    training.train(resume_from_checkpoint="out/checkpoint-5")
    used.run.finish()

    run = only()
    assert (run.id, run.state) == (before.id, "finished")
    assert steps(run, "train/loss") == list(range(1, 13))
    assert steps(run, "eval/loss") == [5]
    everything = run.series("train/loss", superseded=True)
    assert sorted(everything.step.tolist()) == sorted([*range(1, 13), 6])


def test_another_run_going_on_is_left_alone_by_a_checkpoint(folder: Path) -> None:
    used = callback()
    trainer(used, 1, save_strategy="epoch").train()
    used.run.finish()
    with trackkit.init(project="other", settings=QUIET) as run:
        trainer(callback(), 2).train(resume_from_checkpoint="out/checkpoint-4")
    assert steps(only(), "train/loss") == [1, 2, 3, 4]
    assert trackkit.Api().run(run.path).series("train/loss").step.tolist() == [5, 6, 7, 8]


def test_an_exception_that_ends_the_script_fails_the_run(folder: Path, run_script: RunScript) -> None:
    failed = run_script("""
        from transformers import TrainerCallback
        from tests.frameworks.tracking import INIT
        from tests.frameworks.transformers_digits import trainer
        from trackkit.integrations.transformers import TrackkitCallback

        class Bad(TrainerCallback):
            def on_step_end(self, args, state, control, **kwargs):
                raise ZeroDivisionError("the data is bad")

        trainer(TrackkitCallback(**INIT), callbacks=[Bad()]).train()
    """)
    assert failed.returncode == 1
    assert only().state == "failed"
    assert "the data is bad" in only().error


def test_an_exception_that_the_script_catches_fails_the_run(folder: Path) -> None:
    class Bad(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            raise ZeroDivisionError("the data is bad")

    with pytest.raises(ZeroDivisionError):
        trainer(callback(), callbacks=[Bad()]).train()
    gc.collect()
    assert only().state == "failed"
    trainer(callback(), 1).train()
    assert [run.state for run in recorded()] == ["failed", "running"]


def test_trials_of_a_search_are_runs_of_their_own(folder: Path) -> None:
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    used = callback()
    training = trainer(used, 1, model_init=lambda trial=None: model(), run_name="search")
    training.hyperparameter_search(
        lambda trial: {"learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True)},
        n_trials=2,
        hp_name=lambda trial: f"trial {trial.number}",
        backend="optuna",
    )
    used.run.finish()
    runs = recorded()
    assert [(run.name, run.group, run.state) for run in runs] == [
        ("trial 0", "search", "finished"),
        ("trial 1", "search", "finished"),
    ]
    assert len({run.config["learning_rate"] for run in runs}) == 2
    assert all(steps(run, "train/loss") == [1, 2, 3, 4] for run in runs)


def test_trials_are_children_of_the_run_going_on(folder: Path) -> None:
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with trackkit.init(**INIT, name="parent") as parent:
        training = trainer(callback(), 1, model_init=lambda trial=None: model())
        training.hyperparameter_search(
            lambda trial: {"seed": trial.suggest_int("seed", 1, 9)}, n_trials=2, backend="optuna"
        )
    children = [run for run in recorded() if run.id != parent.id]
    assert [(run.group, run.job_type) for run in children] == [(parent.id, "trial")] * 2
    assert all("train/loss" in run.keys() for run in children)


@pytest.mark.parametrize("how", FAULTS)
def test_a_tracker_that_fails_does_not_stop_training(folder: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    break_tracking(monkeypatch, how)
    training = trainer(TrackkitCallback(**BROKEN_INIT), 1, eval_strategy="epoch", save_strategy="epoch")
    training.train()
    training.predict(training.eval_dataset)
    assert training.state.global_step == 4


def test_models_and_gradients_that_can_t_be_logged_do_not_stop_training(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **named: Any) -> None:
        raise Fault("no room")

    used = callback(log_model="checkpoint", watch="all")
    monkeypatch.setattr(used.run, "log_artifact", fail, raising=False)
    monkeypatch.setattr(used.run, "watch", fail, raising=False)
    training = trainer(used, 1, save_strategy="epoch")
    training.train()
    assert training.state.global_step == 4


@pytest.mark.parametrize(
    ("options", "words"),
    [({"log_model": "best"}, "log_model is one of 'end'"), ({"watch": "weights"}, "watch is one of 'gradients'")],
)
def test_wrong_use_is_an_error_at_the_call(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        TrackkitCallback(**options)
    with pytest.raises(ValueError, match=words):
        register(**options)
    with pytest.raises(TypeError, match="projekt"):
        register(projekt="digits")


def test_the_environment_chooses_what_is_logged_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKKIT_LOG_MODEL", "nonsense")
    with pytest.raises(ValueError, match="TRACKKIT_LOG_MODEL is one of"):
        TrackkitCallback()


def test_a_callback_is_pickled_with_its_run(folder: Path) -> None:
    used = callback()
    trainer(used, 1).train()
    assert pickle.loads(pickle.dumps(used)).run.id == used.run.id


def test_checkpoints_and_the_model_are_versions_of_an_artifact(folder: Path) -> None:
    used = callback(log_model="checkpoint")
    training = trainer(
        used,
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
    )
    training.train()
    used.run.finish()

    run = only()
    found = logged_versions(run)
    assert [(one.name, one.type) for one in found] == [(f"model-{run.id}:v{number}", "model") for number in range(3)]
    first, second, final = found
    losses = values(run, "eval/loss")
    assert losses[8] < losses[4]
    assert sorted(first.aliases) == ["epoch_1", "step_4"]
    assert (first.metadata["step"], first.metadata["eval/loss"]) == (4, losses[4])
    assert (second.metadata["step"], second.metadata["score"], second.metadata["monitor"], second.metadata["mode"]) == (
        8, losses[8], "eval_loss", "min"
    )  # fmt: skip
    assert second.metadata["original_filename"] == "checkpoint-8"
    assert {"final", "best", "latest", "epoch_2", "step_8"} <= set(final.aliases)
    assert final.metadata["final_model"]

    resumable = Path(second.download(folder / "second"))
    assert (resumable / "optimizer.pt").is_file()
    loaded = type(training.model).from_pretrained(final.download(folder / "final"))
    pairs = zip(loaded.parameters(), training.model.parameters(), strict=True)
    assert all(torch.equal(mine, theirs) for mine, theirs in pairs)
    assert "GPT2LMHeadModel" in (folder / "final/architecture.txt").read_text()


def test_the_model_is_a_version_when_training_is_over(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKKIT_LOG_MODEL", "end")
    used = callback(checkpoint_name="painter")
    trainer(used, 1, save_strategy="epoch").train()
    used.run.finish()
    (final,) = logged_versions(only())
    assert (final.name, sorted(final.aliases)) == ("painter:v0", ["epoch_1", "final", "latest", "step_4"])


def test_no_model_is_logged_unless_it_is_asked_for(folder: Path) -> None:
    used = callback()
    trainer(used, 1, save_strategy="epoch").train()
    used.run.finish()
    assert logged_versions(only()) == []


def test_gradients_are_watched_at_the_trainer_s_steps(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKKIT_WATCH", "all")
    used = callback(watch_freq=3)
    training = trainer(used, logging_steps=8, max_grad_norm=1e9)
    training.train()
    used.run.finish()
    run = only()
    assert run.watched("gradients").step.tolist() == run.watched("parameters").step.tolist() == [1, 4, 7]
    assert run.watched("gradients").layers == [name for name, _ in training.model.named_parameters()]


LAUNCH = """
    import sys
    from torch.distributed.run import main

    sys.argv = ["torchrun", "--nproc-per-node=2", "--standalone", "training.py"]
    main()
"""
TRAINING = """
from tests.frameworks.tracking import INIT
from tests.frameworks.transformers_digits import trainer
from trackkit.integrations.transformers import TrackkitCallback

training = trainer(TrackkitCallback(**INIT, OPTIONS), 1, ddp_backend="gloo")
assert training.args.world_size == 2
training.train()
"""


@pytest.mark.parametrize(("options", "writers"), [("", 1), ("all_ranks=True, id='together'", 2)])
def test_of_two_processes_one_writes_or_both(folder: Path, run_script: RunScript, options: str, writers: int) -> None:
    (folder / "training.py").write_text(TRAINING.replace("OPTIONS", options))
    launched = run_script(LAUNCH, timeout=250)
    assert launched.returncode == 0, launched.stderr
    run = only()
    assert sorted(set(steps(run, "throughput/steps_per_second"))) == [1, 2]
    assert len(steps(run, "throughput/steps_per_second")) == 2 * writers
    assert run.state == "finished"


def test_a_trainer_s_own_callbacks_see_the_run(folder: Path) -> None:
    class Media(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            trackkit.log({"mine": state.global_step}, step=state.global_step)

    used = callback()
    trainer(used, 1, callbacks=[Media()]).train()
    used.run.finish()
    assert values(only(), "mine") == {1: 1, 2: 2, 3: 3, 4: 4}


def test_a_subclass_of_the_trainer_that_logs_what_is_no_number_keeps_training(folder: Path) -> None:
    class Odd(Trainer):
        def log(self, logs: dict[str, Any], *arguments: Any, **named: Any) -> None:
            super().log({**logs, "nothing": None, "phase": "warm-up"}, *arguments, **named)

    used = callback()
    trainer(used, 1, trainer_class=Odd).train()
    used.run.finish()
    run = only()
    assert steps(run, "train/loss") == [1, 2, 3, 4]
    assert set(run.texts("train/phase").value) == {"warm-up"}


def test_without_transformers_the_error_names_the_extra(run_script: RunScript) -> None:
    done = run_script("""
        import sys
        sys.modules["transformers"] = None
        import trackkit.integrations.transformers
    """)
    assert "pip install 'trackkit[transformers]'" in done.stderr.splitlines()[-1]
