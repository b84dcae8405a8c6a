"""Capture names and what they say: the only place they are parsed."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hyperskin.errors import DataError

_BENCHMARK_NAME = re.compile(r"(p\d{3})_(neutral|smile)_(front|left|right)")
_SUBJECT_NAME = re.compile(r"(p\d{3})_.+")
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")


@dataclass(frozen=True, order=True)
class CaptureId:
    """One scan of one subject.

    Attributes:
        subject: The person or, for a scene, the scene.
        name: The capture's own name, unique over all subjects.
        expression: "neutral" or "smile"; None where the name does not say.
        direction: "front", "left" or "right"; None where the name does not say.
    """

    subject: str
    name: str
    expression: str | None = None
    direction: str | None = None

    @classmethod
    def parse(cls, name: str) -> CaptureId:
        """Return the capture called `name`.

        A name that begins with p and three digits is that person's, whatever follows: a second scan must not end up in
        another split than the first. A name of another form is a subject of its own.

        Raises:
            DataError: The name cannot be a file name on every system.

        Examples:
            >>> CaptureId.parse("p003_smile_left").subject
            'p003'
            >>> CaptureId.parse("p003_smile_left_2").subject
            'p003'
            >>> CaptureId.parse("photo_and_face_ms").subject
            'photo_and_face_ms'
        """
        if not _SAFE_NAME.fullmatch(name):
            raise DataError(
                f"A capture name must be 1 to 120 letters, digits, '.', '_' or '-', beginning with a letter or "
                f"digit; got {name!r}: rename the folder."
            )
        match = _BENCHMARK_NAME.fullmatch(name)
        if match is None:
            person = _SUBJECT_NAME.fullmatch(name)
            return cls(subject=person.group(1) if person else name, name=name)
        return cls(match.group(1), name, match.group(2), match.group(3))
