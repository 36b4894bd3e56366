"""Times as people want them: aware datetimes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(microseconds: int) -> datetime:
    """The UTC time so many microseconds after the Unix epoch."""
    return _EPOCH + timedelta(microseconds=microseconds)
