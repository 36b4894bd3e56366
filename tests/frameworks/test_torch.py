"""Watching torch models: what is measured agrees with plain torch, and training never notices."""

from __future__ import annotations

import contextlib
import copy
import itertools
import json
import math
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from torch import nn

import trackkit
from tests.conftest import REPOSITORY, ReadJournals, RunScript
from trackkit.core import device, records
from trackkit.core.gradients import frames, layout
from trackkit.core.gradients.frames import Frame, Layers
from trackkit.core.gradients.layout import Layout
from trackkit.core.gradients.tensors import flat

QUIET = {"quiet": True, "system": False, "console": "off", "git": False, "packages": False, "code": False}


class Training:
    """A run, and what it recorded of the models it watched."""

    def __init__(self, folder: Path, read: ReadJournals) -> None:
        self.run = trackkit.init(project="p", dir=folder, mode="offline", settings=QUIET)
        self._folder = folder
        self._read = read
        self._records: list[records.AnyRecord] | None = None

    @property
    def records(self) -> list[records.AnyRecord]:
        if self._records is None:
            self.run.finish()
            self._records = self._read(self._folder)
        return self._records

    def objects(self, kind: str, key: str) -> list[records.Object]:
        found = [record for record in self.records if isinstance(record, records.Object)]
        return [record for record in found if record.kind == kind and record.key == key]

    def frames(self, key: str = "gradients") -> dict[int, Frame]:
        return {record.step or 0: frames.decode(record.inline) for record in self.objects("watch", key)}

    def layers(self, key: str = "gradients") -> Layers:
        return msgspec.json.decode(self.objects("layers", key)[-1].inline, type=Layers)

    def value(self, step: int, name: str, statistic: str, key: str = "gradients") -> float:
        return float(self.frames(key)[step].of(statistic)[self.layers(key).names.index(name)])

    @property
    def alerts(self) -> list[records.Alert]:
        return [record for record in self.records if isinstance(record, records.Alert)]

    @property
    def metrics(self) -> dict[str, list[tuple[int, float]]]:
        found: dict[str, list[tuple[int, float]]] = {}
        for record in self.records:
            if isinstance(record, records.Points):
                for key, value in zip(record.keys, np.frombuffer(record.values, ">f8").tolist(), strict=True):
                    found.setdefault(key, []).append((record.step, value))
        return found


@pytest.fixture
def training(tmp_path: Path, read_journals: ReadJournals) -> Iterator[Training]:
    made = Training(tmp_path / "store", read_journals)
    yield made
    made.run.finish()


def mlp(*widths: int) -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def backward(model: nn.Module, width: int = 8, rows: int = 16) -> torch.Tensor:
    loss: torch.Tensor = model(torch.randn(rows, width)).square().mean()
    loss.backward()
    return loss


def plain(tensor: torch.Tensor) -> dict[str, float]:
    """Every statistic the straightforward way."""
    values = tensor.detach().double().flatten()
    return {
        "norm": values.norm().item(),
        "mean": values.mean().item(),
        "std": values.std(correction=0).item(),
        "min": values.min().item(),
        "max": values.max().item(),
        "zeros": (values == 0).double().mean().item(),
        "nan": values.isnan().sum().item(),
        "inf": values.isinf().sum().item(),
    }


def plain_histogram(tensor: torch.Tensor, top: int) -> np.ndarray[Any, Any]:
    counts = np.zeros(64, np.int64)
    for value in tensor.detach().float().flatten().tolist():
        place = 0 if value == 0 else min(31, max(0, math.frexp(abs(value))[1] - 1 - top + 31))
        counts[31 - place if value < 0 else 32 + place] += 1
    return counts


TENSORS: dict[str, Callable[[], torch.Tensor]] = {
    "a matrix": lambda: torch.randn(300, 200) * 1e-3,
    "a bias": lambda: torch.randn(512),
    "one number": lambda: torch.tensor([0.25]),
    "a scale close to one": lambda: 1 + torch.randn(5000) * 1e-4,
    "zeros": lambda: torch.zeros(100),
    "half zeros": lambda: torch.relu(torch.randn(40_000)),
    "transposed": lambda: torch.randn(128, 300).t(),
    "channels last": lambda: torch.randn(16, 8, 3, 3).contiguous(memory_format=torch.channels_last),
    "every other column": lambda: torch.randn(200, 200)[:, ::2],
    "bfloat16": lambda: torch.randn(30_000).bfloat16(),
    "half": lambda: torch.randn(20_000).half(),
    "doubles": lambda: torch.randn(20_000, dtype=torch.float64) * 1e-60,
    "large": lambda: torch.randn(1 << 18),
    "NaN": lambda: torch.tensor([1.0, math.nan, 2.0, math.nan]),
    "infinities": lambda: torch.cat([torch.randn(30_000), torch.tensor([math.inf, -math.inf, -math.inf])]),
    "complex": lambda: torch.randn(50, 20, dtype=torch.complex64),
    "sparse": lambda: torch.sparse_coo_tensor(
        torch.tensor([[0, 2, 2]]), torch.tensor([[1.0, 2], [3, 4], [5, 6]]), (9, 2)
    ),
}


