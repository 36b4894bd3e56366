import contextlib
import functools
import io
import logging
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from trackkit.core.console import PIECE_BYTES, ConsoleCapture, collapse


class Received:
    """What a capture handed on."""

    def __init__(self) -> None:
        self.pieces: list[tuple[str, str]] = []

    def __call__(self, stream: str, text: str) -> None:
        self.pieces.append((stream, text))

    def text(self, stream: str = "stdout") -> str:
        return "".join(text for source, text in self.pieces if source == stream)


@pytest.fixture
def received() -> Received:
    return Received()


@pytest.fixture
def terminal() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="surrogateescape", write_through=True)


def at_a_terminal(test: Callable[..., None]) -> Callable[..., None]:
    """Runs a test with `terminal` in the place of stdout; pytest puts its own there after the fixtures are made."""

    @functools.wraps(test)
    def run(*, terminal: io.TextIOWrapper, **fixtures: Any) -> None:
        with contextlib.redirect_stdout(terminal):
            test(terminal=terminal, **fixtures)

    return run


def shown(terminal: io.TextIOWrapper) -> str:
    assert isinstance(terminal.buffer, io.BytesIO)
    return terminal.buffer.getvalue().decode("utf-8", "surrogateescape")


@contextlib.contextmanager
def capturing(received: Received, mode: str = "wrap") -> Iterator[ConsoleCapture]:
    capture = ConsoleCapture(received, mode)
    capture.start()
    try:
        yield capture
    finally:
        capture.stop()


