"""What a person chooses at `hyperskin init`, and the params.yaml that comes of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from hyperskin.data.test_sets import OWN
from hyperskin.phantom.recipe import held_out, plan_subjects
from hyperskin.sources.phantom import CAPTURES

SEED = 1
_FRACTION = 0.1
_COMMENT_COLUMN = 42

HeldOut = tuple[tuple[str, ...], tuple[str, ...]]
"""Subjects named for test, and for valid."""


@dataclass(frozen=True)
class Profile:
    """How big the phantom and a training are: numbers only, never another way of training."""

    explanation: str
    subjects: int
    size_px: int
    reference_lines: int
    hscnn_plus: str
    hrnet: str
    mst_plus_plus: str
    epochs: str
    seconds: str
    trials: int
    trial_epochs: str
    trial_seconds: str
    steps_per_epoch: int
    crop_px: int
    batch_size: int
    learning_rate: str
    precision: str
    augment: str


PROFILES = {
    "demo": Profile(
        explanation="minutes on two CPU cores, with openly reduced networks",
        subjects=12,
        size_px=64,
        reference_lines=20,
        hscnn_plus="{blocks: 3, learning_rate: 1e-3}",
        hrnet="{width: 8}",
        mst_plus_plus="{stages: 1}",
        epochs="null",
        seconds="75",
        trials=8,
        trial_epochs="null",
        trial_seconds="15",
        steps_per_epoch=100,
        crop_px=32,
        batch_size=2,
        learning_rate="2e-3",
        precision="fp32",
        augment="true",
    ),
    "study": Profile(
        explanation="an hour or two on a CPU, minutes on a GPU; networks of middle size",
        subjects=24,
        size_px=128,
        reference_lines=20,
        hscnn_plus="{blocks: 6}",
        hrnet="{width: 16}",
        mst_plus_plus="{stages: 2}",
        epochs="null",
        seconds="1200",
        trials=20,
        trial_epochs="null",
        trial_seconds="180",
        steps_per_epoch=300,
        crop_px=48,
        batch_size=2,
        learning_rate="1e-3",
        precision="fp32",
        augment="true",
    ),
    "paper": Profile(
        explanation="what the paper did: 100 epochs, 128 px crops, Adam 4e-4, 16 bit; needs a GPU",
        subjects=51,
        size_px=1024,
        reference_lines=100,
        hscnn_plus="{blocks: 30}",
        hrnet="{width: 64}",
        mst_plus_plus="{stages: 3}",
        epochs="100",
        seconds="null",
        trials=30,
        trial_epochs="10",
        trial_seconds="null",
        steps_per_epoch=132,
        crop_px=128,
        batch_size=2,
        learning_rate="4e-4",
        precision="fp16",
        augment="false",
    ),
}


@dataclass(frozen=True)
class Choice:
    """All that params.yaml is filled with but the split; the phantom's size is there for other sources too, unused.

    Attributes:
        cameras: Whose RGB there is to be; the first one is trained with.
        pairs: What is trained.
        test_set: The published name of the test subjects, or "own".
    """

    source: str
    profile: str
    subjects: int
    captures: tuple[str, ...]
    size_px: int
    seed: int
    path: Path | None = None
    masks: Path | None = None
    mask_suffix: str = ""
    cameras: tuple[str, ...] = ("cie",)
    pairs: tuple[str, ...] = ("rgb_vis", "msi_nir")
    test_set: str = OWN

    @classmethod
    def bare(cls, profile: str) -> Choice:
        """Return the choice of somebody who names a profile and nothing else: the phantom, as big as it says."""
        size = PROFILES[profile]
        return cls("phantom", profile, subjects=size.subjects, captures=CAPTURES, size_px=size.size_px, seed=SEED)

    def fill(self, held_out: HeldOut) -> str:
        """Return the text of params.yaml."""
        test, valid = held_out
        profile = PROFILES[self.profile]
        is_phantom = self.source == "phantom"
        crop_px = min(profile.crop_px, self.size_px // 8 * 8) if is_phantom else profile.crop_px
        return render_template(
            {
                **vars(profile),
                "source": self.source,
                "profile": self.profile,
                "path": _quote("" if self.path is None else str(self.path.resolve())),
                "masks": _quote("" if self.masks is None else str(self.masks.resolve())),
                "mask_suffix": _quote(self.mask_suffix),
                "make_masks": "false" if self.source == "cave" else "true",
                "subjects": self.subjects,
                "captures": f"[{', '.join(self.captures)}]",
                "height_px": self.size_px,
                "width_px": self.size_px,
                "phantom_seed": self.seed,
                "cameras": f"[{', '.join(self.cameras)}]",
                "camera": self.cameras[0],
                "test_set": self.test_set,
                "test": _quote_list(test),
                "valid": _quote_list(valid),
                **fractions(test, valid),
                "pairs": f"[{', '.join(('rgb_vis',) if self.source == 'cave' else self.pairs)}]",
                "crop_px": crop_px,
            }
        )


def bare_params(profile: str) -> str:
    """Return the params.yaml of somebody who names a profile and nothing else."""
    choice = Choice.bare(profile)
    return choice.fill(held_out(sorted(plan_subjects(choice.subjects))))


def fractions(test: Sequence[str], valid: Sequence[str]) -> dict[str, float]:
    """Return how many subjects the hash rule takes: none for a part whose subjects are named."""
    return {"test_fraction": 0.0 if test else _FRACTION, "valid_fraction": 0.0 if valid else _FRACTION}


def render_template(values: dict[str, Any]) -> str:
    """Return the text of params.yaml with `values` filled in and the comments below each other."""
    template = files("hyperskin.commands").joinpath("params.template.yaml").read_text()
    return "".join(map(_align_comment, template.format(**values).splitlines(keepends=True)))


def _align_comment(line: str) -> str:
    """Move a comment behind a value to the comments' column, or two blanks behind a long value."""
    value, mark, comment = line.rpartition("  # ")  # the last: a path may hold the mark too
    return f"{value.rstrip():{_COMMENT_COLUMN - 2}}{mark}{comment}" if mark else line


def _quote(text: str) -> str:
    """Return text as a YAML scalar that survives spaces, colons and braces."""
    return json.dumps(text, ensure_ascii=False)


def _quote_list(names: Sequence[str]) -> str:
    return "[" + ", ".join(_quote(name) for name in names) + "]"
