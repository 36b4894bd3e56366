"""The completions of prompts that TRL's trainers sample while they train."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any

_FRAMES = 16


def sampled() -> Mapping[str, Any] | None:
    """What the trainer that logs at this moment has sampled since it last did; None if none of TRL's trainers does.

    Trainers keep it to themselves and tell no callback who they are, so it is found on the calling frames.
    """
    frame = sys._getframe(1)
    for _ in range(_FRAMES):
        found = getattr(frame.f_locals.get("self"), "_logs", None)
        if isinstance(found, Mapping) and "prompt" in found and "completion" in found:
            return found
        if frame.f_back is None:
            break
        frame = frame.f_back
    return None


def columns(logs: Mapping[str, Any], step: int, *, unique: bool = False) -> dict[str, list[Any]]:
    """The columns of a table: step, prompt, completion, each reward, what the rewards' functions logged, advantage.

    Parameters
    ----------
    logs
        As trainers keep them: sequences by name, or by name and name.
    step
        The trainer's step.
    unique
        Leave out all but the first completion of each prompt.

    Returns
    -------
    dict
        Lists of one length. Conversations are written as JSON; a row's images are in the columns image, image-1, ….
    """
    prompts = [_text(prompt) for prompt in logs["prompt"]]
    found: dict[str, list[Any]] = {
        "step": [step] * len(prompts),
        "prompt": prompts,
        "completion": [_text(completion) for completion in logs["completion"]],
        **{name: list(values) for name, values in logs.get("rewards", {}).items()},
        **{name: list(values) for name, values in logs.get("extra", {}).items()},
        "advantage": list(logs.get("advantages", ())),
        **_images(logs.get("images") or ()),
    }
    kept = list(range(len(prompts)))
    if unique:
        kept = sorted({prompt: row for row, prompt in reversed(list(enumerate(prompts)))}.values())
    return {
        name: [values[row] for row in kept] for name, values in found.items() if values and len(values) == len(prompts)
    }


def _images(rows: Iterable[Any]) -> dict[str, list[Any]]:
    import trackkit

    lists = [list(images or ()) for images in rows]
    return {
        f"image-{place}" if place else "image": [
            trackkit.Image(images[place]) if place < len(images) else None for images in lists
        ]
        for place in range(max(map(len, lists), default=0))
    }


def _text(said: Any) -> Any:
    """A prompt as it is, a conversation as JSON."""
    return said if isinstance(said, str) else json.dumps(_without_images(said), ensure_ascii=False, default=str)


def _without_images(said: Any) -> Any:
    if isinstance(said, list):
        return [_without_images(part) for part in said]
    if isinstance(said, dict):
        return {key: "an image" if key == "image" else _without_images(value) for key, value in said.items()}
    return said
