"""Mapping a step over captures: only what changed is remade, and one failure undoes no other."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hyperskin.atomic import write_text
from hyperskin.errors import DataError
from hyperskin.steps.captures import Job, Stamp, code_version, finished_captures, make_key, map_captures


def write_word(folder: Path, name: str, *, word: str, log: Path) -> tuple[list[str], dict[str, object]]:
    """Write a word, and note in `log` that this capture was made; fail on the word "bad"."""
    if word == "bad":
        raise DataError("`word` must be good; got 'bad'.")
    if word == "unforeseen":
        raise KeyError("no one thought of this")
    with log.open("a") as lines:
        lines.write(f"{name}\n")
    write_text(folder / f"{name}.txt", word)
    return [f"{name}.txt"], {"letters": len(word)}


class Project:
    """A folder of words and what was made since last asked."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "out"
        self._log = root / "log"

    def run(self, words: dict[str, str], workers: int = 1) -> None:
        jobs = [
            Job(name[:4], name, make_key("word", word), write_word, {"word": word, "log": self._log})
            for name, word in words.items()
        ]
        map_captures("word", jobs, self.folder, workers=workers)

    def made(self) -> list[str]:
        names = sorted(self._log.read_text().split()) if self._log.exists() else []
        self._log.unlink(missing_ok=True)
        return names

    def bytes(self) -> dict[str, bytes]:
        return {
            path.relative_to(self.folder).as_posix(): path.read_bytes()
            for path in self.folder.rglob("*")
            if path.is_file()
        }


WORDS = {"p001_a": "one", "p001_b": "two", "p002_a": "three"}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    made.run(WORDS)
    assert made.made() == sorted(WORDS)
    return made


def test_nothing_is_remade_when_nothing_changed(project: Project) -> None:
    project.run(WORDS)
    assert project.made() == []


def test_only_the_changed_capture_is_remade(project: Project) -> None:
    project.run({**WORDS, "p001_b": "deux"})
    assert project.made() == ["p001_b"]
    assert (project.folder / "p001" / "p001_b.txt").read_text() == "deux"


def test_only_the_added_capture_is_made_and_a_removed_one_goes(project: Project) -> None:
    words = {name: word for name, word in WORDS.items() if name != "p002_a"} | {"p003_a": "four"}
    project.run(words)
    assert project.made() == ["p003_a"]
    assert not (project.folder / "p002").exists()
    assert finished_captures(project.folder) == [("p001", "p001_a"), ("p001", "p001_b"), ("p003", "p003_a")]


def test_a_failure_keeps_the_others_and_names_itself(project: Project) -> None:
    with pytest.raises(DataError, match=r"1 of 4 captures failed \(p000_x\).*`word` must be good"):
        project.run({"p000_x": "bad", **WORDS, "p002_a": "drei"})
    assert project.made() == ["p002_a"]
    project.run({"p000_x": "good", **WORDS, "p002_a": "drei"})
    assert project.made() == ["p000_x"]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_unforeseen_error_costs_no_other_capture_either(project: Project, workers: int) -> None:
    with pytest.raises(DataError, match=r"1 of 4 captures failed \(p000_x\).*KeyError: 'no one thought of this'"):
        project.run({"p000_x": "unforeseen", **WORDS, "p002_a": "drei"}, workers)
    assert project.made() == ["p002_a"]


