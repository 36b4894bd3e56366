"""Where a run came from: command, machine, packages, git, and the source of what ran."""

from __future__ import annotations

import contextlib
import fnmatch
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath

from trackkit.core import git as work_tree
from trackkit.core.records import Json
from trackkit.core.redaction import Redactor

DIFF_BYTES = 5 << 20
UNTRACKED_BYTES = 256 << 10
CODE_BYTES = 1 << 20
"""A larger file is data, whatever it is named."""

CODE_GLOBS = (
    *("*.py", "*.pyi", "*.pyx", "*.ipynb", "*.yaml", "*.yml", "*.toml", "*.cfg", "*.ini", "*.json", "*.gin", "*.sh"),
    *("*.c", "*.cc", "*.cpp", "*.cu", "*.cuh", "*.h", "*.hpp", "*.rs", "*.jl", "*.R", "*.sql", "*.proto"),
    *("Dockerfile*", "Makefile", "CMakeLists.txt", "requirements*.txt", "*.slurm", "*.sbatch"),
)
"""What `code_files` finds if nothing else is asked for: sources and configuration."""

Choice = Callable[[str], bool] | Sequence[str] | None
"""Globs for a path or a file name, or a function of a path."""

_SKIPPED_FOLDERS = frozenset({"node_modules", "__pycache__", "venv", "site-packages"})

_VARIABLES = {
    "distributed": (
        r"(?:LOCAL_|GROUP_|NODE_|ROLE_)?RANK|(?:LOCAL_|GROUP_|ROLE_)?WORLD_SIZE|MASTER_(?:ADDR|PORT)|TORCHELASTIC_\w+"
        r"|OMPI_COMM_WORLD_\w+|PMI_(?:RANK|SIZE)|PMIX_RANK|MV2_COMM_WORLD_\w+|NNODES|NPROC_PER_NODE|TPU_WORKER_ID"
    ),
    "slurm": r"SLURM_\w+|SLURMD_NODENAME",
    "scheduler": r"PBS_(?:JOBID|JOBNAME|QUEUE|O_WORKDIR|NODEFILE)|LSB_(?:JOBID|JOBNAME|QUEUE)|JOB_ID|SGE_TASK_ID",
    "kubernetes": r"KUBERNETES_\w+|POD_(?:NAME|NAMESPACE|IP)|NODE_NAME",
    "accelerators": r"CUDA_(?:VISIBLE_DEVICES|DEVICE_ORDER|VERSION|HOME)|NVIDIA_\w+|NCCL_\w+|ROCR_VISIBLE_DEVICES",
    "environment": r"HOSTNAME|VIRTUAL_ENV|CONDA_(?:DEFAULT_ENV|PREFIX)|PYTHON(?:PATH|HASHSEED)|(?:OMP|MKL)_NUM_THREADS",
}


def gather(
    redactor: Redactor,
    *,
    git: bool = True,
    packages: bool = True,
    code: bool = True,
    root: Path | None = None,
    rest: Callable[[], None] = lambda: None,
) -> Iterator[dict[str, Json]]:
    """What is known of where the run comes from, in sections; what can't be found out is left out.

    Parameters
    ----------
    redactor
        Removes secrets from the command line, the environment and addresses.
    git, packages, code
        Whether to tell the state of the work tree, the installed distributions, and the program's path.
    root
        The folder whose work tree is told; by default the program's, else the working directory's.
    rest
        Called now and then within the longer sections, to let the training thread have the interpreter.

    Yields
    ------
    dict
        Some keys of the whole, different ones each time.
    """
    sections: list[Callable[[], dict[str, Json]]] = [
        lambda: _command(redactor, code),
        _host,
        _python,
        lambda: _environment(redactor),
        _processors,
        _gpus,
    ]
    if git:
        sections.append(lambda: _git(redactor, root))
    if packages:
        sections.append(lambda: _packages(rest))
    for section in sections:
        found: dict[str, Json] = {}
        with contextlib.suppress(Exception):
            found = section()
        yield found


