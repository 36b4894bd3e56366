"""Stable-Baselines3: a callback for `model.learn`."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from trackkit.core.adapter import Attachment, guarded, log_checkpoint
from trackkit.core.goals import Best
from trackkit.core.model import class_name, model_facts, optimizer_facts
from trackkit.core.run import Run

try:
    from stable_baselines3.common import logger as sb3_logger
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.callbacks import BaseCallback
except ImportError as error:
    raise ImportError("trackkit.integrations.sb3 needs Stable-Baselines3: pip install 'trackkit[sb3]'") from error

ATTRIBUTE = "trackkit_run"
"""The model's attribute that says which run it belongs to; it is saved and loaded with the model."""
_FORMAT = "trackkit"
_SCORES = ("eval/mean_reward", "rollout/ep_rew_mean")
_WATCH = ("gradients", "parameters", "all")
_HIDDEN = ("verbose", "tensorboard_log", "num_timesteps", "start_time")


class TrackkitCallback(BaseCallback):  # type: ignore[misc]
    """Logs a training with Stable-Baselines3, also of sb3-contrib's algorithms.

    Whatever the algorithm and other callbacks `record` goes into the run at the timestep it is dumped at, with no
    TensorBoard in between. The run's id is saved with the model: `load` it, and `learn(reset_num_timesteps=False)`
    continues the run.

    Parameters
    ----------
    verbose
        As of every callback.
    model_save_path
        A folder to keep the models in that are logged; by default they are logged alone.
    model_save_freq
        Calls of `env.step` from one checkpoint to the next; 0 for none until the end.
    gradient_save_freq
        As W&B's callback has it: watch the policy every so many steps of the optimizer.
    log
        What `gradient_save_freq` watches: gradients, parameters, all.
    run
        The run to log into; by default the one that is going on, or else a new one, which ends with `learn`.
    log_model
        Log the model as a version of the artifact `model-<run id>` when training ends, and every `model_save_freq`
        calls; by default if `model_save_path` or `model_save_freq` is given.
    log_replay_buffer
        Put the replay buffer into the artifact, too.
    monitor
        What tells the best model, which has the alias `best`: a recorded key, more of which is better; by default
        `eval/mean_reward` if there is an evaluation, or else `rollout/ep_rew_mean`.
    log_episodes
        Log reward and length of every episode that ends.
    monitor_gym
        Log the videos that `VecVideoRecorder`, and gymnasium's `RecordVideo`, make of the training's environments.
    watch
        What `run.watch` records of the policy: gradients, parameters, all; False for nothing.
    watch_freq
        At every how many steps of the optimizer.
    all_ranks
        Let every process of a distributed job write, not the first alone.
    **init
        What `trackkit.init` is called with if a run has to be started: project, name, config, …

    Raises
    ------
    ValueError
        If `watch` or `log` is none of these.
    TypeError
        If `trackkit.init` has no such parameter.

    Examples
    --------
    >>> model = PPO("MlpPolicy", "CartPole-v1")  # doctest: +SKIP
    >>> model.learn(100_000, callback=TrackkitCallback(project="cartpole", log_model=True))  # doctest: +SKIP
    """

    def __init__(
        self,
        verbose: int = 0,
        model_save_path: str | os.PathLike[str] | None = None,
        model_save_freq: int = 0,
        gradient_save_freq: int = 0,
        log: Literal["gradients", "parameters", "all"] | None = "all",
        *,
        run: Run | None = None,
        log_model: bool | None = None,
        log_replay_buffer: bool = False,
        monitor: str | None = None,
        log_episodes: bool = True,
        monitor_gym: bool = False,
        watch: Literal["gradients", "parameters", "all"] | bool = False,
        watch_freq: int = 100,
        all_ranks: bool = False,
        **init: Any,
    ) -> None:
        super().__init__(verbose)
        if watch not in (True, False, *_WATCH):
            raise ValueError(f"watch is 'gradients', 'parameters', 'all' or False, not {watch!r}")
        if log not in (None, *_WATCH):
            raise ValueError(f"log is 'gradients', 'parameters', 'all' or None, not {log!r}")
        self._watch: Any = "gradients" if watch is True else watch or None
        self._watch_freq = watch_freq
        if gradient_save_freq > 0 and not self._watch:
            self._watch, self._watch_freq = log, gradient_save_freq
        self._save_path = None if model_save_path is None else Path(model_save_path)
        self._save_freq = model_save_freq
        asked = bool(self._save_path or model_save_freq)
        self._logs_model = asked if log_model is None else log_model
        self._log_replay_buffer = log_replay_buffer
        self._monitor = monitor
        self._log_episodes = log_episodes
        self._monitor_gym = monitor_gym
        self.attachment = Attachment(run, all_ranks=all_ranks, **init)
        self._best = Best("maximize")
        self._logged_at = -1
        self._videos: set[Path] = set()
        self._writer = _Writer(self)
        self._settle: Callable[[], object] = _nothing

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_settle": _nothing}

    @property
    def run(self) -> Run:
        """The run that is logged into; in processes that do not write, one that records nothing."""
        return self.attachment.run

    # What Stable-Baselines3 calls.

    @guarded()
    def _on_training_start(self) -> None:
        model = self.model
        known = getattr(model, ATTRIBUTE, None)
        if known and model.num_timesteps:
            self.attachment.resume(known["run"], model.num_timesteps)
        elif self.attachment.owned and not self.attachment.started:
            self.attachment = self.attachment.another()
            self._best, self._logged_at = Best("maximize"), -1
        run = self.attachment.begin()
        setattr(model, ATTRIBUTE, {"run": run.id, "project": run.project})
        self._settle()
        self._settle = self.attachment.expect(_learning(sys._getframe(1)), "the training")
        if not any(one is self._writer for one in model.logger.output_formats):
            model.logger.output_formats.append(self._writer)
        run.config.update(_settings(model, self.training_env, self.locals.get("total_timesteps")))
        for key in _SCORES:
            run.define_metric(key, summary=["last", "max"], goal="maximize")
        if self._watch:
            run.watch(model.policy, log=self._watch, every=self._watch_freq)

    @guarded(returns=lambda self: True)
    def _on_step(self) -> bool:
        if self._log_episodes:
            for info in self.locals.get("infos", ()):
                if "episode" in info:
                    self._log_episode(info)
        if self._logs_model and self._save_freq and not self.n_calls % self._save_freq:
            self._log_model()
        return True

    def _log_episode(self, info: Mapping[str, Any]) -> None:
        values = {"episode/reward": info["episode"]["r"], "episode/length": info["episode"]["l"]}
        if "is_success" in info:
            values["episode/success"] = float(info["is_success"])
        self.attachment.run.log(values, self.num_timesteps)

    @guarded()
    def _on_rollout_end(self) -> None:
        if self._monitor_gym:
            self._log_videos()

    @guarded()
    def _on_training_end(self) -> None:
        self._settle()
        run = self.run
        try:
            if self._monitor_gym:
                self._log_videos()
            if self._logs_model:
                self._log_model()
            run.summary.update(
                {"timesteps": self.model.num_timesteps, "updates": getattr(self.model, "_n_updates", None)}
            )
            if self._watch:
                run.unwatch(self.model.policy)
        finally:
            self.model.logger.output_formats[:] = [
                one for one in self.model.logger.output_formats if one is not self._writer
            ]
            self.attachment.finish()

    # Models.

    @guarded()
    def _log_model(self) -> None:
        model, step = self.model, self.model.num_timesteps
        if step == self._logged_at or not self.attachment.writes:
            return
        self._logged_at = step
        monitor, score = self._score()
        metadata: dict[str, Any] = {"step": step, "monitor": monitor, "score": score, "mode": "max"}
        aliases = [f"step_{step}", *(["best"] if self._best.improves(score) else [])]
        with tempfile.TemporaryDirectory() as folder:
            model.save(os.path.join(folder, "model.zip"))
            statistics = model.get_vec_normalize_env()
            if statistics is not None:
                statistics.save(os.path.join(folder, "vecnormalize.pkl"))
            if self._log_replay_buffer and getattr(model, "replay_buffer", None) is not None:
                model.save_replay_buffer(os.path.join(folder, "replay_buffer.pkl"))
            log_checkpoint(self.run, folder, aliases=aliases, metadata=metadata)
            if self._save_path is not None:
                self._keep(folder)

    def _keep(self, folder: str) -> None:
        assert self._save_path is not None
        self._save_path.mkdir(parents=True, exist_ok=True)
        for path in Path(folder).iterdir():
            self._save_path.joinpath(path.name).write_bytes(path.read_bytes())

    def _score(self) -> tuple[str | None, float | None]:
        told = self._writer.told
        for key in (self._monitor,) if self._monitor else _SCORES:
            if key in told:
                return key, float(told[key])
        infos = [info["r"] for info in self.model.ep_info_buffer or ()]
        # A short training has nothing dumped yet.
        return (None, None) if not infos or self._monitor else (_SCORES[-1], float(sum(infos) / len(infos)))

    # Videos.

    def _log_videos(self) -> None:
        import trackkit

        for folder in _video_folders(self.training_env):
            for path in sorted(Path(folder).glob("*.mp4")):
                if path not in self._videos:
                    self._videos.add(path)
                    self.run.log({"videos": trackkit.Video(path, caption=path.stem)}, self.model.num_timesteps)

    @guarded()
    def write(self, values: Mapping[str, Any], excluded: Mapping[str, tuple[str, ...]], step: int) -> None:
        """Log what was recorded with the logger of Stable-Baselines3."""
        found: dict[str, Any] = {}
        for key, value in values.items():
            if _FORMAT in (excluded.get(key) or ()):
                continue
            if isinstance(value, sb3_logger.HParam):
                self.run.config.update({"hparams": dict(value.hparam_dict)})
            else:
                found[key] = _logged(value)
        if found:
            self.run.log(found, step)


