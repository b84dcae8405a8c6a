"""What DVC recorded, and what is there now."""

import hashlib
from pathlib import Path

import pytest

from hyperskin.data.capture import CaptureId
from hyperskin.data.manifest import CaptureEntry, FileEntry, Manifest, write_manifest
from hyperskin.errors import DataError, MissingFileError, VersionError
from hyperskin.pairs import find_pair
from hyperskin.steps.present import METRICS, present_digest, present_evaluations, require_recorded

LOCK = """schema: '2.0'
stages:
  split:
    cmd: python -m hyperskin.cli split data/sources data/split.json
    outs:
    - path: data/split.json
      hash: md5
      md5: 00000000000000000000000000000000
      size: 3
  manifest:
    cmd: python -m hyperskin.cli manifest data
    deps:
    - path: data/raw
      hash: md5
      md5: 11111111111111111111111111111111.dir
    outs:
    - path: data/manifest.json
      hash: md5
      md5: {md5}
      size: 3
"""


def _write(root: Path, *, source: str = "phantom", cubes: tuple[str, ...] = ("vis", "nir")) -> str:
    """Write a manifest of three captures and return its digest."""
    file = FileEntry("file", 3, "0" * 64)
    contents = {name: f"{name} of {source}" for name in (*cubes, "valid")}
    captures = [
        CaptureEntry(CaptureId.parse(f"p00{number}_smile_left"), split, file, file, None, (24, 32), contents, {})
        for number, split in enumerate(("train", "valid", "test"), start=1)
    ]
    return write_manifest(root / "data" / "manifest.json", source=source, settings={}, captures=captures)


def _record(root: Path) -> None:
    """Write dvc.lock as DVC would after the manifest was made."""
    md5 = hashlib.md5((root / "data/manifest.json").read_bytes()).hexdigest()
    (root / "dvc.lock").write_text(LOCK.format(md5=md5))


def test_recorded_data_pass(tmp_path):
    digest = _write(tmp_path)
    _record(tmp_path)
    require_recorded(tmp_path)
    require_recorded(tmp_path, digest=digest)


def test_another_manifest_than_the_recorded_one_is_refused(tmp_path):
    _write(tmp_path)
    _record(tmp_path)
    _write(tmp_path, source="cave")
    with pytest.raises(VersionError, match=r"data/manifest\.json must be what dvc\.lock records .* run `dvc repro`"):
        require_recorded(tmp_path)


def test_data_that_dvc_never_made_pass(tmp_path):
    _write(tmp_path)
    require_recorded(tmp_path)
    (tmp_path / "dvc.lock").write_text(LOCK.partition("  manifest:")[0])
    require_recorded(tmp_path)


def test_data_that_changed_since_the_work_began_are_refused(tmp_path):
    before = _write(tmp_path)
    _write(tmp_path, source="cave")
    _record(tmp_path)
    with pytest.raises(VersionError, match=f"must stay as they were when the work began .{before[:10]}"):
        require_recorded(tmp_path, digest=before)


@pytest.mark.parametrize(
    "text",
    ["", "schema: '2.0'\n", "<<<<<<< HEAD\nschema: '2.0'\n", "- 1\n", "stages: [1]\n", "stages:\n  a:\n    outs: [7]\n",
     "stages: &a\n  b: *a\n", "\0"],
)  # fmt: skip
def test_a_lock_file_that_is_none_says_how_to_get_it_back(tmp_path, text):
    _write(tmp_path)
    (tmp_path / "dvc.lock").write_text(text)
    with pytest.raises(
        DataError, match=r"bring it back with `git checkout dvc\.lock`, or delete it and run `dvc repro`"
    ):
        require_recorded(tmp_path)


def test_without_a_manifest_there_is_nothing_to_trust(tmp_path):
    with pytest.raises(MissingFileError, match="run `dvc repro`"):
        require_recorded(tmp_path)
    assert present_digest(tmp_path) is None
    assert present_evaluations(tmp_path) is None


def test_present_fingerprints_are_those_that_runs_carry(tmp_path):
    digest = _write(tmp_path)
    manifest = Manifest.read(tmp_path / "data" / "manifest.json")
    assert present_digest(tmp_path) == digest
    names = ("rgb_vis", "msi_nir", "msi_visnir")
    assert present_evaluations(tmp_path) == {
        manifest.evaluation_fingerprint(find_pair(name), metrics=METRICS) for name in names
    }


def test_pairs_whose_cubes_are_not_there_have_no_fingerprint(tmp_path):
    _write(tmp_path, cubes=("vis",))
    assert len(present_evaluations(tmp_path)) == 1


def test_a_broken_manifest_marks_nothing_and_says_so(tmp_path, caplog):
    _write(tmp_path)
    (tmp_path / "data/manifest.json").write_text("{}")
    assert present_digest(tmp_path) is None
    assert "Nothing is marked as of the present data: " in caplog.text


def test_what_dvc_makes_is_what_it_recorded(project):
    require_recorded(project.root)
    path = project.root / "data" / "manifest.json"
    text = path.read_text()
    path.unlink()  # it may be a link into DVC's cache
    path.write_text(text.replace('"cave"', '"cave" '))
    with pytest.raises(VersionError, match="run `dvc repro`"):
        require_recorded(project.root)