@pytest.mark.parametrize("name", TENSORS)
def test_every_statistic_agrees_with_plain_torch(name: str) -> None:
    torch.manual_seed(1)
    tensor = TENSORS[name]()
    values = flat(torch, tensor)
    made = Layout(torch, [values], histograms=True)
    found = frames.summarise(made.read(made.measure([values]).numpy()))
    for statistic, expected in plain(values).items():
        measured = float(found.of(statistic)[0])
        assert measured == pytest.approx(np.float32(expected), rel=2e-5, abs=1e-12, nan_ok=True), statistic


def test_tensors_measured_together_agree_with_each_alone() -> None:
    torch.manual_seed(2)
    tensors = [TENSORS[name]() for name in TENSORS if name not in ("doubles",)] * 2
    values = [flat(torch, tensor) for tensor in tensors]
    made = Layout(torch, values, histograms=True)
    tally = made.read(made.measure(values).numpy())
    found = frames.summarise(tally)
    for number, tensor in enumerate(values):
        for statistic, expected in plain(tensor).items():
            measured = float(found.of(statistic)[number])
            assert measured == pytest.approx(np.float32(expected), rel=2e-5, abs=1e-12, nan_ok=True), (
                number,
                statistic,
            )
    finite = [tensor for tensor in values if tensor.double().isfinite().all()]
    made = Layout(torch, finite, histograms=False)
    together = frames.overall(made.read(made.measure(finite).numpy()))
    expected_overall = plain(torch.cat([tensor.double() for tensor in finite]))
    assert together == pytest.approx(expected_overall, rel=1e-5)


@pytest.mark.parametrize("name", ["a matrix", "a bias", "zeros", "half zeros", "bfloat16", "NaN", "large"])
def test_histograms_count_signs_and_powers_of_two(name: str) -> None:
    torch.manual_seed(3)
    values = flat(torch, TENSORS[name]())
    made = Layout(torch, [values], histograms=True)
    found = frames.summarise(made.read(made.measure([values]).numpy()))
    assert found.histograms is not None
    assert found.tops is not None
    counts = found.histograms[0]
    finite = values[values.isfinite()]
    if values.numel() <= layout.SAMPLE:
        assert counts.tolist() == plain_histogram(finite, int(found.tops[0])).tolist()
    else:
        whole = plain_histogram(finite, int(found.tops[0])) / finite.numel()
        assert 5000 < counts.sum() <= 2 * layout.SAMPLE
        assert np.abs(counts / counts.sum() - whole).max() < 0.02