def run_script(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    forks = ["-W", "ignore:This process:DeprecationWarning"]  # since Python 3.12, in a process with threads
    return subprocess.run(
        [sys.executable, *forks, "-c", textwrap.dedent(script), *arguments],
        capture_output=True,
        text=True,
        timeout=30,
    )


@at_a_terminal
def test_lines_are_handed_on_and_still_shown(terminal: io.TextIOWrapper, received: Received) -> None:
    with capturing(received):
        print("hello", 1)
        print("wrong", file=sys.stderr)

    assert received.pieces == [("stdout", "hello 1\n"), ("stderr", "wrong\n")]
    assert shown(terminal) == "hello 1\n"


@at_a_terminal
def test_a_line_after_a_pause_is_handed_on_at_once(terminal: io.TextIOWrapper, received: Received) -> None:
    with capturing(received):
        print("first")

        assert received.text() == "first\n"


@at_a_terminal
def test_a_burst_of_lines_is_handed_on_in_few_pieces(terminal: io.TextIOWrapper, received: Received) -> None:
    with capturing(received) as capture:
        for number in range(2000):
            print(number)
        capture.flush()

    assert received.text() == "".join(f"{number}\n" for number in range(2000))
    assert len(received.pieces) < 200


@at_a_terminal
def test_text_without_a_newline_waits_for_one_or_for_a_flush(terminal: io.TextIOWrapper, received: Received) -> None:
    with capturing(received) as capture:
        print("a", end="")
        assert received.pieces == []
        print("b")
        capture.flush()
        assert received.text() == "ab\n"
        print("c", end="")
        capture.flush()
        assert received.text() == "ab\nc"


@at_a_terminal
def test_text_left_at_the_end_is_handed_on_by_stop(terminal: io.TextIOWrapper, received: Received) -> None:
    with capturing(received):
        print("no newline", end="")

    assert received.text() == "no newline"


@at_a_terminal
def test_a_progress_bar_costs_one_line_per_flush(terminal: io.TextIOWrapper, received: Received) -> None:
    with capturing(received) as capture:
        for second in range(3):
            for tenth in range(10):
                sys.stdout.write(f"\r step {second}.{tenth}")
            capture.flush()
        sys.stdout.write("\n")

    assert [text for _, text in received.pieces] == [" step 0.9", "\r step 1.9", "\r step 2.9", "\n"]
    assert collapse(received.text()) == " step 2.9\n"


@at_a_terminal
@pytest.mark.parametrize("flush_every", [1, 2, 3, 7, 100])
def test_what_is_kept_of_redrawn_lines_shows_what_the_whole_would(
    terminal: io.TextIOWrapper, received: Received, flush_every: int
) -> None:
    writes = ["start ", "\r 10% long tail", "\r 20%", "\n", "x", "y\r", "z\r", "ab\rc", "\r\x1b[K 30%", "\r 4", "\r\n"]
    writes += ["plain\n", "one\rtwo\nthree\r", "f", "\x1b[31mred\x1b[0m\rR", "\n\r a\x1b[A\r b", "\r c\n\n", "end"]
    with capturing(received) as capture:
        for number, text in enumerate(writes, 1):
            sys.stdout.write(text)
            if number % flush_every == 0:
                capture.flush()

    assert collapse(received.text()) == collapse("".join(writes))


@at_a_terminal
def test_raw_keeps_every_character(terminal: io.TextIOWrapper, received: Received) -> None:
    with capturing(received, "raw"):
        sys.stdout.write("\r 1%\r 2%\b\x1b[K")
        sys.stdout.write("\r\n")

    assert received.text() == "\r 1%\r 2%\b\x1b[K\r\n"


@at_a_terminal
def test_off_takes_nothing(terminal: io.TextIOWrapper, received: Received) -> None:
    with capturing(received, "off") as capture:
        print("hello")
        capture.flush()

    assert received.pieces == []


def test_an_unknown_mode_is_refused(received: Received) -> None:
    with pytest.raises(ValueError, match=r"'loud' is unknown; choose one of wrap, raw, redirect, off"):
        ConsoleCapture(received, "loud")


@at_a_terminal
def test_the_stream_stays_the_same_object_with_its_attributes(terminal: io.TextIOWrapper, received: Received) -> None:
    with capturing(received):
        assert sys.stdout is terminal
        assert sys.stdout.encoding == "utf-8"
        assert not sys.stdout.isatty()
        assert sys.stdout.write("four") == 4
        sys.stdout.writelines(["a\n", "b\n"])

    assert "write" not in vars(terminal)
    assert received.text() == "foura\nb\n"


@at_a_terminal
def test_a_handler_that_holds_the_stream_is_heard(terminal: io.TextIOWrapper, received: Received) -> None:
    logger = logging.Logger("made before")
    logger.addHandler(logging.StreamHandler(terminal))
    with capturing(received):
        logger.warning("careful")

    assert received.text() == "careful\n"


@at_a_terminal
def test_a_stream_put_in_place_later_is_heard_from_the_next_flush(
    terminal: io.TextIOWrapper, received: Received, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = io.TextIOWrapper(io.BytesIO(), write_through=True)
    with capturing(received) as capture:
        print("one")
        monkeypatch.setattr(sys, "stdout", other)
        capture.flush()
        print("two")

    assert received.text() == "one\ntwo\n"
    assert "write" not in vars(other)


@at_a_terminal
def test_a_stream_that_writes_to_the_captured_one_is_heard_once(
    terminal: io.TextIOWrapper, received: Received, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Tee:
        def write(self, text: str) -> int:
            return terminal.write(text)

        def flush(self) -> None:
            terminal.flush()

    with capturing(received) as capture:
        monkeypatch.setattr(sys, "stdout", Tee())
        capture.flush()
        print("once")

    assert received.text() == "once\n"
    assert shown(terminal) == "once\n"


@at_a_terminal
def test_text_redirected_into_a_string_is_not_taken(terminal: io.TextIOWrapper, received: Received) -> None:
    with capturing(received) as capture, contextlib.redirect_stdout(io.StringIO()) as held:
        capture.flush()
        print("private")

    assert held.getvalue() == "private\n"
    assert received.pieces == []


def test_a_missing_stream_is_no_fault(received: Received, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with capturing(received):
        print("nowhere")
        print("here", file=sys.stderr)

    assert received.pieces == [("stderr", "here\n")]


def test_a_stream_that_cannot_be_tapped_is_left_alone(received: Received, monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed:
        __slots__ = ()

        def write(self, text: str) -> int:
            return len(text)

    monkeypatch.setattr(sys, "stdout", Closed())
    with capturing(received):
        print("unheard")

    assert received.pieces == []


@at_a_terminal
@pytest.mark.parametrize("first_to_stop", [0, 1])
def test_two_captures_stop_in_any_order(terminal: io.TextIOWrapper, first_to_stop: int) -> None:
    received = [Received(), Received()]
    captures = [ConsoleCapture(each) for each in received]
    for capture in captures:
        capture.start()
    print("both")
    captures[first_to_stop].stop()
    print("one")
    captures[1 - first_to_stop].stop()
    print("none")

    assert received[first_to_stop].text() == "both\n"
    assert received[1 - first_to_stop].text() == "both\none\n"
    assert "write" not in vars(terminal)


@at_a_terminal
def test_a_wrapper_put_on_top_by_somebody_else_stays(terminal: io.TextIOWrapper, received: Received) -> None:
    heard: list[str] = []
    with capturing(received) as capture:
        beneath = terminal.write

        def write(text: str) -> int:
            heard.append(text)
            return beneath(text)

        terminal.write = write  # type: ignore[method-assign]
        capture.flush()
        print("one")
    print("two")

    assert received.text() == "one\n"
    assert "".join(heard) == "one\ntwo\n"
    assert shown(terminal) == "one\ntwo\n"


@at_a_terminal
def test_starting_and_stopping_twice_changes_nothing(terminal: io.TextIOWrapper, received: Received) -> None:
    capture = ConsoleCapture(received)
    capture.start()
    capture.start()
    print("once")
    capture.stop()
    capture.stop()
    capture.flush()

    assert received.text() == "once\n"


@at_a_terminal
def test_a_receiver_that_prints_is_not_heard_itself(terminal: io.TextIOWrapper) -> None:
    heard: list[str] = []

    def emit(stream: str, text: str) -> None:
        heard.append(text)
        print("got", text, end="")
        logging.getLogger("receiver").warning("got %s", text)

    capture = ConsoleCapture(emit)
    capture.start()
    print("hello")
    capture.flush()
    capture.stop()

    assert heard == ["hello\n"]
    assert shown(terminal) == "hello\ngot hello\n"


@at_a_terminal
def test_a_receiver_that_fails_does_not_fail_print(terminal: io.TextIOWrapper) -> None:
    def emit(stream: str, text: str) -> None:
        raise OSError("disk full")

    capture = ConsoleCapture(emit)
    capture.start()
    print("hello")
    capture.stop()

    assert shown(terminal) == "hello\n"


@at_a_terminal
def test_an_error_of_the_stream_itself_reaches_the_caller(terminal: io.TextIOWrapper, received: Received) -> None:
    with capturing(received):
        terminal.close()
        with pytest.raises(ValueError, match="closed file"):
            print("hello")

    assert received.pieces == []


@at_a_terminal
def test_lines_of_many_threads_arrive_whole(terminal: io.TextIOWrapper, received: Received) -> None:
    def work(name: int) -> None:
        for number in range(500):
            sys.stdout.write(f"{name}:{number}\n")

    with capturing(received) as capture:
        threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            capture.flush()
        for thread in threads:
            thread.join()

    lines = received.text().splitlines()
    assert sorted(lines) == sorted(f"{name}:{number}" for name in range(8) for number in range(500))
    for name in range(8):
        assert [line for line in lines if line.startswith(f"{name}:")] == [f"{name}:{n}" for n in range(500)]


@at_a_terminal
def test_a_print_never_waits_for_a_receiver_that_is_stuck(terminal: io.TextIOWrapper) -> None:
    entered, release = threading.Event(), threading.Event()
    heard: list[str] = []

    def emit(stream: str, text: str) -> None:
        heard.append(text)
        entered.set()
        release.wait(10)

    capture = ConsoleCapture(emit)
    capture.start()
    stuck = threading.Thread(target=print, args=("first",))
    stuck.start()
    entered.wait(10)
    print("second")
    release.set()
    stuck.join()
    capture.stop()

    assert "".join(heard) == "first\nsecond\n"


@at_a_terminal
def test_what_a_stuck_receiver_cannot_take_is_bounded_and_counted(terminal: io.TextIOWrapper) -> None:
    entered, release = threading.Event(), threading.Event()
    sizes: list[int] = []

    def emit(stream: str, text: str) -> None:
        sizes.append(len(text))
        entered.set()
        release.wait(10)

    capture = ConsoleCapture(emit)
    capture.start()
    stuck = threading.Thread(target=print, args=("first",))
    stuck.start()
    entered.wait(10)
    for _ in range(40):
        sys.stdout.write("x" * (1 << 20))
    release.set()
    stuck.join()
    capture.stop()

    assert capture.dropped > 0
    assert capture.dropped + sum(sizes) == len("first\n") + (40 << 20)


@at_a_terminal
@pytest.mark.parametrize("mode", ["wrap", "raw"])
@pytest.mark.parametrize("text", ["x" * (3 << 20), "ü" * (1 << 20), ("line\n" * 700_000), "a\r" * 300_000])
def test_a_piece_is_never_longer_than_a_mebibyte(
    terminal: io.TextIOWrapper, received: Received, mode: str, text: str
) -> None:
    with capturing(received, mode):
        sys.stdout.write(text)

    assert max(len(piece.encode()) for _, piece in received.pieces) <= PIECE_BYTES
    assert collapse(received.text()) == collapse(text)


@at_a_terminal
def test_characters_utf8_cannot_hold_are_spelled_out(terminal: io.TextIOWrapper, received: Received) -> None:
    with capturing(received):
        print("caf\udce9")

    assert received.text() == "caf\\udce9\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_forgets_what_the_parent_had_gathered() -> None:
    done = run_script(
        """
        import os, sys, threading
        from trackkit.core.console import ConsoleCapture
        heard, entered, release = [], threading.Event(), threading.Event()
        def emit(stream, text):
            heard.append(text)
            entered.set()
            release.wait(10)
        capture = ConsoleCapture(emit)
        capture.start()
        stuck = threading.Thread(target=print, args=("of the parent",))
        stuck.start()
        entered.wait(10)
        print("left in the parent")
        child = os.fork()
        if child == 0:
            heard.clear()
            release = threading.Event()
            release.set()
            capture.after_fork_in_child()
            print("of the child", end="")
            capture.flush()
            os._exit(0 if heard == ["of the child"] else 1)
        release.set()
        stuck.join()
        _, status = os.waitpid(child, 0)
        capture.stop()
        assert "".join(heard) == "of the parent\\nleft in the parent\\n", heard
        sys.exit(os.waitstatus_to_exitcode(status))
        """
    )

    assert done.returncode == 0, done.stderr


REDIRECT = """
    import ctypes, json, os, subprocess, sys, time
    from trackkit.core.console import ConsoleCapture
    heard = {"stdout": [], "stderr": []}
    capture = ConsoleCapture(lambda stream, text: heard[stream].append(text), "redirect")
    def report():
        with open(sys.argv[1], "w") as file:
            json.dump({stream: "".join(pieces) for stream, pieces in heard.items()}, file)
"""


def run_redirected(tmp_path: os.PathLike[str], body: str) -> tuple[subprocess.CompletedProcess[str], dict[str, str]]:
    import json

    report = os.path.join(tmp_path, "report.json")
    done = run_script(textwrap.dedent(REDIRECT) + textwrap.dedent(body), report)
    assert done.returncode == 0, done.stderr
    with open(report) as file:
        return done, json.load(file)


needs_tee = pytest.mark.skipif(os.name != "posix", reason="descriptors are redirected on POSIX")


@needs_tee
def test_redirect_hears_python_c_and_child_processes(tmp_path: os.PathLike[str]) -> None:
    done, heard = run_redirected(
        tmp_path,
        """
        capture.start()
        print("python")
        sys.stdout.flush()
        ctypes.CDLL(None).puts(b"library")
        ctypes.CDLL(None).fflush(None)
        os.system("echo child; echo wrong >&2")
        print("last", end="")
        capture.stop()
        print("after")
        report()
        """,
    )

    assert heard == {"stdout": "python\nlibrary\nchild\nlast", "stderr": "wrong\n"}
    assert done.stdout == "python\nlibrary\nchild\nlastafter\n"
    assert done.stderr == "wrong\n"


@needs_tee
def test_redirect_is_not_stopped_by_code_that_prints_with_the_interpreter_locked(tmp_path: os.PathLike[str]) -> None:
    done, heard = run_redirected(
        tmp_path,
        """
        capture.start()
        locked = ctypes.PyDLL(None)
        text = b"x" * 1023 + b"\\n"
        for _ in range(4096):
            locked.write(1, text, len(text))
        capture.stop()
        report()
        """,
    )

    assert len(heard["stdout"]) == len(done.stdout) == 4 << 20


@needs_tee
def test_redirect_hands_on_while_it_runs(tmp_path: os.PathLike[str]) -> None:
    _, heard = run_redirected(
        tmp_path,
        """
        capture.start()
        os.write(1, b"early\\n")
        deadline = time.monotonic() + 10
        while not heard["stdout"] and time.monotonic() < deadline:
            capture.flush()
        report()
        capture.stop()
        """,
    )

    assert heard["stdout"] == "early\n"


@needs_tee
@pytest.mark.parametrize("closed", [[1], [2], [1, 2], [0, 1, 2]])
def test_redirect_lives_with_closed_descriptors(tmp_path: os.PathLike[str], closed: list[int]) -> None:
    _, heard = run_redirected(
        tmp_path,
        f"""
        for descriptor in {closed}:
            os.close(descriptor)
        capture.start()
        for descriptor in (1, 2):
            try:
                os.write(descriptor, b"text\\n")
            except OSError:
                pass
        capture.stop()
        report()
        """,
    )

    assert heard == {"stdout": "" if 1 in closed else "text\n", "stderr": "" if 2 in closed else "text\n"}


@needs_tee
@pytest.mark.parametrize("first_to_stop", [0, 1])
def test_two_redirects_stop_in_any_order(tmp_path: os.PathLike[str], first_to_stop: int) -> None:
    done, heard = run_redirected(
        tmp_path,
        f"""
        others = []
        pair = [capture, ConsoleCapture(lambda stream, text: others.append(text), "redirect")]
        for each in pair: each.start()
        os.write(1, b"both\\n")
        pair[{first_to_stop}].stop()
        os.write(1, b"one\\n")
        pair[1 - {first_to_stop}].stop()
        os.write(1, b"none\\n")
        heard["stderr"] = others
        report()
        """,
    )

    texts = [heard["stdout"], heard["stderr"]]
    assert texts[first_to_stop] == "both\n"
    assert texts[1 - first_to_stop] == "both\none\n"
    assert done.stdout == "both\none\nnone\n"


@needs_tee
def test_a_child_process_that_outlives_a_redirect_still_reaches_the_terminal(tmp_path: os.PathLike[str]) -> None:
    done, heard = run_redirected(
        tmp_path,
        """
        capture.start()
        child = subprocess.Popen(["sh", "-c", "read line; echo $line"], stdin=subprocess.PIPE, text=True)
        started = time.monotonic()
        capture.stop()
        assert time.monotonic() - started < 5
        child.communicate("late\\n")
        report()
        """,
    )

    assert heard["stdout"] == ""
    assert done.stdout == "late\n"


@needs_tee
def test_redirect_keeps_a_terminal_a_terminal(tmp_path: os.PathLike[str]) -> None:
    import pty

    script = textwrap.dedent(REDIRECT) + textwrap.dedent(
        """
        capture.start()
        print(sys.stdout.isatty())
        capture.stop()
        report()
        """
    )
    master, slave = pty.openpty()
    report = os.path.join(tmp_path, "report.json")
    subprocess.run([sys.executable, "-c", script, report], stdout=slave, check=True, timeout=30)
    os.close(slave)
    seen = os.read(master, 1000)
    os.close(master)

    assert seen == b"True\r\n"
    with open(report) as file:
        assert '"True\\n"' in file.read()


@needs_tee
def test_a_forked_child_of_a_redirected_run_is_heard_by_the_parent(tmp_path: os.PathLike[str]) -> None:
    _, heard = run_redirected(
        tmp_path,
        """
        capture.start()
        child = os.fork()
        if child == 0:
            capture.after_fork_in_child()
            print("of the child")
            capture.flush()
            capture.stop()
            sys.stdout.flush()
            os._exit(len(heard["stdout"]))
        assert os.waitpid(child, 0)[1] == 0
        os.write(1, b"of the parent\\n")
        capture.stop()
        report()
        """,
    )

    assert heard["stdout"] == "of the child\nof the parent\n"


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("plain\ntext\n", "plain\ntext\n"),
        ("  0%\r 50%\r100%\ndone\n", "100%\ndone\n"),
        ("long text\rshort\n", "shorttext\n"),
        ("windows\r\nlines\r\n", "windows\nlines\n"),
        ("abc\b\bX\n", "aXc\n"),
        ("\b\bx", "x"),
        ("long text\r\x1b[Kx\n", "x\n"),
        ("long text\x1b[2K\rx\n", "x\n"),
        ("abcdef\x1b[3D\x1b[K\n", "abc\n"),
        ("abcdef\x1b[2GX\n", "aXcdef\n"),
        ("a\x1b[2Cb\n", "a  b\n"),
        ("one\ntwo\n\x1b[2A\x1b[2K1\n\x1b[2K2\n", "1\n2\n"),
        (" 0%\n 0%\x1b[A\r50%\n\r99%\x1b[A\r100%\n\n", "100%\n99%\n"),
        ("kept\nold\nolder\x1b[1A\r\x1b[Jnew\n", "kept\nnew\n"),
        ("\x1b[5Aup\n", "up\n"),
        ("\x1b[31mred\x1b[0m plain\n", "\x1b[31mred\x1b[0m plain\n"),
        ("\x1b[31mred\x1b[0m\r\x1b[32mgreen\x1b[0m\n", "\x1b[32mgreen\x1b[0m\n"),
        ("\x1b[1;31mabc\x1b[0m\rx\n", "x\x1b[1;31mbc\x1b[0m\n"),
        ("\x1b[?25lhidden\x1b[?25h\n", "hidden\n"),
        ("\x1b]8;;https://x.org\x07link\x1b]8;;\x07\n", "link\n"),
        ("cut \x1b[", "cut "),
        ("█▌ 10%\r██ 20%\n", "██ 20%\n"),
        ("", ""),
    ],
)
def test_collapse_shows_what_a_terminal_would(text: str, seen: str) -> None:
    assert collapse(text) == seen


@pytest.mark.parametrize(
    "unit",
    ["\r  42%|" + "█" * 40 + " | 420/1000", "\n\r 42%\x1b[A\r 43%", "a\b", "\x1b[31m", "\r", "\x1b[9999Bx", "x\x1b[2K"],
)
def test_collapse_takes_linear_time(unit: str) -> None:
    def seconds(size: int) -> float:
        text = unit * (size // len(unit))
        started = time.thread_time()
        collapse(text)
        return time.thread_time() - started

    small = max(min(seconds(60_000) for _ in range(3)), 1e-3)

    assert seconds(480_000) < 40 * small


def test_five_megabytes_of_progress_bars_collapse_to_their_last_state() -> None:
    bars = "".join(f"\r{percent % 100:3}%|{'█' * 20}|" for percent in range(200_000))

    assert len(bars) > 5_000_000
    assert collapse(bars) == f" 99%|{'█' * 20}|"