class _Writer(sb3_logger.KVWriter):  # type: ignore[misc]
    """One of the outputs of a model's logger."""

    def __init__(self, callback: TrackkitCallback) -> None:
        self._callback = callback
        self.told: dict[str, Any] = {}
        """The last of every number."""

    def write(self, key_values: Mapping[str, Any], key_excluded: Mapping[str, Any], step: int = 0) -> None:
        self.told |= {key: value for key, value in key_values.items() if isinstance(value, (int, float))}
        self._callback.write(key_values, key_excluded, step)

    def close(self) -> None:
        """The callback's run is closed by the callback."""


def _nothing() -> None:
    """Until a training begins, there is nothing to settle."""


def _learning(frame: FrameType | None) -> FrameType | None:
    """The call of the algorithm's `learn`: the outermost, as callbacks keep what the inner one's frame holds."""
    found = None
    while (frame := _learn(frame)) is not None:
        found, frame = frame, frame.f_back
    return found


def _learn(frame: FrameType | None) -> FrameType | None:
    while frame is not None and not (
        frame.f_code.co_name == "learn" and isinstance(frame.f_locals.get("self"), BaseAlgorithm)
    ):
        frame = frame.f_back
    return frame


def _logged(value: Any) -> Any:
    """What the loggers of Stable-Baselines3 take, as trackkit has it."""
    import trackkit

    if isinstance(value, sb3_logger.Video):
        frames = value.frames.detach().cpu().numpy()  # batch × time × channels × height × width
        videos = [trackkit.Video(one, fps=round(value.fps)) for one in frames]
        return videos[0] if len(videos) == 1 else videos
    if isinstance(value, sb3_logger.Figure):
        return trackkit.Figure(value.figure)
    if isinstance(value, sb3_logger.Image):
        return _image(value)
    if isinstance(value, str):
        return trackkit.Text(value)
    if getattr(value, "ndim", 0):
        return trackkit.Histogram(value.detach().cpu().numpy() if hasattr(value, "detach") else value)
    return value


