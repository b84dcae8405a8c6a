"""`hyperskin init`: chooses a source and a profile, writes params.yaml, and lists every capture."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from hyperskin.atomic import file_sha256, write_text
from hyperskin.commands.archive import (
    count_captures,
    given_cameras,
    given_pairs,
    hold_out_published,
    warn_of_other_splits,
)
from hyperskin.commands.choice import PROFILES, SEED, Choice, HeldOut, bare_params, fractions
from hyperskin.commands.recipes import RECIPES, RecipeName
from hyperskin.data.sources import SourceCapture, SourceFile, write_sources
from hyperskin.data.split import assign_splits, choose_held_out
from hyperskin.data.test_sets import OWN, name_test_set
from hyperskin.errors import DataError, HyperSkinError, MissingFileError, ParamsError
from hyperskin.params import FILE_NAME, Params, PhantomParams, section_values
from hyperskin.phantom.recipe import held_out
from hyperskin.private import close_folders
from hyperskin.sources.catalog import ARCHIVE, find_source
from hyperskin.sources.given_masks import find_masks
from hyperskin.sources.phantom import CAPTURES, Phantom, counts_bytes
from hyperskin.sources.source import Original, OriginalFile

_log = logging.getLogger(__name__)

SOURCES = Path("data/sources")
_SHOWN_LOSSES = 4
# What drawing a phantom takes of one core.
_CAPTURE_S = 0.2
_MEGAPIXEL_S = 30.0


def init(
    *,
    source: Literal["phantom", "lumo", "cave", "hyperskin"] = "phantom",
    profile: Literal["demo", "study", "paper"] = "demo",
    recipe: RecipeName = "ours",
    path: Path | None = None,
    masks: Path | None = None,
    mask_suffix: str = "",
    subjects: int | None = None,
    captures: tuple[str, ...] = (),
    size: int | None = None,
    seed: int | None = None,
    test_set: Literal["T24", "T54", "T30", "own"] | None = None,
    test: tuple[str, ...] = (),
    valid: tuple[str, ...] = (),
    overwrite: bool = False,
    rescan: bool = False,
) -> None:
    """Write params.yaml for a source, a profile and a recipe, and list every capture in data/sources.

    A source says where captures come from; everything after it is the same for all:

    - phantom: people made by the computer before a simulated camera; needs nothing, and the truth is known.
    - lumo: your own Specim captures with their dark and white references; needs `--path`.
    - cave: public 31-band PNG scenes, visible light alone; needs `--path`.
    - hyperskin: the licensed archive, in any layout it was handed out in; needs `--path`.

    A profile says how much time there is; it sizes the trainings and the phantom:

    - demo: minutes on two CPU cores, openly reduced networks; phantom: 72 captures, about 0.4 GB of counts.
    - study: for the flow `study`, which trains every network by three seeds and examines it in four lights and with
      four cameras: an hour or two on two CPU cores, openly reduced networks; phantom: 144 captures, about 2.8 GB of
      counts.
    - paper: on a GPU, frames and networks as big as in the paper; phantom: 306 captures, about 340 GB of counts.

    A recipe says how networks are trained, at any size; docs/recipes.md compares them:

    - ours: one cosine, crops within the frames, flips and turns, the epoch of the best masked angle.
    - paper: what the text of Hyper-Skin (2023) says: rate 4e-4, batches of 2, plain random crops; 100 epochs.
    - reference-2023: what the code of its authors does: a rate that goes up in every other epoch, zeros around the
      frames, pictures stretched one by one, the epoch of the lowest L1; 10 epochs.
    - toolbox: what the training code of MST++ (NTIRE 2022) does: relative error, batches of 20; 300 epochs.

    The profiles demo and study end a training by seconds instead, whatever the recipe.

    Args:
        source: Where captures come from.
        profile: How big the trainings and the phantom are.
        recipe: How networks are trained.
        path: Folder with the originals, of any nesting; the phantom has none.
        masks: Folder with given masks, in place of the archive's; a mask belongs to the capture its name begins with.
        mask_suffix: Of several masks of one capture, take those whose name ends so; default: all, united.
        subjects: How many people the phantom has; default: 12, 24 or 51, by profile.
        captures: Which scans of each, such as `neutral_front smile_left`; default: all six.
        size: Height and width of the phantom's frames in px; default: 64, 128 or 1024, by profile.
        seed: Another one makes other phantom people; default: 1.
        test_set: The archive's published test set, or own; default: as its folders train, valid and test say.
        test: Subjects held out as the examination; default: by skin type (phantom), by the archive's folders, else by
            a hash of the name.
        valid: Subjects that choose the best epoch; default: as for test.
        overwrite: Replace a params.yaml that somebody has edited.
        rescan: Keep params.yaml and list the captures again, after some came or went.
    """
    of_files = {"--path": path, "--masks": masks, "--mask-suffix": mask_suffix}
    of_phantom = {"--subjects": subjects, "--captures": captures, "--size": size, "--seed": seed}
    if rescan:
        chosen = {"--test-set": test_set, "--test": test, "--valid": valid}
        _refuse({**of_files, **of_phantom, **chosen}, f"`--rescan` goes by {FILE_NAME} alone")
        _rescan()
        return
    if source != ARCHIVE:
        _refuse({"--test-set": test_set}, f"it names subjects of the archive; add `--source {ARCHIVE}`")
    if test_set not in (None, OWN):
        _refuse({"--test": test}, f"{test_set} says who is tested; with `--test-set {OWN}` you do")
    if source == "phantom":
        _refuse(of_files, "the phantom has no files; for files name `--source lumo`, `cave` or `hyperskin`")
    else:
        _refuse(of_phantom, f"it sizes the phantom, and the source {source!r} takes what it finds")
    choice = Choice(
        source,
        profile,
        recipe,
        subjects=PROFILES[profile].subjects if subjects is None else subjects,
        captures=captures or CAPTURES,
        size_px=PROFILES[profile].size_px if size is None else size,
        seed=SEED if seed is None else seed,
        path=path,
        masks=masks,
        mask_suffix=mask_suffix,
    )
    if source == "phantom":
        _init_phantom(choice, test, valid, overwrite)
    else:
        _init_files(choice, test_set, test, valid, overwrite)
    _log.info("%s: profile %s, %s", FILE_NAME, profile, PROFILES[profile].explanation)
    _log.info("%s: recipe %s, %s", FILE_NAME, recipe, RECIPES[recipe].explanation)
    _log.info("next: %s", "make demo, or dvc repro" if (source, profile) == ("phantom", "demo") else "dvc repro")


def shipped_params() -> str:
    """Return the params.yaml that the repository ships."""
    return bare_params("demo", "ours")


def _refuse(options: Mapping[str, Any], reason: str) -> None:
    """Refuse the first option that is given though it means nothing here."""
    for name, value in options.items():
        if value not in (None, "", ()):
            raise ParamsError(f"`{name}` must be left out: {reason}.")


def _init_phantom(choice: Choice, test: Sequence[str], valid: Sequence[str], overwrite: bool) -> None:
    """Write params.yaml and the list of captures of people made by the computer."""
    _require_captures(choice.captures)
    captures = Phantom().plan(subjects=choice.subjects, captures=choice.captures, seed=choice.seed)
    subjects = sorted({capture.id.subject for capture in captures})
    rest_test, rest_valid = held_out([name for name in subjects if name not in (*test, *valid)])
    text = choice.fill(_hold_out(subjects, test or rest_test, valid or rest_valid))
    params = Params.parse_text(text, FILE_NAME)
    _refuse_to_lose_edits(text, overwrite)
    _write_sources(choice.source, captures)
    write_text(FILE_NAME, text)
    _tell_phantom(params.phantom)


def _require_captures(names: Sequence[str]) -> None:
    """Refuse what is no capture's name, as a comma between two makes them."""
    if strangers := [name for name in names if name not in CAPTURES]:
        raise ParamsError(
            f"`--captures` must be some of {' '.join(CAPTURES)}, with blanks between them; got {strangers[0]!r}."
        )


