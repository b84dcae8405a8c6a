"""The one way a file is written: whole, or not at all."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from hyperskin import atomic
from hyperskin.atomic import (
    atomic_path,
    bring_file,
    file_sha256,
    find_stale,
    remove_stale,
    temporary_path,
    write_bytes,
    write_json,
)


def _fail_in_mid_write(target: Path) -> None:
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"half")
        raise KeyError


def test_a_failure_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    write_bytes(target, b"old")
    with pytest.raises(KeyError):
        _fail_in_mid_write(target)
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


def test_a_file_is_private(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", b"x")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600


def test_equal_values_are_equal_bytes_of_json(tmp_path: Path) -> None:
    write_json(tmp_path / "a", {"b": 1, "a": [1.5]})
    write_json(tmp_path / "b", {"a": [1.5], "b": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert json.loads((tmp_path / "a").read_text()) == {"a": [1.5], "b": 1}


def test_not_a_number_is_refused_in_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a", {"a": float("nan")})
    assert not any(tmp_path.iterdir())


def test_killed_in_mid_write_nothing_is_visible_and_the_rest_is_swept(tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import sys, time
        from pathlib import Path
        from hyperskin.atomic import atomic_path
        with atomic_path(Path(sys.argv[1]) / "cube.h5") as temporary:
            temporary.write_bytes(b"half")
            print("writing", flush=True)
            time.sleep(60)
        """
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert not (tmp_path / "cube.h5").exists()
    assert len(list(tmp_path.iterdir())) == 1
    assert remove_stale(tmp_path) == 1
    assert not any(tmp_path.iterdir())


def test_a_living_writers_file_is_not_swept(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "a") as temporary:
        temporary.write_bytes(b"x")
        assert remove_stale(tmp_path) == 0


def test_another_hosts_file_is_swept_after_a_day_and_not_before(tmp_path: Path) -> None:
    theirs = temporary_path(tmp_path / "a")
    host, pid = theirs.name.split(".")[2].split("-")
    theirs = theirs.with_name(theirs.name.replace(f"{host}-{pid}", "0ff5e7-999999999"))
    theirs.touch()
    assert remove_stale(tmp_path) == 0
    os.utime(theirs, (time.time() - 25 * 3600,) * 2)
    assert find_stale(tmp_path) == [theirs]
    assert remove_stale(tmp_path) == 1


def test_a_brought_file_has_the_same_bytes_and_replaces_an_old_one(tmp_path: Path) -> None:
    (tmp_path / "origin").write_bytes(b"counts")
    write_bytes(tmp_path / "raw" / "a", b"old")
    how = bring_file(tmp_path / "origin", tmp_path / "raw" / "a")
    assert how in {"reflink", "hardlink", "copy"}
    assert (tmp_path / "raw" / "a").read_bytes() == b"counts"
    bring_file(tmp_path / "origin", tmp_path / "raw" / "a")
    assert [path.name for path in (tmp_path / "raw").iterdir()] == ["a"]


def test_the_hash_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert file_sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_only_this_module_opens_files_for_writing() -> None:
    """A write elsewhere could be seen half done."""
    package = Path(__file__).parent.parent / "hyperskin"
    forbidden = (".write_text(", ".write_bytes(", "torch.save(", "np.save", "savefig(", ".to_csv(", "to_netcdf(")
    strangers = []
    for path in package.rglob("*.py"):
        if path.name == "atomic.py":
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if any(word in line for word in forbidden) and "temporary" not in line:
                strangers.append(f"{path.relative_to(package)}:{number}: {line.strip()}")
    assert strangers == []


def test_stale_names_are_told_by_their_dead_process(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    time.sleep(0)
    (tmp_path / f".a.{atomic._HOST}-{dead.pid}.01234567.tmp").write_bytes(b"")
    (tmp_path / f".b.{atomic._HOST}-{os.getpid()}.01234567.tmp").write_bytes(b"")
    (tmp_path / "own.tmp").write_bytes(b"")
    assert remove_stale(tmp_path) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f".b.{atomic._HOST}-{os.getpid()}.01234567.tmp",
        "own.tmp",
    ]
