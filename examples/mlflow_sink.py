"""A run for an MLflow server: `python examples/mlflow_sink.py http://127.0.0.1:5000`, or MLFLOW_TRACKING_URI names it.

The same run goes to the store here, so nothing changes for who looks at it with `trackkit ui`.
"""

import math
import random
import sys

import trackkit

sink = f"mlflow+{sys.argv[1]}" if len(sys.argv) > 1 else "mlflow"

with trackkit.init(project="mlflow-sink", sink=["sqlite:", sink], config={"lr": 0.1, "model": {"depth": 3}}) as run:
    for step in range(200):
        loss = math.exp(-run.config.lr * step / 10) + random.random() / 20
        run.log({"train/loss": loss, "train/accuracy": 1 - loss / 2})
    run.summary["best"] = loss
    print("find it in MLflow by the tag trackkit.id =", run.id)
