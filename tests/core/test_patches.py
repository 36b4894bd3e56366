"""What autolog replaces is put back as it was."""

from __future__ import annotations

import types

import pytest

from trackkit.core.goals import goal_of
from trackkit.core.patches import Patches


class Model:
    def fit(self, times: int) -> int:
        """Fit."""
        return times


class Child(Model):
    pass


def test_a_method_is_replaced_and_put_back() -> None:
    patches, original = Patches(), Model.fit
    patches.put(Model, "fit", lambda fit, self, times: fit(self, times) + 1)
    assert Model().fit(1) == Child().fit(1) == 2
    assert Model.fit.__doc__ == "Fit."
    patches.remove()
    assert Model.fit is original
    assert not patches


def test_what_was_inherited_is_inherited_again() -> None:
    patches = Patches()
    patches.put(Child, "fit", lambda fit, self, times: -1)
    assert (Child().fit(1), Model().fit(1)) == (-1, 1)
    patches.remove()
    assert "fit" not in vars(Child)


def test_what_was_replaced_twice_is_as_before() -> None:
    module = types.ModuleType("module")
    module.train = original = lambda: 1  # type: ignore[attr-defined]
    patches = Patches()
    for _ in range(2):
        patches.put(module, "train", lambda train: train() * 2)
    assert module.train() == 4
    patches.remove()
    assert module.train is original


@pytest.mark.parametrize(
    ("metric", "goal"),
    [
        ("logloss", "minimize"), ("rmse", "minimize"), ("error@0.5", "minimize"), ("multi_logloss", "minimize"),
        ("auc", "maximize"), ("ndcg@5-", "maximize"), ("map@3", "maximize"), ("val_accuracy", "maximize"),
        ("TotalF1:average=Macro", "maximize"), ("Accuracy", "maximize"), ("r2", "maximize"), ("mape", "minimize"),
        ("val_loss", "minimize"), ("average_precision", "maximize"), ("f1_score", "maximize"),
    ],
)  # fmt: skip
def test_a_metric_s_name_says_what_to_wish_for(metric: str, goal: str) -> None:
    assert goal_of(metric) == goal
