"""`trackkit export`: runs as files that other programs read."""

from __future__ import annotations

import csv
import importlib.util
import itertools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from trackkit.cli import output
from trackkit.cli.options import open_api, runs_argument, store_options
from trackkit.cli.rows import flat, row
from trackkit.query import Run

Rows = Iterable[dict[str, Any]]
Columns = dict[str, type]
"""The columns of a file in order: bool, int, float or str."""
Writer = Callable[[Path, Columns, Rows], int]

ROWS_PER_BATCH = 65536


class _Export(click.Command):
    """The command, which gives way to another where MLflow is named in place of a run."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if args[:1] == ["mlflow"]:
            return mlflow.make_context(f"{info_name} mlflow", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)


@click.command()
@click.argument("uri")
@runs_argument
@click.option("-w", "--where", "filter", help="Only the runs this filter fits, as in `trackkit ls`.")
@store_options
def mlflow(uri: str, names: tuple[str, ...], filter: str | None, location: str | None, as_json: bool) -> None:
    """Send RUNs, or all, to the MLflow server at URI (http://HOST:PORT), as the sink for it would have. Sends nothing
    twice.
    """
    from trackkit.core.sink import SinkError, SinkRefused
    from trackkit.imports.mlflow.exporting import export_mlflow
    from trackkit.sinks.mlflow.client import Rejected

    to = uri if uri.startswith("mlflow") else f"mlflow+{uri}"
    api = open_api(location)
    runs = {run.id: run for run in (api.run(name) for name in names)}
    if filter is not None or not names:
        runs |= {run.id: run for run in api.runs(filters=filter, order="created")}
    try:
        with output.progress("exporting", quiet=as_json) as progress:
            sent = export_mlflow(list(runs.values()), to, progress=progress)
    except (ValueError, SinkError, SinkRefused, Rejected) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        output.print_json([{"run": run.path, "records": each.records, "new": each.new} for run, each in sent])
        return
    for run, each in sent:
        click.echo(f"{run.path}: {each.records:,} records, {each.new:,} of them new")


@click.command(cls=_Export)
@runs_argument
@click.option("-w", "--where", "filter", help="Also the runs this filter fits, as in `trackkit ls`.")
@click.option("-f", "--format", type=click.Choice(["parquet", "csv", "jsonl"]), default="parquet", show_default=True)
@click.option("-o", "--output", "folder", default="export", show_default=True, type=click.Path(path_type=Path))
@click.option("-k", "--keys", help="Only these metrics, comma-separated.")
@store_options
def export(
    names: tuple[str, ...],
    filter: str | None,
    format: str,
    folder: Path,
    keys: str | None,
    location: str | None,
    as_json: bool,
) -> None:
    """Write RUNs to a folder: runs.FORMAT with a row per run, its config and summary, and RUN.history.FORMAT with a row
    per step. `trackkit export mlflow URI [RUN...]` sends them to an MLflow server.
    """
    if not names and filter is None:
        raise click.UsageError("name the runs to export, or choose them with --where")
    write = WRITERS[format]
    if write is write_parquet:
        require_pyarrow()
    api = open_api(location)
    runs = {run.id: run for run in (api.run(name) for name in names)}
    if filter is not None:
        runs |= {run.id: run for run in api.runs(filters=filter)}
    if not runs:
        raise click.ClickException(f"no run fits {filter!r}")
    folder.mkdir(parents=True, exist_ok=True)
    written = [file_report(folder / f"runs.{format}", write, run_rows(list(runs.values())))]
    with output.progress("exporting", quiet=as_json) as progress:
        for done, run in enumerate(runs.values(), start=1):
            path = folder / f"{run.id}.history.{format}"
            written.append(file_report(path, write, history_rows(run, keys.split(",") if keys else None)))
            progress(done, len(runs))
    if as_json:
        output.print_json({"files": written})
    else:
        for each in written:
            click.echo(f"{each['path']}: {output.count(each['rows'], 'row')}")


def file_report(path: Path, write: Writer, table: tuple[Columns, Rows]) -> dict[str, Any]:
    """Write one file; where it is and how many rows it has."""
    return {"path": str(path), "rows": write(path, *table)}


def run_rows(runs: Sequence[Run]) -> tuple[Columns, Rows]:
    """A row per run: its fields, and config and summary under dotted keys."""
    rows = [run_row(run) for run in runs]
    names = dict.fromkeys(name for each in rows for name in each)
    return {name: column_type([each[name] for each in rows if each.get(name) is not None]) for name in names}, rows


def run_row(run: Run) -> dict[str, Any]:
    """A run as one flat row."""
    fields = row(run)
    fields["tags"] = ",".join(fields["tags"])
    fields |= {name: output.plain(fields[name]) for name in ("created", "updated", "ended")}
    for part in ("config", "summary"):
        fields |= {f"{part}.{key}": value for key, value in flat(fields.pop(part))}
    return {
        name: output.json_line(value) if isinstance(value, (list, dict)) else value for name, value in fields.items()
    }


def column_type(values: Sequence[Any]) -> type:
    """The narrowest type that holds all the values of a column."""
    kinds = {type(value) for value in values}
    if len(kinds) == 1 and kinds <= {bool, int, float, str}:
        return kinds.pop()
    return float if kinds and kinds <= {int, float} else str


def history_rows(run: Run, keys: Sequence[str] | None) -> tuple[Columns, Rows]:
    """A row per step, with the metrics and texts that were logged at it."""
    columns: Columns = {"_step": int, "_timestamp": float, "_runtime": float}
    columns |= dict.fromkeys((key for key in run.keys() if keys is None or key in keys), float)
    columns |= dict.fromkeys((key for key in run.keys("text") if keys is None or key in keys), str)
    return columns, run.scan_history(keys)


def write_csv(path: Path, columns: Columns, rows: Rows) -> int:
    """Write rows as CSV with a header; a cell is empty where there is no value."""
    count = 0
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(columns), restval="", extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for entry in rows:
            writer.writerow(entry)
            count += 1
    return count


def write_jsonl(path: Path, columns: Columns, rows: Rows) -> int:
    """Write a JSON object a line, without the columns that have no value."""
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for entry in rows:
            file.write(output.json_line({name: entry[name] for name in columns if name in entry}) + "\n")
            count += 1
    return count


def write_parquet(path: Path, columns: Columns, rows: Rows) -> int:
    """Write rows as a Parquet file compressed with zstd, a batch of rows at a time."""
    import pyarrow
    from pyarrow import parquet

    types = {bool: pyarrow.bool_(), int: pyarrow.int64(), float: pyarrow.float64(), str: pyarrow.string()}
    schema = pyarrow.schema([(name, types[kind]) for name, kind in columns.items()])
    count = 0
    remaining = iter(rows)
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        while batch := list(itertools.islice(remaining, ROWS_PER_BATCH)):
            arrays = [
                pyarrow.array([as_type(entry.get(name), kind) for entry in batch], types[kind])
                for name, kind in columns.items()
            ]
            writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))
            count += len(batch)
    return count


def as_type(value: Any, kind: type) -> Any:
    """A value as its column holds it; None stays a missing value."""
    return value if value is None or isinstance(value, kind) else kind(output.plain(value))


def require_pyarrow() -> None:
    """Tell what to install if Parquet can't be written.

    Raises
    ------
    click.ClickException
        If pyarrow is not installed.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise click.ClickException(
            "Parquet needs pyarrow: pip install 'trackkit[parquet]', or choose --format csv or jsonl"
        )


WRITERS: dict[str, Writer] = {"parquet": write_parquet, "csv": write_csv, "jsonl": write_jsonl}
