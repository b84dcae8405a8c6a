"""The journal of a run: all that MLflow is to be told, on this disk first, so that losing MLflow loses nothing."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from filelock import FileLock

from hyperskin.atomic import write_bytes, write_json
from hyperskin.errors import DataError, ServiceError, VersionError
from hyperskin.processes import identity
from hyperskin.tracking.records import Begin, End, File, Metrics, Record, Weights, decode, encode

JOURNALS = Path("mlruns") / "journal"
RUNNING, FINISHED, KILLED, FAILED = "RUNNING", "FINISHED", "KILLED", "FAILED"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cursor:
    """How far MLflow has acknowledged a journal.

    Attributes:
        offset: Byte behind the last record that needs nothing more.
        run: Which run of the journal `run_id` belongs to.
        run_id: Its id in MLflow; empty until it has one.
        process: The attempt that MLflow was last told of.
        store: Which store that was, as a digest.
        adopted: Another journal has told MLflow of this run too, perhaps the same epochs.
        skipped: Records that MLflow refused for good.
        refused: Why the network was not registered; empty if it was.
        dropped: Why the run is no longer ours to tell of: deleted by a person, or in other hands. Empty if it is.
    """

    offset: int = 0
    run: str = ""
    run_id: str = ""
    process: str = ""
    store: str = ""
    adopted: bool = False
    skipped: int = 0
    refused: str = ""
    dropped: str = ""


@dataclass
class History:
    """What is journaled of the newest run.

    Attributes:
        start: Byte where its first attempt begins.
        end_offset: Byte behind the last whole record.
        begin: Its newest attempt.
        end: How that ended, if it did.
        weights: The network that attempt made.
        files: What that attempt noted, by folder and name.
        epochs: Those told in any attempt.
        scores: Final numbers told in any attempt.
        damaged: Lines that hold no whole record.
    """

    start: int = 0
    end_offset: int = 0
    begin: Begin | None = None
    end: End | None = None
    weights: Weights | None = None
    files: set[tuple[str, str]] = field(default_factory=set)
    epochs: set[int] = field(default_factory=set)
    scores: dict[str, float] = field(default_factory=dict)
    damaged: int = 0


class Journal:
    """What one unit's runs have to tell, in a folder that only this user may enter.

    Every record is one line with a checksum, appended by one unbuffered write: a kill leaves at most a torn last line,
    which the next attempt cuts off. This is the one file that is not written through `hyperskin.atomic`. What is whole
    in MLflow keeps its lines, a few kilobytes, so that an epoch told again is known; its files are removed.
    """

    def __init__(self, root: Path, key: str) -> None:
        """Name the journal of the unit `key` of the repository at `root`; nothing is made yet."""
        self.root = root
        self.key = key
        self.folder = root / JOURNALS / key
        self.network = self.folder / "network.pt"
        self._files = self.folder / "files"
        self._path = self.folder / "records.jsonl"
        self._cursor_path = self.folder / "cursor.json"

    def begin(self, begin: Begin) -> History:
        """Note that an attempt begins, and return what is journaled of its run.

        A run that MLflow has as finished is not continued: another begins.

        Raises:
            VersionError: The unfinished run was begun with other parameters.
            ServiceError: The journal cannot be written.
        """
        with self._one_sentence():
            for folder in (self.folder.parent, self.folder):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not self._path.exists():
                write_bytes(self._path, b"")
            self._cut_torn_tail()
        history = self.history()
        cursor = self.cursor()
        was_told = cursor.offset >= history.end_offset and not cursor.refused
        if history.begin is None or (was_told and history.end is not None and history.end.status == FINISHED):
            begin = dataclasses.replace(begin, run=uuid.uuid4().hex)
        else:
            self._require_same(begin, history.begin)
            begin = dataclasses.replace(begin, run=history.begin.run)
        self.append(begin, durable=True)
        return self.history()

    def append(self, record: Record, *, durable: bool = False) -> None:
        """Add a record; a durable one is on the disk when this returns.

        Raises:
            ServiceError: There is no room, or no permission.
        """
        line = encode(record)
        with self._one_sentence():
            _append(self._path, line, durable=durable)

    def end_if_begun(self, status: str, ended_by: str = "") -> None:
        """End the newest attempt if it is of this process and has no end: for whoever has no time for more."""
        history = self.history()
        if history.begin is not None and history.end is None and history.begin.process == identity():
            self.append(End(status, ended_by, now_ms()), durable=True)

    def file_path(self, folder: str, name: str) -> Path:
        """Return where a file of the run belongs; its record follows when it is whole."""
        return self._files / folder / name

    def records(self, start: int = 0) -> Iterator[tuple[int, Record]]:
        """Give every whole record from byte `start` on, with the byte behind it."""
        for end, record in self._lines(start):
            if record is not None:
                yield end, record

    def history(self) -> History:
        """Return what is journaled of the newest run."""
        found = History()
        before = 0
        for end, record in self._lines(0):
            match record:
                case None:
                    found.damaged += 1
                case Begin():
                    if found.begin is None or found.begin.run != record.run:
                        found = History(start=before, damaged=found.damaged)
                    found.begin, found.end, found.weights, found.files = record, None, None, set()
                case Metrics() if record.is_epoch:
                    found.epochs.add(record.step)
                case Metrics():
                    found.scores |= record.values
                case File():
                    found.files.add((record.folder, record.name))
                case Weights():
                    found.weights = record
                case End():
                    found.end = record
            before = end
            if record is not None:
                found.end_offset = end
        return found

    def cursor(self) -> Cursor:
        """Return how far MLflow has acknowledged; a lost or damaged note means: from the start, which does no harm."""
        try:
            return Cursor(**json.loads(self._cursor_path.read_bytes()))
        except FileNotFoundError:
            return Cursor()
        except (ValueError, TypeError) as error:
            _log.warning("%s is not readable (%s), so MLflow is told everything again", self._cursor_path, error)
            return Cursor()

    def move_cursor(self, cursor: Cursor) -> None:
        """Note how far MLflow has acknowledged."""
        write_json(self._cursor_path, asdict(cursor))

    def forget_delivery(self) -> None:
        """Let all of the newest run be told to MLflow anew, which lost it."""
        self.move_cursor(Cursor(offset=self.history().start))

    def is_whole(self) -> bool:
        """Tell whether MLflow needs nothing more from here, which is so too where there is no journal."""
        offset = self.cursor().offset
        return not self._path.exists() or offset == self._path.stat().st_size or offset >= self.history().end_offset

    def lock(self) -> FileLock:
        """Return the lock that whoever delivers this journal holds; it dies with its process."""
        return FileLock(self.folder / ".lock")

    def lacks_files(self) -> bool:
        """Tell whether a file or the network of the newest attempt is here no longer."""
        history = self.history()
        network = {self.network} if history.weights is not None else set[Path]()
        return not all(path.is_file() for path in network | {self.file_path(*names) for names in history.files})

    def remove_files(self) -> None:
        """Remove what MLflow has its own copy of by now."""
        self.network.unlink(missing_ok=True)
        if self._files.exists():
            shutil.rmtree(self._files)

    @contextlib.contextmanager
    def _one_sentence(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ServiceError(
                f"A run must be written down while it is made, or it could be lost; {self._path} cannot be written "
                f"({error.strerror}): make room and start again, a training goes on from its checkpoint."
            ) from error

    def _require_same(self, begin: Begin, before: Begin) -> None:
        differing = sorted(name for name in before.params if begin.params.get(name) != before.params[name])
        if differing:
            raise VersionError(
                f"A run is taken up again only with its own parameters; {begin.name} was begun with another "
                f"{', '.join(differing)}: go back to that, or delete the run in MLflow and the folder {self.folder}."
            )

    def _lines(self, start: int) -> Iterator[tuple[int, Record | None]]:
        """Give every line from byte `start` on with the byte behind it; None where it holds no whole record."""
        try:
            with self._path.open("rb") as file:
                file.seek(start)
                content = file.read()
        except FileNotFoundError:
            return
        for line in content.splitlines(keepends=True):
            start += len(line)
            yield start, self._decode(line)

    def _decode(self, line: bytes) -> Record | None:
        try:
            return decode(line)
        except (KeyError, TypeError) as error:
            raise DataError(
                f"{self._path} must hold records that this version knows; {error} is of another: use the version that "
                "wrote it."
            ) from error

    def _cut_torn_tail(self) -> None:
        """Cut off what a kill left of its last record, and warn of it and of damage elsewhere."""
        history = self.history()
        torn = self._path.stat().st_size - history.end_offset
        if torn:
            os.truncate(self._path, history.end_offset)
        if history.damaged:
            _log.warning(
                "%s: %d lines held no whole record and are left out, %d bytes of them cut off at the end; "
                "a kill leaves one at most",
                self._path,
                history.damaged,
                torn,
            )


def find_journals(root: Path) -> list[Journal]:
    """Return every journal of the repository at `root`, by name."""
    folder = root / JOURNALS
    return [Journal(root, path.name) for path in sorted(folder.iterdir())] if folder.is_dir() else []


def now_ms() -> int:
    """Return the time as MLflow counts it."""
    return int(time.time() * 1000)


def _append(path: Path, line: bytes, *, durable: bool) -> None:
    """Write a line with one call, on a line of its own even where a torn one stands last."""
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            line = b"\n" + line
        if os.write(descriptor, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