def test_the_path_for_devices_measures_as_that_for_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The operations chosen for a device run on a CPU as well."""
    torch.manual_seed(4)
    monkeypatch.setattr(layout, "PIECE", 8 * layout.ROW)  # several pieces, and tensors cut across them
    values = [flat(torch, TENSORS[name]()) for name in TENSORS if name != "doubles"]

    class Elsewhere(Layout):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            self._elsewhere = True
            super().__init__(*arguments, **named)
            assert self.sampler is not None
            self.sampler.on_cpu = False

        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, False if name == "on_cpu" else value)

    there, here = Elsewhere(torch, values, histograms=True), Layout(torch, values, histograms=True)
    one, other = (frames.summarise(made.read(made.measure(values).numpy())) for made in (there, here))
    np.testing.assert_allclose(one.statistics, other.statistics, rtol=2e-5, atol=1e-12)
    np.testing.assert_array_equal(one.histograms, other.histograms)


def test_gradients_parameters_and_updates_are_those_the_optimizer_saw(training: Training) -> None:
    model = mlp(8, 300, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    training.run.watch(model, log="all", every=1)
    expected: list[tuple[dict[str, Any], dict[str, Any], dict[str, float]]] = []
    for step in range(3):
        optimizer.zero_grad()
        loss = backward(model)
        gradients = {name: plain(parameter.grad) for name, parameter in model.named_parameters()}
        weights = {name: plain(parameter) for name, parameter in model.named_parameters()}
        before = copy.deepcopy(model)
        optimizer.step()
        pairs = zip(model.named_parameters(), before.parameters(), strict=True)
        ratios = {name: ((after - old).norm() / old.norm()).item() for (name, after), old in pairs}
        expected.append((gradients, weights, ratios))
        training.run.log({"loss": loss}, step=step * 10)
    for step, (gradients, weights, ratios) in zip((0, 1, 11), expected, strict=True):
        for name, figures in gradients.items():
            for statistic, value in figures.items():
                assert training.value(step, name, statistic) == pytest.approx(value, rel=1e-4, abs=1e-9)
                found = training.value(step, name, statistic, "parameters")
                assert found == pytest.approx(weights[name][statistic], rel=1e-4, abs=1e-9)
            assert training.value(step, name, "update_ratio") == pytest.approx(ratios[name], rel=1e-3)
    norms = [value for _, value in training.metrics["gradients/norm"]]
    totals = [math.sqrt(sum(figures["norm"] ** 2 for figures in gradients.values())) for gradients, _, _ in expected]
    assert norms == pytest.approx(totals, rel=1e-5)
    assert len(training.metrics["gradients/update_ratio"]) == 3


def test_only_the_overall_norm_and_update_ratio_get_charts_of_their_own(training: Training) -> None:
    model = mlp(4, 4)
    training.run.watch(model, every=1)
    shown = {f"gradients/{name}" for name in frames.STATISTICS}
    shown -= {record.name for record in training.records if isinstance(record, records.Define) and record.hidden}
    assert shown == {"gradients/norm", "gradients/update_ratio"}


def test_every_hundredth_step_is_measured(training: Training) -> None:
    model = mlp(4, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    training.run.watch(model)
    for _ in range(250):
        optimizer.zero_grad()
        backward(model, 4)
        optimizer.step()
        training.run.log({})
    assert list(training.frames()) == [0, 100, 200]


def test_accumulated_gradients_are_measured_once_they_are_complete(training: Training) -> None:
    model = mlp(8, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    training.run.watch(model, every=1)
    norms = []
    for step in range(3):
        optimizer.zero_grad()
        for _ in range(20):
            backward(model)
        norms.append(model[0].weight.grad.norm().item())
        optimizer.step()
        training.run.log({}, step=step)
    assert [training.value(step, "0.weight", "norm") for step in range(3)] == pytest.approx(norms, rel=1e-5)
    assert len(training.frames()) == 3


def test_clipped_gradients_are_measured_as_clipped(training: Training) -> None:
    model = mlp(8, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    training.run.watch(model, every=1)
    (backward(model) * 0).item()
    nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
    optimizer.step()
    assert training.metrics["gradients/norm"][0][1] == pytest.approx(1e-3, rel=1e-3)


def test_autocast_and_a_gradient_scaler_leave_unscaled_gradients(training: Training) -> None:
    model = mlp(8, 64, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    training.run.watch(model, every=1)
    inputs = torch.randn(16, 8)
    expected = []
    for step in range(2):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(inputs).float().square().mean()
        scaler.scale(loss).backward()
        expected.append(model[0].weight.grad.norm().item() / 1024)
        scaler.step(optimizer)
        scaler.update()
        training.run.log({}, step=step)
    assert [training.value(step, "0.weight", "norm") for step in range(2)] == pytest.approx(expected, rel=1e-4)


def test_a_step_a_gradient_scaler_leaves_out_is_no_alarm(training: Training) -> None:
    model = mlp(8, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    training.run.watch(model, every=1)
    scaler.scale((model(torch.randn(4, 8)) * math.inf).sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    assert training.alerts == []
    assert training.frames() == {}


@pytest.mark.parametrize("unscale", [False, True])
def test_a_fused_optimizer_that_unscales_by_itself_is_measured_unscaled(training: Training, unscale: bool) -> None:
    model = mlp(8, 4)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.0, fused=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
    training.run.watch(model, every=1)
    for factor in (1.0, math.inf):
        optimizer.zero_grad()
        scaler.scale(model(torch.ones(4, 8)).square().mean() * factor).backward()
        if unscale:
            scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
        training.run.log({})
    optimizer.zero_grad()
    model(torch.ones(4, 8)).square().mean().backward()
    norm = model[0].weight.grad.norm().item()
    assert training.value(0, "0.weight", "norm") == pytest.approx(norm, rel=1e-4)
    assert training.alerts == []


def test_frozen_and_unused_parameters_take_no_part(training: Training) -> None:
    model = mlp(8, 6, 6, 4)
    model.add_module("unused", nn.Linear(3, 3))
    model[0].requires_grad_(False)
    used = model[:5]
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    training.run.watch(model, log="all", every=1)
    backward(used)
    optimizer.step()
    layers = training.layers()
    assert layers.names[0] == "0.weight"
    assert math.isnan(training.value(0, "0.weight", "norm"))
    assert math.isnan(training.value(0, "unused.weight", "norm"))
    assert training.value(0, "2.weight", "norm") > 0
    assert training.value(0, "unused.weight", "norm", "parameters") > 0


def test_a_layer_unfrozen_later_is_measured_from_then_on(training: Training) -> None:
    model = mlp(8, 6, 4)
    model[0].requires_grad_(False)
    optimizer = torch.optim.SGD(model[2].parameters(), lr=0.1)
    training.run.watch(model, every=1)
    backward(model)
    optimizer.step()
    training.run.log({})
    model[0].requires_grad_(True)
    optimizer.add_param_group({"params": list(model[0].parameters())})
    optimizer.zero_grad()
    backward(model)
    optimizer.step()
    assert math.isnan(training.value(0, "0.weight", "norm"))
    assert training.value(1, "0.weight", "norm") > 0


def test_shared_parameters_are_measured_once(training: Training) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(10, 6)
            self.head = nn.Linear(6, 10, bias=False)
            self.head.weight = self.embedding.weight

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.head(self.embedding(tokens))
            return out

    model = Tied()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    training.run.watch(model, every=1)
    model(torch.arange(10)).square().mean().backward()
    norm = model.head.weight.grad.norm().item()  # type: ignore[union-attr]
    optimizer.step()
    assert training.layers().names == ["embedding.weight"]
    assert training.value(0, "embedding.weight", "norm") == pytest.approx(norm, rel=1e-5)


def test_sparse_gradients_are_measured(training: Training) -> None:
    model = nn.Embedding(1000, 8, sparse=True)
    optimizer = torch.optim.SparseAdam(model.parameters())
    training.run.watch(model, every=1)
    model(torch.tensor([1, 1, 5])).sum().backward()
    optimizer.step()
    assert training.value(0, "weight", "norm") == pytest.approx(math.sqrt(8 * 4 + 8), rel=1e-5)
    assert training.value(0, "weight", "zeros") == pytest.approx(0.998)


def test_several_optimizers_of_one_model_make_one_step(training: Training) -> None:
    model = mlp(8, 6, 4)
    optimizers = [torch.optim.SGD(model[0].parameters(), lr=0.1), torch.optim.Adam(model[2].parameters())]
    training.run.watch(model, every=1)
    for step in range(3):
        model.zero_grad()
        backward(model)
        for optimizer in optimizers:
            optimizer.step()
        training.run.log({}, step=step)
    assert list(training.frames()) == [0, 1, 2]
    assert training.value(1, "0.weight", "norm") > 0
    assert training.value(1, "2.weight", "norm") > 0


def test_an_optimizer_that_steps_more_often_than_another_makes_steps_of_its_own(training: Training) -> None:
    model = mlp(8, 6, 4)
    often, seldom = torch.optim.SGD(model[0].parameters(), lr=0.1), torch.optim.SGD(model[2].parameters(), lr=0.1)
    training.run.watch(model, every=1)
    for step in range(4):
        model.zero_grad()
        backward(model)
        often.step()
        if step == 3:
            seldom.step()
        training.run.log({}, step=step)
    assert list(training.frames()) == [0, 1, 2, 3]
    assert math.isnan(training.value(2, "2.weight", "norm"))
    assert training.value(3, "2.weight", "norm") > 0


def test_the_gradients_a_closure_makes_are_measured(training: Training) -> None:
    model = mlp(8, 4)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=4)
    inputs = torch.randn(16, 8)
    training.run.watch(model, log="all", every=1)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss: torch.Tensor = model(inputs).square().mean()
        loss.backward()
        return loss

    before = plain(model[0].weight)["norm"]
    optimizer.step(closure)
    norm = model[0].weight.grad.norm().item()
    training.run.log({})
    assert training.value(0, "0.weight", "norm") == pytest.approx(norm, rel=1e-5)
    assert training.value(0, "0.weight", "norm", "parameters") == pytest.approx(before, rel=1e-5)
    assert training.value(0, "0.weight", "update_ratio") > 0


def test_a_model_that_no_optimizer_of_torch_moves_is_measured_after_backward_passes(training: Training) -> None:
    model = mlp(8, 4)
    training.run.watch(model, every=1)
    norms = []
    for step in range(20):
        model.zero_grad()
        backward(model)
        norms.append(model[0].weight.grad.norm().item())
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.01 * parameter.grad
        training.run.log({}, step=step)
    found = training.frames()
    assert len(found) >= 10
    assert all(training.value(step, "0.weight", "norm") == pytest.approx(norms[step], rel=1e-5) for step in found)


def test_many_backward_passes_before_the_first_step_are_not_taken_for_steps(training: Training) -> None:
    model = mlp(8, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    training.run.watch(model, every=1)
    for _ in range(30):
        backward(model)
    optimizer.step()
    assert len(training.frames()) == 1


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_a_compiled_model_is_compiled_as_without_and_measured(training: Training, backend: str) -> None:
    model = mlp(8, 16, 4)
    compiled = torch.compile(model, backend=backend, fullgraph=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    training.run.watch(compiled, every=1)
    torch._dynamo.utils.counters.clear()
    for step in range(3):
        optimizer.zero_grad()
        compiled(torch.randn(16, 8)).square().mean().backward()
        norm = model[0].weight.grad.norm().item()
        optimizer.step()
        training.run.log({}, step=step)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    assert not torch._dynamo.utils.counters["graph_break"]
    assert training.layers().names == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert training.value(2, "0.weight", "norm") == pytest.approx(norm, rel=1e-5)


def test_hooks_for_activations_do_not_break_a_compiled_graph(training: Training) -> None:
    model = mlp(8, 16, 4)
    training.run.watch(model, every=1, activations=True)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        compiled(torch.randn(16, 8)).square().mean().backward()
        optimizer.step()
        training.run.log({})
    assert len(training.frames()) == 2
    assert training.frames("activations") == {}


def test_a_compiled_step_of_the_optimizer_still_works(training: Training) -> None:
    model, plain_model = mlp(8, 4), mlp(8, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    reference = torch.optim.SGD(plain_model.parameters(), lr=0.1)
    training.run.watch(model, every=1)
    step = torch.compile(optimizer.step, backend="aot_eager")
    inputs = torch.randn(16, 8)
    for _ in range(3):
        for one in (model, plain_model):
            one.zero_grad()
            one(inputs).square().mean().backward()
        step()
        reference.step()
    torch.testing.assert_close(model[0].weight, plain_model[0].weight)
    training.run.finish()


def test_watching_changes_nothing_of_the_training(training: Training) -> None:
    def train(watch: bool) -> nn.Module:
        model = mlp(8, 300, 4)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        if watch:
            training.run.watch(model, log="all", every=1, activations=True, graph=True)
        torch.manual_seed(5)
        for _ in range(5):
            optimizer.zero_grad()
            backward(model)
            optimizer.step()
        return model

    for one, other in zip(train(False).parameters(), train(True).parameters(), strict=True):
        assert torch.equal(one, other)


def test_no_tensor_and_no_module_carries_a_hook_once_an_optimizer_was_seen(training: Training) -> None:
    model = mlp(8, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    training.run.watch(model, log="all", every=1)
    backward(model)
    optimizer.step()
    assert not any(module._forward_hooks or module._backward_hooks for module in model.modules())
    assert not any(p._backward_hooks or p._post_accumulate_grad_hooks for p in model.parameters())


def test_a_failure_of_ours_never_reaches_the_training(
    training: Training, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = mlp(8, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    training.run.watch(model, log="all", every=1, activations=True)

    def fail(*arguments: Any, **named: Any) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(Layout, "measure", fail)
    before = model[0].weight.detach().clone()
    for _ in range(6):
        optimizer.zero_grad()
        backward(model)
        optimizer.step()
    assert not torch.equal(before, model[0].weight)
    assert "could not be watched: RuntimeError: out of memory" in caplog.text
    assert "no longer watched" in caplog.text
    assert not any(module._forward_hooks for module in model.modules())


def test_a_nan_names_the_module_and_the_step_between_watched_steps(training: Training) -> None:
    class Poison(torch.autograd.Function):
        armed = False

        @staticmethod
        def forward(context: Any, values: torch.Tensor) -> torch.Tensor:
            return values.clone()

        @staticmethod
        def backward(context: Any, gradient: torch.Tensor) -> torch.Tensor:
            return gradient * math.nan if Poison.armed else gradient

    first, second = mlp(8, 6, 6), mlp(6, 4)
    model = nn.ModuleDict({"body": first, "head": second})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    training.run.watch(model, every=100)
    for step in range(20):
        Poison.armed = step == 13
        optimizer.zero_grad()
        second(Poison.apply(first(torch.randn(4, 8)))).square().mean().backward()
        optimizer.step()
        training.run.log({}, step=step)
        if step == 13:
            break
    assert [alert.title for alert in training.alerts] == ["NaN or Inf in gradients at step 13"]
    assert "It began in the module body.2" in training.alerts[0].text
    assert training.alerts[0].level == "error"
    assert list(training.frames()) == [0, 13]
    assert training.value(13, "body.2.weight", "nan") == 36


def test_a_nan_of_the_loss_is_told_as_such_and_only_once(training: Training) -> None:
    model = mlp(8, 6, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    training.run.watch(model, every=1)
    for _ in range(3):
        optimizer.zero_grad()
        (model(torch.randn(4, 8)) * math.nan).sum().backward()
        optimizer.step()
        training.run.log({})
    assert len(training.alerts) == 1
    assert "the loss itself was not finite" in training.alerts[0].text


def test_a_nan_is_found_where_only_parameters_are_logged(training: Training) -> None:
    model = mlp(8, 6, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    training.run.watch(model, log="parameters", every=100)
    for step in range(4):
        optimizer.zero_grad()
        (model(torch.randn(4, 8)) * (math.nan if step == 2 else 1.0)).sum().backward()
        optimizer.step()
        training.run.log({})
    assert [alert.title for alert in training.alerts] == ["NaN or Inf in gradients at step 2"]


def test_a_nan_is_ignored_where_that_is_asked_for(training: Training) -> None:
    model = mlp(8, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    training.run.watch(model, every=1, on_nonfinite="ignore")
    (model(torch.randn(4, 8)) * math.nan).sum().backward()
    optimizer.step()
    assert training.alerts == []
    assert training.value(0, "0.weight", "nan") == 32


def test_a_nan_stops_the_training_where_that_is_asked_for(
    tmp_path: Path, run_script: RunScript, read_journals: ReadJournals
) -> None:
    done = run_script(
        """
        import math, time, torch, trackkit
        run = trackkit.init(project="p", mode="offline", settings={"quiet": True})
        model = torch.nn.Linear(4, 4)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        run.watch(model, every=100, on_nonfinite="stop")
        try:
            for step in range(10_000):
                optimizer.zero_grad()
                (model(torch.randn(2, 4)) * (math.nan if step == 5 else 1)).sum().backward()
                optimizer.step()
                run.log({"step": step})
                time.sleep(0.005)
        except trackkit.RunStopped:
            print("stopped at", step)
            raise
        """,
    )
    assert "stopped at" in done.stdout
    assert int(done.stdout.split()[-1]) < 2000
    assert done.returncode != 0
    found = read_journals(tmp_path / ".trackkit")
    assert [record.title for record in found if isinstance(record, records.Alert)] == [
        "NaN or Inf in gradients at step 5"
    ]
    assert [record.state for record in found if isinstance(record, records.Finish)] == ["killed"]


def test_activations_are_measured_once_in_watched_steps_of_training(training: Training) -> None:
    model = mlp(8, 32, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    training.run.watch(model, every=2, activations=True)
    outputs = []
    for step in range(4):
        optimizer.zero_grad()
        inputs = torch.randn(16, 8)
        outputs.append(plain(torch.relu(model[0](inputs))))
        model(inputs).square().mean().backward()
        optimizer.step()
        model.eval()
        model(torch.randn(100, 8) * 50)
        model.train()
        training.run.log({}, step=step)
    assert training.layers("activations").names == ["0", "1", "2"]
    assert training.layers("activations").kinds == ["Linear", "ReLU", "Linear"]
    assert list(training.frames("activations")) == [0, 2]
    assert training.value(2, "1", "zeros", "activations") > 0.2


def test_a_model_whose_activations_are_measured_can_be_copied_and_saved(training: Training, tmp_path: Path) -> None:
    model = mlp(8, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    training.run.watch(model, every=1, activations=True)
    average = copy.deepcopy(model)
    torch.save(model, tmp_path / "model.pt")
    saved = torch.load(tmp_path / "model.pt", weights_only=False)
    for other in (average, saved):
        other(torch.full((2, 8), 1e6))
    model(torch.ones(2, 8)).square().mean().backward()
    optimizer.step()
    assert training.value(0, "0", "max", "activations") < 1e5


def test_the_tree_of_modules_is_recorded_as_a_graph(training: Training) -> None:
    model = mlp(8, 6, 4)
    training.run.watch(model, log=None, log_graph=True)
    graph = json.loads(training.objects("graph", "graph")[0].inline)["modules"][0]
    assert graph["type"] == "Sequential"
    assert [child["type"] for child in graph["modules"]] == ["Linear", "ReLU", "Linear"]
    weight = graph["modules"][0]["parameters"][0]
    assert weight == {"name": "weight", "shape": [6, 8], "dtype": "float32", "elements": 48, "trainable": True}
    assert graph["modules"][0]["repr"] == "in_features=8, out_features=6, bias=True"
    assert training.frames() == {}


def test_several_models_are_told_apart(training: Training) -> None:
    one, two, third = mlp(4, 3), mlp(4, 2), mlp(4, 4)
    optimizer = torch.optim.SGD([*one.parameters(), *two.parameters(), *third.parameters()], lr=0.1)
    training.run.watch([one, two], log_freq=1)
    training.run.watch(third, every=1)
    for model in (one, two, third):
        backward(model, 4)
    optimizer.step()
    assert training.layers().names == ["0.0.weight", "0.0.bias", "1.0.weight", "1.0.bias"]
    assert training.layers("gradients.1").names == ["0.weight", "0.bias"]
    assert "gradients.1/norm" in training.metrics


def test_a_model_can_be_unwatched_and_watched_again(training: Training) -> None:
    model = mlp(4, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    training.run.watch(model, every=1)
    with pytest.raises(ValueError, match="watched already"):
        training.run.watch(model)
    for step in range(6):
        if step == 2:
            training.run.unwatch(model)
        if step == 4:
            trackkit.watch(model, every=1)
        optimizer.zero_grad()
        backward(model, 4)
        optimizer.step()
        training.run.log({}, step=step)
    assert list(training.frames()) == [0, 1, 4, 5]


@pytest.mark.parametrize(
    ("arguments", "named", "error", "text"),
    [
        ((object(),), {}, TypeError, "torch.nn.Module"),
        (([],), {}, TypeError, "the list is empty"),
        (("model",), {"log": "weights"}, ValueError, "log must be"),
        (("model",), {"every": 0}, ValueError, "every must be"),
        (("model",), {"on_nonfinite": "raise"}, ValueError, "on_nonfinite must be"),
        (("lazy",), {}, ValueError, "has no shape yet"),
    ],
)
def test_wrong_use_is_told_at_the_call(
    training: Training, arguments: tuple[Any, ...], named: dict[str, Any], error: type[Exception], text: str
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lazy modules are said to be under development
        models = {"model": mlp(4, 4), "lazy": nn.LazyLinear(3)}
    given = tuple(models.get(each, each) if isinstance(each, str) else each for each in arguments)
    with pytest.raises(error, match=text):
        training.run.watch(*given, **named)


def test_a_tensor_on_the_cpu_is_logged_as_it_is_at_the_call(training: Training) -> None:
    loss = torch.tensor(1.5)
    training.run.log({"loss": loss})
    loss.fill_(99.0)
    assert training.metrics["loss"] == [(0, 1.5)]


def test_copies_of_several_kinds_come_back_in_their_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """The copier of devices, with a CPU in the place of one."""

    class Module:
        @staticmethod
        def device(device: Any) -> contextlib.AbstractContextManager[None]:
            return contextlib.nullcontext()

    monkeypatch.setattr(device, "_WITHOUT_STREAMS", ())
    monkeypatch.setattr(device, "_enqueue", lambda torch, module, tensor: device._Finished(tensor.clone()))
    monkeypatch.setattr(torch, "get_device_module", lambda device: Module)
    kinds = [torch.float32, torch.bfloat16, torch.int64, torch.bool, torch.float64, torch.float16, torch.float8_e4m3fn]
    values = [torch.tensor(number % 2 + 1).to(kinds[number % len(kinds)]) for number in range(20)]
    copier = device.TorchCopier()
    assert all(copier.is_remote(value) for value in values)
    assert not any(map(copier.is_remote, [torch.ones(2), torch.tensor(1j), 1.0, np.float32(1)]))
    copies = copier.scalars(values)
    for value in values:
        value.zero_()
    read = [float(copy.array()) for copy in copies]
    assert read == [1.0 if number % len(kinds) == 3 else number % 2 + 1 for number in range(20)]


def test_a_disabled_run_watches_nothing(tmp_path: Path) -> None:
    run = trackkit.init(project="p", dir=tmp_path, mode="disabled")
    run.watch(mlp(4, 4), every=1)
    run.unwatch()
    run.finish()


# Several processes.


def launch(tmp_path: Path, source: str) -> None:
    """Run a script in two processes that find each other."""
    script = tmp_path / "script.py"
    script.write_text("import os, sys\nimport torch, trackkit\nimport torch.distributed as dist\n" + source)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
    processes = []
    for rank in range(2):
        env = {
            "PATH": sys.exec_prefix, "PYTHONPATH": str(REPOSITORY), "RANK": str(rank), "WORLD_SIZE": "2",
            "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "HOME": str(tmp_path),
            "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        processes.append(
            subprocess.Popen(
                [sys.executable, str(script)], cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True,
            )
        )  # fmt: skip
    outputs = [process.communicate(timeout=200)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)


STORED = """
from pathlib import Path
run = trackkit.init(project="p", id="shared", resume="allow", mode="offline", settings={"quiet": True})
"""


def frames_of(tmp_path: Path, read: ReadJournals) -> dict[str, dict[int, tuple[Layers, Frame]]]:
    """What each writer recorded of its gradients."""
    from trackkit.core.journal import writer_folders

    found: dict[str, dict[int, tuple[Layers, Frame]]] = {}
    for writer in writer_folders(tmp_path / ".trackkit", "shared"):
        label, layers = "", None
        from trackkit.core.journal import JournalReader

        for payload in JournalReader(writer, final=False).read(0).payloads:
            record = records.decode(payload)
            if isinstance(record, records.Start):
                label = record.label
            if isinstance(record, records.Object) and record.key == "gradients":
                if record.kind == "layers":
                    layers = msgspec.json.decode(record.inline, type=Layers)
                elif record.kind == "watch":
                    assert layers is not None
                    found.setdefault(label, {})[record.step or 0] = (layers, frames.decode(record.inline))
    return found


def test_gradients_of_data_parallel_processes_are_measured_once_reduced(
    tmp_path: Path, read_journals: ReadJournals
) -> None:
    launch(
        tmp_path,
        f"""
