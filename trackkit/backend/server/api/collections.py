"""`/collections` and `/budgets`: what artifacts of one name have in common, and how much a project may keep."""

from __future__ import annotations

import msgspec

from trackkit.backend.server.api.access import check_project
from trackkit.backend.server.api.artifacts import (
    CollectionSummary,
    FreedAnswer,
    actor_of,
    collection_number,
    collection_summaries,
    refusals,
)
from trackkit.backend.server.api.values import seconds
from trackkit.backend.server.errors import not_found
from trackkit.backend.server.routing import Answer, Body, Call, Endpoint, Query
from trackkit.backend.store import artifacts, budgets
from trackkit.backend.store.collection import freed


class CollectionQuery(Query):
    project: str
    name: str


class CollectionAnswer(Answer):
    collection: CollectionSummary


class MoveSummary(msgspec.Struct):
    """An alias was set, moved or taken away; `before` and `after` are numbers of versions, `actor` who did it."""

    alias: str
    before: int | None
    after: int | None
    actor: str
    time: float


class History(Answer):
    """The moves of a collection's aliases, the latest first."""

    moves: list[MoveSummary]


class CollectionChanges(Body):
    description: str


class DeletedVersions(Answer):
    """How many versions were deleted."""

    versions: int


class BudgetSummary(msgspec.Struct):
    """How many bytes a project's artifacts may take, how many they do, and what happens when there would be more."""

    project: str
    bytes: int
    rule: str
    used: int


class Budgets(Answer):
    budgets: list[BudgetSummary]


class BudgetBody(Body):
    """`bytes` of 0 takes the budget away; `rule` is refuse, keep aliased, keep last N, or keep best N by METRIC."""

    project: str
    bytes: int
    rule: str = "refuse"


def show(call: Call) -> CollectionAnswer:
    query: CollectionQuery = call.query
    with call.services.storage.reading() as db:
        collection_number(call, db, query.project, query.name)
        rows = artifacts.collections(db, query.project, name=query.name)
        if not rows:
            raise not_found(f"version in {query.project}/{query.name}: all have been deleted")
        return CollectionAnswer(collection=collection_summaries(db, rows)[0])


def tell_freed(call: Call) -> FreedAnswer:
    with call.services.storage.reading() as db:
        collection = collection_number(call, db, call.query.project, call.query.name)
        numbers = {row.version for row in artifacts.versions(db, collection)}
        found = freed(db, call.services.storage.blobs, numbers)
    return FreedAnswer(blobs=found.blobs, bytes=found.bytes, exact=found.exact)


def history(call: Call) -> History:
    with call.services.storage.reading() as db:
        rows = artifacts.moves(db, collection_number(call, db, call.query.project, call.query.name))
    return History(moves=[MoveSummary(row.alias, row.before, row.after, row.actor, seconds(row.time)) for row in rows])


def describe(call: Call) -> None:
    with call.services.storage.reading() as db:
        collection = collection_number(call, db, call.query.project, call.query.name)
    with call.services.storage.changing() as db:
        artifacts.describe_collection(db, collection, call.body.description)


def delete(call: Call) -> DeletedVersions:
    with call.services.storage.reading() as db:
        collection = collection_number(call, db, call.query.project, call.query.name)
    with call.services.storage.changing() as db, refusals():
        force = call.identity.scope == "admin"
        return DeletedVersions(versions=artifacts.delete_collection(db, collection, actor_of(call), force=force))


def list_budgets(call: Call) -> Budgets:
    blobs = call.services.storage.blobs
    with call.services.storage.reading() as db:
        return Budgets(
            budgets=[
                BudgetSummary(each.project, each.bytes, each.rule, budgets.usage(db, blobs, each.project))
                for each in budgets.all_budgets(db)
                if call.identity.may_see(each.project)
            ]
        )


def set_budget(call: Call) -> Budgets:
    body: BudgetBody = call.body
    check_project(call, body.project)
    with call.services.storage.changing() as db, refusals():
        if abs(body.bytes) >= 2**62:
            raise ValueError("bytes is a number below 2⁶²")
        budgets.set_budget(db, body.project, body.bytes, body.rule)
    return list_budgets(call)


ENDPOINTS = [
    Endpoint(
        "GET",
        "/collections",
        show,
        "A collection of artifacts.",
        query=CollectionQuery,
        answer=CollectionAnswer,
        errors=[404],
    ),
    Endpoint(
        "GET",
        "/collections/freed",
        tell_freed,
        "What deleting all versions of a collection would free.",
        query=CollectionQuery,
        answer=FreedAnswer,
        errors=[404],
    ),
    Endpoint(
        "GET",
        "/collections/history",
        history,
        "Who moved the aliases of a collection, and when.",
        query=CollectionQuery,
        answer=History,
        errors=[404],
    ),
    Endpoint(
        "PATCH",
        "/collections",
        describe,
        "Change a collection's description.",
        scope="write",
        query=CollectionQuery,
        body=CollectionChanges,
        status=204,
        errors=[404],
    ),
    Endpoint(
        "DELETE",
        "/collections",
        delete,
        "Delete all versions of a collection.",
        scope="write",
        query=CollectionQuery,
        answer=DeletedVersions,
        errors=[404],
    ),
    Endpoint("GET", "/budgets", list_budgets, "The budgets of projects, and what they use.", answer=Budgets),
    Endpoint(
        "PUT",
        "/budgets",
        set_budget,
        "Give a project a budget for its artifacts.",
        scope="admin",
        body=BudgetBody,
        answer=Budgets,
        errors=[404],
    ),
]
