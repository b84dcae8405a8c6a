"""People made by the computer: which captures there are, how much room they take, how they are opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hyperskin.bands import FX10
from hyperskin.data.capture import CaptureId
from hyperskin.data.sources import SourceCapture
from hyperskin.phantom.recipe import DIRECTIONS, EXPRESSIONS, plan_subjects
from hyperskin.sources.source import RawCapture

CAPTURES = tuple(f"{expression}_{direction}" for expression in EXPRESSIONS for direction in DIRECTIONS)
"""What a subject can be scanned as."""

_COUNT_BYTES = 2


@dataclass(frozen=True)
class Phantom:
    """Captures that nobody brings: the stage `acquire` draws them, in the form the recorder writes."""

    name: str = "phantom"
    gives: Literal["raw"] = "raw"
    invented: Literal[True] = True

    def plan(self, *, subjects: int, captures: Sequence[str], seed: int) -> list[SourceCapture]:
        """Return every capture with what decides its person, sorted by name.

        Raises:
            DataError: The number of subjects is not within 1 to 999.
        """
        return sorted(
            (
                SourceCapture(CaptureId.parse(f"{subject}_{capture}"), recipe={"seed": seed, "skin_type": skin_type})
                for subject, skin_type in plan_subjects(subjects).items()
                for capture in captures
            ),
            key=lambda planned: planned.id.name,
        )

    def open_raw(self, folder: Path, capture: CaptureId) -> RawCapture:
        """Open the capture whose files lie in `folder`/capture, as those of a Specim recorder."""
        from hyperskin.sources.lumo import Lumo  # here, because params.yaml is read without it

        return Lumo().open_raw(folder, capture)


def counts_bytes(*, height_px: int, width_px: int, reference_lines: int) -> int:
    """Return how much room the counts of one capture and of its two references take."""
    return (height_px + 2 * reference_lines) * width_px * len(FX10) * _COUNT_BYTES
