"""`hyperskin init`: chooses a source and a profile, writes params.yaml, and lists every original file."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from hyperskin.atomic import file_sha256, write_text
from hyperskin.data.sources import SourceCapture, SourceFile, write_sources
from hyperskin.data.split import assign_splits, choose_held_out
from hyperskin.errors import DataError, MissingFileError, ParamsError
from hyperskin.params import FILE_NAME, Params
from hyperskin.sources.catalog import find_source
from hyperskin.sources.given_masks import find_masks
from hyperskin.sources.source import Original, OriginalFile

_log = logging.getLogger(__name__)

SOURCES = Path("data/sources")
_FRACTION = 0.1
_SEED = 1
_COMMENT_COLUMN = 42


@dataclass(frozen=True)
class Profile:
    """How big a training is: numbers only, never another way of training."""

    explanation: str
    hscnn_plus: str
    hrnet: str
    mst_plus_plus: str
    epochs: str
    seconds: str
    steps_per_epoch: int
    crop_px: int
    batch_size: int
    learning_rate: str
    precision: str
    augment: str


PROFILES = {
    "demo": Profile(
        explanation="minutes on two CPU cores, with openly reduced networks",
        hscnn_plus="{blocks: 8}",
        hrnet="{width: 16}",
        mst_plus_plus="{stages: 1}",
        epochs="null",
        seconds="60",
        steps_per_epoch=20,
        crop_px=64,
        batch_size=4,
        learning_rate="1e-3",
        precision="fp32",
        augment="true",
    ),
    "study": Profile(
        explanation="an hour or two on a CPU, minutes on a GPU; networks of middle size",
        hscnn_plus="{blocks: 15}",
        hrnet="{width: 32}",
        mst_plus_plus="{stages: 2}",
        epochs="null",
        seconds="1200",
        steps_per_epoch=100,
        crop_px=96,
        batch_size=4,
        learning_rate="8e-4",
        precision="fp32",
        augment="true",
    ),
    "paper": Profile(
        explanation="what the paper did: 100 epochs, 128 px crops, Adam 4e-4, 16 bit; needs a GPU",
        hscnn_plus="{blocks: 30}",
        hrnet="{width: 64}",
        mst_plus_plus="{stages: 3}",
        epochs="100",
        seconds="null",
        steps_per_epoch=132,
        crop_px=128,
        batch_size=2,
        learning_rate="4e-4",
        precision="fp16",
        augment="false",
    ),
}


def init(
    *,
    source: Literal["cave", "lumo"] | None = None,
    path: Path | None = None,
    masks: Path | None = None,
    mask_suffix: str = "",
    test: tuple[str, ...] = (),
    valid: tuple[str, ...] = (),
    profile: Literal["demo", "study", "paper"] = "demo",
    overwrite: bool = False,
    rescan: bool = False,
) -> None:
    """Write params.yaml for a source and a profile, and list every original with its hash in data/sources.

    A source says where captures come from: `cave` reads 31-band PNG scenes, `lumo` reads Specim captures with their
    dark and white references. A profile says how much time there is: `demo` is minutes on two CPU cores with openly
    reduced networks, `study` an hour or two, `paper` what the paper did (100 epochs, 16 bit, on a GPU).

    Args:
        source: Where captures come from.
        path: Folder with the originals, of any nesting.
        masks: Folder with given masks; a mask belongs to the capture its name begins with.
        mask_suffix: Of several masks of one capture, take those whose name ends so; default: all, united.
        test: Subjects held out as the examination; default: by a hash of the name.
        valid: Subjects that choose the best epoch; default: by a hash of the name.
        profile: How big the trainings are.
        overwrite: Replace a params.yaml that somebody may have edited.
        rescan: Keep params.yaml and list the files again, after captures came or went.
    """
    if rescan:
        _rescan()
        return
    if source is None or path is None:
        raise ParamsError(
            "`hyperskin init` needs `--source` and `--path` (or `--rescan`): see `hyperskin init --help`."
        )
    _refuse_to_lose_edits(overwrite)
    captures = _list_captures(source, path, masks)
    subjects = sorted({capture.id.subject for capture in captures})
    held_out = _hold_out(subjects, test, valid)
    text = _fill_template(
        source=source, path=path, masks=masks, mask_suffix=mask_suffix, held_out=held_out, profile=profile
    )
    write_sources(SOURCES, source, captures)
    write_text(FILE_NAME, text)
    Params.read(FILE_NAME)
    _log.info("%s: %d captures of %d subjects listed in %s", source, len(captures), len(subjects), SOURCES)
    _log.info("%s: profile %s, %s", FILE_NAME, profile, PROFILES[profile].explanation)
    _log.info("next: dvc repro")


def render_template(values: dict[str, Any]) -> str:
    """Return the text of params.yaml with `values` filled in and the comments below each other."""
    template = files("hyperskin.commands").joinpath("params.template.yaml").read_text()
    return "".join(map(_align_comment, template.format(**values).splitlines(keepends=True)))


def _align_comment(line: str) -> str:
    """Move a comment behind a value to the comments' column, or two blanks behind a long value."""
    value, mark, comment = line.rpartition("  # ")  # the last: a path may hold the mark too
    return f"{value.rstrip():{_COMMENT_COLUMN - 2}}{mark}{comment}" if mark else line


def _rescan() -> None:
    params = Params.read(FILE_NAME)
    if not params.source.path:  # else it would be the working folder, with data/raw in it
        raise ParamsError(
            f"{FILE_NAME}: `source.path` must name the folder with the originals; it is empty: "
            "run `hyperskin init --source NAME --path FOLDER`."
        )
    captures = _list_captures(
        params.source.name, Path(params.source.path), Path(params.source.masks) if params.source.masks else None
    )
    write_sources(SOURCES, params.source.name, captures)
    _log.info("%s: %d captures listed in %s; next: dvc repro", params.source.name, len(captures), SOURCES)


