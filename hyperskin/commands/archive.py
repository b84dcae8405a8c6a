"""What `hyperskin init` takes from the archive: its cameras and pairs, and who is held out, by folder or by name."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from hyperskin.commands.choice import HeldOut
from hyperskin.data.split import Split, assign_splits
from hyperskin.data.test_sets import OWN, TEST_SETS, find_test_set, name_test_set, require_test_set
from hyperskin.errors import DataError, LeakageError
from hyperskin.sources.source import Original

_log = logging.getLogger(__name__)

_SHOWN = 4


def given_cameras(originals: Sequence[Original]) -> tuple[str, ...]:
    """Return the cameras whose RGB or MSI the archive brings, the standard observer first."""
    kinds = {file.name.partition("/")[0] for original in originals for file in original.files}
    cameras = {kind.partition("_")[2] for kind in kinds if kind.startswith(("rgb_", "msi_"))}
    return tuple(sorted(cameras, key=lambda camera: (camera != "cie", camera)))


def given_pairs(originals: Sequence[Original]) -> tuple[str, ...]:
    """Return the pairs of the paper's tables whose cubes are there."""
    kinds = {file.name.partition("/")[0] for original in originals for file in original.files}
    return tuple(pair for pair, cube in (("rgb_vis", "vis"), ("msi_nir", "nir")) if cube in kinds)


def hold_out_published(
    originals: Sequence[Original], *, test_set: str | None, test: Sequence[str], valid: Sequence[str]
) -> HeldOut:
    """Return (test, valid) as named, as the published set says, or as the folders say; empty: by a hash of the name.

    Raises:
        LeakageError: A subject lies in two splits and the folders decide.
        DataError: The set's subjects are not all there, or were never published.
    """
    if test_set == OWN or (test and test_set is None):
        return tuple(test), tuple(valid)
    if test_set is not None:
        return _as_published(originals, test_set, tuple(valid))
    folders = _by_folder(originals)
    held = _named(folders, "test")
    _tell_name(held, count_captures(originals, held))
    return held, tuple(valid) or _named(folders, "valid")


def count_captures(originals: Sequence[Original], subjects: Sequence[str]) -> Counter[str]:
    """Return how many captures each of some subjects has."""
    return Counter(one.capture.subject for one in originals if one.capture.subject in subjects)


def warn_of_other_splits(originals: Sequence[Original], split: Mapping[str, Any]) -> None:
    """Say which subjects params.yaml puts elsewhere than the archive's folders do, as after a half copy was completed.

    Args:
        originals: All captures found.
        split: The section `split` of params.yaml.
    """
    folders = {one.capture.subject: one.split for one in originals if one.split is not None}
    rule = {name: value for name, value in split.items() if name != "test_set"}
    rule |= {name: [one for one in rule[name] if one in folders] for name in ("test", "valid")}
    assigned = assign_splits(folders, **rule) if folders else {}
    accepted = {("train", "valid")}  # a layout without a valid folder has its valid subjects from train
    others = [
        f"{one} {assigned[one]} (folder {folders[one]})"
        for one in sorted(folders)
        if assigned[one] != folders[one] and (folders[one], assigned[one]) not in accepted
    ]
    if others:
        more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        _log.warning(
            "params.yaml puts subjects elsewhere than the archive's folders: %s%s; if you did not mean that, run "
            "`hyperskin init --source hyperskin --path FOLDER --overwrite`",
            ", ".join(others[:_SHOWN]), more,
        )  # fmt: skip


def _as_published(originals: Sequence[Original], name: str, valid: tuple[str, ...]) -> HeldOut:
    published = find_test_set(name)
    there = {original.capture.subject for original in originals}
    if lacking := [subject for subject in published.subjects if subject not in there]:
        raise DataError(
            f"The test set {name} must be {', '.join(published.subjects)}; {', '.join(lacking)} "
            f"{'is' if len(lacking) == 1 else 'are'} not there: copy the rest, or name others with `--test-set {OWN} "
            "--test`."
        )
    require_test_set(name, count_captures(originals, published.subjects))
    in_folders = {one.capture.subject for one in originals if one.split == "valid"} - set(published.subjects)
    known = tuple(subject for subject in published.valid if subject in there)
    chosen = valid or tuple(sorted(in_folders)) or known
    if not valid and not in_folders and known:
        _log.info("%s: of the subjects that choose the epoch beside it only %s is published", name, ", ".join(known))
    return published.subjects, chosen


def _by_folder(originals: Sequence[Original]) -> dict[str, Split]:
    """Return the split of every subject as the folders say."""
    splits: dict[str, Split] = {}
    for original in originals:
        subject = original.capture.subject
        assert original.split is not None
        if splits.setdefault(subject, original.split) != original.split:
            raise LeakageError(
                f"A subject must lie in one split; {subject} is in {splits[subject]} and in {original.split} "
                f"({original.capture.name}): take that capture out, or say who is tested with `--test-set`."
            )
    return splits


def _named(splits: Mapping[str, Split], side: Split) -> tuple[str, ...]:
    return tuple(sorted(subject for subject, split in splits.items() if split == side))


def _tell_name(held: Sequence[str], capture_counts: Mapping[str, int]) -> None:
    """Say which published set the test folder is, or that it is none."""
    name = name_test_set(capture_counts)
    if name != OWN:
        _log.info("test set %s, %s: %s", name, TEST_SETS[name].used_for, ", ".join(held))
    elif held:
        count = sum(capture_counts.values())
        _log.info("test set %s: %d captures of %s, none of the published ones", OWN, count, ", ".join(held))
    else:
        _log.warning("the archive's folders hold no test captures: who is tested goes by a hash of the name")