def _image(value: Any) -> Any:
    """Image or images, whatever the order of dimensions their format names."""
    import numpy as np

    import trackkit

    pixels = value.image
    if isinstance(pixels, (str, os.PathLike)):
        return trackkit.Image(pixels)
    pixels = np.asarray(pixels.detach().cpu() if hasattr(pixels, "detach") else pixels)
    named = dict(zip(value.dataformats.upper(), range(pixels.ndim), strict=True))
    pixels = pixels.transpose([named[name] for name in "NHWC" if name in named])
    return [trackkit.Image(one) for one in pixels] if "N" in named else trackkit.Image(pixels)


def _settings(model: Any, env: Any, total_timesteps: Any) -> dict[str, Any]:
    """Algorithm, its parameters, policy, optimizer and environment."""
    params = {
        key: _plain(value) for key, value in vars(model).items() if not key.startswith("_") and _is_setting(key, value)
    }
    policy = model.policy
    facts: dict[str, Any] = {
        "algo": type(model).__name__,
        **params,
        "total_timesteps": total_timesteps,
        "model": model_facts(policy),
        "policy_kwargs": {key: _plain(value) for key, value in (getattr(model, "policy_kwargs", None) or {}).items()},
        "environment": _environment(env),
    }
    optimizers = list(_optimizers(policy))
    if optimizers:
        facts["optimizer"] = (
            optimizer_facts(optimizers[0]) if len(optimizers) == 1 else list(map(optimizer_facts, optimizers))
        )
    return facts


