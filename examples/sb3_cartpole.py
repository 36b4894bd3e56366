"""PPO learns to balance a pole, is saved, and learns on in the same run: `python examples/sb3_cartpole.py`.

Needs `pip install 'trackkit[sb3]'`.
"""

from __future__ import annotations

import os
import tempfile

from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.env_util import make_vec_env

from trackkit.integrations.sb3 import TrackkitCallback


def main() -> None:
    env, other = make_vec_env("CartPole-v1", n_envs=4, seed=0), make_vec_env("CartPole-v1", seed=1)
    options = {"project": "cartpole", "model_save_freq": 500}

    model = PPO("MlpPolicy", env, n_steps=256, seed=0, device="cpu")
    evaluate = EvalCallback(other, n_eval_episodes=3, eval_freq=500, verbose=0)
    model.learn(4_000, callback=[evaluate, TrackkitCallback(name="ppo", watch="gradients", **options)], log_interval=1)

    with tempfile.TemporaryDirectory() as folder:
        model.save(os.path.join(folder, "model"))
        again = PPO.load(os.path.join(folder, "model"), env=env, device="cpu")
    callback = TrackkitCallback(**options)  # the model knows its run
    again.learn(2_000, callback=callback, log_interval=1, reset_num_timesteps=False)
    print(f"see it with: trackkit show {callback.run.path}")


if __name__ == "__main__":
    main()
