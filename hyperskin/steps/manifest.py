"""Everything before it -> data/manifest.json, and the figures that `dvc metrics show` and `dvc plots` read."""

from __future__ import annotations

import csv
import io
import logging
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from hyperskin.atomic import write_json, write_text
from hyperskin.data.capture import CaptureId
from hyperskin.data.cubefile import CubeHeader, read_header
from hyperskin.data.frames import read_mask
from hyperskin.data.manifest import CaptureEntry, FileEntry, describe_file, write_manifest
from hyperskin.data.split import check_no_leak, read_split
from hyperskin.data.truth import TRUTH_CUBES, TRUTH_MAPS, read_truth_maps
from hyperskin.errors import DataError
from hyperskin.params import Params, section_values
from hyperskin.sources.catalog import find_source
from hyperskin.sources.source import Source
from hyperskin.steps.captures import SOURCE, Stamp, finished_captures, require_stamp

_log = logging.getLogger(__name__)


def manifest(
    data: Path,
    *,
    output: Path = Path("data/manifest.json"),
    quality: Path = Path("data/quality.json"),
    snr: Path = Path("data/snr_per_band.csv"),
    params_file: Path = Path("params.yaml"),
) -> None:
    """Write what training may trust: every file with hash, shape, range and quality, and the split.

    Args:
        data: Folder that holds raw, cubes, inputs, masks and split.json.
        output: The manifest.
        quality: Totals for `dvc metrics show`.
        snr: Signal to noise per band for `dvc plots show`.
        params_file: Parameters; this step reads `source`, and notes the sections that shaped the data.
    """
    params = Params.read(params_file)
    assigned = read_split(data / "split.json")
    finished = finished_captures(data / "cubes")
    if strangers := sorted({subject for subject, _ in finished} - set(assigned)):
        raise DataError(
            f"{data / 'split.json'} must name every subject; it lacks {strangers[0]!r}: run `dvc repro split`."
        )
    if lacking := sorted(set(assigned) - {subject for subject, _ in finished}):
        raise DataError(
            f"{data / 'cubes'} must hold every subject of the split; it lacks {lacking[0]!r}: run `dvc repro`."
        )
    source = find_source(params.source.name)
    captures = [_describe(data, subject, name, assigned[subject], source) for subject, name in finished]
    check_no_leak(  # once more, by what was measured: a copy in another container has other bytes
        {entry.id.name: entry.id.subject for entry in captures},
        assigned,
        {entry.id.name: [sha256 for key, sha256 in entry.contents.items() if key != "valid"] for entry in captures},
    )
    settings = {name: section_values(getattr(params, name)) for name in ("calibrate", "render", "mask")}
    digest = write_manifest(
        output, source=source.name, settings=settings, captures=captures, test_set=params.split.test_set
    )
    write_json(quality, _totals(captures))
    write_text(snr, _snr_table(captures))
    _log.info("manifest: %d %s, digest %s", len(captures), "capture" if len(captures) == 1 else "captures", digest[:12])


def _describe(data: Path, subject: str, name: str, split: str, source: Source) -> CaptureEntry:
    raw_stamp = require_stamp(data / "raw", subject, name, "acquire")
    cube_stamp = require_stamp(data / "cubes", subject, name, "calibrate")
    input_stamp = require_stamp(data / "inputs", subject, name, "render")
    mask_stamp = require_stamp(data / "masks", subject, name, "mask")
    cube = data / "cubes" / subject / f"{name}.h5"
    header = read_header(cube)
    _require_source(source, raw_stamp, header, cube)
    mask = data / "masks" / subject / f"{name}.png"
    truth = _find_truth(data, subject, name, raw_stamp)
    facts = _gather_facts(header, cube_stamp, input_stamp, mask_stamp)
    if "layout" in raw_stamp.facts:
        facts["layout"] = raw_stamp.facts["layout"]
    if truth:
        facts["mask_iou"] = _mask_iou(mask if mask_stamp.files else None, data / truth["maps"].path)
    return CaptureEntry(
        id=CaptureId.parse(name),
        split=split,
        cube=describe_file(cube, data, cube_stamp.files[cube.name]),
        inputs=describe_file(data / "inputs" / subject / cube.name, data, input_stamp.files[cube.name]),
        mask=describe_file(mask, data, mask_stamp.files[mask.name]) if mask_stamp.files else None,
        shape=header.shape,
        contents=header.sha256,
        facts=facts,
        truth=truth,
    )


