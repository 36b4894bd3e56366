"""Stable-Baselines3, learning to balance gymnasium's pole: what is logged, and what can go wrong."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import A2C, DQN, PPO, SAC
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback, EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import Figure, HParam, Image, Video
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecNormalize

import trackkit
from tests.conftest import RunScript
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
from trackkit.integrations.sb3 import ATTRIBUTE, TrackkitCallback

pytestmark = pytest.mark.filterwarnings("ignore")
torch.set_num_threads(1)


def ppo(**options: Any) -> Any:
    env = make_vec_env("CartPole-v1", n_envs=2, seed=0)
    return PPO("MlpPolicy", env, n_steps=64, batch_size=64, n_epochs=2, seed=0, device="cpu", **options)


class Also(BaseCallback):
    """Does something at a timestep."""

    def __init__(self, at: int, what: Any) -> None:
        super().__init__()
        self.at, self.what = at, what

    def _on_step(self) -> bool:
        if self.num_timesteps == self.at:
            self.what(self)
        return True


def test_what_the_algorithm_records_is_logged_at_its_timesteps(folder: Path) -> None:
    ppo().learn(384, callback=TrackkitCallback(name="first", tags=["baseline"], **INIT), log_interval=1)
    run = only()
    assert (run.name, run.state, list(run.tags)) == ("first", "finished", ["baseline"])
    assert list(values(run, "time/fps")) == [128, 256, 384]
    assert list(values(run, "train/loss")) == [256, 384]
    assert {"rollout/ep_rew_mean", "train/entropy_loss", "train/clip_fraction", "time/iterations"} <= set(run.keys())
    assert run.summary["timesteps"] == 384


def test_every_episode_is_logged_when_it_ends(folder: Path) -> None:
    model = ppo()
    model.learn(384, callback=TrackkitCallback(**INIT))
    run = only()
    lengths = values(run, "episode/length")
    told = sum(run.series("episode/length").value)
    assert 0 < told <= 384
    assert set(values(run, "episode/reward")) == set(lengths)
    assert all(step % 2 == 0 for step in lengths)


def test_no_episodes_where_none_are_asked_for(folder: Path) -> None:
    ppo().learn(128, callback=TrackkitCallback(log_episodes=False, **INIT), log_interval=1)
    assert not [key for key in only().keys() if key.startswith("episode/")]


def test_settings_of_algorithm_policy_and_environment_are_in_the_config(folder: Path) -> None:
    model = ppo(learning_rate=lambda left: 1e-3 * left, policy_kwargs={"net_arch": [8]})
    model.learn(128, callback=TrackkitCallback(config={"note": "mine"}, **INIT))
    config = only().config
    assert (config["note"], config["algo"], config["gamma"], config["n_steps"]) == ("mine", "PPO", 0.99, 64)
    assert config["learning_rate"] == {"first": 1e-3, "last": 0.0}
    assert config["clip_range"] == 0.2
    assert config["total_timesteps"] == 128
    assert config["policy_kwargs"]["net_arch"] == [8]
    assert config["optimizer"]["class"] == "Adam"
    assert config["model"]["parameters"] == sum(one.numel() for one in model.policy.parameters())
    env = config["environment"]
    assert (env["id"], env["count"], env["class"], env["max_episode_steps"]) == ("CartPole-v1", 2, ["DummyVecEnv"], 500)
    assert "Box" in env["observation_space"]
    assert "Discrete(2)" in env["action_space"]


@pytest.mark.parametrize("algorithm", [A2C, DQN])
def test_further_algorithms_are_logged_alike(folder: Path, algorithm: Any) -> None:
    options = {"learning_starts": 50, "exploration_fraction": 0.5} if algorithm is DQN else {}
    model = algorithm("MlpPolicy", "CartPole-v1", device="cpu", seed=0, **options)
    model.learn(300, callback=TrackkitCallback(**INIT), log_interval=4)
    run = only()
    assert run.config["algo"] == algorithm.__name__
    assert "time/fps" in run.keys()
    assert "rollout/ep_rew_mean" in run.keys()


def test_actor_and_critic_s_optimizers_are_both_told(folder: Path) -> None:
    SAC("MlpPolicy", "Pendulum-v1", device="cpu", learning_starts=20).learn(30, callback=TrackkitCallback(**INIT))
    assert [one["class"] for one in only().config["optimizer"]] == ["Adam", "Adam"]


def test_models_are_versions_of_an_artifact_as_they_are_made(folder: Path) -> None:
    def fail(callback: Any) -> None:
        raise ZeroDivisionError("at step 300")

    saving = TrackkitCallback(model_save_freq=64, model_save_path="kept", **INIT)
    with pytest.raises(ZeroDivisionError):
        ppo().learn(1000, callback=[saving, Also(300, fail)], log_interval=1)
    run = only()
    assert run.state == "failed"
    found = versions(run)
    assert [one.metadata["step"] for one in found.values()] == [128, 256]
    assert "best" in found["v0"].aliases or "best" in found["v1"].aliases
    assert {"latest", "step_256"} <= set(found["v1"].aliases)
    assert found["v1"].metadata["monitor"] == "rollout/ep_rew_mean"
    assert found["v1"].type == "model"
    again = PPO.load(Path(found["v1"].download(), "model.zip"))
    assert again.num_timesteps == 256
    assert Path("kept/model.zip").is_file()


def test_the_best_of_an_evaluation_is_named_so(folder: Path) -> None:
    evaluating = EvalCallback(Monitor(gymnasium.make("CartPole-v1")), eval_freq=64, n_eval_episodes=2, verbose=0)
    ppo().learn(256, callback=[evaluating, TrackkitCallback(log_model=True, model_save_freq=64, **INIT)])
    run = only()
    scores = {one.metadata["step"]: one.metadata["score"] for one in versions(run).values()}
    assert scores == values(run, "eval/mean_reward")
    assert {one.metadata["monitor"] for one in versions(run).values()} == {"eval/mean_reward"}
    (best,) = [one for one in versions(run).values() if "best" in one.aliases]
    assert best.metadata["score"] == max(scores.values())
    assert run.summary["eval/mean_reward.max"] == max(scores.values())


def test_statistics_of_observations_and_the_replay_buffer_go_with_the_model(folder: Path) -> None:
    env = VecNormalize(make_vec_env("CartPole-v1"))
    model = DQN("MlpPolicy", env, buffer_size=500, learning_starts=10, device="cpu")
    model.learn(40, callback=TrackkitCallback(log_model=True, log_replay_buffer=True, **INIT))
    run = only()
    assert {entry.path for entry in versions(run)["v0"].files()} >= {
        "model.zip",
        "vecnormalize.pkl",
        "replay_buffer.pkl",
    }
    assert run.config["environment"]["class"] == ["VecNormalize", "DummyVecEnv"]


def test_media_that_callbacks_record_are_logged(folder: Path) -> None:
    from matplotlib.figure import Figure as Drawn

    def record(callback: Any) -> None:
        record = callback.logger.record
        record("media/video", Video(torch.zeros(1, 4, 3, 16, 16, dtype=torch.uint8), fps=4), exclude=("stdout",))
        record("media/image", Image(np.zeros((3, 8, 8), np.uint8), "CHW"), exclude=("stdout",))
        record("media/figure", Figure(Drawn(), close=True), exclude=("stdout",))
        record("media/weights", torch.randn(100), exclude=("stdout",))
        record("media/said", "hello")
        record("media/hidden", 1.0, exclude=("trackkit",))
        record("hparams", HParam({"lr": 0.1}, {"loss": 0.0}), exclude=("stdout",))

    ppo().learn(128, callback=[TrackkitCallback(**INIT), Also(100, record)], log_interval=1)
    run = only()
    kinds = run.media_keys()
    assert kinds["media/video"] == "video"
    assert kinds["media/image"] == "image"
    assert kinds["media/figure"] == "figure"
    assert kinds["media/weights"] == "histogram"
    assert kinds["media/said"] == "text"
    assert "media/hidden" not in run.keys()
    assert run.config["hparams"] == {"lr": 0.1}


class Drawing(gymnasium.Wrapper):  # type: ignore[type-arg]
    """CartPole that draws itself without pygame."""

    render_mode = "rgb_array"

    def render(self) -> Any:
        picture = np.zeros((32, 32, 3), np.uint8)
        picture[:, int(np.clip(16 + 6 * self.unwrapped.state[0], 0, 31))] = 255
        return picture


def test_videos_of_gymnasium_s_recorder_are_logged(folder: Path) -> None:
    env = Drawing(gymnasium.make("CartPole-v1"))
    recording = gymnasium.wrappers.RecordVideo(env, "videos", episode_trigger=lambda episode: episode < 2)
    model = PPO("MlpPolicy", recording, n_steps=64, batch_size=64, device="cpu", seed=0)
    model.learn(128, callback=TrackkitCallback(monitor_gym=True, **INIT))
    found = only().media("videos")
    assert [item.kind for item in found] == ["video"] * len(list(Path("videos").glob("*.mp4")))
    assert found[0].metadata["caption"].startswith("rl-video-episode-0")


def test_watch_measures_the_policy(folder: Path) -> None:
    ppo().learn(256, callback=TrackkitCallback(watch="all", watch_freq=1, **INIT))
    run = only()
    gradients = run.watched("gradients")
    assert any("mlp_extractor" in name for name in gradients.layers)
    assert len(gradients.step) == 2
    ppo().learn(128, callback=TrackkitCallback(gradient_save_freq=1, log="gradients", **INIT))
    assert len(recorded()[-1].watched("gradients").step) == 1


def test_the_run_going_on_is_used_and_left_open(folder: Path) -> None:
    with trackkit.init(**INIT) as run:
        ppo().learn(128, callback=TrackkitCallback(project="other"), log_interval=1)
        assert run.state == "running"
    assert "time/fps" in only().keys()


def test_learning_on_goes_on_in_the_run_and_learning_anew_starts_another(folder: Path) -> None:
    model, callback = ppo(), TrackkitCallback(**INIT)
    model.learn(128, callback=callback, log_interval=1)
    model.learn(128, callback=callback, log_interval=1, reset_num_timesteps=False)
    assert list(values(only(), "time/fps")) == [128, 256]
    model.learn(128, callback=callback, log_interval=1)
    assert [list(values(run, "time/fps")) for run in recorded()] == [[128, 256], [128]]


TRAIN = f"""
import sys
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import CheckpointCallback
from stable_baselines3.common.env_util import make_vec_env
from trackkit.integrations.sb3 import TrackkitCallback
options = dict(n_steps=64, batch_size=64, n_epochs=1, seed=0, device="cpu")
env = make_vec_env("CartPole-v1", n_envs=2, seed=0)
callbacks = [CheckpointCallback(128, "saved"), TrackkitCallback(project="tests", settings={QUIET})]
if sys.argv[1] == "crash":
    PPO("MlpPolicy", env, **options).learn(384, callback=callbacks, log_interval=1)
    import os
    os._exit(1)
