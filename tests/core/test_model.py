"""What is said about models, optimizers and data, of torch's own."""

from __future__ import annotations

from typing import Any

import pytest

from trackkit.core.model import (
    architecture,
    batch_size,
    learning_rates,
    loader_facts,
    model_facts,
    optimizer_facts,
    scheduler_facts,
)


class Tensor:
    """As much of a torch tensor as is looked at."""

    def __init__(self, *shape: int, trains: bool = True, dtype: str = "torch.float32") -> None:
        self.shape, self.requires_grad, self.dtype = shape, trains, dtype

    def numel(self) -> int:
        size = 1
        for one in self.shape:
            size *= one
        return size

    def element_size(self) -> int:
        return 4


class UninitializedParameter(Tensor):
    """Of a lazy layer, whose size is not known yet."""

    def numel(self) -> int:
        raise ValueError("not initialised")


class Model:
    def __init__(self, **parameters: Tensor) -> None:
        self._parameters = parameters

    def parameters(self) -> list[Tensor]:
        return list(self._parameters.values())

    def named_parameters(self) -> list[tuple[str, Tensor]]:
        return list(self._parameters.items())

    def buffers(self) -> list[Tensor]:
        return [Tensor(10)]

    def __repr__(self) -> str:
        return "Model()"


class Optimizer:
    def __init__(self, *groups: dict[str, Any]) -> None:
        self.param_groups = [{"params": [], **group} for group in groups]


class Adam(Optimizer): ...


def test_a_model_is_counted_without_what_is_not_there_yet() -> None:
    model = Model(weight=Tensor(3, 4), frozen=Tensor(5, trains=False), lazy=UninitializedParameter())
    assert model_facts(model) == {
        "class": "tests.core.test_model.Model",
        "parameters": 17,
        "trainable_parameters": 12,
        "megabytes": pytest.approx(27 * 4 / 1e6, abs=1e-3),
        "dtypes": ["float32"],
    }
    assert architecture(model).splitlines() == [
        "Model()",
        "",
        "weight: 3×4",
        "frozen: 5, frozen",
        "lazy: not initialised yet",
    ]


def test_an_optimizer_says_how_its_groups_differ() -> None:
    optimizer = Adam({"lr": 0.1, "betas": (0.9, 0.999)}, {"lr": 0.2, "betas": (0.9, 0.999)})
    assert optimizer_facts(optimizer) == {
        "class": "Adam", "lr": 0.1, "betas": (0.9, 0.999), "groups": [{"lr": 0.2}]
    }  # fmt: skip
    assert optimizer_facts(Adam({"lr": 0.1})) == {"class": "Adam", "lr": 0.1}


def test_learning_rates_are_named_by_optimizer_and_group() -> None:
    one, two = Adam({"lr": 0.1}), Adam({"lr": 0.2}, {"lr": 0.3})
    assert learning_rates([one]) == {"lr/Adam": 0.1}
    assert learning_rates([one, two]) == {"lr/Adam": 0.1, "lr/Adam-1/0": 0.2, "lr/Adam-1/1": 0.3}


def test_a_schedule_says_its_settings_and_not_where_it_is() -> None:
    class StepLR:
        def __init__(self) -> None:
            self.step_size, self.gamma, self.last_epoch, self._step_count = 10, 0.5, 3, 4

    assert scheduler_facts(StepLR()) == {"class": "StepLR", "step_size": 10, "gamma": 0.5}


def test_a_loader_says_what_it_can() -> None:
    class Endless:
        def __len__(self) -> int:
            raise TypeError("no length")

    class RandomSampler: ...

    class Batches:
        batch_size = 8
        sampler = RandomSampler()

    class Sharded:
        batch_sampler = Batches()
        batch_size = None

    class Loader(Endless):
        dataset = "abc"
        batch_size = None
        num_workers = 2
        batch_sampler = Sharded()

    assert loader_facts(Loader()) == {
        "dataset": "str", "samples": 3, "batch_size": 8, "workers": 2, "shuffled": True
    }  # fmt: skip


@pytest.mark.parametrize(
    ("batch", "size"),
    [
        (Tensor(7, 2), 7),
        ([Tensor(5, 2), Tensor(5)], 5),
        ({"text": "a string", "image": Tensor(3, 2)}, 3),
        (({"inner": [Tensor(2)]}, 1.0), 2),
        (["one", "two"], 2),
        ("a string", 0),
        (None, 0),
        ({}, 0),
    ],
)
def test_a_batch_is_as_large_as_its_first_tensor(batch: Any, size: int) -> None:
    assert batch_size(batch) == size


def test_a_batch_that_holds_itself_has_an_end() -> None:
    batch: list[Any] = []
    batch.append(batch)
    assert batch_size(batch) == 0
