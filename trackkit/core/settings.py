"""Settings: from arguments, environment variables, the project's and the user's configuration files."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

DEFAULT_DIR = ".trackkit"
DEFAULT_SINK = "sqlite:"
OFFLINE_SINK = "journal:"
PREFIX = "TRACKKIT_"


_BETWEEN_SINKS = re.compile(r",(?!\s*(?:[\w.-]+|\[[0-9A-Fa-f:.]+\]):\d+\s*(?:,|$))")
"""The commas between sinks; one before HOST:PORT stands between the servers of one sink."""


class Settings(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Everything about tracking that can be set. Each field is also `TRACKKIT_<NAME>` in the environment,
    a key of `trackkit.toml` or of `[tool.trackkit]` in `pyproject.toml`, and a key of the user's `config.toml`.
    """

    project: str = ""
    """The project's name; without one, `default`."""
    name: str = ""
    run_id: str = ""
    group: str = ""
    job_type: str = ""
    tags: list[str] = []
    notes: str = ""
    resume: str = ""
    """`never`, `allow`, `must` or `auto`."""
    mode: str = "online"
    """`online`, `offline` (the journal alone) or `disabled`."""
    dir: str = DEFAULT_DIR
    """The store's folder."""
    sink: list[str] = []
    """URIs of the places records go to; none means the SQLite file in `dir`."""
    label: str = ""
    """Tells this writer from the run's others; by default `rank N` where a launcher set a rank."""
    quiet: bool = False
    """Print nothing but warnings."""

    system: bool = True
    """Sample the machine and the process tree."""
    system_interval: float = 10.0
    """Seconds between samples."""
    gpu: bool = True
    console: str = "wrap"
    """`wrap`, `raw` (progress bars in full), `redirect` (what C code and children print, too) or `off`."""
    git: bool = True
    """Keep remote, branch and commit, and the uncommitted changes as a patch."""
    code: bool = True
    """Keep the main script's source."""
    packages: bool = True
    """Keep the names and versions of installed distributions."""
    redact: bool = True
    """Remove what looks like a secret from config, environment, arguments, console and patch."""
    redact_names: list[str] = []
    """Regular expressions of further words that make a key's value secret, such as `pin`."""
    redact_patterns: list[str] = []
    """Regular expressions of further texts that are secret wherever they stand."""
    stoppable: bool = True
    """Raise `RunStopped` in the main thread when somebody asks in the dashboard that the run be stopped."""
    signals: bool = True
    """Handle SIGTERM, if nobody else does."""

    cache_dir: str = ""
    """Where what was downloaded and what is known of files is kept; by default the platform's cache folder."""
    cache_mb: int = 10240
    """How large that cache may grow, MiB; 0 for no cache."""
    blobs: str = ""
    """Where the store's files are: `s3://BUCKET/PREFIX` or a folder; by default `blobs` in the store's folder."""
    max_bytes: int = 0
    """Bytes of artifacts that a run may log; 0 for no limit."""

    interval: float = 1.0
    """Seconds between two deliveries to the sinks."""
    write_back_interval: float = 5.0
    """Seconds between two requests to the kernel to write the journal to the disk: what a power cut can take."""
    finish_timeout: float = 60.0
    """Seconds `finish` waits for the sinks; what they don't have by then stays in the journal."""
    segment_mb: int = 64
    """The size journal segments grow to, MiB."""
    memory_mb: int = 64
    """How much is kept in memory while the disk refuses, MiB."""


def load(given: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """The settings in force: `given`, then the environment, the project's files, the user's file, the defaults.

    Raises
    ------
    ValueError
        If a setting is unknown or has the wrong type, naming where it stands.
    """
    environ = os.environ if environ is None else environ
    merged: dict[str, Any] = {}
    for where, values in (
        ("the user's configuration", _from_file(user_folder(environ) / "config.toml")),
        ("trackkit.toml or pyproject.toml", _from_project()),
        ("the environment", _from_environment(environ)),
        ("settings", dict(given or {})),
    ):
        _convert(where, values)  # so that the error names the place
        merged.update(values)
    return _convert("settings", merged)


def _convert(where: str, values: Mapping[str, Any]) -> Settings:
    try:
        return msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise ValueError(f"{where}: {error}") from None


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in Settings.__struct_fields__:
        text = environ.get(PREFIX + name.upper())
        if text is None or text == "":
            continue
        kind = type(getattr(_DEFAULTS, name))
        if kind is list:
            parts = _BETWEEN_SINKS.split(text) if name == "sink" else text.split(",")
            found[name] = [part.strip() for part in parts if part.strip()]
        elif kind is bool:
            found[name] = text.strip().lower() not in ("0", "false", "no", "off")
        else:
            found[name] = text
    return found


def _from_project() -> dict[str, Any]:
    """The nearest `trackkit.toml`, or `pyproject.toml` that has `[tool.trackkit]`, here or above."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "trackkit.toml").is_file():
            return _from_file(folder / "trackkit.toml")
        if (folder / "pyproject.toml").is_file():
            section = _read_toml(folder / "pyproject.toml").get("tool", {}).get("trackkit")
            if section is not None:
                return _listed(section)
    return {}


def user_folder(environ: Mapping[str, str] | None = None) -> Path:
    """The folder of the user's own configuration, found without importing platformdirs where XDG rules."""
    environ = os.environ if environ is None else environ
    if os.name == "posix":
        base = environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
        folder = Path(base) / "trackkit"
        if folder.is_dir() or os.uname().sysname != "Darwin":
            return folder
    import platformdirs

    return Path(platformdirs.user_config_dir("trackkit"))


def cache_folder(settings: Settings) -> Path:
    """The folder of the client's cache."""
    if settings.cache_dir:
        return Path(settings.cache_dir).expanduser().absolute()
    if os.name == "posix" and os.uname().sysname != "Darwin":
        return Path(os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")) / "trackkit"
    import platformdirs

    return Path(platformdirs.user_cache_dir("trackkit"))


def _from_file(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    return _listed(_read_toml(path))


def _read_toml(path: Path) -> dict[str, Any]:
    import tomllib

    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is no valid TOML: {error}") from None


def _listed(values: dict[str, Any]) -> dict[str, Any]:
    """A single sink may be written as a string."""
    if isinstance(values.get("sink"), str):
        values["sink"] = [values["sink"]]
    return values


_DEFAULTS = Settings()
