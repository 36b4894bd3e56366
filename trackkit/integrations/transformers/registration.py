"""`report_to="trackkit"`: the Trainer's list of trackers is closed, so trackkit is put into it."""

from __future__ import annotations

from typing import Any

from transformers.integrations import integration_utils

from trackkit.integrations.transformers.callback import NAME, TrackkitCallback


def register(**options: Any) -> None:
    """Let Trainers know trackkit: `TrainingArguments(report_to="trackkit")`, and as a part of `report_to="all"`.

    Parameters
    ----------
    **options
        As of `TrackkitCallback`, for the callbacks the Trainers make.

    Raises
    ------
    TypeError, ValueError
        If there is no such option, or it can't have that value.

    Examples
    --------
    >>> register(project="digits", log_model="checkpoint")  # doctest: +SKIP
    >>> args = TrainingArguments("out", report_to="trackkit")  # doctest: +SKIP
    """
    TrackkitCallback(**options)

    class Registered(TrackkitCallback):
        def __init__(self) -> None:
            super().__init__(**options)

    Registered.__name__ = Registered.__qualname__ = TrackkitCallback.__name__
    integration_utils.INTEGRATION_TO_CALLBACK[NAME] = Registered
    _count_as_available()


def _count_as_available() -> None:
    """Let `report_to="all"` mean trackkit, too."""
    import transformers.integrations as package

    original = integration_utils.get_available_reporting_integrations
    if getattr(original, "knows_trackkit", False):
        return

    def get_available_reporting_integrations() -> list[str]:
        return [*original(), NAME]

    get_available_reporting_integrations.knows_trackkit = True  # type: ignore[attr-defined]
    integration_utils.get_available_reporting_integrations = get_available_reporting_integrations
    package.get_available_reporting_integrations = get_available_reporting_integrations