def _require_source(source: Source, stamp: Stamp, header: CubeHeader, cube: Path) -> None:
    """Refuse a cube that does not come from the source of params.yaml: people whom a source invents need not consent.

    What counts is what was noted when the originals were brought and when the cube was made of them. Only a capture
    that somebody recorded may have no note.
    """
    noted = [stamp.facts.get(SOURCE), header.attributes.get("source")]
    strangers = [name for name in noted if name not in (None, source.name)]
    if strangers or (source.invented and noted[0] is None):
        raise DataError(
            f"{cube} must come from the source {source.name!r} that params.yaml names; it comes from "
            f"{repr(strangers[0]) if strangers else 'nobody knows where'}: put its source into params.yaml, or "
            "run `hyperskin init --rescan` and `dvc repro` for another."
        )
    originals = header.attributes.get("originals", {})
    if any(stamp.files.get(file) != sha256 for file, sha256 in originals.items()):
        raise DataError(f"{cube} must be made of the originals in data/raw; it was made of others: run `dvc repro`.")


def _find_truth(data: Path, subject: str, name: str, stamp: Stamp) -> dict[str, FileEntry]:
    """Return the files that came with a phantom capture; none for what was measured."""
    files = {"cubes": f"{name}/{TRUTH_CUBES}", "maps": f"{name}/{TRUTH_MAPS}"}
    return {
        what: describe_file(data / "raw" / subject / file, data, stamp.files[file])
        for what, file in files.items()
        if file in stamp.files
    }


def _mask_iou(mask: Path | None, maps: Path) -> float:
    """Return how well a mask covers the true subject: intersection over union of their pixels."""
    subject = read_truth_maps(maps).subject()
    found = np.zeros_like(subject) if mask is None else read_mask(mask)
    united_count = int(np.count_nonzero(found | subject))
    return int(np.count_nonzero(found & subject)) / united_count if united_count else 1.0


def _gather_facts(header: CubeHeader, cube: Stamp, inputs: Stamp, mask: Stamp) -> dict[str, Any]:
    return {
        "range": {name: list(limits) for name, limits in header.ranges.items()},
        "wavelength_nm": {name: list(bands.wavelength_nm) for name, bands in header.bands.items()},
        "calibrate": cube.facts,
        "render": inputs.facts,
        "mask": mask.facts,
    }


def _totals(captures: list[CaptureEntry]) -> dict[str, Any]:
    """Return counts over all captures, mean signal to noise, and how the split fell."""
    totals: dict[str, Any] = {
        "captures": len(captures),
        "subjects": len({entry.id.subject for entry in captures}),
        "pixels": sum(entry.shape[0] * entry.shape[1] for entry in captures),
        "masked_pixels": sum(entry.facts["mask"]["pixel_count"] for entry in captures),
        "captures_without_mask": sum(entry.mask is None for entry in captures),
        "masks_given": sum(entry.facts["mask"]["origin"] == "given" for entry in captures),
        "split": {split: sum(entry.split == split for entry in captures) for split in ("train", "valid", "test")},
        "clipped_in_pictures": sum(sum(entry.facts["render"]["clipped"].values()) for entry in captures),
    }
    if overlaps := [entry.facts["mask_iou"] for entry in captures if "mask_iou" in entry.facts]:
        totals["lowest_mask_iou"], totals["mean_mask_iou"] = round(min(overlaps), 4), round(fmean(overlaps), 4)
    for entry in captures:
        for key, count in entry.facts["calibrate"]["counts"].items():
            totals[key] = totals.get(key, 0) + count
    for name in sorted({name for entry in captures for name in entry.facts["calibrate"]["snr_db"]}):
        known = [
            value
            for entry in captures
            for value in entry.facts["calibrate"]["snr_db"].get(name, [])
            if value is not None
        ]
        totals[f"mean_snr_db_{name}"] = round(fmean(known), 2) if known else None
    return totals


def _snr_table(captures: list[CaptureEntry]) -> str:
    """Return CSV rows: wavelength, mean signal to noise over all captures, and the lowest; the manifest has each."""
    found: dict[float, list[float]] = {}
    for entry in captures:
        for name, values in entry.facts["calibrate"]["snr_db"].items():
            for wavelength_nm, value in zip(entry.facts["wavelength_nm"][name], values, strict=True):
                if value is not None:
                    found.setdefault(wavelength_nm, []).append(value)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["wavelength_nm", "mean_snr_db", "lowest_snr_db"])
    for wavelength_nm, values in sorted(found.items()):
        table.writerow([f"{wavelength_nm:g}", f"{fmean(values):.2f}", f"{min(values):.2f}"])
    return text.getvalue()
