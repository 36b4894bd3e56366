"""scikit-learn's digits for torch."""

from __future__ import annotations

from typing import Any

import torch
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

torch.set_num_threads(1)  # models as small as these only wait for further threads


def dataset(samples: int = 600) -> TensorDataset:
    """Images of 64 pixels from 0 to 1, and their digit."""
    images, digits = load_digits(return_X_y=True)
    return TensorDataset(torch.tensor(images[:samples] / 16, dtype=torch.float32), torch.tensor(digits[:samples]))


def loader(samples: int = 600, batch_size: int = 100) -> DataLoader[Any]:
    """Batches in order."""
    return DataLoader(dataset(samples), batch_size=batch_size)


def network(width: int = 16) -> torch.nn.Module:
    """A perceptron with one hidden layer."""
    return torch.nn.Sequential(torch.nn.Linear(64, width), torch.nn.ReLU(), torch.nn.Linear(width, 10))