def _init_files(
    choice: Choice, test_set: str | None, test: Sequence[str], valid: Sequence[str], overwrite: bool
) -> None:
    """Write params.yaml and the list of captures that lie below a folder, each file with its hash."""
    if choice.path is None:
        raise ParamsError(
            "`hyperskin init` needs `--source` and `--path` (or `--rescan`): see `hyperskin init --help`."
        )
    originals = _find_originals(choice.source, choice.path, choice.masks)
    subjects = sorted({original.capture.subject for original in originals})
    if choice.source == ARCHIVE:
        choice = replace(choice, cameras=given_cameras(originals), pairs=given_pairs(originals))
        test, valid = hold_out_published(originals, test_set=test_set, test=tuple(test), valid=tuple(valid))
    held_out = _hold_out(subjects, test, valid)
    if choice.source == ARCHIVE and test_set != OWN:
        choice = replace(choice, test_set=name_test_set(count_captures(originals, held_out[0])))
    text = choice.fill(held_out)
    Params.parse_text(text, FILE_NAME)
    _refuse_to_lose_edits(text, overwrite)  # before hours of hashing
    captures = _hash(originals)
    _write_sources(choice.source, captures)
    write_text(FILE_NAME, text)
    listed = f"{_count(len(captures), 'capture')} of {_count(len(subjects), 'subject')}"
    _log.info("%s: %s listed in %s", choice.source, listed, SOURCES)


