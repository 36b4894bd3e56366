"""`trackkit show`: one run on a page."""

from __future__ import annotations

import fnmatch
import shlex
from collections.abc import Callable, Sequence
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.text import Text

from trackkit.cli import output
from trackkit.cli.charts import line_chart, sparkline
from trackkit.cli.options import open_api, run_or_latest_argument, store_options
from trackkit.cli.rows import flat, row
from trackkit.query import Api, Run, Series

SPARKLINES = 40
"""Metrics drawn without being asked for; more are counted."""
ENTRIES = 60
"""Entries of config and of summary listed; more are counted."""
FILES = 20
"""Files listed; more are counted."""
ALERT_STYLES = {"warning": "yellow", "error": "red"}


@click.command()
@run_or_latest_argument
@click.option("-k", "--key", "globs", multiple=True, metavar="GLOB", help="Draw the metrics that match as charts.")
@click.option("--system", is_flag=True, help="Show the machine's metrics too.")
@store_options
def show(name: str | None, globs: tuple[str, ...], system: bool, location: str | None, as_json: bool) -> None:
    """Show RUN, or the newest run: its state, where it came from, config, summary and metrics."""
    run = find(open_api(location), name)
    metrics = {key: run.series(key) for key in run.keys()}
    if as_json:
        told = page(run) | {"metrics": told_of(matching(metrics, globs) if globs else metrics)}
        output.print_json(told | ({"system": told_of(dict(run.system))} if system else {}))
        return
    console = output.console()
    print_head(console, run)
    print_entries(console, "config", flat(run.config))
    print_entries(console, "summary", flat(dict(run.summary)))
    if globs:
        print_charts(console, matching(metrics, globs))
    else:
        print_sparklines(console, "metrics", metrics)
    if system:
        print_sparklines(console, "system", dict(run.system), output.reading)
    print_files(console, run)
    print_alerts(console, run)
    console.print(f"\n{accounting_line(run.accounting)}", style="dim")


def find(api: Api, name: str | None) -> Run:
    """The run of that name, or the newest.

    Raises
    ------
    click.ClickException
        If the store has no run.
    """
    if name is not None:
        return api.run(name)
    for run in api.runs(limit=1):
        return run
    raise click.ClickException("the store has no runs yet")


def page(run: Run) -> dict[str, Any]:
    """What `show` shows, for JSON."""
    return row(run) | {
        "error": run.error,
        "metadata": run.metadata,
        "files": [{"path": file.path, "kind": file.kind, "size": file.size} for file in run.files()],
        "alerts": [
            {"time": alert.time, "level": alert.level, "title": alert.title, "text": alert.text}
            for alert in run.alerts()
        ],
        "accounting": run.accounting,
    }


def told_of(metrics: dict[str, Series]) -> list[dict[str, Any]]:
    """What is said of each metric, for JSON."""
    return [
        {"key": key, "count": len(series.value), "last": series.value[-1] if len(series.value) else None}
        for key, series in metrics.items()
    ]


def print_head(console: Console, run: Run) -> None:
    """Print who the run is, how it stands, and where it came from."""
    when = f"  {output.local(run.created)}, {output.duration(run.duration)}"
    path = Text(output.printable(f"{run.project}/{run.id}"), "" if run.name != run.id else "bold")
    name = Text(f"{output.printable(run.name)}  ", "bold") if run.name != run.id else Text()
    console.print(Text.assemble(name, path, "  ", output.state(run.state), when))
    for label, value in facts(run):
        console.print(Text.assemble((f"{label:<8} ", "dim"), output.printable_lines(value)), soft_wrap=True)
    if run.error:
        output.print_heading(console, f"{run.state} with exit code {run.exit_code}")
        console.print(output.printable_lines(run.error.rstrip()), soft_wrap=True)


def facts(run: Run) -> list[tuple[str, str]]:
    """The lines under a run's head that have something to say."""
    known = run.metadata
    lines = [
        ("group", run.group),
        ("job type", run.job_type),
        ("tags", ", ".join(run.tags)),
        ("notes", run.notes),
        ("command", shlex.join(known.get("command") or [])),
        ("git", git_line(known.get("git") or {})),
        ("host", host_line(known)),
    ]
    return [(label, value) for label, value in lines if value]


def git_line(git: dict[str, Any]) -> str:
    """Which code it was, in a line."""
    parts = (str(git.get("commit") or "")[:12], git.get("branch"), "with changes" if git.get("dirty") else "")
    return ", ".join(part for part in parts if part)


def host_line(known: dict[str, Any]) -> str:
    """On what it ran, in a line."""
    python, cpu = known.get("python") or {}, known.get("cpu") or {}
    parts = [known.get("host"), known.get("os")]
    if python.get("version"):
        parts.append(f"Python {python['version']}")
    if cpu.get("model"):
        parts.append(f"{cpu.get('logical', '?')} × {cpu['model']}")
    parts += [gpu.get("name") for gpu in known.get("gpus") or []]
    return ", ".join(str(part) for part in parts if part)


