"""The state of a git work tree, read with the `git` executable and without touching the index."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

SECONDS = 10.0
"""How long one git command may take; on a slow filesystem less is known rather than later."""

_QUIET = {
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "",
    "GIT_PAGER": "cat",
    "LC_ALL": "C",
}
_SETTINGS = ("-c", "core.fsmonitor=false", "-c", "core.quotePath=true", "-c", "diff.autoRefreshIndex=false")
_MOST_UNTRACKED = 200
_UNCHANGED = re.compile(rb"(?m)^diff --git [^\n]*\n(?=diff --git |#|\Z)")
"""A file that was touched without being changed, which git would note in the index."""

_BINARY_SNIFF = 8000
"""Bytes in which git itself looks for a zero to tell binary files."""

_DIFF = (
    "diff",
    "--binary",
    "--find-renames",
    "--no-color",
    "--no-ext-diff",
    "--no-textconv",
    "--no-relative",
    "--submodule=short",
    "--ignore-submodules=dirty",
    "--src-prefix=a/",
    "--dst-prefix=b/",
)


def output(folder: Path, *arguments: str, most: int | None = None) -> bytes | None:
    """What a git command prints, at most about `most` bytes of it; None if it fails or takes too long."""
    import subprocess
    import threading

    command = ["git", "-C", str(folder), *_SETTINGS, *arguments]
    environment = {**os.environ, **_QUIET}
    try:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    except OSError:
        return None
    timer = threading.Timer(SECONDS, process.kill)
    timer.daemon = True
    timer.start()
    with process:
        assert process.stdout is not None
        printed: bytes = process.stdout.read(-1 if most is None else most + 1)
        # Past the limit git is no longer listened to; it ends by the broken pipe.
        process.stdout.close()
        failed = process.wait() != 0
        timer.cancel()
    cut = most is not None and len(printed) > most
    return None if failed and not cut else printed


def top(folder: Path) -> Path | None:
    """The root of the work tree a folder belongs to; None outside of one, or without git."""
    found = output(folder, "rev-parse", "--show-toplevel")
    return Path(os.fsdecode(found.removesuffix(b"\n"))) if found and found.strip() else None


def state(folder: Path) -> dict[str, Any] | None:
    """Root, branch, commit, remote and whether tracked files differ from the commit; None outside of a work tree."""
    root = top(folder)
    if root is None:
        return None
    found: dict[str, Any] = {"root": str(root)}
    remotes = (output(root, "config", "--get-regexp", r"^remote\..*\.url$") or b"").decode(errors="replace")
    urls = dict(line.split(" ", 1) for line in remotes.splitlines() if " " in line)
    if urls:
        found["remote"] = urls.get("remote.origin.url", next(iter(urls.values())))
    if branch := output(root, "symbolic-ref", "--short", "-q", "HEAD"):
        found["branch"] = branch.decode(errors="replace").strip()
    if commit := output(root, "rev-parse", "-q", "--verify", "HEAD"):
        found["commit"] = commit.decode().strip()
    changes = output(root, "status", "--porcelain", "--untracked-files=no", "--ignore-submodules=dirty")
    if changes is not None:
        found["dirty"] = bool(changes)
    return found


def patch(folder: Path, *, max_bytes: int, untracked_max_bytes: int, without: Sequence[Path] = ()) -> bytes | None:
    """The difference of tracked and small untracked text files from HEAD, as one patch for `git apply`."""
    root = top(folder)
    if root is None:
        return None
    base = _base(root)
    large = [] if base is None else list(_large_changes(root, base, max_bytes))
    parts: list[bytes] = []
    if base is not None:
        excluded = [b":(exclude,top,literal)" + name for name in large]
        changes = output(root, *_DIFF, base, "--", *map(os.fsdecode, [b":/", *excluded]), most=max_bytes)
        parts.append(_UNCHANGED.sub(b"", _whole_files(changes or b"", max_bytes)))
    for name in _untracked(root, without):
        if sum(map(len, parts)) > max_bytes:
            break
        parts.append(_new_file(root, name, untracked_max_bytes))
    parts += [b"# left out, larger than %d bytes: %s\n" % (max_bytes, name) for name in large]
    return b"".join(parts) or None


def files(folder: Path) -> list[Path] | None:
    """Files under a folder that git tracks or would track; None outside of a work tree."""
    listed = output(folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    if listed is None:
        return None
    return [folder / os.fsdecode(name) for name in sorted(set(listed.split(b"\0"))) if name]


def _base(root: Path) -> str | None:
    """HEAD, or the empty tree where nothing is committed yet."""
    if output(root, "rev-parse", "-q", "--verify", "HEAD"):
        return "HEAD"
    empty = output(root, "hash-object", "-t", "tree", "--stdin")
    return empty.decode().strip() if empty else None


def _large_changes(root: Path, base: str, most: int) -> Iterator[bytes]:
    names = output(root, "diff", "--name-only", "--no-renames", "--no-ext-diff", "-z", base) or b""
    for name in names.split(b"\0"):
        try:
            if name and os.lstat(os.path.join(os.fsencode(root), name)).st_size > most:
                yield name
        except OSError:
            continue


def _whole_files(changes: bytes, most: int) -> bytes:
    """The patch up to the last file that fits, with a line that says so if any doesn't."""
    if len(changes) <= most:
        return changes
    end = max(0, changes.rfind(b"\ndiff --git ", 0, most) + 1)
    return changes[:end] + b"# left out, the patch is larger than %d bytes\n" % most


def _untracked(root: Path, without: Sequence[Path]) -> list[bytes]:
    listed = output(root, "ls-files", "-z", "--others", "--exclude-standard") or b""
    names = (name for name in listed.split(b"\0") if name and b".trackkit" not in name.split(b"/"))
    top = os.fsencode(root.resolve()) + b"/"
    folders = tuple(os.fsencode(folder.resolve()).removeprefix(top) + b"/" for folder in without)
    return sorted(name for name in names if not name.startswith(folders))[:_MOST_UNTRACKED]


def _new_file(root: Path, name: bytes, most: int) -> bytes:
    """The patch that makes a file; empty for one that is large, binary or no plain file."""
    path = os.path.join(os.fsencode(root), name)
    try:
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode) or status.st_size > most:
            return b""
        with open(path, "rb") as file:
            content = file.read(most + 1)
    except OSError:
        return b""
    if b"\0" in content[:_BINARY_SNIFF] or len(content) > most:
        return b""
    mode = b"100755" if status.st_mode & stat.S_IXUSR else b"100644"
    before, after = _quoted(b"a/" + name), _quoted(b"b/" + name)
    header = b"diff --git %s %s\nnew file mode %s\n" % (before, after, mode)
    return header + (b"--- /dev/null\n+++ %s\n%s" % (after, _added(content)) if content else b"")


def _added(content: bytes) -> bytes:
    lines = content.split(b"\n")
    ends_open = lines[-1] != b""
    if not ends_open:
        lines.pop()
    body = b"".join(b"+%s\n" % line for line in lines)
    return b"@@ -0,0 +1,%d @@\n%s%s" % (len(lines), body, b"\\ No newline at end of file\n" if ends_open else b"")


def _quoted(name: bytes) -> bytes:
    """A name as git writes it in a patch: as a C string if anything in it could be misread."""
    if re.fullmatch(rb"[A-Za-z0-9_./+@%,=-]+", name):
        return name
    escaped = (b"\\%03o" % byte if byte < 32 or byte > 126 or byte in b'"\\' else bytes([byte]) for byte in name)
    return b'"%s"' % b"".join(escaped)