def git_diff(
    cwd: Path,
    redactor: Redactor,
    *,
    max_bytes: int = DIFF_BYTES,
    untracked_max_bytes: int = UNTRACKED_BYTES,
    without: Sequence[Path] = (),
    rest: Callable[[], None] = lambda: None,
) -> str | None:
    """The difference of a work tree from HEAD, as a patch for `git apply`; secrets in it are replaced.

    It holds tracked files, binary ones too, and untracked text files that aren't ignored. With no
    commit yet it makes all files anew. What doesn't fit is left out file by file, and a line says so.

    Parameters
    ----------
    cwd
        A folder in the work tree.
    redactor
        Removes secrets. A line that held one before the change makes its file's patch not apply.
    max_bytes, untracked_max_bytes
        The most bytes of the patch of tracked files, and of one untracked file.
    without
        Folders whose untracked files are left out: the store's own.
    rest
        Called about every 100 µs while secrets are looked for.

    Returns
    -------
    str or None
        The patch; bytes that aren't UTF-8 are surrogate escapes, so encode it with
        `patch.encode("utf-8", "surrogateescape")`. None if nothing differs, or there is no work tree.
    """
    patch = work_tree.patch(cwd, max_bytes=max_bytes, untracked_max_bytes=untracked_max_bytes, without=without)
    return redactor.text(patch.decode("utf-8", "surrogateescape"), rest) if patch else None


def main_source() -> tuple[str, bytes] | None:
    """The path and the content of the script or notebook that runs; None where there is none to be read."""
    path = _notebook() or _script()
    if path is None:
        return None
    try:
        if path.stat().st_size > 16 * CODE_BYTES:
            return None
        return _relative(path), path.read_bytes()
    except OSError:
        return None


def code_files(root: Path, include: Choice = None, exclude: Choice = None) -> Iterator[Path]:
    """Source files under a folder, in order of their paths.

    Hidden folders, virtual environments, caches and files over 1 MiB are left out, and in a work tree what git ignores.

    Parameters
    ----------
    root
        The folder.
    include
        Globs for file names or for paths relative to `root`, or a function of such a path; `CODE_GLOBS` by default.
    exclude
        The same for files to leave out.

    Yields
    ------
    Path
        `root` and the path below it.
    """
    included = _chooser(CODE_GLOBS if include is None else include)
    excluded = _chooser(() if exclude is None else exclude)
    listed = work_tree.files(root)
    for path in _walk(root) if listed is None else listed:
        relative = path.relative_to(root)
        if any(_is_skipped(root, relative.parts[: depth + 1]) for depth in range(len(relative.parts) - 1)):
            continue
        name = relative.as_posix()
        if included(name) and not excluded(name) and _is_code(path, root):
            yield path


def _command(redactor: Redactor, code: bool) -> dict[str, Json]:
    arguments = redactor.arguments(list(sys.argv))
    orig = redactor.arguments(list(getattr(sys, "orig_argv", [])))
    found: dict[str, Json] = {"arguments": arguments[1:], "command": orig or arguments, "cwd": os.getcwd()}
    path = _notebook() or _script() if code else None
    if path is not None:
        found["program"] = str(path)
    return found


def _host() -> dict[str, Json]:
    import getpass
    import platform

    found: dict[str, Json] = {"host": platform.node(), "pid": os.getpid(), "os": _system_name()}
    found["platform"] = f"{platform.system()} {platform.release()} {platform.machine()}"
    # There may be no name for the user's number in a container.
    with contextlib.suppress(Exception):
        found["user"] = getpass.getuser()
    return found


def _system_name() -> str:
    import platform

    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.platform()


def _python() -> dict[str, Json]:
    return {
        "python": {
            "version": ".".join(map(str, sys.version_info[:3])),
            "implementation": sys.implementation.name,
            "executable": sys.executable,
        }
    }


def _environment(redactor: Redactor) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for section, pattern in _VARIABLES.items():
        known = re.compile(pattern)
        variables = {name: value for name, value in os.environ.items() if known.fullmatch(name)}
        if variables:
            found[section] = redactor.environment(variables)
    return found


