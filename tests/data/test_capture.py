"""Capture names say who, how and from where; other names are subjects of their own."""

import pytest

from hyperskin.data.capture import CaptureId
from hyperskin.errors import DataError


def test_a_benchmark_name_is_taken_apart() -> None:
    assert CaptureId.parse("p003_smile_left") == CaptureId("p003", "p003_smile_left", "smile", "left")


@pytest.mark.parametrize(
    "name", ["photo_and_face_ms", "glacier_2023-07-15_15-25-24", "p003", "p0031_smile_left", "P.1"]
)
def test_another_name_is_a_subject_of_its_own(name: str) -> None:
    assert CaptureId.parse(name) == CaptureId(name, name)


@pytest.mark.parametrize("name", ["p003_laugh_left", "p003_smile_left_2", "p003_2024-01-31"])
def test_another_scan_of_a_person_is_still_that_persons(name: str) -> None:
    assert CaptureId.parse(name) == CaptureId("p003", name)


@pytest.mark.parametrize("name", ["", ".hidden", "-r", "a b", "a/b", "..", "ä", "a\n", "x" * 121])
def test_a_name_that_is_unsafe_as_a_file_is_refused(name: str) -> None:
    with pytest.raises(DataError, match="A capture name must be"):
        CaptureId.parse(name)
