"""data/sources -> data/split.json: who trains, who chooses the epoch, who is the examination."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

from hyperskin.data.sources import SourceFile, read_sources
from hyperskin.data.split import assign_splits, check_no_leak, write_split
from hyperskin.data.test_sets import require_test_set
from hyperskin.params import Params

_log = logging.getLogger(__name__)

_SHARED_PREFIXES = ("DARKREF_", "WHITEREF_")


def split(sources: Path, output: Path, *, params_file: Path = Path("params.yaml")) -> None:
    """Assign every subject to train, valid or test, and refuse one person on two sides.

    Args:
        sources: Folder with one JSON file per subject.
        output: The split, a JSON file.
        params_file: Parameters; this step reads `source` and `split`.
    """
    params = Params.read(params_file)
    captures = read_sources(sources, params.source.name)
    assigned = assign_splits(
        sorted({capture.id.subject for capture in captures}),
        test=params.split.test,
        valid=params.split.valid,
        test_fraction=params.split.test_fraction,
        valid_fraction=params.split.valid_fraction,
        seed=params.split.seed,
    )
    check_no_leak(
        {capture.id.name: capture.id.subject for capture in captures},
        assigned,
        {capture.id.name: [file.sha256 for file in capture.files if _is_recording(file)] for capture in captures},
    )
    require_test_set(
        params.split.test_set,
        Counter(capture.id.subject for capture in captures if assigned[capture.id.subject] == "test"),
    )
    write_split(output, assigned)
    counts = Counter(assigned.values())
    said = (
        f"{counts[part]} {'subject' if counts[part] == 1 else 'subjects'} {part}" for part in ("train", "valid", "test")
    )
    _log.info("split: %s", ", ".join(said))


def _is_recording(file: SourceFile) -> bool:
    """Return whether the file holds what was measured; headers, references and masks may be equal in two captures."""
    path = Path(file.name)
    return path.suffix != ".hdr" and path.parent.name != "mask" and not path.name.startswith(_SHARED_PREFIXES)
