"""Who is made up, and what decides a capture: the recipe, the skin types by quota, the keyed random streams."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hyperskin.errors import DataError, UnknownNameError

EXPRESSIONS = ("neutral", "smile")
DIRECTIONS = ("front", "left", "right")
SKIN_TYPES = {"I": 0.011, "II": 0.028, "III": 0.050, "IV": 0.085, "V": 0.190, "VI": 0.360}
"""Share of the epidermis that melanosomes fill, by Fitzpatrick's type."""

_MOST_SUBJECTS = 999
# The first twelve hold every type twice: six who may be held out, then six to train on.
_FIRST = ("II", "IV", "VI", "III", "V", "I", "III", "V", "I", "IV", "II", "VI")
# Of 51 subjects, as the archive's population might be.
_QUOTA = {"I": 4, "II": 9, "III": 14, "IV": 13, "V": 7, "VI": 4}


@dataclass(frozen=True)
class Recipe:
    """All that decides a capture besides its name.

    Attributes:
        seed: Another seed makes other people.
        skin_type: "I" (lightest) to "VI" (darkest).
        height_px: Lines of the scan.
        width_px: Pixels of a line.
        reference_lines: Lines of the dark and of the white reference.
        noise: Times the sensor's own noise; 0 gives counts without any.
        extended_optics: Whether melanin, vessels, scattering and carotene vary beyond the basic model of skin.
    """

    seed: int
    skin_type: str
    height_px: int
    width_px: int
    reference_lines: int = 20
    noise: float = 1.0
    extended_optics: bool = True

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn."""
        if self.skin_type not in SKIN_TYPES:
            raise UnknownNameError(f"`skin_type` must be one of {', '.join(SKIN_TYPES)}; got {self.skin_type!r}.")
        if min(self.height_px, self.width_px) < 16 or self.reference_lines < 2 or self.noise < 0:
            raise DataError(
                "A phantom needs a frame of 16 x 16 px or more, 2 reference lines or more and no negative noise; got "
                f"({self.height_px=}, {self.width_px=}, {self.reference_lines=}, {self.noise=:g})."
            )


def random_stream(seed: int, *words: str) -> np.random.Generator:
    """Return the random stream of `words`: the same numbers on every call, whatever was drawn before."""
    digest = hashlib.sha256("/".join((str(seed), *words)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def plan_subjects(count: int) -> dict[str, str]:
    """Return the skin type of every subject, p001 onwards.

    The first twelve hold each type twice; after them whichever type is furthest behind its share of the quota comes
    next, so that 51 subjects fill the quota. A subject keeps its type when others join.

    Raises:
        DataError: The count is not within 1 to 999.

    Examples:
        >>> plan_subjects(3)
        {'p001': 'II', 'p002': 'IV', 'p003': 'VI'}
    """
    if not 1 <= count <= _MOST_SUBJECTS:
        raise DataError(f"A phantom must have 1 to {_MOST_SUBJECTS} subjects; got {count}.")
    types = list(_FIRST[:count])
    taken = {name: _FIRST.count(name) for name in SKIN_TYPES}
    while len(types) < count:
        behind = min(SKIN_TYPES, key=lambda name: (taken[name] + 0.5) / _QUOTA[name])
        taken[behind] += 1
        types.append(behind)
    return {f"p{number:03d}": skin_type for number, skin_type in enumerate(types, start=1)}


def held_out(subjects: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return who examines and who chooses the epoch, (test, valid), light and dark in both.

    Twelve subjects or more give three to each, so that both together hold every skin type; twenty or more give six to
    the examination, one of every type, for what is drawn from few people is unsure; forty or more give it four, as in
    the paper. Two or fewer leave nobody to train on: none is held out.
    """
    names = sorted(subjects)
    if len(names) < 3:
        return (), ()
    if 20 <= len(names) < 40:
        return tuple(names[:6]), tuple(names[17:20])
    test_count = min(3, max(1, len(names) // 4))
    valid_count = test_count
    fourth = names[len(_FIRST) : len(_FIRST) + 1] if len(names) >= 40 else []
    return (*names[:test_count], *fourth), tuple(names[test_count : test_count + valid_count])
