"""A search over parameters: each candidate a step, and the best ones runs of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from trackkit.core import session
from trackkit.core.run import Run
from trackkit.integrations.sklearn.params import class_of, params_of

_TOLD = ("mean_", "std_", "rank_")


def is_search(estimator: Any) -> bool:
    """Whether it is a fitted search: it has tried candidates, and tells how each did."""
    return isinstance(getattr(estimator, "cv_results_", None), Mapping) and "params" in estimator.cv_results_


def log_search(run: Run, search: Any, first_step: int, prefix: str, most: int | None) -> None:
    """Log a fitted search.

    Parameters
    ----------
    run
        The search's run: gets a step for each candidate, the best parameters and the best score.
    search
        A `GridSearchCV`, `RandomizedSearchCV`, or one of the halving searches.
    first_step
        The step of the first candidate.
    prefix
        Put before every key.
    most
        How many candidates get a run of their own, best ones first; None for all.
    """
    results = search.cv_results_
    scores = [name for name in results if name.startswith(_TOLD) and np.ndim(results[name]) == 1]
    for index in range(len(results["params"])):
        values = {f"{prefix}candidates/{name}": results[name][index] for name in scores}
        run.log(values, first_step + index)
    if hasattr(search, "best_index_"):
        run.config["best_params"] = {name: _readable(value) for name, value in search.best_params_.items()}
        run.summary.update({f"{prefix}best_index": int(search.best_index_)})
        if hasattr(search, "best_score_"):
            run.summary.update({f"{prefix}best_score": float(search.best_score_)})
    for index in _best(search, most):
        _log_candidate(run, search, int(index))


def results_table(search: Any) -> Any:
    """All of a search's results, a row for each candidate.

    Raises
    ------
    ImportError
        If what tables need is not installed.
    """
    from trackkit.core.table import Table

    results = {name: values for name, values in search.cv_results_.items() if name != "params"}
    names = list(results)
    rows = [[_cell(results[name][index]) for name in names] for index in range(len(search.cv_results_["params"]))]
    return Table(columns=names, data=rows, allow_mixed_types=True)


def _cell(value: Any) -> Any:
    """A number, a text or nothing: a parameter that this candidate does not have is masked."""
    if np.ma.is_masked(value):
        return None
    value = value.item() if hasattr(value, "item") else value
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(_readable(value))


def _best(search: Any, most: int | None) -> list[int]:
    """Indices of the candidates, best first."""
    results = search.cv_results_
    ranks = next((results[name] for name in _rank_names(search) if name in results), None)
    order = range(len(results["params"])) if ranks is None else np.argsort(ranks, kind="stable").tolist()
    return list(order)[:most]


def _rank_names(search: Any) -> Iterator[str]:
    refit = getattr(search, "refit", None)
    if isinstance(refit, str):
        yield f"rank_test_{refit}"
    yield "rank_test_score"
    yield from (name for name in search.cv_results_ if name.startswith("rank_test_"))


def _log_candidate(parent: Run, search: Any, index: int) -> None:
    results = search.cv_results_
    chosen = {name: _readable(value) for name, value in results["params"][index].items()}
    child = session.beside(
        parent,
        name=f"{parent.name} #{index}",
        job_type="candidate",
        tags=["candidate"],
        config={
            "model": class_of(search.estimator),
            "params": {**params_of(search.estimator), **chosen},
            "candidate": index,
            "search": parent.id,
        },
    )
    try:
        child.log({name: results[name][index] for name in results if name.startswith(_TOLD)}, 0)
        for name, values in _splits(results):
            for split, value in enumerate(values):
                child.log({name: value[index]}, split)
    finally:
        child.finish()


def _splits(results: Mapping[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    """The scores of each split: the name without the split's number, and an array for each split."""
    found: dict[str, dict[int, Any]] = {}
    for name, values in results.items():
        head, _, tail = name.partition("_")
        number = head.removeprefix("split")
        if head.startswith("split") and number.isdigit():
            found.setdefault(f"split_{tail}", {})[int(number)] = values
    for name, splits in found.items():
        yield name, [splits[number] for number in sorted(splits)]


def _readable(value: Any) -> Any:
    return class_of(value) if hasattr(value, "get_params") and not isinstance(value, type) else value
