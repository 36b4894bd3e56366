"""Runs, models and registry of MLflow: from a server, from its file store, or from its SQLite database."""

from trackkit.imports.mlflow.moving import Moved, import_mlflow

__all__ = ["Moved", "import_mlflow"]