def _processors() -> dict[str, Json]:
    import psutil

    found: dict[str, Json] = {
        "cpu": {"model": _processor_model(), "physical": psutil.cpu_count(logical=False), "logical": os.cpu_count()},
        "memory_bytes": psutil.virtual_memory().total,
    }
    if hasattr(os, "sched_getaffinity"):
        found["cpu"]["usable"] = len(os.sched_getaffinity(0))
    return found


def _processor_model() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo", "rb", buffering=0) as file:
        model = re.search(rb"(?m)^model name\s*: (.+)$", file.read(4096))
        if model:
            return model[1].decode(errors="replace")
    import platform

    return platform.processor() or platform.machine()


def _gpus() -> dict[str, Json]:
    from trackkit.core.gpu import describe_gpus, load_nvml

    found: dict[str, Json] = {}
    nvml = load_nvml()
    if nvml is not None:
        try:
            found.update(describe_gpus(nvml))
        finally:
            nvml.nvmlShutdown()
    # Never imported for this; a script that uses torch has it by now.
    cuda = getattr(getattr(sys.modules.get("torch"), "version", None), "cuda", None)
    if isinstance(cuda, str):
        found["cuda"] = cuda
    return found


def _git(redactor: Redactor, root: Path | None) -> dict[str, Json]:
    script = _script()
    folders = [root] if root is not None else [*([script.parent] if script else []), Path.cwd()]
    for folder in folders:
        state = work_tree.state(folder)
        if state is not None:
            if "remote" in state:
                state["remote"] = redactor.url(state["remote"])
            return {"git": state}
    return {}


def _packages(rest: Callable[[], None]) -> dict[str, Json]:
    from importlib import metadata

    found: dict[str, str] = {}
    for distribution in metadata.distributions():
        with contextlib.suppress(Exception):
            # Parsing a whole description only for its first lines takes ten times as long.
            text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
            head = text[:4096]
            name, version = re.search(r"(?m)^Name: *(\S+)", head), re.search(r"(?m)^Version: *(\S+)", head)
            if name and version:
                # The first on the path is the one that is imported.
                found.setdefault(name[1], version[1])
        rest()
    return {"packages": dict(sorted(found.items(), key=lambda item: item[0].lower()))}


def _script() -> Path | None:
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    return Path(path).absolute() if isinstance(path, str) and path.endswith((".py", ".pyw")) else None


def _notebook() -> Path | None:
    """The notebook, where its front end tells: VS Code, Jupyter, or the user by `TRACKKIT_NOTEBOOK`."""
    main: Mapping[str, object] = vars(sys.modules["__main__"]) if "__main__" in sys.modules else {}
    told = (os.environ.get("TRACKKIT_NOTEBOOK"), main.get("__vsc_ipynb_file__"), os.environ.get("JPY_SESSION_NAME"))
    for name in told:
        if isinstance(name, str) and name.endswith(".ipynb"):
            path = Path(name).absolute()
            if path.is_file():
                return path
    return None


def _relative(path: Path) -> str:
    with contextlib.suppress(ValueError, OSError):
        return path.relative_to(Path.cwd()).as_posix()
    return path.name


def _chooser(choice: Callable[[str], bool] | Sequence[str]) -> Callable[[str], bool]:
    if callable(choice):
        return choice
    globs = [choice] if isinstance(choice, str) else list(choice)
    return lambda name: any(
        fnmatch.fnmatchcase(name, glob) or fnmatch.fnmatchcase(PurePath(name).name, glob) for glob in globs
    )


def _walk(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        below = Path(folder).relative_to(root).parts
        folders[:] = sorted(name for name in folders if not _is_skipped(root, (*below, name)))
        yield from (Path(folder) / name for name in sorted(names))


def _is_skipped(root: Path, folder: tuple[str, ...]) -> bool:
    name = folder[-1]
    return name.startswith(".") or name in _SKIPPED_FOLDERS or (root.joinpath(*folder) / "pyvenv.cfg").exists()


def _is_code(path: Path, root: Path) -> bool:
    try:
        if path.is_symlink() and not path.resolve().is_relative_to(root.resolve()):
            return False
        return path.is_file() and path.stat().st_size <= CODE_BYTES
    except OSError:
        return False
