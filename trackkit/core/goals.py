"""Whether more or less of a metric is better, as its name says."""

from __future__ import annotations

import re
from typing import Literal

Goal = Literal["minimize", "maximize"]

_MORE_IS_BETTER = frozenset(
    """
    acc accuracy auc aucmu aucpr balancedaccuracy bleu dcg dice f1 fbeta iou jaccard kappa map mcc mrr ndcg
    normalizedgini pairaccuracy pearson prauc pre precision precisionat queryauc querysoftmaxr2 r2 recall recallat score
    totalf1 wkappa
    """.split()
)
_WORDS = re.compile(r"[^a-z0-9]+")


def goal_of(metric: str) -> Goal:
    """What to wish for a metric of this name; less, unless it is known that more is better.

    Parameters
    ----------
    metric
        A name of the sort frameworks give: `valid_0-ndcg@5`, `val_accuracy`, `TotalF1:average=Macro`.

    Examples
    --------
    >>> goal_of("val_accuracy"), goal_of("ndcg@5"), goal_of("rmse")
    ('maximize', 'maximize', 'minimize')
    """
    words = _WORDS.split(re.split(r"[:;@]", metric)[0].lower())
    return "maximize" if _MORE_IS_BETTER.intersection(words) else "minimize"


class Best:
    """The best score until now.

    Parameters
    ----------
    goal
        What is better.

    Examples
    --------
    >>> best = Best("minimize")
    >>> best.improves(0.5), best.improves(0.7), best.improves(0.4)
    (True, False, True)
    """

    def __init__(self, goal: Goal) -> None:
        self.goal: Goal = goal
        self.score: float | None = None

    def improves(self, score: float | None) -> bool:
        """Whether a score is better than all before it; it is the best from now on, then."""
        if score is None or score != score:  # NaN
            return False
        known = self.score
        if known is None or (score > known if self.goal == "maximize" else score < known):
            self.score = score
            return True
        return False
