"""The manifest is what training trusts: an edit, a leak or a changed file is told."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from hyperskin.data.capture import CaptureId
from hyperskin.data.manifest import CaptureEntry, FileEntry, Manifest, write_manifest
from hyperskin.data.truth import TruthFiles
from hyperskin.errors import DataError, LeakageError, MissingFileError, VersionError
from hyperskin.pairs import PAIRS

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def _entry(root: Path, name: str, split: str) -> CaptureEntry:
    capture = CaptureId.parse(name)
    for folder, suffix in (("cubes", "h5"), ("inputs", "h5"), ("masks", "png")):
        path = root / folder / capture.subject / f"{name}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"abc")
    return CaptureEntry(
        id=capture,
        split=split,
        cube=FileEntry(f"cubes/{capture.subject}/{name}.h5", 3, ABC),
        inputs=FileEntry(f"inputs/{capture.subject}/{name}.h5", 3, ABC),
        mask=FileEntry(f"masks/{capture.subject}/{name}.png", 3, ABC),
        shape=(24, 32),
        contents={"vis": "v" + name, "valid": "m" + name},
        facts={"counts": {}},
    )


@pytest.fixture
def entries(tmp_path: Path) -> list[CaptureEntry]:
    return [
        _entry(tmp_path, "p001_neutral_front", "train"),
        _entry(tmp_path, "p001_smile_front", "train"),
        _entry(tmp_path, "p002_neutral_front", "valid"),
        _entry(tmp_path, "p003_neutral_front", "test"),
    ]


def _manifest(root: Path, entries: list[CaptureEntry]) -> Manifest:
    write_manifest(root / "manifest.json", source="lumo", settings={}, captures=entries)
    return Manifest.read(root / "manifest.json")


def test_what_is_written_is_read(tmp_path: Path, entries: list[CaptureEntry]) -> None:
    manifest = _manifest(tmp_path, entries)
    assert list(manifest.captures.values()) == entries
    manifest.check_files()


def test_the_order_of_captures_does_not_change_the_digest(tmp_path: Path, entries: list[CaptureEntry]) -> None:
    assert _manifest(tmp_path, entries).digest == _manifest(tmp_path, entries[::-1]).digest


def test_a_subject_on_two_sides_is_refused_when_written_and_when_read(
    tmp_path: Path, entries: list[CaptureEntry]
) -> None:
    leaking = [replace(entries[0], split="test"), *entries[1:]]
    with pytest.raises(LeakageError, match="p001 stands in"):
        write_manifest(tmp_path / "manifest.json", source="lumo", settings={}, captures=leaking)


def test_an_edited_manifest_is_refused(tmp_path: Path, entries: list[CaptureEntry]) -> None:
    _manifest(tmp_path, entries)
    path = tmp_path / "manifest.json"
    values = json.loads(path.read_text())
    values["captures"]["p003_neutral_front"]["split"] = "train"
    path.write_text(json.dumps(values))
    with pytest.raises(DataError, match="must carry the digest"):
        Manifest.read(path)


def test_a_changed_file_is_told(tmp_path: Path, entries: list[CaptureEntry]) -> None:
    manifest = _manifest(tmp_path, entries)
    (tmp_path / "cubes/p002/p002_neutral_front.h5").write_bytes(b"abd")
    with pytest.raises(VersionError, match=r"p002_neutral_front.h5 must be the file the manifest names"):
        manifest.check_files()
    (tmp_path / "cubes/p002/p002_neutral_front.h5").unlink()
    with pytest.raises(MissingFileError, match="run `dvc repro`"):
        manifest.check_files()


def test_the_truth_of_a_phantom_is_remembered_and_checked(tmp_path: Path, entries: list[CaptureEntry]) -> None:
    files = {"cubes": "raw/p001/p001_neutral_front/truth/cubes.h5", "maps": "raw/p001/p001_neutral_front/truth/maps.h5"}
    for path in files.values():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"abc")
    truth = {what: FileEntry(path, 3, ABC) for what, path in files.items()}
    known = [replace(entries[0], truth=truth), *entries[1:]]
    settings = {"calibrate": {"white_reflectance": 0.95}}
    write_manifest(tmp_path / "manifest.json", source="phantom", settings=settings, captures=known)
    manifest = Manifest.read(tmp_path / "manifest.json")
    assert list(manifest.captures.values()) == known
    first, second = manifest.pair_files("train", PAIRS["rgb_vis"])
    assert first.truth == TruthFiles(tmp_path / files["cubes"], tmp_path / files["maps"], 0.95)
    assert second.truth is None
    (tmp_path / files["maps"]).write_bytes(b"abd")
    with pytest.raises(VersionError, match=r"truth/maps\.h5 must be the file the manifest names"):
        manifest.check_files()


def test_what_was_measured_has_no_truth(tmp_path: Path, entries: list[CaptureEntry]) -> None:
    _manifest(tmp_path, entries)
    assert "truth" not in (tmp_path / "manifest.json").read_text()


def test_a_pair_whose_cubes_are_not_there_is_refused(tmp_path: Path, entries: list[CaptureEntry]) -> None:
    manifest = _manifest(tmp_path, entries)
    assert [files.capture.name for files in manifest.pair_files("train", PAIRS["rgb_vis"])] == [
        "p001_neutral_front",
        "p001_smile_front",
    ]
    with pytest.raises(DataError, match="'msi_nir' needs the cubes nir; the source 'lumo' gives vis"):
        manifest.pair_files("train", PAIRS["msi_nir"])


def test_an_empty_split_says_what_to_do(tmp_path: Path, entries: list[CaptureEntry]) -> None:
    manifest = _manifest(tmp_path, entries[:2])
    with pytest.raises(DataError, match=r"name subjects in `split.valid`"):
        manifest.pair_files("valid", PAIRS["rgb_vis"])


def _fingerprint(root: Path, entries: list[CaptureEntry], version: int = 1) -> str:
    return _manifest(root, entries).evaluation_fingerprint(PAIRS["rgb_vis"], metrics={"version": version})


def test_the_fingerprint_is_that_of_the_examination(tmp_path: Path, entries: list[CaptureEntry]) -> None:
    """Training captures and inputs do not belong to it; test cubes, masks, valid maps and metrics do."""
    first = _fingerprint(tmp_path, entries)
    test = entries[3]
    other_training = [replace(entries[0], contents={"vis": "x", "valid": "y"}), *entries[1:]]
    other_input = [*entries[:3], replace(test, inputs=replace(test.inputs, sha256="0" * 64))]
    assert _fingerprint(tmp_path, other_training) == first
    assert _fingerprint(tmp_path, other_input) == first
    for changed in (
        replace(test, contents={**test.contents, "vis": "x"}),
        replace(test, contents={**test.contents, "valid": "x"}),
        replace(test, mask=None),
    ):
        assert _fingerprint(tmp_path, [*entries[:3], changed]) != first
    assert _fingerprint(tmp_path, entries, version=2) != first


def test_visible_bands_belong_to_the_examination_of_every_pair(tmp_path: Path, entries: list[CaptureEntry]) -> None:
    """Skin is found in them, also where they are no target."""
    test = replace(entries[3], contents={"vis": "v", "nir": "n", "valid": "y"})
    made = []
    for contents in (test.contents, {**test.contents, "vis": "x"}, {"nir": "n", "valid": "y"}):
        manifest = _manifest(tmp_path, [*entries[:3], replace(test, contents=contents)])
        made.append(manifest.evaluation_fingerprint(PAIRS["msi_nir"], metrics={"version": 1}))
    assert len(set(made)) == 3


def test_another_truth_is_another_examination(tmp_path: Path, entries: list[CaptureEntry]) -> None:
    """Scores against the noise-free cubes, and on true skin, depend on it; a truth of training captures does not count.

    Where nothing is known the fingerprint is that of before there was a truth.
    """
    first = _fingerprint(tmp_path, entries)
    assert first == "3919fac1628d6fa2631cba064ba4235f4c14102ebb7e13379d99bc66099586a6"
    truth = {name: FileEntry(f"raw/truth/{name}.h5", 3, ABC) for name in ("cubes", "maps")}
    assert _fingerprint(tmp_path, [replace(entries[0], truth=truth), *entries[1:]]) == first

    def examined(**changed: FileEntry) -> str:
        return _fingerprint(tmp_path, [*entries[:3], replace(entries[3], truth={**truth, **changed})])

    known = examined()
    assert known != first
    for name, file in truth.items():
        assert examined(**{name: replace(file, sha256="0" * 64)}) != known
        assert examined(**{name: replace(file, path="raw/elsewhere.h5")}) == known
