"""`runs/create`, `get`, `update`, `delete`, `restore` and `search`."""

from __future__ import annotations

import random
import time
import uuid
from typing import Final

import msgspec

from trackkit.backend.server.mlflow import limits, messages
from trackkit.backend.server.mlflow.access import active_run, experiment_of, of_projects, of_run, run_head
from trackkit.backend.server.mlflow.errors import invalid, missing
from trackkit.backend.server.mlflow.messages import GivenPair, Run, RunInfo
from trackkit.backend.server.mlflow.routing import NOTHING, Call, Message, Nothing, Procedure, Reply
from trackkit.backend.store import changes, experiments, mlflow_filters, mlflow_runs, run_tags
from trackkit.backend.store.mlflow_filters import RUNS

_STATES: Final = {"RUNNING": "running", "SCHEDULED": "scheduled", "FINISHED": "finished", "FAILED": "failed",
                  "KILLED": "killed", "1": "running", "2": "scheduled", "3": "finished", "4": "failed",
                  "5": "killed"}  # fmt: skip
_ADJECTIVES: Final = ("amber brave calm deep eager fair glad keen late mild neat odd pale quiet rare shy tidy vast warm"
                      " young").split()  # fmt: skip
_NOUNS: Final = ("ant bee cat doe elk fox gnu hare ibis jay kite lark mole newt owl pike quail ram seal toad").split()


class CreateMessage(Message):
    experiment_id: str = "0"
    user_id: str = ""
    run_name: str = ""
    start_time: int | None = None
    tags: list[GivenPair] = msgspec.field(default_factory=list)


class IdMessage(Message):
    run_id: str = ""
    run_uuid: str = ""


class UpdateMessage(Message):
    run_id: str = ""
    run_uuid: str = ""
    status: str | int | None = None
    end_time: int | None = None
    run_name: str | None = None


class SearchMessage(Message):
    experiment_ids: list[str] = msgspec.field(default_factory=list)
    filter: str = ""
    run_view_type: str | int = "ACTIVE_ONLY"
    max_results: int = 1000
    order_by: list[str] = msgspec.field(default_factory=list)
    page_token: str = ""


class OneRun(Reply):
    run: Run


class OneInfo(Reply):
    run_info: RunInfo


class Page(Reply):
    runs: list[Run] | None = None
    next_page_token: str | None = None


def create(call: Call) -> OneRun:
    message: CreateMessage = call.message
    tags: dict[str, str] = {}
    for position, tag in enumerate(message.tags):
        if not tag.key:
            raise missing(f"tags[{position}].key")
        tags[tag.key] = limits.checked_tag(tag.key, tag.value or "", f"tags[{position}]")
    tagged = tags.get(run_tags.NAME, "")
    if message.run_name and tagged and message.run_name != tagged:
        raise invalid(
            "Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different values "
            f"(run_name='{message.run_name}', mlflow.runName='{tagged}')."
        )
    name = message.run_name or tagged or _random_name()
    started = message.start_time
    _check_time("start_time", started)
    id = uuid.uuid4().hex
    with call.services.storage.changing() as db:
        of = experiment_of(call, db, message.experiment_id or "0")
        if of.deleted is not None:
            text = f"The experiment {of.experiment} must be in the 'active' state. Current state is deleted."
            raise invalid(text)
        began = time.time_ns() // 1000 if started is None else started * 1000
        number = mlflow_runs.create(db, id, of.project, name, message.user_id, began, {**tags, run_tags.NAME: name})
        row = mlflow_runs.load(db, [number])[0]
    return OneRun(run=messages.run(row, of, outputs=False))


def _random_name() -> str:
    return f"{random.choice(_ADJECTIVES)}-{random.choice(_NOUNS)}-{random.randrange(1000)}"


def _check_time(parameter: str, value: int | None) -> None:
    if value is not None and not -limits.LAST // 1000 <= value <= limits.LAST // 1000:
        raise invalid(f"Invalid value {value} for parameter '{parameter}' supplied: milliseconds since 1970 expected")


def show(call: Call) -> OneRun:
    with call.services.storage.reading() as db:
        found = run_head(call, db, call.message.run_id)
        of = of_run(call, db, found)
        row = mlflow_runs.load(db, [found.run])[0]
    return OneRun(run=messages.run(row, of))


def update(call: Call) -> OneInfo:
    message: UpdateMessage = call.message
    state = None if message.status is None else _STATES.get(str(message.status))  # as the original, others are ignored
    _check_time("end_time", message.end_time)
    with call.services.storage.changing() as db:
        row = active_run(call, db, message.run_id)
        mlflow_runs.change(db, row.run)
        ended = None if message.end_time is None else message.end_time * 1000
        mlflow_runs.set_state(db, row.run, state, ended)
        if message.run_name:
            run_tags.set_all(db, row.run, {run_tags.NAME: message.run_name})
        after = mlflow_runs.head(db, row.id)
        of = experiments.find(db, row.project)
        if of is None:
            experiments.adopt(db, [row.project])
            of = experiments.find(db, row.project)
    assert after is not None
    assert of is not None
    return OneInfo(run_info=messages.run_info(after, of))


def delete(call: Call) -> Nothing:
    with call.services.storage.changing() as db:
        row = run_head(call, db, call.message.run_id)
        sql = "update runs set deleted = ? where run = ? and deleted is null"
        db.execute(sql, [time.time_ns() // 1000, row.run])
        changes.touch(db, row.run)
    return NOTHING


def restore(call: Call) -> Nothing:
    with call.services.storage.changing() as db:
        row = run_head(call, db, call.message.run_id)
        db.execute("update runs set deleted = null where run = ?", [row.run])
        changes.touch(db, row.run)
    return NOTHING


def search(call: Call) -> Page:
    message: SearchMessage = call.message
    limit = limits.check_most(message.max_results, limits.MOST_LISTED, told=False)
    conditions = mlflow_filters.parse(message.filter, RUNS)
    orderings = [mlflow_filters.parse_order(text, RUNS) for text in message.order_by]
    offset = messages.offset_of(message.page_token)
    stages = messages.view(message.run_view_type)
    wanted = [limits.experiment_number(id) for id in message.experiment_ids]
    with call.services.storage.reading() as db:
        projects = [name for name in experiments.projects_of(db, wanted).values() if call.identity.may_see(name)]
        numbers = []
        if projects:
            numbers = mlflow_runs.search(db, projects, conditions, orderings, stages, limit + 1, offset)
        rows = mlflow_runs.load(db, numbers[:limit], everything=False)
        of = of_projects(call, db, {row.project for row in rows})
    return Page(
        runs=[messages.run(row, of[row.project]) for row in rows if row.project in of] or None,
        next_page_token=messages.token_of(offset + limit) if len(numbers) > limit else None,
    )


PROCEDURES = [
    Procedure("POST", "/runs/create", create, "write", CreateMessage),
    Procedure("GET", "/runs/get", show, "read", IdMessage, ["run_id"]),
    Procedure("POST", "/runs/update", update, "write", UpdateMessage, ["run_id"]),
    Procedure("POST", "/runs/delete", delete, "write", IdMessage, ["run_id"]),
    Procedure("POST", "/runs/restore", restore, "write", IdMessage, ["run_id"]),
    Procedure("POST", "/runs/search", search, "read", SearchMessage),
]
