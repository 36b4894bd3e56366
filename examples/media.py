"""Digits, a classifier, and what it gets wrong, as images, charts, histograms and a table.

pip install trackkit[media,server] scikit-learn matplotlib
python examples/media.py && trackkit ui
"""

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import train_test_split

import trackkit

EPOCHS = 10
digits = load_digits()
images, test_images, y, test_y = train_test_split(digits.images / 16, digits.target, random_state=0)
x, test_x = images.reshape(len(images), -1), test_images.reshape(len(test_images), -1)


def weights_as_figure(model: SGDClassifier) -> Figure:
    """What the model looks for in each digit."""
    figure = Figure(figsize=(10, 1.4))
    for digit, (axes, weights) in enumerate(zip(figure.subplots(1, 10), model.coef_, strict=True)):
        axes.imshow(weights.reshape(8, 8), cmap="coolwarm")
        axes.set_title(digit)
        axes.axis("off")
    return figure


with trackkit.init(project="media", config={"epochs": EPOCHS, "loss": "log_loss"}) as run:
    run.log(
        {"examples": [trackkit.Image(image, caption=str(digit)) for image, digit in zip(images[:16], y, strict=False)]}
    )
    model = SGDClassifier(loss="log_loss", random_state=0)
    order = np.random.default_rng(0)
    for _ in range(EPOCHS):
        shuffled = order.permutation(len(x))
        model.partial_fit(x[shuffled], y[shuffled], classes=np.arange(10))
        guesses, scores = model.predict(test_x), model.predict_proba(test_x)
        mistakes = np.flatnonzero(guesses != test_y)
        table = trackkit.Table(columns=["number", "image", "digit", "guess", "sure"])
        for number, image in enumerate(test_images):
            row = (number, trackkit.Image(image), test_y[number], guesses[number], scores[number].max())
            table.add_data(*row)
        run.log(
            {
                "accuracy": float((guesses == test_y).mean()),
                "weights": model.coef_,  # an array becomes a histogram
                "what it looks for": weights_as_figure(model),
                "mistakes": [trackkit.Image(test_images[each], caption=f"{guesses[each]}?") for each in mistakes[:16]],
                "predictions": table,
                "confusion": trackkit.plot.confusion_matrix(y_true=test_y, preds=guesses),
                "roc": trackkit.plot.roc_curve(test_y, scores),
            }
        )
    print(f"accuracy {(guesses == test_y).mean():.1%}; look at it with: trackkit ui")

wrong = trackkit.Api().run(run.path).table("predictions").pandas().query("digit != guess")
print(wrong[["number", "digit", "guess", "sure"]].sort_values("sure", ascending=False).head())
