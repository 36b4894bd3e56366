"""Samples of the validation data and what the model makes of them, as a table."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any


def sample_loader(dls: Any, count: int, seed: int) -> Any:
    """A loader of some samples of the validation data, the same ones for the same seed."""
    dataset = dls.valid_ds
    chosen = random.Random(seed).sample(range(len(dataset)), min(count, len(dataset)))
    items = getattr(dataset, "items", dataset)
    if hasattr(dataset, "all_cols"):  # tabular
        return dls.test_dl(items.iloc[chosen], with_labels=True, process=False)
    by_place = getattr(items, "iloc", items)
    return dls.test_dl([by_place[place] for place in chosen], with_labels=True)


def table(loader: Any, fetched: Sequence[Any], most: int) -> Any:
    """Rows of input, target, prediction and probabilities.

    Parameters
    ----------
    loader
        What the predictions are of.
    fetched
        Inputs, predictions, targets and decoded predictions, as `Learner.get_preds` gives them.
    most
        How many rows.
    """
    import trackkit

    inputs, predictions, targets, decoded = fetched
    batch = (*_tuple(inputs), *_tuple(targets))
    shown, of_targets, samples, outs = loader.show_results(batch, decoded, show=False, max_n=most)
    if hasattr(shown, "all_cols"):
        given, predicted = shown.decode(), of_targets.decode()
        frame = given.all_cols.copy()
        for name in predicted.y_names:
            frame[f"{name}_pred"] = predicted[name].values
        return trackkit.Table(dataframe=frame.reset_index(drop=True))
    vocab = _vocab(loader, predictions)
    columns = ["input", "target", "prediction", *vocab]
    rows = []
    for place, (sample, out) in enumerate(zip(samples, outs, strict=False)):
        *given, target = sample
        row = [_input(given[0], target, out[0]), _cell(target), _cell(out[0])]
        rows.append([*row, *(float(predictions[place][index]) for index in range(len(vocab)))])
    return trackkit.Table(columns=columns, data=rows, allow_mixed_types=True)


def _vocab(loader: Any, predictions: Any) -> list[str]:
    """Names for the columns of probabilities, where a sample has one for each class."""
    names = getattr(loader, "vocab", None)
    names = names[-1] if isinstance(names, (list, tuple)) and names and not isinstance(names[0], str) else names
    fits = getattr(predictions, "ndim", 0) == 2 and names is not None and len(names) == predictions.shape[1]
    return [f"p({name})" for name in names] if fits and names is not None else []


def _input(given: Any, target: Any, out: Any) -> Any:
    """An image, with masks where target and prediction are masks; else what a cell can hold."""
    import trackkit

    if not _is("TensorImage", given):
        return _cell(given)
    masks = {
        name: {"mask_data": one.cpu().numpy()}
        for name, one in (("ground_truth", target), ("prediction", out))
        if _is("TensorMask", one)
    }
    pixels = given.cpu().float().numpy().transpose(1, 2, 0)
    return trackkit.Image(pixels.squeeze(), masks=masks or None)


def _is(name: str, thing: Any) -> bool:
    """Whether something is of a class of fastai's; of its vision part, which need not be there."""
    return any(kind.__name__ == name for kind in type(thing).__mro__)


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        return value.item()
    if _is("TensorMask", value):
        return "mask"
    return str(value)


def _tuple(given: Any) -> tuple[Any, ...]:
    return tuple(given) if isinstance(given, (list, tuple)) else (given,)
