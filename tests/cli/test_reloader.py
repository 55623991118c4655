"""`taskflow worker --reload`: which files are watched, and what happens when one changes."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from taskflow.cli import reloader as reloader_module
from taskflow.cli.main import main
from taskflow.cli.reloader import Reloader, changed, state_of, watched_roots


def test_every_python_file_is_watched_but_not_those_of_environments_and_tools(tmp_path: Path) -> None:
    kept = ["tasks.py", "shop/mail.py", "shop/new/deep.py"]
    left_out = [".venv/a.py", "env/lib/b.py", "shop/__pycache__/c.py", "node_modules/d.py", "tasks.txt"]
    for name in (*kept, *left_out, "env/pyvenv.cfg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    assert set(state_of([tmp_path])) == {str(tmp_path / name) for name in kept}


def test_what_was_written_made_or_removed_has_changed(tmp_path: Path) -> None:
    for name in ("a.py", "b.py", "c.py"):
        (tmp_path / name).write_text("1")
    before = state_of([tmp_path])
    assert changed(before, state_of([tmp_path])) == []
    (tmp_path / "a.py").write_text("12")
    (tmp_path / "b.py").unlink()
    (tmp_path / "d.py").write_text("1")
    os.utime(tmp_path / "c.py", ns=(1, 1))  # the same size, another time
    assert [Path(path).name for path in changed(before, state_of([tmp_path]))] == ["a.py", "b.py", "c.py", "d.py"]


def test_packages_that_are_imported_from_elsewhere_are_watched_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, source = tmp_path / "here", tmp_path / "src"
    (here / "mine").mkdir(parents=True)
    (here / "mine" / "__init__.py").write_text("")
    (source / "theirs").mkdir(parents=True)
    (source / "theirs" / "__init__.py").write_text("raise AssertionError('it is not imported for this')")
    (source / "single.py").write_text("")
    monkeypatch.syspath_prepend(str(source))
    monkeypatch.syspath_prepend(str(here))
    roots = watched_roots(["theirs.tasks", "theirs.mail", "single", "mine.tasks", "missing.tasks"], here)
    assert roots == [here, source / "theirs", source / "single.py"]
    assert {Path(path).name for path in state_of(roots)} == {"__init__.py", "single.py"}


@pytest.fixture
def reloader(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Reload a program, which is given as text and appends a line to `out` when it starts."""
    running: list[tuple[Reloader, threading.Thread]] = []

    def begin(program: str) -> Path:
        out = tmp_path / "out"
        out.touch()
        own = Reloader([sys.executable, "-c", program, str(out)], [tmp_path], 1.0)
        thread = threading.Thread(target=own.run)
        thread.start()
        running.append((own, thread))
        return out

    yield begin
    for own, thread in running:
        own.stop()
        thread.join(20)
        assert not thread.is_alive()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.02)


def test_a_program_that_ended_is_started_by_the_next_change(
    reloader: Callable[[str], Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = reloader("import sys; open(sys.argv[1], 'a').write('started\\n'); sys.exit(3)")
    said = ""

    def told() -> bool:
        nonlocal said
        said += capfd.readouterr().err
        return "ended with exit code 3; it is started again when a file changes" in said

    wait_for(told)
    assert out.read_text() == "started\n"
    (tmp_path / "tasks.py").write_text("x = 1")
    wait_for(lambda: out.read_text() == "started\n" * 2)


def test_a_program_that_does_not_end_in_time_is_killed(
    reloader: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskflow.cli.reloader.GRACE_SECONDS", -0.5)
    out = reloader(
        "import os, signal, sys\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "open(sys.argv[1], 'a').write(f'{os.getpid()}\\n')\nsignal.pause()"
    )
    wait_for(lambda: out.read_text().count("\n") == 1)
    first = int(out.read_text())
    (tmp_path / "tasks.py").write_text("x = 1")
    wait_for(lambda: out.read_text().count("\n") == 2)
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)


def test_the_worker_that_is_started_again_has_the_flags_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[list[str], tuple[str, ...], float]] = []
    monkeypatch.setattr(reloader_module, "run_reloading", lambda *arguments: started.append(arguments) or 7)
    monkeypatch.setenv("DATABASE_URL", "postgresql://localhost/never_asked")
    flags = ["--import", "a,b.tasks", "--queues", "x,y", "--concurrency", "3", "--no-leader", "--metrics-port", "9000"]
    assert CliRunner().invoke(main, ["worker", "--reload", *flags]).exit_code == 7
    assert CliRunner().invoke(main, ["worker", "--reload", "--drain-timeout", "1"]).exit_code == 7
    (first, imports, seconds), (second, _, short) = started
    assert first[:4] == [sys.executable, "-m", "taskflow", "worker"]
    given = dict(zip(first[5::2], first[6::2], strict=True))
    assert first[4] == "--no-leader"
    expected = {"--import": "a,b.tasks", "--queues": "x,y", "--concurrency": "3", "--metrics-port": "9000"}
    assert expected.items() <= given.items()
    assert (imports, seconds, float(given["--drain-timeout"])) == (("a", "b.tasks"), 5.0, 5.0)
    assert second[4:] == ["--leader", "--drain-timeout", "1.0"]
    assert short == 1.0
