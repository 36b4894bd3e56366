"""The API of MLflow's tracking server, spoken by the one server over the one store."""
