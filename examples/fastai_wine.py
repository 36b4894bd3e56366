"""A tabular Learner on scikit-learn's wines, with predictions and models: `python examples/fastai_wine.py`.

Needs `pip install 'trackkit[fastai,media,sklearn]'`.
"""

from __future__ import annotations

from fastai.metrics import accuracy
from fastai.tabular.all import Categorify, CategoryBlock, Normalize, RandomSplitter, TabularDataLoaders, tabular_learner
from sklearn.datasets import load_wine

import trackkit
from trackkit.integrations.fastai import TrackkitCallback


def main() -> None:
    wines = load_wine(as_frame=True)
    frame = wines.frame.copy()
    frame["target"] = frame["target"].map(dict(enumerate(wines.target_names)))
    data = TabularDataLoaders.from_df(
        frame,
        procs=[Categorify, Normalize],
        cont_names=wines.feature_names,
        y_names="target",
        y_block=CategoryBlock,
        valid_idx=RandomSplitter(0.3, seed=0)(frame)[1],
        bs=32,
    )
    callback = TrackkitCallback(project="wine", name="fastai", log_model=True)
    learn = tabular_learner(data, layers=[32, 16], metrics=accuracy, cbs=callback)
    learn.fit_one_cycle(10, 0.01)
    learn.fit_one_cycle(5, 0.001)  # goes into the same run
    print(f"accuracy {learn.validate()[1]:.3f}; see it with: trackkit show {callback.tracked.path}")
    trackkit.finish()


if __name__ == "__main__":
    main()
