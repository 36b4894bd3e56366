"""`init`: which run it gives, where it records, and what the module's own functions act on."""

from __future__ import annotations

import io
import os
import re
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import trackkit
from tests.conftest import RunScript
from trackkit.core import session
from trackkit.core.session import new_run_id
from trackkit.sync import sync

QUIET: dict[str, Any] = {"system": False, "git": False, "packages": False, "console": "off", "quiet": True}


def start(**arguments: Any) -> trackkit.Run:
    return trackkit.init(settings=QUIET, **arguments)


def runs(folder: Path) -> dict[str, str]:
    return {run.id: run.state for run in trackkit.Api(folder / ".trackkit").runs()}


# Which run.


def test_a_new_run_has_an_id_of_its_own_that_is_also_its_name(folder: Path) -> None:
    with start() as run:
        pass

    assert re.fullmatch(r"[0-9a-z]{10}", run.id)
    assert (run.name, run.project, run.path) == (run.id, "default", f"default/{run.id}")
    assert len({new_run_id() for _ in range(1000)}) == 1000


def test_what_describes_a_run_is_kept(folder: Path) -> None:
    with start(
        project="digits", name="first", id="abc", config={"lr": 0.1}, tags=["a", "b", "a"], notes="try",
        group="sweep 1", job_type="train",
    ):  # fmt: skip
        pass

    run = trackkit.Api(folder / ".trackkit").run("digits/abc")

    assert (run.name, run.tags, run.notes, run.group, run.job_type) == ("first", ["a", "b"], "try", "sweep 1", "train")
    assert run.config == {"lr": 0.1}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"id": "a/b"}, ValueError, "'a/b' can't be a run's id"),
        ({"id": "../up"}, ValueError, "can't be a run's id"),
        ({"id": "x" * 129}, ValueError, "can't be a run's id"),
        ({"project": "a/b"}, ValueError, "'a/b' can't be a project's name"),
        ({"mode": "loud"}, ValueError, "mode must be 'online', 'offline' or 'disabled', not 'loud'"),
        ({"resume": "maybe"}, ValueError, "resume must be one of never, allow, must, auto, not 'maybe'"),
        ({"reinit": "twice"}, ValueError, "reinit must be 'return_previous'"),
        ({"sink": "ftp://there"}, ValueError, "ftp"),
        ({"config": 3}, TypeError, "config can't be read from int"),
        ({"config": {"": 1}}, ValueError, "empty"),
        ({"tags": [1]}, TypeError, "a tag must be a string, not int: 1"),
        ({"colour": "red"}, TypeError, "no parameter 'colour'"),
    ],
)
def test_wrong_arguments_are_refused_at_the_call_and_leave_nothing_behind(
    folder: Path, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        start(**arguments)
    assert trackkit.run is None
    assert list(folder.iterdir()) == []


def test_a_wrong_redaction_rule_is_refused_before_a_run_exists(folder: Path) -> None:
    with pytest.raises(ValueError, match="the redaction rule '\\(' is no regular expression"):
        trackkit.init(settings={**QUIET, "redact_patterns": ["("]})
    assert list(folder.iterdir()) == []


def test_what_wandb_takes_and_means_nothing_here_is_ignored(folder: Path) -> None:
    with start(entity="team", save_code=True, anonymous="allow", force=True) as run:
        run.log({"loss": 1})

    assert runs(folder) == {run.id: "finished"}


# Resuming.


@pytest.fixture
def finished(folder: Path) -> Path:
    """A store with the finished run `abc` of two steps."""
    with start(project="digits", id="abc", name="first", tags=["a"], config={"lr": 0.1, "depth": 3}) as run:
        run.log({"loss": 2.0})
        run.log({"loss": 1.0})
        run.summary["score"] = 7
    return folder


def test_an_id_that_exists_is_refused_by_default(finished: Path) -> None:
    with pytest.raises(ValueError, match=r"run 'abc' exists in \.trackkit; pass resume='allow' to continue it"):
        start(project="digits", id="abc")
    with pytest.raises(ValueError, match="exists"):
        start(project="digits", id="abc", resume="never")


@pytest.mark.parametrize("resume", ["allow", "must"])
def test_a_resumed_run_goes_on_where_it_stopped(finished: Path, resume: Any) -> None:
    with start(id="abc", resume=resume, tags=["b"], config={"lr": 0.2}) as run:
        assert (run.resumed, run.step, run.name, run.tags) == (True, 2, "first", ("a", "b"))
        assert run.config.as_dict() == {"lr": 0.2, "depth": 3}
        assert (run.summary["loss"], run.summary["score"]) == (1.0, 7)
        run.log({"loss": 0.5})

    kept = trackkit.Api(finished / ".trackkit").run("digits/abc")
    assert kept.series("loss").step.tolist() == [0, 1, 2]
    assert kept.config == {"lr": 0.2, "depth": 3}
    assert dict(kept.summary) == {"loss": 0.5, "score": 7.0}
    assert (kept.state, kept.tags) == ("finished", ["a", "b"])


def test_resume_must_needs_a_run_and_allow_does_not(folder: Path) -> None:
    unknown = r"resume='must', but neither a journal nor sqlite: in \.trackkit knows the run 'abc'"
    with pytest.raises(ValueError, match=unknown):
        start(id="abc", resume="must")
    with start(id="abc", resume="allow") as run:
        assert not run.resumed
    assert runs(folder) == {"abc": "finished"}


def test_resume_auto_continues_what_did_not_finish_and_nothing_else(folder: Path) -> None:
    with start(project="digits", resume="auto") as first:
        first.log({"loss": 2.0})
        first.finish(exit_code=1)
    with start(project="other", resume="auto") as elsewhere:
        pass
    with start(project="digits", resume="auto") as second:
        second.log({"loss": 1.0})
    with start(project="digits", resume="auto") as third:
        pass

    assert second.id == first.id
    assert second.resumed
    assert len({first.id, elsewhere.id, third.id}) == 3
    assert runs(folder) == {first.id: "finished", elsewhere.id: "finished", third.id: "finished"}
    kept = trackkit.Api(folder / ".trackkit").run(f"digits/{first.id}")
    assert kept.series("loss").value.tolist() == [2.0, 1.0]


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_a_run_killed_after_going_back_is_resumed_from_there(folder: Path, run_script: RunScript, mode: str) -> None:
    run_script(f"""
        import os, signal, trackkit
        settings = {{"quiet": True, "system": False, "git": False, "packages": False}}
        run = trackkit.init(id="abc", mode="{mode}", settings=settings)
        for step in range(10):
            run.log({{"loss": step}})
        run.rewind(4)
        run.log({{"loss": 40}})
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    with start(id="abc", resume="must", mode=mode) as run:
        assert run.step == 5


def test_resume_from_continues_after_a_step(finished: Path) -> None:
    with start(resume_from="abc?_step=0") as run:
        assert (run.resumed, run.step) == (True, 1)
        run.log({"loss": 9.0})
    assert trackkit.Api().run("digits/abc").series("loss").value.tolist()[1:] == [9.0]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"resume_from": "abc"}, "resume_from must look like 'RUN_ID\\?_step=100', not 'abc'"),
        ({"resume_from": "abc?_step=1", "id": "abc"}, "leave out id and resume"),
        ({"resume_from": "abc?_step=1", "resume": "allow"}, "leave out id and resume"),
        ({"resume_from": "none?_step=1"}, "knows the run 'none'"),
    ],
)
def test_resume_from_says_what_is_wrong(finished: Path, arguments: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        start(**arguments)


KILLED = """
    import os, signal, sys
    import trackkit
    settings = {"quiet": True, "system": False, "git": False, "packages": False}
    run = trackkit.init(project="digits", resume="auto", config={"lr": 0.1}, mode=sys.argv[1], settings=settings)
    print(run.id, run.step, run.resumed, run.config.get("depth"), run.summary.get("loss"), flush=True)
    run.config.depth = 3
    run.define_metric("acc", summary="max")
    run.log({"loss": 1.0, "acc": 0.5})
    run.log({"loss": float(run.step)}, step=run.step)
    run.summary["note"] = "by hand"
    os.kill(os.getpid(), signal.SIGKILL)
    """


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_a_run_killed_a_moment_ago_is_resumed_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_script: RunScript, mode: Any
) -> None:
    first, second = run_script(KILLED, mode).stdout.split(), run_script(KILLED, mode).stdout.split()

    assert first[1:] == ["0", "False", "None", "None"]
    assert second == [first[0], "2", "True", "3", "1.0"]
    monkeypatch.chdir(tmp_path)
    with start(project="digits", resume="auto", mode=mode) as run:
        assert (run.id, run.step, run.resumed) == (first[0], 4, True)
        assert run.config.as_dict() == {"lr": 0.1, "depth": 3}
        assert run.summary.as_dict() == {"loss": 3.0, "acc.max": 0.5, "note": "by hand"}
        run.log({"loss": 4.0})
    if mode == "offline":
        sync([tmp_path / ".trackkit"])
    kept = trackkit.Api(tmp_path / ".trackkit").run(first[0])
    assert kept.state == "finished"
    assert kept.series("loss").step.tolist() == [0, 1, 2, 3, 4]


def test_an_offline_run_is_known_by_its_journal(folder: Path) -> None:
    with start(id="abc", mode="offline", project="digits", name="first", tags=["a"]) as run:
        run.log({"loss": 1.0}, step=41)

    with pytest.raises(ValueError, match=r"run 'abc' exists in \.trackkit"):
        start(id="abc", mode="offline")
    with start(id="abc", mode="offline", resume="must") as again:
        assert (again.step, again.name, again.project, again.tags) == (42, "first", "digits", ("a",))
    with pytest.raises(ValueError, match=r"no journal in \.trackkit knows the run 'xyz'"):
        start(id="xyz", mode="offline", resume="must")


def test_who_joins_a_run_that_goes_on_counts_steps_of_its_own(tmp_path: Path, run_script: RunScript) -> None:
    done = run_script(
        """
        import os, subprocess, sys
        import trackkit
        settings = {"system": False, "git": False, "packages": False, "interval": 0.05}
        run = trackkit.init(project="p", resume="allow", config={"lr": 0.1}, settings=settings)
        if len(sys.argv) == 1:
            for step in range(10):
                run.log({"first": step})
            environment = {**os.environ, "TRACKKIT_RUN_ID": run.id}
            subprocess.run([sys.executable, __file__, "joins"], env=environment, check=True)
        else:
            print(run.step, run.config.lr, run.joined)
            run.log({"second": 1.0})
        """
    )

    assert done.stdout == "0 0.1 True\n", done.stderr
    assert re.search(r"run p/\w+ is joined in \.trackkit", done.stderr)
    (run,) = trackkit.Api(tmp_path / ".trackkit").runs()
    assert run.series("second").step.tolist() == [0]


def test_resume_as_wandb_takes_it_is_understood(folder: Path) -> None:
    with start(resume=True) as first:
        first.finish(exit_code=1)
    with start(resume=True) as second:
        pass

    assert second.id == first.id


def test_the_environment_names_a_run_that_ranks_join(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKKIT_RUN_ID", "shared")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        with start(project="digits") as run:
            run.log({f"loss/{rank}": 1.0})

    kept = trackkit.Api(folder / ".trackkit").run("digits/shared")

    assert kept.keys() == ["loss/0", "loss/1"]
    assert run.settings.run_id == "shared"


def test_ranks_record_one_run_at_the_same_time(folder: Path, run_script: RunScript) -> None:
    done = run_script("""
        import os, subprocess, sys
        import trackkit

        if "RANK" in os.environ:
            rank = int(os.environ["RANK"])
            with trackkit.init(project="ddp", id="job", resume="allow", settings={"system": False}) as run:
                for step in range(500):
                    run.log({"loss": step + rank / 10, f"rank {rank}": 1.0})
        else:
            ranks = [subprocess.Popen([sys.executable, __file__], env={**os.environ, "RANK": str(r)}) for r in range(3)]
            sys.exit(max(rank.wait() for rank in ranks))
    """)

    assert done.returncode == 0, done.stderr
    run = trackkit.Api(folder / ".trackkit").run("ddp/job")
    assert len(run.series("loss").value) == 1500
    assert [len(run.series(f"rank {rank}").value) for rank in range(3)] == [500] * 3
    assert run.state == "finished"


# A run that goes on already.


def test_a_second_init_returns_the_run_that_goes_on_and_says_so(folder: Path) -> None:
    first = start(project="digits")

    with pytest.warns(RuntimeWarning, match=f"digits/{first.id} is still running, so init\\(\\) returns it"):
        second = start(project="digits")

    assert second is first


@pytest.mark.parametrize("reinit", [True, "finish_previous"])
def test_reinit_finishes_the_run_before(folder: Path, reinit: Any) -> None:
    first = start()
    second = start(reinit=reinit)

    assert (first.state, second.state) == ("finished", "running")
    assert trackkit.run is second


def test_runs_go_on_beside_each_other_where_asked(folder: Path) -> None:
    first = start()
    second = start(reinit="create_new")
    first.log({"loss": 1.0})
    second.log({"loss": 2.0})
    first.finish()
    assert trackkit.run is second
    second.finish()

    api = trackkit.Api(folder / ".trackkit")
    assert [api.run(run.id).series("loss").value.tolist() for run in (first, second)] == [[1.0], [2.0]]
    assert trackkit.run is None


# Modes and sinks.


def test_offline_keeps_the_journal_alone(folder: Path, read_journals: Any) -> None:
    with start(mode="offline", id="abc") as run:
        run.log({"loss": 1.0})

    assert len(read_journals(folder / ".trackkit")) >= 3
    assert not (folder / ".trackkit" / "trackkit.db").exists()


def test_the_journal_beside_other_sinks_changes_nothing(folder: Path) -> None:
    with start(id="abc", sink=["journal:", "sqlite:"]) as run:
        run.log({"loss": 1.0})

    assert runs(folder) == {"abc": "finished"}


def test_the_journal_as_the_sink_is_offline(folder: Path) -> None:
    with start(sink="journal:") as run:
        assert run.settings.mode == "offline"


def test_disabled_leaves_no_trace_and_behaves_like_a_run(folder: Path) -> None:
    with start(mode="disabled", config={"lr": 0.1}, tags=["a"], id="abc") as run:
        run.log({"loss": object()})
        run.config.lr = 0.2
        run.summary["score"] = 1
        run.define_metric("loss", summary="min")
        run.alert("slow")
        run.tags += ("b",)
        run.name = "new"
        assert (run.config.lr, run.summary["score"], run.tags, run.name) == (0.2, 1, ("a", "b"), "new")
        assert trackkit.run is run

    assert list(folder.iterdir()) == []
    assert run.state == "finished"


def test_a_run_is_recorded_by_every_sink(folder: Path) -> None:
    with start(sink=["sqlite:///a.db", "sqlite:///b.db"], id="abc") as run:
        run.log({"loss": 1.0})

    for name in ("a.db", "b.db"):
        assert trackkit.Api(folder / name).run("abc").series("loss").value.tolist() == [1.0]


def test_the_folder_can_be_elsewhere(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "deep" / "runs"
    with start(dir=elsewhere, id="abc"):
        pass

    assert trackkit.Api(elsewhere).run("abc").state == "finished"
    assert list(folder.iterdir()) == []


# The module's own functions.


def test_the_modules_functions_act_on_the_current_run(folder: Path) -> None:
    start(id="abc", project="digits")
    trackkit.config.lr = 0.1
    trackkit.config.update({"depth": 3})
    trackkit.define_metric("loss", summary="min")
    trackkit.log({"loss": 2.0})
    trackkit.log({"loss": 1.0}, step=10)
    trackkit.summary["score"] = 7
    trackkit.alert("slow", "very", level="warning")
    assert (trackkit.config["lr"], "depth" in trackkit.config, len(trackkit.config)) == (0.1, True, 2)
    assert trackkit.summary["loss.min"] == 1.0
    trackkit.finish()

    run = trackkit.Api(folder / ".trackkit").run("digits/abc")
    assert run.series("loss").step.tolist() == [0, 10]
    assert run.config == {"lr": 0.1, "depth": 3}
    assert dict(run.summary) == {"loss.min": 1.0, "score": 7.0}
    assert [alert.title for alert in run.alerts()] == ["slow"]


def test_without_a_run_the_modules_functions_say_what_to_call(folder: Path) -> None:
    assert trackkit.run is None
    trackkit.finish()
    assert repr(trackkit.config) == "<trackkit.config: no run>"
    for use in (
        lambda: trackkit.log({"loss": 1}),
        lambda: trackkit.alert("slow"),
        lambda: trackkit.define_metric("loss"),
        lambda: trackkit.config["lr"],
        lambda: trackkit.summary.update({"a": 1}),
    ):
        with pytest.raises(RuntimeError, match=r"call trackkit\.init\(\) first"):
            use()


def test_one_line_says_where_the_run_is_recorded(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loud = {**QUIET, "quiet": False}
    with trackkit.init(project="digits", id="abc", settings=loud):
        pass
    with trackkit.init(project="digits", id="abc", resume="must", settings=loud):
        pass
    with trackkit.init(project="digits", id="off", mode="offline", settings=loud):
        pass

    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "trackkit: run digits/abc is recorded in .trackkit"
    assert lines[1] == "trackkit: run digits/abc resumes in .trackkit"
    assert lines[2].startswith("trackkit: run digits/off is recorded in .trackkit, offline")


class Terminal(io.StringIO):
    """Standard error that is a terminal."""

    def isatty(self) -> bool:
        return True


SERVER = "http://127.0.0.1:9"


@pytest.fixture
def sent_to_a_server(folder: Path) -> Iterator[Callable[[], trackkit.Run]]:
    """Starts a run that is sent to a server, which is away."""
    started: list[trackkit.Run] = []

    def start() -> trackkit.Run:
        started.append(trackkit.init(project="digits", sink=SERVER, settings={**QUIET, "quiet": False}))
        return started[-1]

    yield start
    with pytest.warns(RuntimeWarning, match="not delivered yet"):
        started[0].finish(timeout=0)


def test_the_run_s_page_is_a_link_in_terminals_and_plain_elsewhere(
    sent_to_a_server: Callable[[], trackkit.Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm-256color")

    run = sent_to_a_server()

    assert run.url == f"{SERVER}/runs/{run.id}"
    assert f"see it at \x1b]8;;{run.url}\x1b\\{run.url}\x1b]8;;\x1b\\\n" in terminal.getvalue()


@pytest.mark.parametrize("term", ["dumb", None])
def test_the_run_s_page_is_plain_text_where_no_terminal_makes_links(
    sent_to_a_server: Callable[[], trackkit.Run], monkeypatch: pytest.MonkeyPatch, term: str | None
) -> None:
    written = Terminal() if term else io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    monkeypatch.setenv("TERM", term or "xterm")

    run = sent_to_a_server()

    assert f"see it at {run.url}\n" in written.getvalue()
    assert "\x1b" not in written.getvalue()


def test_a_notebook_shows_a_link_at_the_start_and_the_page_where_the_run_is_shown(
    sent_to_a_server: Callable[[], trackkit.Run], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown: list[str] = []
    notebook, display = types.ModuleType("IPython"), types.ModuleType("IPython.display")
    notebook.get_ipython = lambda: types.SimpleNamespace(kernel=object())  # type: ignore[attr-defined]
    display.HTML, display.display = str, shown.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    monkeypatch.setitem(sys.modules, "IPython.display", display)

    run = sent_to_a_server()

    assert f'href="{run.url}"' in shown[0]
    assert "see it at" not in capsys.readouterr().err
    assert f'<iframe src="{run.url}"' in run._repr_html_()
    assert f'href="{run.url}"' in run._repr_html_()


def test_a_run_without_a_page_is_shown_by_what_it_is(folder: Path) -> None:
    with trackkit.init(project="<digits>", settings=QUIET) as run:
        assert run._repr_html_().startswith("<code>&lt;trackkit run &lt;digits&gt;/")


@pytest.mark.parametrize("sink", ["http://", "https://host:port", "http://a,,b"])
def test_an_address_of_no_server_is_refused_before_a_run_exists(folder: Path, sink: str) -> None:
    with pytest.raises(ValueError, match="is no address of a server"):
        trackkit.init(sink=sink, settings=QUIET)

    assert list(folder.iterdir()) == []


def test_a_store_that_can_not_be_made_does_not_stop_the_script(folder: Path, run_script: RunScript) -> None:
    (folder / "file").write_text("not a folder")
    done = run_script("""
        import trackkit
        run = trackkit.init(dir="file/runs", settings={"system": False, "finish_timeout": 1})
        for step in range(10):
            run.log({"loss": step})
        run.finish()
        print("trained")
    """)

    assert (done.returncode, done.stdout) == (0, "trained\n"), done.stderr
    assert "trackkit:" in done.stderr
    assert sorted(os.listdir(folder)) == ["file", "script.py"]


def test_a_run_can_be_the_current_one_for_a_while(folder: Path) -> None:
    with start(project="p") as parent:
        child = session.beside(parent, name="trial")
        with session.current_for(child):
            assert session.current() is child
        assert session.current() is parent
        with session.current_for(child):
            child.finish()
            assert session.current() is None
        assert session.current() is parent


def test_a_run_is_current_again_after_those_that_began_later(folder: Path) -> None:
    first = start()
    second = start(reinit="create_new")
    third = start(reinit="create_new")
    second.finish()
    third.finish()

    trackkit.log({"loss": 1.0})

    assert trackkit.run is first
    first.finish()
    assert trackkit.run is None
    assert trackkit.Api().run(first.path).series("loss").value.tolist() == [1.0]


def test_a_resumed_run_stays_in_its_project(folder: Path) -> None:
    with start(project="digits", id="a"):
        pass

    with pytest.warns(RuntimeWarning, match="is of the project 'digits' and stays there, not 'other'"):
        run = start(project="other", id="a", resume="must")
    run.finish()

    assert run.path == "digits/a"
    assert trackkit.Api().run("digits/a").state == "finished"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"notes": "x" * 11_000_000}, "notes has 11,000,000 bytes; the limit is 10,485,760"),
        ({"group": "x" * 11_000_000}, "group has 11,000,000 bytes"),
        ({"config": {"lr": 1, "data": "x" * 50_000_000}}, "'data' is the largest of it"),
    ],
)
def test_what_is_too_large_to_keep_is_refused_by_name(folder: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        start(**arguments)

    assert trackkit.run is None
    start().finish()


def test_a_disabled_run_takes_artifacts_and_stages_nothing(folder: Path) -> None:
    (folder / "model.pt").write_bytes(b"weights")
    made = trackkit.Artifact("data", "dataset")
    with start(mode="disabled") as run:
        assert run.log_artifact(made, aliases=["best"]).wait() is made
        assert run.log_artifact("model.pt", name="model", type="model").wait(1).type == "model"
        assert run.upsert_artifact("model.pt", name="model", type="model").wait(1) is not None
        assert run.use_artifact(made) is made
        assert run.link_artifact(made, "registry/data") is made
        with pytest.raises(trackkit.core.artifact_facts.ArtifactNotLogged, match="disabled run"):
            run.use_artifact("data:latest")

    assert not (folder / ".trackkit").exists()


@pytest.mark.parametrize(
    ("settings", "absent"),
    [
        ({"system": False}, "system"), ({"git": False}, "git"), ({"packages": False}, "packages"),
        ({"code": False}, "code"), ({"console": "off"}, "console"),
    ],
)  # fmt: skip
def test_each_part_of_what_is_captured_can_be_turned_off(
    tmp_path: Path, run_script: RunScript, settings: dict[str, Any], absent: str
) -> None:
    done = run_script(
        f"""
        import os, subprocess, time, trackkit
        subprocess.run("git init -q && git add -A", shell=True, check=True)
        settings = {{"quiet": True, "system_interval": 0.1, **{settings!r}}}
        with trackkit.init(dir="store", settings=settings) as run:
            print("seen")
            end = time.monotonic() + 20
            while settings.get("system", True) and time.monotonic() < end:
                try:
                    if trackkit.Api("store").run(run.path).system:
                        break
                except (FileNotFoundError, KeyError):
                    pass
                time.sleep(0.1)
        """
    )
    assert done.returncode == 0, done.stderr

    (run,) = trackkit.Api(tmp_path / "store").runs()

    there = {
        "system": bool(run.system), "git": "git" in run.metadata, "packages": "packages" in run.metadata,
        "code": any(file.path == "script.py" for file in run.files()), "console": bool(run.console()),
    }  # fmt: skip
    assert there == {name: name != absent for name in there}


def test_slow_git_delays_no_start(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "bin").mkdir()
    slow = folder / "bin/git"
    slow.write_text("#!/bin/sh\nsleep 2\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
    began = time.monotonic()
    run = trackkit.init(settings={**QUIET, "git": True})
    run.log({"loss": 1.0})
    took = time.monotonic() - began
    run.finish()

    assert took < 1.5
