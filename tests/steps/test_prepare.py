"""What no training could end with is refused once, before any starts."""

from pathlib import Path

import pytest

from hyperskin.commands.init import shipped_params
from hyperskin.data.capture import CaptureId
from hyperskin.data.manifest import CaptureEntry, FileEntry, write_manifest
from hyperskin.errors import DataError, VersionError
from hyperskin.steps.prepare import prepare

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
SPLITS = ("train", "valid", "test")


@pytest.fixture(autouse=True)
def stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders that a store was made in, in a repository with parameters."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(shipped_params())
    made: list[Path] = []
    monkeypatch.setattr("hyperskin.steps.prepare.reachable_store", made.append)
    return made


def _write(*splits: str, cubes: tuple[str, ...] = ("vis", "nir"), sha256: str = ABC) -> None:
    """Write one capture for each split, and their manifest."""
    Path("data").mkdir()
    Path("data/file").write_bytes(b"abc")
    file = FileEntry("file", 3, sha256)
    contents = dict.fromkeys((*cubes, "valid"), "v")
    entries = [
        CaptureEntry(CaptureId.parse(f"p00{number}_smile_left"), split, file, file, None, (24, 32), contents, {})
        for number, split in enumerate(splits, start=1)
    ]
    write_manifest(Path("data/manifest.json"), source="phantom", settings={}, captures=entries)


def test_good_data_get_a_store(tmp_path: Path, stores: list[Path]) -> None:
    _write(*SPLITS)
    prepare()
    assert stores == [tmp_path]


@pytest.mark.parametrize("lacking", SPLITS)
def test_an_empty_split_is_refused(stores: list[Path], lacking: str) -> None:
    _write(*(split for split in SPLITS if split != lacking))
    with pytest.raises(DataError, match=rf"[Tt]he split '{lacking}' must hold a capture"):
        prepare()
    assert stores == []


def test_a_pair_whose_cubes_are_not_there_is_refused(stores: list[Path]) -> None:
    _write(*SPLITS, cubes=("vis",))
    with pytest.raises(DataError, match=r"The pair 'msi_nir' needs the cubes nir; .* take it out of `train\.pairs`"):
        prepare()
    assert stores == []


def test_a_changed_file_is_refused(stores: list[Path]) -> None:
    _write(*SPLITS, sha256="0" * 64)
    with pytest.raises(VersionError, match="must be the file the manifest names"):
        prepare()
    assert stores == []