dist.init_process_group("gloo")
rank = dist.get_rank()
{STORED}
torch.manual_seed(0)
inner = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4))
model = torch.nn.parallel.DistributedDataParallel(inner)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
run.watch(model, every=1)
torch.manual_seed(rank)
norms = []
for step in range(4):
    optimizer.zero_grad()
    with model.no_sync():
        model(torch.randn(4, 8)).square().mean().backward()
    model(torch.randn(4, 8)).square().mean().backward()
    norms.append(inner[0].weight.grad.norm().item())
    optimizer.step()
    run.log({{"norm": norms[-1]}}, step=step)
run.finish()
Path(f"norms{{rank}}").write_text(repr(norms))
dist.destroy_process_group()
""",
    )
    found = frames_of(tmp_path, read_journals)
    assert set(found) == {"rank 0", "rank 1"}
    for label, steps in found.items():
        norms = eval((tmp_path / f"norms{label[-1]}").read_text())
        for step, (layers, frame) in steps.items():
            assert layers.names == ["0.weight", "0.bias", "2.weight", "2.bias"]
            assert not layers.sharded
            assert float(frame.of("norm")[0]) == pytest.approx(norms[step], rel=1e-5)
        assert list(steps) == [0, 1, 2, 3]
    assert float(found["rank 0"][3][1].of("norm")[0]) == pytest.approx(float(found["rank 1"][3][1].of("norm")[0]))


def test_data_parallel_gradients_without_an_optimizer_of_torch_are_measured_once_reduced(
    tmp_path: Path, read_journals: ReadJournals
) -> None:
    launch(
        tmp_path,
        f"""
