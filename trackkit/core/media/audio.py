"""`Audio`: sampled sound, or a file of it."""

from __future__ import annotations

import os
from typing import Any, Final

from trackkit.core.media.arrays import as_array, is_torch, raw
from trackkit.core.media.libraries import require
from trackkit.core.media.snapshot import Media, Snapshot, check_caption, check_file, named

MOST_CHANNELS: Final = 64


class Audio(Media):
    """Sound.

    Parameters
    ----------
    data_or_path
        Samples, one axis or samples × channels (torch tensors also channels × samples): floats from -1 to 1, or
        integers of 16 or 32 bits. Or an audio file's path, which is kept as it is.
    sample_rate
        Samples a second; needed for arrays.
    caption
        Text shown with it.

    Raises
    ------
    TypeError, ValueError
        If the samples are none, or the sample rate is missing.
    FileNotFoundError
        If there is no such file.
    ImportError
        If soundfile is not installed, which arrays need.

    Examples
    --------
    >>> run.log({"spoken": trackkit.Audio(samples, sample_rate=16_000)})  # doctest: +SKIP
    """

    kind = "audio"

    def __init__(self, data_or_path: Any, sample_rate: int | None = None, caption: str | None = None) -> None:
        self.caption = check_caption(caption)
        self._path = None
        if isinstance(data_or_path, str | os.PathLike):
            self._path = check_file(data_or_path, "trackkit.Audio")
            return
        require("soundfile", "trackkit.Audio")
        if sample_rate is None or isinstance(sample_rate, bool) or int(sample_rate) <= 0:
            raise ValueError(
                f"trackkit.Audio needs a sample_rate, in samples a second, for arrays; it got {sample_rate!r}"
            )
        samples = as_array(data_or_path, "trackkit.Audio")
        if samples.ndim == 2 and (is_torch(data_or_path) or samples.shape[1] > MOST_CHANNELS >= samples.shape[0]):
            samples = samples.T if samples.shape[0] < samples.shape[1] else samples
        if samples.ndim not in (1, 2) or not samples.size or (samples.ndim == 2 and samples.shape[1] > MOST_CHANNELS):
            text = f"samples, or samples × channels (at most {MOST_CHANNELS})"
            raise ValueError(f"trackkit.Audio can't be made of an array of shape {samples.shape}; expected {text}")
        if samples.dtype.name not in ("float16", "float32", "float64", "int16", "int32"):
            raise TypeError(f"trackkit.Audio takes floats, or integers of 16 or 32 bits, not {samples.dtype}")
        self._samples = samples
        self._rate = int(sample_rate)

    def snapshot(self) -> Snapshot:
        if self._path is not None:
            extension = self._path.suffix.lstrip(".").lower() or "wav"
            return Snapshot(
                "audio", "audio file", {"extension": extension}, named(caption=self.caption), file=self._path
            )
        content, parameters = raw(self._samples)
        channels = 1 if self._samples.ndim == 1 else self._samples.shape[1]
        noted = named(
            caption=self.caption,
            sample_rate=self._rate,
            channels=channels,
            duration=len(self._samples) / self._rate,
        )
        return Snapshot("audio", "audio", {**parameters, "sample_rate": self._rate}, noted, [content])