def _rescan() -> None:
    params = Params.read(FILE_NAME)
    if find_source(params.source.name).invented:
        size = params.phantom
        captures = Phantom().plan(subjects=size.subjects, captures=size.captures, seed=size.seed)
        _write_sources(params.source.name, captures)
        _tell_phantom(size)
        _log.info("next: dvc repro")
        return
    if not params.source.path:  # else it would be the working folder, with data/raw in it
        raise ParamsError(
            f"{FILE_NAME}: `source.path` must name the folder with the originals; it is empty: "
            "run `hyperskin init --source NAME --path FOLDER`."
        )
    masks = Path(params.source.masks) if params.source.masks else None
    originals = _find_originals(params.source.name, Path(params.source.path), masks)
    warn_of_other_splits(originals, section_values(params.split))
    captures = _hash(originals)
    _write_sources(params.source.name, captures)
    listed = _count(len(captures), "capture")
    _log.info("%s: %s listed in %s; next: dvc repro", params.source.name, listed, SOURCES)


def _write_sources(source: str, captures: Sequence[SourceCapture]) -> None:
    """List the captures, in folders that are closed before any person's data come there."""
    write_sources(SOURCES, source, captures)
    close_folders(Path())


def _tell_phantom(phantom: PhantomParams) -> None:
    """Say what the phantom is and what it costs, and warn where the disk has no room for it."""
    count = phantom.subjects * len(phantom.captures)
    size_bytes = count * counts_bytes(
        height_px=phantom.height_px, width_px=phantom.width_px, reference_lines=phantom.reference_lines
    )
    drawing_s = count * (_CAPTURE_S + _MEGAPIXEL_S * phantom.height_px * phantom.width_px / 1e6)
    _log.info(
        "phantom: %s x %s of %d x %d px listed in %s, seed %d",
        _count(phantom.subjects, "subject"), _count(len(phantom.captures), "capture"),
        phantom.height_px, phantom.width_px, SOURCES, phantom.seed,
    )  # fmt: skip
    _log.info(
        "to make: %s, on disk twice that with DVC's cache; %s of one core",
        describe_counts(count, size_bytes), _describe_duration(drawing_s),
    )  # fmt: skip
    free_bytes = shutil.disk_usage(Path.cwd()).free
    if free_bytes < 2 * size_bytes:
        _log.warning("this disk has room for %s: choose a smaller profile, or another disk", _say_size(free_bytes))


def describe_counts(count: int, size_bytes: int) -> str:
    """Return how much a phantom is, for people."""
    return f"{_count(count, 'capture')}, about {_say_size(size_bytes)} of counts"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _say_size(size_bytes: int) -> str:
    size = size_bytes / 1e9
    if size < 0.1:
        return f"{max(1, round(1000 * size))} MB"
    return f"{size:.1f} GB" if size < 10 else f"{size:.0f} GB" if size < 100 else f"{round(size, -1):.0f} GB"


def _describe_duration(seconds: float) -> str:
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"


def _refuse_to_lose_edits(text: str, overwrite: bool) -> None:
    """Refuse to replace a params.yaml by `text`, unless told to, or it is what some bare `hyperskin init` writes."""
    path = Path(FILE_NAME)
    if overwrite or not path.is_file():
        return
    there = path.read_text(encoding="utf-8", errors="replace")
    if there in {text, *_unedited()}:
        return
    raise ParamsError(
        f"{FILE_NAME} is there and may hold edits: `--overwrite` would lose {_describe_losses(there, text)}; "
        "add it to replace the file, or `--rescan` to keep it."
    )


