"""A small Keras network learns scikit-learn's handwritten digits, and goes on from a checkpoint in the same run."""

from __future__ import annotations

import keras
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from trackkit.integrations.keras import Mark, TrackkitCallback, TrackkitModelCheckpoint

CHECKPOINT = "digits.keras"


def main() -> None:
    images, labels = load_digits(return_X_y=True)
    train_x, valid_x, train_y, valid_y = train_test_split(images / 16, labels, test_size=0.25, random_state=0)
    data = {"x": train_x, "y": train_y, "validation_data": (valid_x, valid_y), "verbose": 0}

    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(64, "relu"), keras.layers.Dense(10, "softmax")])
    rate = keras.optimizers.schedules.CosineDecay(0.01, decay_steps=43 * 12)
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    tracking = TrackkitCallback(project="digits", name="Keras network", log_freq=10)
    model.fit(**data, epochs=8, callbacks=[tracking, TrackkitModelCheckpoint(CHECKPOINT)])

    mark = Mark.read(CHECKPOINT)
    assert mark is not None
    model = keras.saving.load_model(CHECKPOINT)
    again = TrackkitCallback(checkpoint=CHECKPOINT, log_freq=10)
    model.fit(**data, epochs=12, initial_epoch=mark.epoch + 1, callbacks=[again])
    print(f"{model.evaluate(valid_x, valid_y, verbose=0)[1]:.1%} of the images are read after 12 epochs of {again.run}")


if __name__ == "__main__":
    main()