dist.init_process_group("gloo")
rank = dist.get_rank()
{STORED}
torch.manual_seed(0)
inner = torch.nn.Linear(8, 16)
model = torch.nn.parallel.DistributedDataParallel(inner)
run.watch(model, every=1)
torch.manual_seed(rank)
norms = []
for step in range(12):
    model.zero_grad()
    model(torch.randn(4, 8)).square().mean().backward()
    norms.append(inner.weight.grad.norm().item())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 0.1 * parameter.grad
    run.log({{}}, step=step)
run.finish()
Path(f"norms{{rank}}").write_text(repr(norms))
dist.destroy_process_group()
""",
    )
    found = frames_of(tmp_path, read_journals)
    for label, steps in found.items():
        norms = eval((tmp_path / f"norms{label[-1]}").read_text())
        assert len(steps) >= 4
        for step, (_, frame) in steps.items():
            assert float(frame.of("norm")[0]) == pytest.approx(norms[step], rel=1e-5)


def test_sharded_parameters_are_measured_shard_by_shard(tmp_path: Path, read_journals: ReadJournals) -> None:
    launch(
        tmp_path,
        f"""
from torch.distributed.fsdp import fully_shard
dist.init_process_group("gloo")
rank = dist.get_rank()
{STORED}
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4))
for layer in (model[0], model[2]):
    fully_shard(layer)
fully_shard(model)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
run.watch(model, log="all", every=1)
torch.manual_seed(rank)
norms = []
for step in range(3):
    optimizer.zero_grad()
    model(torch.randn(4, 8)).square().mean().backward()
    norms.append(model[0].weight.grad.full_tensor().norm().item())
    optimizer.step()
    run.log({{}}, step=step)
run.finish()
Path(f"norms{{rank}}").write_text(repr(norms))
dist.destroy_process_group()
""",
    )
    found = frames_of(tmp_path, read_journals)
    assert set(found) == {"rank 0", "rank 1"}
    norms = eval((tmp_path / "norms0").read_text())
    for step in range(3):
        shards = [found[label][step] for label in ("rank 0", "rank 1")]
        assert all(layers.sharded for layers, _ in shards)
        assert [layers.sizes[0] for layers, _ in shards] == [64, 64]
        total = math.sqrt(sum(float(frame.of("norm")[0]) ** 2 for _, frame in shards))
        assert total == pytest.approx(norms[step], rel=1e-4)
