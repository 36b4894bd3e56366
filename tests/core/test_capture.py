"""What a run captures by itself ends with the run."""

from __future__ import annotations

import time
from pathlib import Path

from trackkit.core import records
from trackkit.core.capture import Capture
from trackkit.core.settings import Settings


def test_no_sample_is_recorded_once_the_capture_was_stopped(tmp_path: Path) -> None:
    recorded: list[records.AnyRecord] = []
    capture = Capture(recorded.append, time.time, Settings(console="off", gpu=False), tmp_path, None)
    (sampling,) = capture.chores()

    sampling.run(0.0)
    capture.stop()
    sampling.run(0.0)

    assert [type(record) for record in recorded] == [records.System]