def _refuse_to_lose_edits(overwrite: bool) -> None:
    """Refuse to replace a params.yaml, unless told to or it is the one the repository ships."""
    path = Path(FILE_NAME)
    if overwrite or not path.is_file() or path.read_bytes() == shipped_params().encode():
        return
    raise ParamsError(
        f"{FILE_NAME} is there and may hold edits: add `--overwrite` to replace it, or `--rescan` to keep it."
    )


def shipped_params() -> str:
    """Return the params.yaml that the repository ships."""
    return _fill_template(source="cave", path=None, masks=None, mask_suffix="", held_out=((), ()), profile="demo")


def _list_captures(source: str, path: Path, masks: Path | None) -> list[SourceCapture]:
    """Find the captures and given masks, and hash every file."""
    if not path.is_dir():
        raise MissingFileError(f"`--path` must be a folder with captures; got {str(path)!r}, which is none.")
    originals = find_source(source).find(path.resolve())
    if not originals:
        raise DataError(f"`--path` must hold captures of the source {source!r}; {str(path)!r} holds none.")
    _require_outside(originals)
    originals = _add_masks(originals, masks)
    with tqdm(total=sum(len(original.files) for original in originals), desc="hash", unit="file", disable=None) as bar:
        return [_describe(original, bar) for original in originals]


def _require_outside(originals: Sequence[Original]) -> None:
    """Refuse originals that lie where the stages put, and remove, their own files."""
    own = SOURCES.parent.resolve()
    for original in originals:
        for file in original.files:
            if file.path.is_relative_to(own):
                raise DataError(f"Originals must lie outside {own}, which the stages fill and clear; got {file.path}.")


def _describe(original: Original, bar: tqdm[Any]) -> SourceCapture:
    described = []
    for file in original.files:
        described.append(SourceFile(str(file.path), file.name, file.path.stat().st_size, file_sha256(file.path)))
        bar.update()
    return SourceCapture(original.capture, tuple(described))


def _add_masks(originals: Sequence[Original], masks: Path | None) -> list[Original]:
    """Add each given mask to its capture's files, under mask/."""
    if masks is None:
        return list(originals)
    if not masks.is_dir():
        raise MissingFileError(f"`--masks` must be a folder with masks; got {str(masks)!r}, which is none.")
    found = find_masks(masks.resolve(), [original.capture.name for original in originals], suffix="")
    _log.info("given masks: %s", ", ".join(f"{name} {len(paths)}" for name, paths in found.items()) or "none")
    return [
        Original(
            original.capture,
            original.files
            + tuple(OriginalFile(mask, f"mask/{mask.name}") for mask in found.get(original.capture.name, [])),
        )
        for original in originals
    ]


def _hold_out(
    subjects: Sequence[str], test: Sequence[str], valid: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return (test, valid): as named; where the hash rule alone would leave one empty, the first by hash."""
    for name, given in (("--test", test), ("--valid", valid)):
        unknown = [subject for subject in given if subject not in subjects]
        if unknown:
            raise DataError(f"`{name}` must name subjects of the source ({', '.join(subjects)}); got {unknown[0]!r}.")
    assigned = assign_splits(subjects, test=tuple(test), valid=tuple(valid), seed=_SEED, **_fractions(test, valid))
    if {"train", "valid", "test"} <= set(assigned.values()):
        return tuple(test), tuple(valid)
    if len(subjects) < 3:
        _log.warning("%d subjects are too few to train: `dvc repro` will do its work, training will not", len(subjects))
        return tuple(test), tuple(valid)
    unnamed = [name for name in subjects if name not in (*test, *valid)]
    if len(unnamed) <= (not test) + (not valid):
        raise DataError(
            f"`--test` and `--valid` must leave subjects for train, valid and test alike; of {len(subjects)} "
            f"they leave {', '.join(unnamed) or 'none'}."
        )
    first_valid, first_test = choose_held_out(unnamed, _SEED)
    return tuple(test) or first_test, tuple(valid) or first_valid


def _fractions(test: Sequence[str], valid: Sequence[str]) -> dict[str, float]:
    """Return how many subjects the hash rule takes: none for a part whose subjects are named."""
    return {"test_fraction": 0.0 if test else _FRACTION, "valid_fraction": 0.0 if valid else _FRACTION}


def _fill_template(
    *,
    source: str,
    path: Path | None,
    masks: Path | None,
    mask_suffix: str,
    held_out: tuple[tuple[str, ...], tuple[str, ...]],
    profile: str,
) -> str:
    test, valid = held_out
    return render_template(
        {
            **vars(PROFILES[profile]),
            "source": source,
            "profile": profile,
            "path": _quote("" if path is None else str(path.resolve())),
            "masks": _quote("" if masks is None else str(masks.resolve())),
            "mask_suffix": _quote(mask_suffix),
            "make_masks": "false" if source == "cave" else "true",
            "test": _quote_list(test),
            "valid": _quote_list(valid),
            **_fractions(test, valid),
            "pairs": "[rgb_vis]" if source == "cave" else "[rgb_vis, msi_nir]",
        }
    )


def _quote(text: str) -> str:
    """Return text as a YAML scalar that survives spaces, colons and braces."""
    return json.dumps(text, ensure_ascii=False)


def _quote_list(names: Sequence[str]) -> str:
    return "[" + ", ".join(_quote(name) for name in names) + "]"
