"""No picture, cube or database enters git."""

import subprocess
from pathlib import Path

import pytest

from hyperskin.commands.guard import find_refused


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("face.png", b""),
        ("cube.H5", b""),
        ("mlflow.db", b""),
        ("notes.txt", b"\x89PNG\r\n\x1a\n"),
        ("notes", b"\x93NUMPY"),
        ("long.txt", b"x" * 400_000),
    ],
)
def test_it_is_refused_by_suffix_content_or_size(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert len(find_refused([path])) == 1


def test_text_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("a,b\n")
    assert find_refused([path]) == []


def test_what_is_tracked_now_passes() -> None:
    root = Path(__file__).parent.parent.parent
    names = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True, check=True).stdout.split()
    assert find_refused([Path(name) for name in names if (root / name).is_file()]) == []