def test_a_folder_with_the_name_of_a_stamp_is_no_capture(tmp_path: Path) -> None:
    (tmp_path / "a.json" / "a.json").mkdir(parents=True)
    write_text(tmp_path / "a.json" / "a.json.json", "{}")
    assert finished_captures(tmp_path) == [("a.json", "a.json")]


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    script = (
        "from pathlib import Path\n"
        "from hyperskin.steps.captures import Job, map_captures\n"
        "from test_captures import tell_and_sleep\n"
        "if __name__ == '__main__':\n"
        f"    folder = Path({str(tmp_path)!r})\n"
        "    jobs = [Job('p', f'p{i}', '', tell_and_sleep, {}) for i in range(2)]\n"
        "    map_captures('sleep', jobs, folder / 'out', workers=2)\n"
    )
    (tmp_path / "main.py").write_text(script)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    process = subprocess.Popen([sys.executable, str(tmp_path / "main.py")], env=environment)
    told = [tmp_path / "out" / "p" / f"p{i}.pid" for i in range(2)]
    _wait_until(lambda: all(path.is_file() for path in told))
    process.kill()
    process.wait()
    _wait_until(lambda: not any(_is_running(int(path.read_text())) for path in told))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_request_to_end_is_heard_at_once_and_leaves_nobody_and_nothing(
    tmp_path: Path, number: signal.Signals
) -> None:
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from hyperskin.steps.captures import Job, map_captures\n"
        "from test_captures import tell_and_sleep\n"
        "if __name__ == '__main__':\n"
        f"    folder = Path({str(tmp_path)!r})\n"
        "    jobs = [Job('p', f'p{i}', '', tell_and_sleep, {}) for i in range(9)]\n"
        "    try:\n"
        "        map_captures('sleep', jobs, folder / 'out', workers=2)\n"
        "    except KeyboardInterrupt:\n"
        "        sys.exit('stopped')\n"
    )
    (tmp_path / "main.py").write_text(script)
    told = [tmp_path / "out" / "p" / f"p{i}.pid" for i in range(2)]
    command = [sys.executable, str(tmp_path / "main.py")]
    with tempfile.TemporaryDirectory() as temporary:  # near the root: the name of a socket may not be long
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "TMPDIR": temporary}
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
            try:
                _wait_until(lambda: all(path.is_file() for path in told))
                began = time.monotonic()
                process.send_signal(number)
                _, said = process.communicate()
            finally:
                process.kill()
        assert time.monotonic() - began < 5
        assert said.decode().splitlines()[-1] == "stopped"
        assert b"leaked" not in said
        _wait_until(lambda: not any(_is_running(int(path.read_text())) for path in told))
        assert not any(Path(temporary).iterdir())


def tell_and_sleep(folder: Path, name: str) -> tuple[list[str], dict[str, object]]:
    write_text(folder / f"{name}.pid", str(os.getpid()))
    time.sleep(60)
    return [], {}


def _wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("damage", ["edited", "deleted", "stamp cut short"])
def test_a_damaged_output_is_remade(project: Project, damage: str) -> None:
    path = project.folder / "p001" / "p001_a.txt"
    if damage == "edited":
        path.write_text("ONE")
    elif damage == "deleted":
        path.unlink()
    else:
        stamp = Stamp.path(project.folder, "p001", "p001_a")
        stamp.write_text(stamp.read_text()[:20])
    project.run(WORDS)
    assert project.made() == ["p001_a"]
    assert path.read_text() == "one"


def test_a_full_rebuild_gives_the_same_bytes_in_any_order_and_by_any_number_of_workers(
    project: Project, tmp_path: Path
) -> None:
    again = Project(tmp_path / "again")
    again._log.parent.mkdir()
    again.run(dict(reversed(WORDS.items())), workers=2)
    assert again.bytes() == project.bytes()


def test_a_folder_that_something_else_filled_is_left_alone(project: Project, tmp_path: Path) -> None:
    holiday = tmp_path / "pictures" / "holiday" / "beach.jpg"
    holiday.parent.mkdir(parents=True)
    holiday.write_bytes(b"x")
    with pytest.raises(DataError, match=r"must be empty or filled by the stage 'word'.*name another folder"):
        map_captures("word", [], tmp_path / "pictures", workers=1)
    with pytest.raises(DataError, match="filled by the stage 'other'"):
        map_captures("other", [], project.folder, workers=1)
    assert holiday.is_file()


def test_facts_stand_in_the_stamp(project: Project) -> None:
    stamp = Stamp.read(project.folder, "p002", "p002_a")
    assert stamp is not None
    assert stamp.facts == {"letters": 5}


def test_a_killed_worker_is_replaced_once_and_then_named(tmp_path: Path) -> None:
    jobs = [Job("p", f"p{i}", str(i), kill_itself, {"survives": i > 0}) for i in range(3)]
    with pytest.raises(DataError, match=r"a worker process was killed twice: make room, set `execution\.workers: 1`"):
        map_captures("kill", jobs, tmp_path, workers=2)


def kill_itself(folder: Path, name: str, *, survives: bool) -> tuple[list[str], dict[str, object]]:
    import os
    import signal

    if not survives:
        os.kill(os.getpid(), signal.SIGKILL)
    write_text(folder / name, "x")
    return [name], {}


def test_a_key_depends_on_values_and_not_on_their_order() -> None:
    assert make_key({"a": 1, "b": 2}) == make_key({"b": 2, "a": 1})
    assert make_key({"a": 1}) != make_key({"a": 2})


def test_the_code_version_depends_on_which_sources_it_covers() -> None:
    assert code_version("bands.py", "cube.py") == code_version("cube.py", "bands.py")
    assert code_version("bands.py") != code_version("cube.py")
