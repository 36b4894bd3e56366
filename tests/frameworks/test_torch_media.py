"""Tensors and modules of torch as media."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import torch
from PIL import Image as Pillow

import trackkit
from trackkit.core.media.encoding import Content, encode
from trackkit.core.media.snapshot import Media
from trackkit.core.values import split


def encoded(value: Media) -> tuple[bytes, dict[str, Any]]:
    """A value's content and its metadata."""
    snapshot = value.snapshot()
    content = encode(snapshot, lambda role, part, kept: {})
    assert isinstance(content, Content)
    assert isinstance(content.data, bytes)
    return content.data, {**snapshot.metadata, **content.metadata}


def test_channels_of_a_tensor_come_first() -> None:
    tensor = torch.rand(3, 4, 3, requires_grad=True)

    data, metadata = encoded(trackkit.Image(tensor))

    pixels = np.asarray(Pillow.open(io.BytesIO(data))) / 255
    np.testing.assert_allclose(pixels, tensor.detach().permute(1, 2, 0).numpy(), atol=1 / 255)
    assert (metadata["width"], metadata["height"]) == (3, 4)


def test_a_batch_of_tensors_is_a_grid() -> None:
    data, _ = encoded(trackkit.Image(torch.rand(10, 1, 4, 4)))

    assert Pillow.open(io.BytesIO(data)).size == (8 * 4 + 7 * 2, 2 * 4 + 2)


def test_parameters_are_logged_as_they_are() -> None:
    linear = torch.nn.Linear(4, 8)

    numbers, _, media = split({"weight": linear.weight, "half": linear.weight.bfloat16(), "loss": torch.tensor(0.5)})

    assert numbers == {"loss": 0.5}
    assert {key: [each.kind for each in some] for key, some in media.items()} == {
        "weight": ["histogram"],
        "half": ["histogram"],
    }
    data, metadata = encoded(trackkit.Histogram(linear.weight))
    assert sum(json.loads(data)["counts"]) == metadata["count"] == 32


def test_sound_may_have_its_channels_first() -> None:
    _, metadata = encoded(trackkit.Audio(torch.rand(2, 800) * 2 - 1, sample_rate=8000))

    assert (metadata["channels"], metadata["duration"]) == (2, 0.1)


def test_a_model_that_can_be_traced_is_a_graph_of_its_operations() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))

    graph = trackkit.Graph.from_torch(model)

    assert [node["label"] for node in graph.nodes] == ["input", "Linear", "ReLU", "Linear", "output"]
    assert [node.get("parameters") for node in graph.nodes] == [None, 40, 0, 18, None]
    assert len(graph.edges) == 4


class Branching(torch.nn.Module):
    """A module whose way depends on its data."""

    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x) if x.sum() > 0 else x


def test_a_model_that_can_not_be_traced_is_a_graph_of_its_modules() -> None:
    graph = trackkit.Graph(Branching())

    assert [node["id"] for node in graph.nodes] == ["(model)", "net", "net.0", "net.1"]
    assert {"source": "net", "target": "net.0"} in graph.edges