def _optimizers(policy: Any) -> Iterator[Any]:
    """That of the policy, and those of actor and critic where each has its own."""
    for owner in (policy, getattr(policy, "actor", None), getattr(policy, "critic", None)):
        found = getattr(owner, "optimizer", None)
        if found is not None:
            yield found


def _is_setting(key: str, value: Any) -> bool:
    plain = isinstance(value, (bool, int, float, str)) or value is None
    return key not in (*_HIDDEN, ATTRIBUTE) and (plain or callable(value)) and not hasattr(value, "parameters")


def _plain(value: Any) -> Any:
    """A number or a text; a constant schedule is its number, another function or class its name."""
    if not callable(value):
        return value
    return class_name(value) if isinstance(value, type) else _of_schedule(value)


def _of_schedule(value: Any) -> Any:
    try:
        first, last = value(1.0), value(0.0)
    except Exception:
        return getattr(value, "__qualname__", class_name(value))
    if not isinstance(first, (int, float)):
        return getattr(value, "__qualname__", class_name(value))
    return first if first == last else {"first": first, "last": last}


def _environment(env: Any) -> dict[str, Any]:
    wrappers, inner = [], env
    while hasattr(inner, "venv"):
        wrappers.append(type(inner).__name__)
        inner = inner.venv
    spec = None
    for one in getattr(inner, "envs", ())[:1]:
        spec = getattr(one, "spec", None)
    return {
        "id": getattr(spec, "id", None),
        "count": env.num_envs,
        "class": [*wrappers, type(inner).__name__],
        "observation_space": str(env.observation_space),
        "action_space": str(env.action_space),
        "max_episode_steps": getattr(spec, "max_episode_steps", None),
    }


def _video_folders(env: Any) -> Iterator[str]:
    """Where the wrappers around the environments, and around each of them, write videos."""
    inner = env
    while inner is not None:
        if isinstance(getattr(inner, "video_folder", None), (str, os.PathLike)):
            yield os.fspath(inner.video_folder)
        for one in getattr(inner, "envs", ()):
            while one is not None:
                if isinstance(vars(one).get("video_folder"), (str, os.PathLike)):
                    yield os.fspath(one.video_folder)
                one = vars(one).get("env")
        inner = vars(inner).get("venv")
