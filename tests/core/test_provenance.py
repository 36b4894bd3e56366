import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from trackkit.core.provenance import code_files, gather, git_diff, main_source
from trackkit.core.redaction import Redactor

TOKEN = "ghp_" + "a1B2" * 9

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=me", "-c", "user.email=me@example.org", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="session", autouse=True)
def _own_git_settings(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Settings that change what `git diff` prints, none of which may matter."""
    settings = tmp_path_factory.mktemp("home") / "gitconfig"
    settings.write_text(
        "[init]\ndefaultBranch = main\n[diff]\nnoprefix = true\nmnemonicPrefix = true\nexternal = false\n"
        "relative = true\n[color]\nui = always\n[core]\npager = false\nautocrlf = false\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIT_CONFIG_GLOBAL", str(settings))
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        yield


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "work tree"
    folder.mkdir()
    git(folder, "init")
    write(folder, {"train.py": "print(1)\nprint(2)\nprint(3)\n", "notes.txt": "one\n", ".gitignore": "data/\n*.log\n"})
    commit(folder)
    return folder


def write(folder: Path, files: dict[str, str | bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def commit(folder: Path) -> None:
    git(folder, "add", "-A")
    git(folder, "commit", "-m", "state")


def contents(folder: Path) -> dict[str, tuple[bytes, bool]]:
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), os.access(path, os.X_OK))
        for path in folder.rglob("*")
        if path.is_file() and ".git" not in path.relative_to(folder).parts
    }


def patched_clone(repository: Path, tmp_path: Path, **limits: Any) -> Path:
    """A clean clone with the patch applied."""
    patch = git_diff(repository, Redactor(), **limits)
    assert patch is not None
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(repository), str(clone))
    encoded = patch.encode("utf-8", "surrogateescape")
    applied = subprocess.run(["git", "apply", "-"], input=encoded, cwd=clone, capture_output=True)
    assert applied.returncode == 0, applied.stderr
    return clone


def gathered(**options: Any) -> dict[str, Any]:
    return {key: value for section in gather(Redactor(), **options) for key, value in section.items()}


def test_command_machine_and_python_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", "--api-key", "abc", "--lr=0.1"])
    monkeypatch.setattr(sys, "orig_argv", ["python", "train.py", "--api-key", "abc", "--lr=0.1"])

    found = gathered(git=False, packages=False)

    assert found["arguments"] == ["--api-key", "[redacted]", "--lr=0.1"]
    assert found["command"] == ["python", "train.py", "--api-key", "[redacted]", "--lr=0.1"]
    assert found["cwd"] == os.getcwd()
    assert found["python"]["version"] == ".".join(map(str, sys.version_info[:3]))
    assert found["python"]["executable"] == sys.executable
    assert found["cpu"]["logical"] == os.cpu_count()
    assert found["cpu"]["model"]
    assert found["memory_bytes"] > 1 << 20
    assert {"host", "os", "platform", "pid"} <= found.keys()
    json.dumps(found)


def test_sections_come_one_at_a_time_with_keys_of_their_own() -> None:
    sections = list(gather(Redactor(), packages=False))

    keys = [key for section in sections for key in section]
    assert len(sections) > 5
    assert len(keys) == len(set(keys))


def test_only_variables_of_interest_are_told_and_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("SLURM", "KUBERNETES", "RANK", "WORLD")):
            monkeypatch.delenv(name)
    given = {"SLURM_JOB_ID": "17", "SLURM_JWT": "secret", "RANK": "3", "WORLD_SIZE": "8", "MASTER_ADDR": "node1"}
    given |= {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "CUDA_VISIBLE_DEVICES": "0,1", "MY_OWN": "x", "BANK": "y"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)

    found = gathered(git=False, packages=False)

    assert found["slurm"] == {"SLURM_JOB_ID": "17", "SLURM_JWT": "[redacted]"}
    assert found["distributed"].items() >= {"RANK": "3", "WORLD_SIZE": "8", "MASTER_ADDR": "node1"}.items()
    assert found["kubernetes"]["KUBERNETES_SERVICE_HOST"] == "10.0.0.1"
    assert found["accelerators"]["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert "MY_OWN" not in json.dumps(found)
    assert "BANK" not in json.dumps(found)


def test_installed_packages_are_told_with_their_versions() -> None:
    from importlib import metadata

    rests: list[None] = []

    found = gathered(git=False, rest=lambda: rests.append(None))["packages"]

    assert found["pytest"] == metadata.version("pytest")
    assert found["msgspec"] == metadata.version("msgspec")
    assert len(rests) >= len(found)


def test_what_is_not_asked_for_is_not_told() -> None:
    found = gathered(git=False, packages=False, code=False)

    assert not {"git", "packages", "program"} & found.keys()


@needs_git
def test_the_state_of_the_work_tree_is_told_without_credentials(repository: Path) -> None:
    git(repository, "remote", "add", "backup", "https://example.org/backup.git")
    git(repository, "remote", "add", "origin", f"https://me:{TOKEN}@example.org/project.git")
    (repository / "src").mkdir()

    clean = gathered(packages=False, root=repository / "src")["git"]
    write(repository, {"train.py": "changed\n"})
    dirty = gathered(packages=False, root=repository)["git"]

    assert clean == {
        "root": str(repository),
        "remote": "https://example.org/project.git",
        "branch": "main",
        "commit": git(repository, "rev-parse", "HEAD").strip(),
        "dirty": False,
    }
    assert dirty == {**clean, "dirty": True}


@needs_git
def test_a_detached_work_tree_has_no_branch_and_a_new_one_no_commit(repository: Path, tmp_path: Path) -> None:
    git(repository, "checkout", "-q", "--detach")
    (tmp_path / "new").mkdir()
    git(tmp_path / "new", "init")

    detached = gathered(packages=False, root=repository)["git"]
    new = gathered(packages=False, root=tmp_path / "new")["git"]

    assert "branch" not in detached
    assert "commit" in detached
    assert "commit" not in new
    assert new["branch"] == "main"


def test_outside_of_a_work_tree_and_without_git_nothing_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    outside = gathered(packages=False, root=tmp_path)
    outside_diff = git_diff(tmp_path, Redactor())
    monkeypatch.setenv("PATH", str(tmp_path))
    without = gathered(packages=False, root=tmp_path)

    assert "git" not in outside
    assert outside_diff is None
    assert "git" not in without
    assert git_diff(tmp_path, Redactor()) is None


@needs_git
def test_a_git_that_hangs_is_given_up(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hanging = tmp_path / "bin" / "git"
    write(tmp_path, {"bin/git": "#!/bin/sh\nexec sleep 30\n"})
    hanging.chmod(0o755)
    monkeypatch.setenv("PATH", f"{hanging.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("trackkit.core.git.SECONDS", 0.2)

    started = time.monotonic()
    found = gathered(packages=False, root=repository)

    assert "git" not in found
    assert time.monotonic() - started < 10


@needs_git
def test_a_clean_work_tree_has_no_diff(repository: Path) -> None:
    assert git_diff(repository, Redactor()) is None


@needs_git
def test_the_diff_makes_a_clean_clone_the_same(repository: Path, tmp_path: Path) -> None:
    write(
        repository, {"old name.py": "".join(f"line {n}\n" for n in range(50)), "gone.py": "x\n", "image.bin": b"\0\1"}
    )
    write(repository, {"latin.txt": b"caf\xe9\n", "ünïcode.txt": "1\n", "run.sh": "echo\n", "crlf.txt": "a\r\nb\r\n"})
    commit(repository)

    write(repository, {"train.py": "print(1)\nprint('zwei')\nprint(3)", "image.bin": bytes(range(256)) * 10})
    write(repository, {"latin.txt": b"caf\xe9 cr\xe8me\n", "ünïcode.txt": "2\n", "crlf.txt": "a\r\nc\r\n"})
    git(repository, "mv", "old name.py", "new name.py")
    (repository / "gone.py").unlink()
    (repository / "run.sh").chmod(0o755)
    write(repository, {"staged.py": "staged\n"})
    git(repository, "add", "staged.py")
    write(
        repository, {"new/with space.py": "a\nb\n", 'quo"te\ttäb.py': "no newline", "empty.py": "", "crlf new": "a\r\n"}
    )
    write(repository, {"latin new.txt": b"\xe9t\xe9\n\n", "tool": "#!/bin/sh\n"})
    (repository / "tool").chmod(0o755)

    clone = patched_clone(repository, tmp_path)

    assert contents(clone) == contents(repository)


@needs_git
def test_the_diff_is_that_of_the_whole_work_tree_from_any_folder(repository: Path) -> None:
    write(repository, {"train.py": "changed\n", "src/new.py": "x\n"})

    assert git_diff(repository / "src", Redactor()) == git_diff(repository, Redactor())
    assert "train.py" in (git_diff(repository / "src", Redactor()) or "")


@needs_git
def test_the_diff_leaves_the_index_alone(repository: Path) -> None:
    index = repository / ".git" / "index"
    before = index.read_bytes()
    write(repository, {"new.py": "x\n", "notes.txt": "two\n"})
    os.utime(repository / "train.py", (1, 1))

    patch = git_diff(repository, Redactor())
    gathered(packages=False, root=repository)

    assert patch is not None
    assert "train.py" not in patch
    assert index.read_bytes() == before
    assert not (repository / ".git" / "index.lock").exists()


@needs_git
def test_before_the_first_commit_the_diff_makes_everything(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    git(folder, "init")
    write(folder, {"staged.py": "a\n", "loose.py": "b\n"})
    git(folder, "add", "staged.py")

    clone = patched_clone(folder, tmp_path)

    assert contents(clone) == contents(folder)


@needs_git
def test_ignored_large_binary_and_own_files_are_left_out_of_the_diff(repository: Path, tmp_path: Path) -> None:
    write(repository, {"data/x.csv": "1\n", "run.log": "1\n", "big.txt": "x" * 2000, "blob": b"\0", ".trackkit/a": "1"})
    write(repository, {"small.txt": "kept\n"})
    (repository / "link").symlink_to("small.txt")

    patch = git_diff(repository, Redactor(), untracked_max_bytes=1000)

    assert patch is not None
    assert patch.count("diff --git") == 1
    assert "+kept" in patch


@needs_git
def test_the_stores_own_files_are_left_out_of_the_diff_wherever_the_store_is(repository: Path) -> None:
    write(repository, {"runs/store/journals/a/b/sinks.json": "{}", "runs/notes.txt": "kept\n"})

    patch = git_diff(repository, Redactor(), without=[repository / "runs" / "store" / "journals"])

    assert patch is not None
    assert patch.count("diff --git") == 1
    assert "+kept" in patch


@needs_git
def test_a_large_change_is_left_out_and_the_rest_still_applies(repository: Path, tmp_path: Path) -> None:
    write(repository, {"a large.bin": os.urandom(20_000), "b.txt": "1\n"})
    commit(repository)
    write(repository, {"a large.bin": os.urandom(20_000), "b.txt": "2\n"})

    clone = patched_clone(repository, tmp_path, max_bytes=10_000)

    assert (clone / "b.txt").read_text() == "2\n"
    assert (clone / "a large.bin").read_bytes() != (repository / "a large.bin").read_bytes()
    assert "# left out, larger than 10000 bytes: a large.bin" in (
        git_diff(repository, Redactor(), max_bytes=10_000) or ""
    )


@needs_git
def test_a_patch_that_grows_too_long_ends_with_a_whole_file(repository: Path, tmp_path: Path) -> None:
    write(repository, {f"{name}.txt": f"{name}\n" for name in "abcdefgh"})
    commit(repository)
    write(repository, {f"{name}.txt": f"{name * 2000}\n" for name in "abcdefgh"})

    clone = patched_clone(repository, tmp_path, max_bytes=9_000)

    changed = {name for name in "abcdefgh" if (clone / f"{name}.txt").read_text() == f"{name * 2000}\n"}
    assert changed == set("abcd")


@needs_git
def test_the_diff_holds_no_secrets(repository: Path) -> None:
    write(repository, {"train.py": f'KEY = "{TOKEN}"\n', ".env": "PASSWORD=hunter\n"})

    patch = git_diff(repository, Redactor())

    assert patch is not None
    assert TOKEN not in patch
    assert "hunter" not in patch
    assert "+PASSWORD=[redacted]" in patch


def run_python(*arguments: str, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **environment},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


SHOW_SOURCE = "from trackkit.core.provenance import main_source\nprint(main_source())\n"


def test_the_main_script_is_found_with_its_source(tmp_path: Path) -> None:
    write(tmp_path, {"jobs/train.py": SHOW_SOURCE})

    assert run_python("jobs/train.py", cwd=tmp_path) == f"{('jobs/train.py', SHOW_SOURCE.encode())}\n"


def test_an_interpreter_has_no_source(tmp_path: Path) -> None:
    assert run_python("-c", SHOW_SOURCE, cwd=tmp_path) == "None\n"


@pytest.mark.parametrize("told_by", ["TRACKKIT_NOTEBOOK", "JPY_SESSION_NAME", "__vsc_ipynb_file__"])
def test_a_notebook_is_found_where_its_front_end_tells(tmp_path: Path, told_by: str) -> None:
    write(tmp_path, {"study.ipynb": "{}"})
    path = str(tmp_path / "study.ipynb")
    if told_by.isupper():
        shown = run_python("-c", SHOW_SOURCE, cwd=tmp_path, **{told_by: path})
    else:
        shown = run_python("-c", f"{told_by} = {path!r}\n{SHOW_SOURCE}", cwd=tmp_path)

    assert shown == f"{('study.ipynb', b'{}')}\n"


def test_a_script_that_changed_is_no_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(tmp_path / "gone.py"), raising=False)

    assert main_source() is None


SOURCES: dict[str, str | bytes] = {
    "train.py": "1",
    "conf/model.yaml": "1",
    "conf/.hidden.yaml": "1",
    "Dockerfile": "1",
    "data.csv": "1",
    "huge.json": "1" * (2 << 20),
    ".trackkit/a.py": "1",
    ".github/ci.yaml": "1",
    "node_modules/a.py": "1",
    "src/__pycache__/a.py": "1",
    "src/a.py": "1",
    "myvenv/pyvenv.cfg": "1",
    "myvenv/lib/a.py": "1",
}


def listed(root: Path, **choices: Any) -> list[str]:
    return [path.relative_to(root).as_posix() for path in code_files(root, **choices)]


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    write(tmp_path, SOURCES)
    return tmp_path


EXPECTED = ["Dockerfile", "conf/.hidden.yaml", "conf/model.yaml", "src/a.py", "train.py"]


def test_code_files_are_sources_outside_of_environments_and_caches(sources: Path) -> None:
    assert sorted(listed(sources)) == EXPECTED


@needs_git
def test_code_files_in_a_work_tree_honour_its_ignore_rules(sources: Path) -> None:
    git(sources, "init")
    write(sources, {".gitignore": "conf/\n", "tracked.py": "1", "conf/kept.yaml": "1"})
    git(sources, "add", "-f", "tracked.py", "conf/kept.yaml")
    (sources / "tracked.py").unlink()

    assert sorted(listed(sources)) == ["Dockerfile", "conf/kept.yaml", "src/a.py", "train.py"]
    assert listed(sources / "src") == ["a.py"]


@pytest.mark.parametrize(
    ("choices", "expected"),
    [
        ({"include": ["*.csv"]}, ["data.csv"]),
        ({"include": ["conf/*"]}, ["conf/.hidden.yaml", "conf/model.yaml"]),
        ({"include": lambda path: path.endswith("n.py")}, ["train.py"]),
        ({"exclude": ["conf/*", "Docker*"]}, ["src/a.py", "train.py"]),
        ({"exclude": lambda path: "/" in path}, ["Dockerfile", "train.py"]),
    ],
)
def test_code_files_can_be_chosen(sources: Path, choices: dict[str, Any], expected: list[str]) -> None:
    assert sorted(listed(sources, **choices)) == expected


def test_a_link_out_of_the_folder_is_no_code_file(sources: Path) -> None:
    outside = sources.parent / f"{sources.name} outside.py"
    outside.write_text("1")
    (sources / "link.py").symlink_to(outside)
    (sources / "inner.py").symlink_to(sources / "train.py")

    assert sorted(listed(sources)) == sorted([*EXPECTED, "inner.py"])


def test_importing_provenance_is_light(tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import sys
        import trackkit, msgspec
        before = set(sys.modules)
        import trackkit.core.console, trackkit.core.provenance, trackkit.core.redaction, trackkit.core.system
        heavy = {"psutil", "pynvml", "subprocess", "importlib.metadata", "platform", "ctypes", "torch"}
        print(sorted(heavy & (set(sys.modules) - before)))
        """
    )

    assert run_python("-c", script, cwd=tmp_path) == "[]\n"
