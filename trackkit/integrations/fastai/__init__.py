"""fastai: a callback for Learners."""

from __future__ import annotations

from trackkit.integrations.fastai.callback import TrackkitCallback

__all__ = ["TrackkitCallback"]
