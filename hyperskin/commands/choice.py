"""What a person chooses at `hyperskin init`, and the params.yaml that comes of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from hyperskin.commands.recipes import RECIPES, RecipeName, TrainingRecipe
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
    networks: Mapping[str, str]
    seconds: str
    trials: int
    trial_epochs: str
    trial_seconds: str
    steps_per_epoch: int
    crop_px: int
    batch_size: int
    learning_rate: str
    precision: str
    cameras: tuple[str, ...] = ("cie",)
    test_exposures: str = "[]"
    own_rates: Mapping[str, str] = field(default_factory=dict)


PROFILES = {
    "demo": Profile(
        explanation="minutes on two CPU cores, with openly reduced networks",
        subjects=12,
        size_px=64,
        reference_lines=20,
        networks={"hscnn_plus": "blocks: 3", "hrnet": "width: 8", "mst_plus_plus": "stages: 1", "basal": ""},
        seconds="75",
        trials=8,
        trial_epochs="null",
        trial_seconds="15",
        steps_per_epoch=100,
        crop_px=32,
        batch_size=2,
        learning_rate="2e-3",
        precision="fp32",
        own_rates={"hscnn_plus": "1e-3"},
    ),
    "study": Profile(
        explanation="the flow study takes an hour or two on two CPU cores, with openly reduced networks",
        subjects=24,
        size_px=128,
        reference_lines=20,
        networks={"hscnn_plus": "blocks: 4", "hrnet": "width: 16", "mst_plus_plus": "stages: 1", "basal": ""},
        seconds="420",
        trials=20,
        trial_epochs="null",
        trial_seconds="180",
        steps_per_epoch=200,
        crop_px=48,
        batch_size=2,
        learning_rate="1e-3",
        precision="fp32",
        cameras=("cie", "nikon_5100_npl", "sigma_sdmerill_npl", "sim28_10"),
        test_exposures="[0.7, 0.5, 0.25]",
    ),
    "paper": Profile(
        explanation="as big as in the paper: frames of 1024 px, crops of 128 px, 16 bit, whole networks; needs a GPU",
        subjects=51,
        size_px=1024,
        reference_lines=100,
        networks={"hscnn_plus": "blocks: 30", "hrnet": "width: 64", "mst_plus_plus": "stages: 3", "basal": ""},
        seconds="null",
        trials=30,
        trial_epochs="10",
        trial_seconds="null",
        steps_per_epoch=132,
        crop_px=128,
        batch_size=2,
        learning_rate="4e-4",
        precision="fp16",
        test_exposures="[0.7, 0.5, 0.25]",
    ),
}


@dataclass(frozen=True)
class Choice:
    """All that params.yaml is filled with but the split; the phantom's size is there for other sources too, unused.

    Attributes:
        cameras: Whose RGB there is to be; the first one is trained with. Where empty, the profile says.
        pairs: What is trained.
        test_set: The published name of the test subjects, or "own".
    """

    source: str
    profile: str
    recipe: RecipeName
    subjects: int
    captures: tuple[str, ...]
    size_px: int
    seed: int
    path: Path | None = None
    masks: Path | None = None
    mask_suffix: str = ""
    cameras: tuple[str, ...] = ()
    pairs: tuple[str, ...] = ("rgb_vis", "msi_nir")
    test_set: str = OWN

    @classmethod
    def bare(cls, profile: str, recipe: RecipeName) -> Choice:
        """Return the choice of somebody who names profile and recipe alone: the phantom, as big as the profile says."""
        size = PROFILES[profile]
        return cls(
            "phantom", profile, recipe, subjects=size.subjects, captures=CAPTURES, size_px=size.size_px, seed=SEED
        )

    def fill(self, held_out: HeldOut) -> str:
        """Return the text of params.yaml."""
        test, valid = held_out
        profile = PROFILES[self.profile]
        is_phantom = self.source == "phantom"
        cameras = self.cameras or profile.cameras
        crop_px = min(profile.crop_px, self.size_px // 8 * 8) if is_phantom else profile.crop_px
        return render_template(
            {
                **vars(profile),
                **_training(profile, RECIPES[self.recipe], crop_px),
                "source": self.source,
                "profile": self.profile,
                "recipe": self.recipe,
                "recipe_explanation": RECIPES[self.recipe].explanation,
                "path": _quote("" if self.path is None else str(self.path.resolve())),
                "masks": _quote("" if self.masks is None else str(self.masks.resolve())),
                "mask_suffix": _quote(self.mask_suffix),
                "make_masks": "false" if self.source == "cave" else "true",
                "subjects": self.subjects,
                "captures": f"[{', '.join(self.captures)}]",
                "height_px": self.size_px,
                "width_px": self.size_px,
                "phantom_seed": self.seed,
                "cameras": f"[{', '.join(cameras)}]",
                "camera": cameras[0],
                "test_set": self.test_set,
                "test": _quote_list(test),
                "valid": _quote_list(valid),
                **fractions(test, valid),
                "pairs": f"[{', '.join(('rgb_vis',) if self.source == 'cave' else self.pairs)}]",
            }
        )


def bare_params(profile: str, recipe: RecipeName) -> str:
    """Return the params.yaml of somebody who names a profile, a recipe and nothing else."""
    choice = Choice.bare(profile, recipe)
    return choice.fill(held_out(sorted(plan_subjects(choice.subjects))))


def fractions(test: Sequence[str], valid: Sequence[str]) -> dict[str, float]:
    """Return how many subjects the hash rule takes: none for a part whose subjects are named."""
    return {"test_fraction": 0.0 if test else _FRACTION, "valid_fraction": 0.0 if valid else _FRACTION}


def _training(profile: Profile, recipe: TrainingRecipe, crop_px: int) -> dict[str, Any]:
    """Return how networks are trained: as the recipe says, and where it says nothing, as suits the profile's size."""
    is_full = profile.seconds == "null"
    own_rates = recipe.own_rates if recipe.learning_rate else profile.own_rates
    networks = {
        name: (size, f"learning_rate: {own_rates[name]}" if name in own_rates else "", recipe.own.get(name, ""))
        for name, size in profile.networks.items()
    }
    takes_steps = recipe.full_steps is not None and (is_full or recipe.full_steps == "null")
    return {
        "networks": "\n".join(
            f"    {name}: {{{', '.join(filter(None, values))}}}" for name, values in networks.items()
        ),
        "epochs": recipe.full_epochs if is_full else "null",
        "steps_per_epoch": recipe.full_steps if takes_steps else profile.steps_per_epoch,
        "crop_px": crop_px,
        "crop_padding_px": crop_px if recipe.padded else 0,
        "crop_stride_px": recipe.crop_stride_px,
        "batch_size": recipe.batch_size or profile.batch_size,
        "learning_rate": recipe.learning_rate or profile.learning_rate,
        "schedule": recipe.schedule,
        "loss": recipe.loss,
        "precision": recipe.precision or profile.precision,
        "augment": recipe.augment,
        "input_scale": recipe.input_scale,
        "monitor": recipe.monitor,
    }


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
