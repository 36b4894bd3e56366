"""`webhooks`: there are none, which clients may ask for."""

from __future__ import annotations

from trackkit.backend.server.mlflow.errors import absent
from trackkit.backend.server.mlflow.routing import Call, Procedure, Reply


class Webhooks(Reply):
    webhooks: list[str] | None = None


def list_all(call: Call) -> Webhooks:
    return Webhooks()


def show(call: Call) -> Reply:
    raise absent(f"Webhook with ID {call.path['id']} not found.")


PROCEDURES = [Procedure("GET", "/webhooks", list_all), Procedure("GET", "/webhooks/{id}", show)]