def print_entries(console: Console, title: str, entries: Sequence[tuple[str, Any]]) -> None:
    """Print config or summary entries under a heading."""
    if not entries:
        return
    output.print_heading(console, title)
    shown = [(output.printable(key), value) for key, value in entries[:ENTRIES]]
    width = max(len(key) for key, _ in shown)
    for key, value in shown:
        console.print(f"  {key:<{width}}  {output.text(value)}", soft_wrap=True)
    if len(entries) > ENTRIES:
        console.print(f"  and {len(entries) - ENTRIES:,} more, which --json lists", style="dim")


def print_sparklines(
    console: Console,
    title: str,
    metrics: dict[str, Series],
    write: Callable[[str, float], str] = lambda key, value: output.text(value),
) -> None:
    """Print a line for each series: its shape, ends and extremes."""
    if not metrics:
        return
    output.print_heading(console, title)
    numbers = ("points", "first", "last", "min", "max")
    table = output.table("", "", *numbers, right=numbers)
    for key, series in list(metrics.items())[:SPARKLINES]:
        finite = series.value[np.isfinite(series.value)]
        ends = (series.value[0], series.value[-1]) if len(series.value) else (None, None)
        extremes = (finite.min(), finite.max()) if len(finite) else (None, None)
        cells = ("" if value is None else write(key, float(value)) for value in (*ends, *extremes))
        table.add_row(f"  {output.printable(key)}", sparkline(series.value), str(len(series.value)), *cells)
    console.print(table)
    if len(metrics) > SPARKLINES:
        console.print(f"  and {len(metrics) - SPARKLINES:,} more; --key GLOB draws them", style="dim")


def print_charts(console: Console, metrics: dict[str, Series]) -> None:
    """Print a line chart for each series."""
    width = max(min(console.width, 100) - 14, 20)
    for key, series in metrics.items():
        output.print_heading(console, output.printable(key))
        for line in line_chart(series.step.astype(float), series.value, width):
            console.print(line, no_wrap=True)


def print_files(console: Console, run: Run) -> None:
    """Print the files of the run; of code, which may be a whole folder, how many and how large."""
    files = run.files()
    code = [file for file in files if file.kind == "code"]
    lines = [(file.path, file.kind, output.size(file.size)) for file in files if file.kind != "code"][:FILES]
    if len(code) > 1:
        lines.insert(0, (output.count(len(code), "source file"), "code", output.size(sum(file.size for file in code))))
    else:
        lines[:0] = [(file.path, "code", output.size(file.size)) for file in code]
    if not lines:
        return
    output.print_heading(console, "files")
    table = output.table("", "", "")
    table.show_header = False
    for path, kind, size in lines:
        table.add_row(f"  {output.printable(path)}", kind, size)
    console.print(table)
    if len(files) - len(code) > FILES:
        console.print(f"  and {len(files) - len(code) - FILES} more", style="dim")


def print_alerts(console: Console, run: Run) -> None:
    """Print the alerts of the run."""
    alerts = run.alerts()
    if alerts:
        output.print_heading(console, "alerts")
    for alert in alerts:
        said = output.printable(f"{alert.title}: {alert.text}" if alert.text else alert.title)
        mark = Text(f"{alert.level:<7}", ALERT_STYLES.get(alert.level, ""))
        console.print(Text.assemble(f"  {output.local(alert.time)}  ", mark, f"  {said}"), soft_wrap=True)


def matching(metrics: dict[str, Series], globs: Sequence[str]) -> dict[str, Series]:
    """The metrics whose key matches one of the globs.

    Raises
    ------
    click.ClickException
        If none does.
    """
    found = {key: series for key, series in metrics.items() if any(fnmatch.fnmatchcase(key, glob) for glob in globs)}
    if not found:
        there = ", ".join(metrics) or "none"
        raise click.ClickException(f"no metric matches {' or '.join(globs)}; the run has {there}")
    return found


def accounting_line(accounting: dict[str, float]) -> str:
    """What tracking cost the run, in a line."""
    if not accounting:
        return "tracking: no writer has told yet what it cost"
    parts = [f"{accounting.get('calls', 0):,.0f} records"]
    if accounting.get("call_microseconds"):
        parts.append(f"{accounting['call_microseconds']:.1f} µs a call")
    parts.append(f"{output.size(accounting.get('journal_bytes', 0))} of journal")
    if accounting.get("waiting_bytes"):
        parts.append(f"{output.size(accounting['waiting_bytes'])} of it queued at the end")
    for key, said in (("retries", "retries"), ("dropped", "records dropped")):
        if accounting.get(key):
            parts.append(f"{accounting[key]:,.0f} {said}")
    return "tracking: " + ", ".join(parts) + ("" if accounting.get("dropped") else ", nothing dropped")
