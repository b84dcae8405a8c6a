"""What was written down is read back whatever broke: the process, the disk, a byte."""

import dataclasses
import errno
import json
import os
import random
import signal
import subprocess
import sys
import zlib

import pytest

from hyperskin.errors import DataError, ServiceError, VersionError
from hyperskin.processes import identity
from hyperskin.tracking.journal import FINISHED, KILLED, Cursor, Journal, find_journals
from hyperskin.tracking.records import Begin, End, File, Metrics, Tags, Weights

BEGIN = Begin("hrnet-rgb_vis", {"seed": "1"}, {"code": "c"}, [["phantom", "d", "training"]], "hyperskin", "", "me", 5)
RECORDS = [
    Metrics(0, 6, {"val_sam/masked": 0.1, "train/loss": 1e-300}, is_epoch=True),
    Tags({"note": 'ä "quoted"\nline\r\u2028'}),
    File("figures", "a.png"),
    Weights("hrnet", {"width": 4}, "rgb_vis", 868, 8, "ab"),
    End(KILLED, "KeyboardInterrupt", 7),
]


@pytest.fixture
def journal(tmp_path):
    """The journal of a run that has begun."""
    found = Journal(tmp_path, "unit")
    found.begin(BEGIN)
    return found


def _path(journal):
    return journal.folder / "records.jsonl"


def _read(journal):
    return [record for _, record in journal.records()]


# what is read back


def test_every_kind_of_record_is_read_back_as_it_was(journal):
    for record in RECORDS:
        journal.append(record)
    begin, *others = _read(journal)
    assert dataclasses.replace(begin, run="") == BEGIN
    assert others == RECORDS


def test_a_record_is_a_line_of_json_with_its_checksum(journal):
    journal.append(RECORDS[0])
    lines = [json.loads(line) for line in _path(journal).read_text().splitlines()]
    assert [set(line) for line in lines] == [{"crc", "record"}] * 2
    assert lines[1]["record"]["values"] == RECORDS[0].values


def test_reading_may_go_on_where_it_stopped(journal):
    places = []
    for record in RECORDS:
        journal.append(record)
        places.append(_path(journal).stat().st_size)
    for number, place in enumerate(places, 1):
        assert [record for _, record in journal.records(place)] == RECORDS[number:]
    assert [end for end, _ in journal.records()][1:] == places


def test_number_that_is_none_is_not_written(journal):
    with pytest.raises(ValueError, match="JSON compliant"):
        journal.append(Metrics(0, 0, {"psnr": float("inf")}, is_epoch=True))
    assert len(_read(journal)) == 1


def test_nobody_else_may_enter(tmp_path, journal):
    old = os.umask(0)
    try:
        Journal(tmp_path, "other").begin(BEGIN)
    finally:
        os.umask(old)
    for folder in (journal.folder, journal.folder.parent, tmp_path / "mlruns" / "journal" / "other"):
        assert folder.stat().st_mode & 0o077 == 0
    assert _path(Journal(tmp_path, "other")).stat().st_mode & 0o077 == 0


def test_record_of_another_version_is_named(journal):
    with _path(journal).open("ab") as file:
        body = b'{"kind":"thought","words":1}'
        file.write(b'{"crc":"%08x","record":%s}\n' % (zlib.crc32(body), body))
    with pytest.raises(DataError, match="use the version that wrote it"):
        _read(journal)


# what breaks


def test_a_record_torn_anywhere_is_left_out_and_cut_off_at_the_next_beginning(journal, caplog):
    for record in RECORDS:
        journal.append(record)
    whole = _path(journal).read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    for length in range(last, len(whole)):
        _path(journal).write_bytes(whole[:length])
        assert _read(journal)[1:] == RECORDS[:-1]
        caplog.clear()
        journal.begin(BEGIN)
        assert _path(journal).read_bytes().startswith(whole[:last])
        assert _read(journal)[1:-1] == RECORDS[:-1]
        warnings = [record.getMessage() for record in caplog.records]
        assert [f"{length - last} bytes" in text for text in warnings] == [True] * (length > last)


def test_what_is_appended_after_a_torn_record_is_read(journal):
    with _path(journal).open("ab") as file:
        file.write(b'{"crc":"00')
    journal.append(RECORDS[0])
    assert _read(journal)[1:] == [RECORDS[0]]


def test_a_changed_byte_loses_one_record_and_never_changes_one(journal):
    for record in RECORDS * 3:
        journal.append(record)
    whole, expected = _path(journal).read_bytes(), _read(journal)
    generator = random.Random(0)
    for _ in range(300):
        content = bytearray(whole)
        content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
        _path(journal).write_bytes(bytes(content))
        found = _read(journal)
        kept = iter(expected)
        assert all(record in kept for record in found), "a record came out changed"
        assert len(found) >= len(expected) - 2  # a line end that is lost joins two


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EACCES])
def test_a_journal_that_cannot_be_written_stops_in_one_sentence(journal, monkeypatch, error):
    def refuse(*_):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "write", refuse)
    with pytest.raises(ServiceError, match=rf"could be lost; .*records.jsonl cannot be written \({os.strerror(error)}"):
        journal.append(RECORDS[0])


