"""The named ways of training, one table: everything about a training but its size, which is the profile's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

RecipeName = Literal["ours", "paper", "reference-2023", "toolbox"]


@dataclass(frozen=True)
class TrainingRecipe:
    """One way of training, in the words of params.yaml; where it says None, the profile does.

    Attributes:
        explanation: Whose way it is, for people.
        full_epochs: Epochs of a training that is not limited by seconds.
        full_steps: Steps of each of them, "null" for one crop of every capture, which then holds for any training.
        batch_size: Crops per step.
        learning_rate: First rate of Adam.
        own_rates: The same for single networks.
        own: What else single networks train with, as it stands in params.yaml.
        schedule: How the rate goes down.
        loss: What is minimised.
        precision: Of a training on a GPU.
        augment: Flips and quarter turns.
        padded: Whether zeros lie around every frame, as wide as a crop.
        crop_stride_px: Between the places where a crop may lie.
        input_scale: How a picture is scaled.
        monitor: What chooses the best epoch.
    """

    explanation: str
    full_epochs: str
    full_steps: str | None = None
    batch_size: str | None = None
    learning_rate: str | None = None
    own_rates: Mapping[str, str] = field(default_factory=dict)
    own: Mapping[str, str] = field(default_factory=dict)
    schedule: str = "cosine"
    loss: str = "l1"
    precision: str | None = None
    augment: str = "true"
    padded: bool = False
    crop_stride_px: str = "1"
    input_scale: str = "fixed"
    monitor: str = "val_sam/masked"


RECIPES: dict[RecipeName, TrainingRecipe] = {
    "ours": TrainingRecipe(
        explanation="one cosine, crops within the frames, flips and turns; the epoch of the best masked angle",
        full_epochs="100",
        own={"basal": "learning_rate: 2e-3, batch_size: 4, exposure_jitter: 0.5"},
    ),
    "paper": TrainingRecipe(
        explanation="what the text of Hyper-Skin (2023) says",
        full_epochs="100",
        full_steps="null",
        batch_size="2",
        learning_rate="4e-4",
        augment="false",
    ),
    "reference-2023": TrainingRecipe(
        explanation="what the code of its authors does, zeros around the frames and a rate that goes up again included",
        full_epochs="10",
        full_steps="null",
        batch_size="2",
        learning_rate="4e-4",
        schedule="cosine_per_epoch",
        precision="fp32",
        augment="false",
        padded=True,
        input_scale="min_max",
        monitor="val_mae/full",
    ),
    "toolbox": TrainingRecipe(
        explanation="what the training code of MST++ (NTIRE 2022) does",
        full_epochs="300",
        full_steps="1000",
        batch_size="20",
        learning_rate="4e-4",
        own_rates={"hscnn_plus": "2e-4", "hrnet": "1e-4"},
        loss="mrae",
        precision="fp32",
        crop_stride_px="8",
        input_scale="min_max",
        monitor="val_mrae/full",
    ),
}
