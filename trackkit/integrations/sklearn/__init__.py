"""scikit-learn: an estimator that tracks another one, and `autolog`."""

from __future__ import annotations

try:
    import sklearn as _sklearn  # noqa: F401
except ImportError as error:
    raise ImportError("trackkit.sklearn needs scikit-learn: pip install 'trackkit[sklearn]'") from error

from trackkit.integrations.sklearn.autolog import autolog
from trackkit.integrations.sklearn.tracked import TrackedEstimator, track

__all__ = ["TrackedEstimator", "autolog", "track"]
