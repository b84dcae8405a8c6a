"""data/manifest.json: every file with its hash, shape and quality, and the split; what training may trust."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hyperskin.atomic import file_sha256, write_json
from hyperskin.data.capture import CaptureId
from hyperskin.data.frames import PairFiles
from hyperskin.data.split import SPLITS
from hyperskin.data.test_sets import OWN, require_test_set
from hyperskin.data.truth import TruthFiles
from hyperskin.errors import DataError, LeakageError, MissingFileError, VersionError
from hyperskin.pairs import Pair

SCHEMA = 1


@dataclass(frozen=True)
class FileEntry:
    """One derived file: its path below the data folder, size, and hash."""

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class CaptureEntry:
    """One capture as the manifest records it.

    Attributes:
        id: Whose it is.
        split: "train", "valid" or "test".
        cube: The cube file.
        inputs: The input file.
        mask: The mask file; None for a scene without one.
        shape: (H, W).
        contents: Hash of each stored dataset's values ("vis", "nir", "valid"), whatever the file around them.
        facts: Plain values for people: ranges, counts, signal to noise.
        truth: The files "cubes" and "maps" of a phantom capture, which know what its measurement should be; empty for
            whatever was measured.
    """

    id: CaptureId
    split: str
    cube: FileEntry
    inputs: FileEntry
    mask: FileEntry | None
    shape: tuple[int, int]
    contents: dict[str, str]
    facts: dict[str, Any]
    truth: dict[str, FileEntry] = field(default_factory=dict)

    def files(self) -> list[FileEntry]:
        """Return all of the capture's files."""
        return [file for file in (self.cube, self.inputs, self.mask, *self.truth.values()) if file is not None]


