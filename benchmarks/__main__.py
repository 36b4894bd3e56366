"""Run the benchmarks, each in a process of its own, and print trackkit's figures beside the others'.

`python -m benchmarks [PART ...]`, and all parts without any; `PARTS` has their names. Peers are measured where they are
installed, and PostgreSQL where it is.
"""

from __future__ import annotations

import json
import subprocess
import sys

from rich.console import Console
from rich.table import Table

from benchmarks import remote, server, stores, trackers
from tests.store import postgres

BUDGETS = {
    "calls": "budget: p50 ≤ 1.5, p99 ≤ 10, worst ≤ 1,000, step_p50 ≤ 4, added ≤ 15",
    "throughput": "budget: ≥ 1,000,000 points/s, finish ≤ 300 ms",
    "remote": "budget: ≥ 500,000 points/s on one core on SQLite, ≥ 300,000 on PostgreSQL",
    "loss": "budget: 0",
    "sampler_percent_of_a_core": "≤ 0.5",
    "import_ms": "≤ 30", "init_ms": "≤ 50", "rss_mb": "≤ 40", "replay_points_per_second": "≥ 1,500,000",
    "replay_peak_rss_mb": "≤ 200", "bytes_per_point": "≤ 9", "series_read_ms": "≤ 30",
    "fast_postgres_points_per_second": "≥ 300,000", "fast_postgres_bytes_per_point_packed": "≤ 9",
    "panel_ms": "≤ 100", "panel_zoomed_ms": "≤ 200", "idle_rss_mb": "≤ 80", "lost_points": "0",
    "visible_p95_s": "≤ 2", "log_p50_us": "as without a server", "values_lost": "0", "values_doubled": "0",
    "table_log_over_write": "≤ 1.5", "open_ms": "≤ 1,000", "sort_ms": "≤ 1,000", "filter_ms": "≤ 1,000",
    "search_two_conditions_ms": "≤ 100", "search_state_and_tag_ms": "≤ 100",
}  # fmt: skip
UNITS = {
    "calls": "µs a call of 10 values",
    "throughput": "200,000 points in 20,000 calls (MLflow: 3,000 in 300)",
    "loss": "per cent of 500 calls lost after SIGKILL of the process group",
    "remote": "over HTTP; a chart of 20 runs × 100,000 points",
}
PARTS = (
    "calls", "throughput", "loss", "start", "system", "stores", "media", "tables", "postgres", "remote", "server",
    "crowd", "network",
)  # fmt: skip
GROUPS = {"stores": sorted(stores.PARTS), "server": list(server.PARTS)}
FLOORS = {"calls": {"p50": "deque.append(dict)", "added_wall": "struct.pack + os.write"}}
"""What a column is also told as a multiple of."""


def measure(module: str, argument: str | None = None) -> dict[str, float]:
    """The figures one benchmark prints; a failing peer has none."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *([argument] if argument else [])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    if done.returncode:
        print(f"{module} {argument}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return {}
    figures: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return figures


def compare(console: Console, module: str) -> None:
    names = remote.installed() if module == "remote" else trackers.installed()
    rows = {name: measure(module, name) for name in names}
    columns = list(dict.fromkeys(column for figures in rows.values() for column in figures))
    table = Table("", *columns, title=f"{module}: {UNITS[module]}; {BUDGETS[module]}")
    for name, figures in rows.items():
        table.add_row(name, *(f"{figures[column]:,.2f}" if column in figures else "" for column in columns))
    console.print(table)
    for column, floor in FLOORS.get(module, {}).items():
        if rows.get(floor) and rows.get("trackkit"):
            times = rows["trackkit"][column] / rows[floor][column]
            console.print(f"{column}: trackkit is {times:.2f} times {floor}")


def own(console: Console, title: str, figures: dict[str, float]) -> None:
    table = Table("", "measured", "budget", title=title)
    for name, value in figures.items():
        table.add_row(name, f"{value:,.2f}", BUDGETS.get(name, ""))
    console.print(table)


def main(parts: list[str]) -> None:
    console = Console(width=120)
    for part in parts or [part for part in PARTS if part != "postgres" or not postgres.missing()]:
        if part in UNITS:
            compare(console, part)
        elif part in GROUPS:
            for name in GROUPS[part]:
                own(console, name, measure(part, name))
        else:
            own(console, part, measure(part))


if __name__ == "__main__":
    main(sys.argv[1:])