model = PPO.load("saved/rl_model_256_steps.zip", env=env)
model.learn(256, callback=callbacks, log_interval=1, reset_num_timesteps=False)
"""


def test_a_model_that_is_loaded_goes_on_in_its_run_and_repeated_steps_are_superseded(
    folder: Path, run_script: RunScript
) -> None:
    run_script(TRAIN, "crash", timeout=250)
    first = values(only(), "time/total_timesteps")
    assert list(first) == [128, 256, 384]
    done = run_script(TRAIN, "on", timeout=250)
    assert done.returncode == 0, done.stderr
    run = only()
    assert run.state == "finished"
    assert list(values(run, "time/total_timesteps")) == [128, 256, 384, 512]
    superseded = run.series("time/total_timesteps", superseded=True)
    assert superseded.step.tolist().count(384) >= 1


def test_the_mark_is_saved_with_the_model(folder: Path) -> None:
    model = ppo()
    model.learn(128, callback=[CheckpointCallback(64, "saved"), TrackkitCallback(**INIT)])
    assert getattr(PPO.load("saved/rl_model_128_steps"), ATTRIBUTE)["run"] == only().id


def test_a_distributed_job_s_first_process_writes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    ppo().learn(128, callback=TrackkitCallback(log_model=True, **INIT))
    assert not Path(".trackkit").exists()


@pytest.mark.parametrize("how", FAULTS)
def test_a_fault_of_tracking_never_stops_a_training(folder: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    break_tracking(monkeypatch, how)
    model = ppo()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.learn(256, callback=TrackkitCallback(log_model=True, **BROKEN_INIT), log_interval=1)
    assert model.num_timesteps == 256
    assert caught


def test_wrong_options_are_told_at_the_call() -> None:
    with pytest.raises(ValueError, match="watch is 'gradients'"):
        TrackkitCallback(watch="weights")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="log is 'gradients'"):
        TrackkitCallback(log="weights")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="'projekt'"):
        TrackkitCallback(projekt="x")


def test_without_stable_baselines3_the_error_names_the_extra(run_script: RunScript) -> None:
    done = run_script(
        """
        import sys
        sys.modules["stable_baselines3"] = None
        import trackkit.integrations.sb3
    """,
        timeout=250,
    )
    assert "pip install 'trackkit[sb3]'" in done.stderr.splitlines()[-1]