def test_a_disk_that_fills_in_mid_record_keeps_all_before_and_after(journal, monkeypatch):
    journal.append(RECORDS[0])
    write = os.write
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda descriptor, line: write(descriptor, line[:20]))
        with pytest.raises(ServiceError, match="No space left"):
            journal.append(RECORDS[1])
    journal.append(RECORDS[2])
    assert _read(journal)[1:] == [RECORDS[0], RECORDS[2]]


def test_killed_in_mid_write_every_record_that_was_acknowledged_is_there(tmp_path):
    code = (
        "from pathlib import Path\nfrom hyperskin.tracking.journal import *\n"
        "journal = Journal(Path('.'), 'unit')\njournal.begin(Begin('n', {}, {}, [], 'e', '', 'p', 1))\n"
        "for step in range(10**9):\n"
        "    journal.append(Metrics(step, step, {'loss': step * 0.1}, True))\n    print(step, flush=True)\n"
    )
    for told in (30, 300):
        with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE) as child:
            said = b""
            while said.count(b"\n") <= told:
                said += os.read(child.stdout.fileno(), 1000)
            child.send_signal(signal.SIGKILL)
            said += child.stdout.read()
        acknowledged = int(said[: said.rindex(b"\n")].split()[-1])
        steps = [record.step for record in _read(Journal(tmp_path, "unit")) if isinstance(record, Metrics)]
        begun = [place for place, step in enumerate(steps) if step == 0][-1]
        assert steps[begun:][: acknowledged + 1] == list(range(acknowledged + 1))


# which run it is


def test_unfinished_run_is_continued_and_knows_what_it_told(journal):
    for record in [*RECORDS, Metrics(0, 8, {"sam/full": 0.2}, is_epoch=False)]:
        journal.append(record)
    history = journal.begin(BEGIN)
    first, *_, last = _read(journal)
    assert first.run == last.run != ""
    assert (history.epochs, history.scores) == ({0}, {"sam/full": 0.2})
    assert history.end is None
    assert history.weights is None, "weights are those of the newest attempt"


def test_run_that_mlflow_has_as_finished_is_followed_by_another(journal):
    journal.append(RECORDS[0])
    journal.append(End(FINISHED, "", 9))
    assert journal.begin(BEGIN).epochs == {0}, "MLflow has not acknowledged the end"
    journal.append(End(FINISHED, "", 10))
    journal.move_cursor(Cursor(offset=_path(journal).stat().st_size))
    assert journal.is_whole()
    history = journal.begin(BEGIN)
    assert history.epochs == set()
    assert len({record.run for record in _read(journal) if isinstance(record, Begin)}) == 2
    assert not journal.is_whole()


def test_run_whose_registration_was_refused_is_continued(journal):
    journal.append(End(FINISHED, "", 9))
    journal.move_cursor(Cursor(offset=_path(journal).stat().st_size, refused="the data changed"))
    journal.begin(BEGIN)
    assert len({record.run for record in _read(journal) if isinstance(record, Begin)}) == 1


def test_run_is_continued_with_its_own_parameters_only(journal):
    with pytest.raises(VersionError, match=r"its own parameters; hrnet-rgb_vis was .* another seed"):
        journal.begin(dataclasses.replace(BEGIN, params={"seed": "2"}))


def test_an_end_is_told_by_the_process_that_began_and_once(tmp_path, journal):
    journal.end_if_begun(KILLED)
    assert journal.history().end is None, "another process began this one"
    own = Journal(tmp_path, "own")
    own.begin(dataclasses.replace(BEGIN, process=identity()))
    own.end_if_begun(KILLED, "SIGTERM")
    own.end_if_begun(KILLED, "SIGTERM")
    ends = [record for record in _read(own) if isinstance(record, End)]
    assert [(end.status, end.ended_by) for end in ends] == [(KILLED, "SIGTERM")]


def test_a_unit_without_a_journal_has_nothing_to_tell(tmp_path):
    journal = Journal(tmp_path, "none")
    assert journal.is_whole()
    journal.end_if_begun(KILLED)
    assert not journal.folder.exists()
    assert find_journals(tmp_path) == []


def test_journals_are_found_by_their_units(tmp_path):
    for key in ("b", "a"):
        Journal(tmp_path, key).begin(BEGIN)
    assert [journal.key for journal in find_journals(tmp_path)] == ["a", "b"]


def test_damaged_note_of_the_progress_means_from_the_start(journal, caplog):
    journal.move_cursor(Cursor(offset=7, run_id="r"))
    assert journal.cursor().run_id == "r"
    (journal.folder / "cursor.json").write_text("{")
    assert journal.cursor() == Cursor()
    assert "told everything again" in caplog.text


def test_it_loads_neither_mlflow_nor_torch():
    code = "import sys, hyperskin.tracking.journal; print(sorted({'mlflow', 'torch', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
