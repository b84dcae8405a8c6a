"""Draw the phantom's people: a row a person, a column a capture, as a camera would see them, without noise.

python docs/people.py docs/pictures/people.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from hyperskin.bands import VIS
from hyperskin.data.capture import CaptureId
from hyperskin.phantom.recipe import DIRECTIONS, EXPRESSIONS, SKIN_TYPES, Recipe, plan_subjects
from hyperskin.phantom.scene import Scene
from hyperskin.pictures import save_picture
from hyperskin.spectral.colour import render_srgb

SIZE_PX = 90
SEED = 1  # of the shipped params.yaml
BRIGHTER = 1.3


def main() -> None:
    """Draw the first person of each skin type, light to dark."""
    plan = plan_subjects(12)
    people = [next(name for name in plan if plan[name] == skin_type) for skin_type in SKIN_TYPES]
    rows = []
    for subject in people:
        recipe = Recipe(SEED, plan[subject], SIZE_PX, SIZE_PX)
        captures = [f"{subject}_{expression}_{direction}" for expression in EXPRESSIONS for direction in DIRECTIONS]
        scenes = [Scene.of(CaptureId.parse(name), recipe).lines(0, SIZE_PX) for name in captures]
        rows.append(np.concatenate([render_srgb(scene.vis, VIS).rgb for scene in scenes], axis=1))
    sheet = BRIGHTER * np.concatenate(rows, axis=0)
    save_picture(sheet, subjects=people, publishable=people, path=Path(sys.argv[1]))


if __name__ == "__main__":
    main()
