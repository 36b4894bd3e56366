"""Predictions as an evaluation logs them: a table with pictures, of two runs that differ a little."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import trackkit
from tests.browser.album import SETTINGS

PROJECT = "digits"
RUNS = ("small", "large")
ROWS = 400


def fill(root: Path) -> None:
    """Log what two models say of the same drawn digits to the store in `root`."""
    for name, errors in zip(RUNS, (0.2, 0.05), strict=True):
        with trackkit.init(
            project=PROJECT, id=name, name=name, dir=root, settings=SETTINGS, reinit="create_new"
        ) as run:
            run.log({"predictions": predictions(errors)})


def predictions(errors: float) -> trackkit.Table:
    """Guesses of which a part is wrong."""
    rng = np.random.default_rng(0)
    table = trackkit.Table(columns=["picture", "label", "guess", "confidence", "right", "writer"])
    for number in range(ROWS):
        label, luck, other = int(rng.integers(10)), rng.random(), int(rng.integers(1, 10))
        guess = label if luck > errors else (label + other) % 10
        confidence = round(float(rng.beta(8, 2) if guess == label else rng.beta(4, 4)), 3)
        table.add_data(
            trackkit.Image(drawn(label, rng)), label, guess, confidence, guess == label, f"writer {number % 30}"
        )
    return table


def drawn(digit: int, rng: np.random.Generator) -> Image.Image:
    """A digit in white on black, each a little otherwise."""
    picture = Image.new("L", (28, 28))
    font = ImageFont.load_default(size=int(rng.integers(18, 26)))
    place = tuple(rng.integers(5, 10, 2).tolist())
    ImageDraw.Draw(picture).text((place[0], place[1] - 5), str(digit), fill=255, font=font)
    return picture.rotate(float(rng.normal(0, 8)))
