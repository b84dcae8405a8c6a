"""What a run's journal holds, record by record, and how a record is a line of text with a checksum."""

from __future__ import annotations

import json
import re
import zlib
from dataclasses import asdict, dataclass

_LINE = re.compile(rb'\{"crc":"([0-9a-f]{8})","record":(.*)\}')


@dataclass(frozen=True)
class Begin:
    """An attempt begins.

    Attributes:
        name: What the run is called.
        params: Its parameters, as text.
        tags: Its tags.
        data: Name, digest and use of each data set.
        experiment: Name of the MLflow experiment.
        parent: Unit key of the run it belongs to; empty for none.
        process: Who makes it, as `processes.identity` says.
        time_ms: When.
        run: Which run: later attempts at an unfinished one continue it. The journal gives it.
    """

    name: str
    params: dict[str, str]
    tags: dict[str, str]
    data: list[list[str]]
    experiment: str
    parent: str
    process: str
    time_ms: int
    run: str = ""


@dataclass(frozen=True)
class Metrics:
    """Numbers of one moment: of an epoch while it trains, else the final scores."""

    step: int
    time_ms: int
    values: dict[str, float]
    is_epoch: bool


@dataclass(frozen=True)
class Tags:
    """Words about the run; a later one replaces an earlier one."""

    values: dict[str, str]


@dataclass(frozen=True)
class File:
    """A file below the journal's files: its folder in the run, empty for none, and its name."""

    folder: str
    name: str


@dataclass(frozen=True)
class Weights:
    """The trained network as numbers by name, and all it takes to build it again and to register it.

    One that is `stretched` stretches every picture first; records without that word are of networks that do not.
    """

    model: str
    config: dict[str, int]
    pair: str
    parameter_count: int
    size_multiple: int
    sha256: str
    stretched: bool = False


@dataclass(frozen=True)
class End:
    """The attempt ended: its status in MLflow's words, and which exception ended it, if any."""

    status: str
    ended_by: str
    time_ms: int


Record = Begin | Metrics | Tags | File | Weights | End
_KINDS = {kind.__name__.lower(): kind for kind in (Begin, Metrics, Tags, File, Weights, End)}


def encode(record: Record) -> bytes:
    """Return a record as a line of JSON: the record, and the CRC-32 of its own text."""
    content = {"kind": type(record).__name__.lower(), **asdict(record)}
    body = json.dumps(content, separators=(",", ":"), allow_nan=False).encode()
    return b'{"crc":"%08x","record":%s}\n' % (zlib.crc32(body), body)


def decode(line: bytes) -> Record | None:
    """Return the record of a line; None where the line is torn or changed.

    Raises:
        KeyError: There is no such kind of record.
        TypeError: A record of that kind holds something else.
    """
    found = _LINE.fullmatch(line.removesuffix(b"\n"))
    if not found or not line.endswith(b"\n") or zlib.crc32(found[2]) != int(found[1], 16):
        return None
    content = json.loads(found[2])
    record: Record = _KINDS[content.pop("kind")](**content)
    return record
