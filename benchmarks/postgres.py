"""Ingest into PostgreSQL beside SQLite and beside a bare COPY of the same points, in one run.

`fast`: one writer that logs as fast as it can, in batches of 20,000 points, which are sealed into chunks. `slow`: 100
runs of 10 metrics at 10 Hz, a batch of each once a second, which are rows first. PostgreSQL is a throwaway
cluster on this machine with its default settings: every commit is on the disk when it returns.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from tests.store.journals import Writer
from tests.store.postgres import Cluster
from trackkit.backend.store.database import Database
from trackkit.backend.store.ingest import Ingest
from trackkit.backend.store.postgres import PostgresDatabase
from trackkit.backend.store.sqlite import SQLiteDatabase
from trackkit.core.sink import Batch

KEYS = [f"metric_{number}" for number in range(10)]
SETTINGS = {"shared_buffers": "256MB", "max_wal_size": "4GB"}


def journals(root: Path, runs: int, records: int, at_once: int) -> list[tuple[str, Batch]]:
    """Batches of so many records of ten points each, of every run in turns."""
    noise = np.random.default_rng(1).normal(size=(1000, 10)).tolist()
    rows = [dict(zip(KEYS, row, strict=True)) for row in noise]
    batches = []
    for number in range(runs):
        writer = Writer(root, f"run{number}", sinks=[]).start()
        for step in range(records):
            writer.log(rows[step % 1000])
        batches.append([(writer.run, batch) for batch in writer.batches(*[at_once] * (records // at_once - 1))])
        writer.die()
    return list(itertools.chain.from_iterable(zip(*batches, strict=True)))


def ingest(db: Database, batches: list[tuple[str, Batch]]) -> tuple[float, float]:
    """Seconds it takes to write the batches, and how many of them this process works."""
    writers: dict[str, Ingest] = {}
    began, worked = time.perf_counter(), time.process_time()
    for run, batch in batches:
        if run not in writers:
            writers[run] = Ingest(db, run, "writer")
        writers[run].write(batch)
    return time.perf_counter() - began, time.process_time() - worked


def copy(db: PostgresDatabase, points: int) -> float:
    """Seconds a bare COPY of as many points takes, in transactions of 20,000."""
    values = np.random.default_rng(1).normal(size=20_000).tolist()
    columns = ["run", "series", "seq", "step", "time", "value"]
    began = time.perf_counter()
    for start in range(0, points, 20_000):
        rows = [(1, n % 10, start + n, n // 10, 1_700_000_000_000_000 + n, value) for n, value in enumerate(values)]
        with db.atomic():
            db.insert_many("points", columns, rows)
    return time.perf_counter() - began


def size_of(db: Database) -> int:
    """Bytes of the store's tables with their indexes."""
    sql = """select sum(pg_total_relation_size(c.oid)) from pg_class c join pg_namespace n on n.oid = c.relnamespace
             where c.relkind = 'r' and n.nspname = 'public'"""
    return int(db.query(sql)[0][0])


def measure(points: int) -> dict[str, float]:
    figures: dict[str, float] = {}
    cluster = Cluster(SETTINGS)
    try:
        with tempfile.TemporaryDirectory(dir=".") as folder:
            for name, runs, at_once in (("fast", 1, 2000), ("slow", 100, 10)):
                made = journals(Path(folder) / name, runs, points // 10 // runs, at_once)
                on_sqlite = SQLiteDatabase(Path(folder) / f"{name}.db")
                on_postgres = PostgresDatabase(cluster.url(cluster.create()))
                for kind, db in (("sqlite", on_sqlite), ("postgres", on_postgres)):
                    db.migrate()
                    seconds, worked = ingest(db, made)
                    figures[f"{name}_{kind}_points_per_second"] = points / seconds
                    figures[f"{name}_{kind}_points_per_cpu_second"] = points / worked
                figures[f"{name}_postgres_bytes_per_point"] = size_of(on_postgres) / points
                on_postgres.execute("vacuum full")
                figures[f"{name}_postgres_bytes_per_point_packed"] = size_of(on_postgres) / points
                on_sqlite.close()
                on_postgres.close()
            db = PostgresDatabase(cluster.url(cluster.create()))
            figures["copy_points_per_second"] = points / copy(db, points)
            figures["copy_bytes_per_point"] = size_of(db) / points
            db.close()
    finally:
        cluster.remove()
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--points", type=int, default=1_000_000)
    print(json.dumps(measure(parser.parse_args().points)))
