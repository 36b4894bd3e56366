"""The ten lines of the README: `python examples/quickstart.py`."""

import math

import trackkit

with trackkit.init(project="quickstart", config={"lr": 0.1, "epochs": 20}) as run:
    run.define_metric("loss", summary="min")
    for epoch in range(run.config.epochs):
        loss = math.exp(-run.config.lr * epoch)
        run.log({"loss": loss, "accuracy": 1 - loss})
    print(f"see it with: trackkit show {run.project}/{run.id}")
