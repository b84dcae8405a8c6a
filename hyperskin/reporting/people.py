"""Pictures of test subjects that the runs hold: of those who agreed, and how many were left out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from hyperskin.data.capture import CaptureId
from hyperskin.errors import HyperSkinError
from hyperskin.reporting.document import Photo, Section, line, said
from hyperskin.reporting.examination import Examination, count_of
from hyperskin.sources.decode import open_picture
from hyperskin.tracking.results import Result

_MOST_SUBJECTS = 3
_KINDS = {
    "sheet_": "camera picture, measured and reconstructed colours, and the spectral angle of every pixel",
    "skin_": "melanin, blood, oxygenation and water: measured, reconstructed, and what lies between",
}


def wanted_pictures(exams: Sequence[Examination], publishable: Collection[str]) -> list[tuple[Result, str]]:
    """Return which pictures the page asks for: of each pair's best model, the first capture of some subjects.

    A sheet of colours for each of at most three subjects, and of the first one a sheet of skin maps. Nobody outside
    `publishable` is in it, so that no picture of theirs is even fetched.
    """
    wanted = []
    for exam in exams:
        if (best := exam.best) is not None:
            sheets = _first_of_each(best, "sheet_", publishable)[:_MOST_SUBJECTS]
            skins = _first_of_each(best, "skin_", publishable)[:1]
            wanted += [(best, name) for name in (*sheets, *skins)]
    return wanted


def people_section(
    exams: Sequence[Examination],
    fetched: Sequence[tuple[Result, Path]],
    *,
    test_subjects: Collection[str],
    publishable: Collection[str],
) -> Section:
    """Return the pictures and what was left out.

    Args:
        exams: What was examined.
        fetched: Pictures as files, each with its run.
        test_subjects: Everyone in the test split.
        publishable: Who may be shown.

    Raises:
        DataError: A file is no picture.
    """
    anchors = {result.row.run_id: exam.anchor for exam in exams for result in exam.results}
    photos = []
    for result, path in fetched:
        name = f"{anchors[result.row.run_id]}-{path.stem}"
        if (photo := _photo(name, result, path, publishable)) is not None:
            photos.append(photo)
    shown = {subject for photo in photos for subject in photo.subjects}
    refused = len(set(test_subjects) - set(publishable))
    blocks: list[object] = [said(_say_left_out(len(set(test_subjects)), refused, len(shown)))]
    if photos:
        blocks.append(line("Pictures are of the best model of each pair."))
    return Section("Pictures", "pictures", (*blocks, *photos))


def _say_left_out(everyone: int, refused: int, shown: int) -> str:
    if refused:
        words = (
            f"{refused} of {count_of(everyone, 'test subject')} left out: no consent to be shown is on record "
            "(`privacy.publishable_subjects` in params.yaml). Numbers, curves and tables cover all of them."
        )
    else:
        words = "Nobody was left out for want of consent: every test subject may be shown."
    more = everyone - refused - shown
    if shown and more:
        words += f" {count_of(shown, 'subject')} shown; pictures of {more} more are in MLflow."
    if not shown and not refused:
        words += " The runs hold no pictures."
    return words


def _first_of_each(result: Result, kind: str, publishable: Collection[str]) -> list[str]:
    """Return the first picture of a kind of every subject who may be shown, by name."""
    first: dict[str, str] = {}
    for name in sorted(result.pictures):
        if name.startswith(kind) and name.endswith(".png"):
            subject = _subject_of(name)
            if subject in publishable:
                first.setdefault(subject, name)
    return list(first.values())


def _subject_of(name: str) -> str:
    """Return whose picture it is, by its capture; nobody's where no capture is called so."""
    try:
        return CaptureId.parse(name.removesuffix(".png").partition("_")[2]).subject
    except HyperSkinError:
        return ""


def _photo(name: str, result: Result, path: Path, publishable: Collection[str]) -> Photo | None:
    """Return a fetched picture; None where the file itself names somebody who may not be shown."""
    picture, _ = open_picture(path, ("PNG",))
    named = str(getattr(picture, "text", {}).get("Subjects", "")).split()
    subjects = tuple(sorted({*named, _subject_of(path.name)}))
    if not set(subjects) <= set(publishable):
        return None
    kind = next(kind for kind in _KINDS if path.name.startswith(kind))
    capture = path.stem.removeprefix(kind)
    pixels = np.asarray(picture.convert("RGB"), dtype=np.uint8)  # matplotlib paints an opaque ground
    words = f"{capture}, {result.label} on {result.row.pair}: {_KINDS[kind]}."
    return Photo(name, pixels, subjects, words, words)
