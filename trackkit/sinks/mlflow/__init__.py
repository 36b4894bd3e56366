"""The sink for MLflow servers: what a trackkit run says, as an MLflow run."""
