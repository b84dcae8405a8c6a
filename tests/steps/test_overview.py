"""The demo's sheet shows only those who may be shown, and only models that were examined on these captures."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hyperskin.data.manifest import Manifest
from hyperskin.pairs import Pair
from hyperskin.steps import overview as overview_module
from hyperskin.steps.overview import overview
from hyperskin.tracking.champion import Champion

GREY = Champion(
    "1", "hrnet", "width 4", "manifest", "cie", lambda frame: np.full((*frame.shape[:2], 31), 0.2, dtype=np.float32)
)


@pytest.fixture
def agree(reproduced_once, tmp_path):
    """Return a function that makes a repository of the same data where some have agreed to be shown."""

    def make(*names: str) -> Path:
        root = tmp_path / "-".join(("root", *names))
        root.mkdir()
        (root / "data").symlink_to(reproduced_once.root / "data")
        text = (reproduced_once.root / "params.yaml").read_text()
        text = text.replace("publishable_subjects: []", f"publishable_subjects: [{', '.join(names)}]")
        (root / "params.yaml").write_text(text)
        return root

    return make


def _draw(root: Path, tmp_path: Path, champion: Champion | None, monkeypatch: pytest.MonkeyPatch) -> Path | None:
    asked: list[tuple[str, str]] = []

    def load(uri: str, pair: Pair, *, evaluation: str) -> Champion | None:
        asked.append((pair.name, evaluation))
        return champion

    monkeypatch.setattr(overview_module, "load_champion", load)
    found = overview(root, store="sqlite:///unused", path=tmp_path / "sheet.png")
    assert [name for name, _ in asked] == ["rgb_vis"]
    assert len(asked[0][1]) == 64, "the examination's fingerprint"
    return found


def test_nobody_is_shown_who_has_not_agreed(agree, tmp_path, monkeypatch):
    assert _draw(agree(), tmp_path, GREY, monkeypatch) is None
    assert _draw(agree("apple_ms"), tmp_path, GREY, monkeypatch) is None  # trains, and so is not on the sheet
    assert not (tmp_path / "sheet.png").exists()


def test_who_has_agreed_is_shown_and_named_in_the_file(agree, tmp_path, monkeypatch):
    assert _draw(agree("face_ms"), tmp_path, GREY, monkeypatch) == tmp_path / "sheet.png"
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.info["Subjects"] == "face_ms"
        assert sheet.width > 2 * sheet.height


def test_without_a_model_of_this_examination_there_is_no_sheet(agree, tmp_path, monkeypatch):
    assert _draw(agree("face_ms"), tmp_path, None, monkeypatch) is None


def test_a_model_of_other_data_is_shown_with_a_warning(agree, tmp_path, monkeypatch, caplog):
    root = agree("face_ms")
    own = replace(GREY, manifest=Manifest.read(root / "data" / "manifest.json").digest)
    _draw(root, tmp_path, own, monkeypatch)
    assert "other data" not in caplog.text
    _draw(root, tmp_path, GREY, monkeypatch)
    assert "rgb_vis: version 1 was trained on other data than the present ones" in caplog.text