def _unedited() -> list[str]:
    """Return what `hyperskin init` writes for somebody who names profile and recipe alone."""
    return [bare_params(profile, recipe) for profile in PROFILES for recipe in RECIPES]


def _describe_losses(there: str, text: str) -> str:
    """Return the values of a params.yaml that `text`, or the nearest unedited one, does not have; a few by name."""
    try:
        old = _flatten(section_values(Params.parse_text(there, FILE_NAME)))
    except HyperSkinError:  # of another version, or half edited: nobody knows what it means
        return "all that it holds"
    lost = min((_list_losses(old, base) for base in (text, *_unedited())), key=len)
    more = f" and {len(lost) - _SHOWN_LOSSES} more" if len(lost) > _SHOWN_LOSSES else ""
    return ", ".join(lost[:_SHOWN_LOSSES]) + more if lost else "comments or layout of yours"


def _list_losses(old: Mapping[str, Any], base: str) -> list[str]:
    new = _flatten(section_values(Params.parse_text(base, FILE_NAME)))
    return [f"`{key}: {json.dumps(value)}`" for key, value in old.items() if new.get(key) != value]


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _find_originals(source: str, path: Path, masks: Path | None) -> list[Original]:
    """Find the captures and given masks."""
    if not path.is_dir():
        raise MissingFileError(f"`--path` must be a folder with captures; got {str(path)!r}, which is none.")
    finder = find_source(source)
    assert not finder.invented
    originals = finder.find(path.resolve())
    if not originals:
        raise DataError(f"`--path` must hold captures of the source {source!r}; {str(path)!r} holds none.")
    _require_outside(originals)
    return _add_masks(originals, masks)


def _hash(originals: Sequence[Original]) -> list[SourceCapture]:
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
    return SourceCapture(original.capture, tuple(described), layout=original.layout)


def _add_masks(originals: Sequence[Original], masks: Path | None) -> list[Original]:
    """Add each given mask to its capture's files, under mask/, in place of masks that the source brings."""
    if masks is None:
        return list(originals)
    if not masks.is_dir():
        raise MissingFileError(f"`--masks` must be a folder with masks; got {str(masks)!r}, which is none.")
    found = find_masks(masks.resolve(), [original.capture.name for original in originals], suffix="")
    _log.info("given masks: %s", ", ".join(f"{name} {len(paths)}" for name, paths in found.items()) or "none")
    return [
        replace(
            original,
            files=tuple(file for file in original.files if not file.name.startswith("mask/"))
            + tuple(OriginalFile(mask, f"mask/{mask.name}") for mask in found.get(original.capture.name, [])),
        )
        for original in originals
    ]


def _hold_out(subjects: Sequence[str], test: Sequence[str], valid: Sequence[str]) -> HeldOut:
    """Return (test, valid): as named; where the hash rule alone would leave one empty, the first by hash."""
    for name, given in (("--test", test), ("--valid", valid)):
        unknown = [subject for subject in given if subject not in subjects]
        if unknown:
            raise DataError(
                f"`{name}` must name subjects of the source ({' '.join(subjects)}), with blanks between them; "
                f"got {unknown[0]!r}."
            )
    assigned = assign_splits(subjects, test=tuple(test), valid=tuple(valid), seed=SEED, **fractions(test, valid))
    if {"train", "valid", "test"} <= set(assigned.values()):
        return tuple(test), tuple(valid)
    if len(subjects) < 3:
        _log.warning(
            "%s %s too few to train: `dvc repro` will do its work, training will not",
            _count(len(subjects), "subject"),
            "is" if len(subjects) == 1 else "are",
        )
        return tuple(test), tuple(valid)
    unnamed = [name for name in subjects if name not in (*test, *valid)]
    if len(unnamed) <= (not test) + (not valid):
        raise DataError(
            f"`--test` and `--valid` must leave subjects for train, valid and test alike; of {len(subjects)} "
            f"they leave {', '.join(unnamed) or 'none'}."
        )
    first_valid, first_test = choose_held_out(unnamed, SEED)
    return tuple(test) or first_test, tuple(valid) or first_valid