@dataclass(frozen=True)
class Manifest:
    """What training reads: captures by name, the split, and one digest over everything.

    Attributes:
        root: The data folder.
        source: Where the captures come from.
        settings: The sections of params.yaml that shaped the data.
        captures: Every capture by its name.
        digest: Hash of all of it.
        test_set: The published name of the test subjects, or "own".
    """

    root: Path
    source: str
    settings: dict[str, Any]
    captures: dict[str, CaptureEntry]
    digest: str
    test_set: str = OWN

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Return the manifest at `path`; the data lie beside it.

        Raises:
            MissingFileError: There is none.
            DataError: It was not written by the manifest stage, or was edited since.
            LeakageError: A subject stands in two splits, or the test set bears the name of another.
        """
        if not path.is_file():
            raise MissingFileError(f"The manifest must be at {path}; there is none: run `dvc repro`.")
        try:
            values = json.loads(path.read_text())
            captures = {name: _decode(name, entry) for name, entry in values["captures"].items()}
            digest = values.pop("digest")
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} must be written by `dvc repro`; it cannot be read: {error!r}.") from None
        if digest != _digest(values):
            raise DataError(f"{path} must carry the digest of its contents; it does not: run `dvc repro`.")
        test_set = values.get("test_set", OWN)
        _require_one_side(captures)
        _require_named_rightly(test_set, captures)
        return cls(path.parent, values["source"], values["settings"], captures, digest, test_set)

    @property
    def cameras(self) -> tuple[str, ...]:
        """The cameras whose pictures every capture has, in the order in which they were rendered."""
        rendered = [entry.facts.get("render", {}).get("cameras", []) for _, entry in sorted(self.captures.items())]
        return tuple(name for name in rendered[0] if all(name in other for other in rendered)) if rendered else ()

    def of_split(self, split: str) -> list[CaptureEntry]:
        """Return the captures of a split, sorted by name."""
        return [entry for _, entry in sorted(self.captures.items()) if entry.split == split]

    def pair_files(self, split: str, pair: Pair) -> list[PairFiles]:
        """Return where the captures of a split lie.

        Raises:
            DataError: The split is empty, or the data do not hold the pair's cubes.
        """
        entries = self.of_split(split)
        if not entries:
            raise DataError(
                f"The split {split!r} must hold a capture; it holds none: name subjects in `split.{split}` "
                "of params.yaml and run `dvc repro`."
                if split != "train"
                else "The split 'train' must hold a capture; every subject is held out."
            )
        lacking = [entry.id.name for entry in entries if not set(pair.cubes) <= set(entry.contents)]
        if lacking:
            raise DataError(
                f"The pair {pair.name!r} needs the cubes {', '.join(pair.cubes)}; the source {self.source!r} "
                f"gives {', '.join(sorted(set(entries[0].contents) - {'valid'}))}: take it out of `train.pairs`."
            )
        return [
            PairFiles(
                capture=entry.id,
                cube=self.root / entry.cube.path,
                inputs=self.root / entry.inputs.path,
                mask=None if entry.mask is None else self.root / entry.mask.path,
                truth=self._truth_files(entry),
            )
            for entry in entries
        ]

    def require_pairs(self, pairs: Iterable[Pair]) -> None:
        """Refuse what cannot be trained and examined, before hours are spent on it.

        Raises:
            DataError: A split is empty, or the data do not hold a pair's cubes.
        """
        for pair in pairs:
            for split in SPLITS:
                self.pair_files(split, pair)

    def _truth_files(self, entry: CaptureEntry) -> TruthFiles | None:
        if not entry.truth:
            return None
        return TruthFiles(
            cubes=self.root / entry.truth["cubes"].path,
            maps=self.root / entry.truth["maps"].path,
            white_reflectance=self.settings["calibrate"]["white_reflectance"],
        )

    def check_files(self) -> None:
        """Hash every file again.

        Raises:
            VersionError: A file is not what the manifest says.
        """
        for entry in self.captures.values():
            for file in entry.files():
                path = self.root / file.path
                if not path.is_file():
                    raise MissingFileError(f"{path} must be there, as the manifest says; it is gone: run `dvc repro`.")
                if path.stat().st_size != file.size_bytes or file_sha256(path) != file.sha256:
                    raise VersionError(
                        f"{path} must be the file the manifest names; its hash is another: run `dvc repro`."
                    )

    def split_digest(self) -> str:
        """Return the hash of who stands where."""
        return _digest({name: entry.split for name, entry in self.captures.items()})

    def evaluation_fingerprint(self, pair: Pair, *, metrics: Mapping[str, Any]) -> str:
        """Return the hash of the examination: scores with different ones are never ranked together.

        It covers the pair, the test captures with the hashes of their target cubes, masks, valid maps and, where there
        are such, visible bands, in which skin is found, and truth, and what `metrics` says of the metrics' version and
        parameters. The input is not part of it.
        """
        return _digest(
            {
                "pair": pair.name,
                "metrics": dict(metrics),
                "captures": {
                    entry.id.name: {
                        "cubes": [entry.contents[name] for name in pair.cubes],
                        **({"visible": entry.contents["vis"]} if "vis" in {*entry.contents} - {*pair.cubes} else {}),
                        "valid": entry.contents["valid"],
                        "mask": None if entry.mask is None else entry.mask.sha256,
                        **({"truth": {name: file.sha256 for name, file in entry.truth.items()}} if entry.truth else {}),
                    }
                    for entry in self.of_split("test")
                },
            }
        )


def write_manifest(
    path: Path, *, source: str, settings: Mapping[str, Any], captures: list[CaptureEntry], test_set: str = OWN
) -> str:
    """Write the manifest and return its digest.

    Raises:
        LeakageError: A subject stands in two splits, or the test set bears the name of another.
        DataError: The test set bears the name of a larger or smaller one.
    """
    by_name = {entry.id.name: entry for entry in captures}
    _require_one_side(by_name)
    _require_named_rightly(test_set, by_name)
    values = {
        "schema": SCHEMA,
        "source": source,
        "test_set": test_set,
        "settings": dict(settings),
        "captures": {name: _encode(entry) for name, entry in by_name.items()},
    }
    digest = _digest(values)
    write_json(path, {**values, "digest": digest})
    return digest


def describe_file(path: Path, root: Path, sha256: str) -> FileEntry:
    """Return the entry of a file below `root`."""
    return FileEntry(path.relative_to(root).as_posix(), path.stat().st_size, sha256)


def _encode(entry: CaptureEntry) -> dict[str, Any]:
    truth = {name: _encode_file(file) for name, file in entry.truth.items()}
    return {
        "subject": entry.id.subject,
        "expression": entry.id.expression,
        "direction": entry.id.direction,
        "split": entry.split,
        "cube": _encode_file(entry.cube),
        "inputs": _encode_file(entry.inputs),
        "mask": None if entry.mask is None else _encode_file(entry.mask),
        "shape": list(entry.shape),
        "contents": entry.contents,
        "facts": entry.facts,
        **({"truth": truth} if truth else {}),
    }


def _encode_file(file: FileEntry) -> dict[str, Any]:
    return {"path": file.path, "bytes": file.size_bytes, "sha256": file.sha256}


def _decode(name: str, entry: dict[str, Any]) -> CaptureEntry:
    if entry["split"] not in SPLITS:
        raise ValueError(f"the split of {name} is {entry['split']!r}")
    height, width = entry["shape"]
    return CaptureEntry(
        id=CaptureId.parse(name),
        split=entry["split"],
        cube=_decode_file(entry["cube"]),
        inputs=_decode_file(entry["inputs"]),
        mask=None if entry["mask"] is None else _decode_file(entry["mask"]),
        shape=(int(height), int(width)),
        contents=dict(entry["contents"]),
        facts=dict(entry["facts"]),
        truth={name: _decode_file(file) for name, file in entry.get("truth", {}).items()},
    )


def _decode_file(entry: dict[str, Any]) -> FileEntry:
    path = Path(entry["path"])
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{entry['path']!r} leaves the data folder")
    return FileEntry(entry["path"], int(entry["bytes"]), entry["sha256"])


def _require_one_side(captures: Mapping[str, CaptureEntry]) -> None:
    sides: dict[str, str] = {}
    for entry in captures.values():
        side = sides.setdefault(entry.id.subject, entry.split)
        if side != entry.split:
            raise LeakageError(
                f"A subject must stand in one split; {entry.id.subject} stands in {side} and {entry.split}."
            )


def _require_named_rightly(test_set: str, captures: Mapping[str, CaptureEntry]) -> None:
    require_test_set(test_set, Counter(entry.id.subject for entry in captures.values() if entry.split == "test"))


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True, allow_nan=False).encode()).hexdigest()
