"""What the data are worth: counts, repaired and unmeasured pixels, noise by band, ranges, masks; from the manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from hyperskin.data.manifest import CaptureEntry, Manifest
from hyperskin.data.split import SPLITS
from hyperskin.reporting.curves import draw_noise
from hyperskin.reporting.document import Bullets, Drawing, Grid, Section, Span, Words, bullets, line
from hyperskin.reporting.examination import count_of

_COUNTS = {
    "invalid": "pixels that were not measured (saturated) and count nowhere",
    "repaired": "pixels with a bad detector element that its neighbours replace",
    "negative": "band values below 0, kept",
    "above_one": "band values above 1, kept",
    "clamped": "band values beyond what is stored, cut",
}
_ORIGINS = {"given": "given with the data", "made": "found in the cube", "none": "none"}


def quality_section(manifest: Manifest) -> Section:
    """Return what the manifest says of all captures."""
    captures = [entry for _, entry in sorted(manifest.captures.items())]
    blocks: list[object] = [
        line(
            f"Source {manifest.source}; {count_of(len(captures), 'capture')} of "
            f"{count_of(len({entry.id.subject for entry in captures}), 'subject')}; digest ",
            Span(manifest.digest, style="code"),
            f". {_say_sizes(captures)}",
        ),
        _splits(manifest),
        _counts(captures),
        _ranges(captures),
    ]
    noise = _noise(captures)
    if noise:
        blocks.append(_draw(noise))
    blocks += [line("Made with the parameters"), _settings(manifest.settings)]
    return Section("Data", "data", tuple(blocks))


def _say_sizes(captures: Sequence[CaptureEntry]) -> str:
    sizes = Counter(entry.shape for entry in captures)
    said = ", ".join(f"{height} x {width} px ({count})" for (height, width), count in sorted(sizes.items()))
    return f"Frames, height x width: {said}."


def _splits(manifest: Manifest) -> Grid:
    """Return who trains, selects and examines; a subject stands in one row."""
    rows: list[tuple[Words, ...]] = []
    for split in SPLITS:
        entries = manifest.of_split(split)
        origins = Counter(str(entry.facts.get("mask", {}).get("origin", "none")) for entry in entries)
        masks = ", ".join(f"{_ORIGINS.get(name, name)} {count}" for name, count in sorted(origins.items())) or "-"
        overlaps = [float(entry.facts["mask_iou"]) for entry in entries if "mask_iou" in entry.facts]
        overlap = f"{sum(overlaps) / len(overlaps):.3f}" if overlaps else "unknown"
        lowest = f"{min(overlaps):.3f}" if overlaps else "unknown"
        subjects = {entry.id.subject for entry in entries}
        rows.append((split, masks, str(len(subjects)), str(len(entries)), overlap, lowest))
    return Grid(
        caption="The split, by subject. Mask overlap: intersection over union with the true subject, where known.",
        heading=("split", "masks", "subjects", "captures", "mean mask overlap", "lowest"),
        rows=tuple(rows),
        left=2,
    )


def _counts(captures: Sequence[CaptureEntry]) -> Grid:
    pixel_count = sum(entry.shape[0] * entry.shape[1] for entry in captures)
    rows: list[tuple[Words, ...]] = [("pixels of all captures", "", f"{pixel_count:,}")]
    masked = sum(int(entry.facts.get("mask", {}).get("pixel_count", 0)) for entry in captures)
    rows.append(("pixels in masks", f"{masked / pixel_count:.1%} of all", f"{masked:,}"))
    for key, what in _COUNTS.items():
        values = [int(entry.facts["calibrate"]["counts"].get(key, 0)) for entry in captures]
        if any(key in entry.facts["calibrate"]["counts"] for entry in captures):
            worst = max(range(len(values)), key=values.__getitem__)
            most = f"{values[worst]:,} in {captures[worst].id.name}, the most" if values[worst] else ""
            rows.append((what, most, f"{sum(values):,}"))
    clipped: Counter[str] = Counter()
    for entry in captures:
        clipped.update(entry.facts.get("render", {}).get("clipped", {}))
    rows += [
        (f"pixels clipped in the 8-bit picture of {name}", "", f"{count:,}") for name, count in sorted(clipped.items())
    ]
    return Grid(
        "What was counted while the data were made, over all captures.", ("what", "of these", "count"), tuple(rows)
    )


def _ranges(captures: Sequence[CaptureEntry]) -> Grid:
    names = sorted({name for entry in captures for name in entry.facts.get("range", {})})
    rows = []
    for name in names:
        limits = [entry.facts["range"][name] for entry in captures if name in entry.facts["range"]]
        noise = [
            value
            for entry in captures
            for value in entry.facts["calibrate"]["snr_db"].get(name, [])
            if value is not None
        ]
        mean = f"{sum(noise) / len(noise):.1f} dB" if noise else "unknown"
        rows.append((name, f"{min(low for low, _ in limits):.4f}", f"{max(high for _, high in limits):.4f}", mean))
    return Grid(
        "Reflectance by cube: 1 is the white reference. Signal to noise: mean over bands and captures.",
        ("cube", "lowest", "highest", "signal to noise"),
        tuple(rows),
    )


def _noise(captures: Sequence[CaptureEntry]) -> dict[float, list[float]]:
    """Return signal to noise in dB of every capture that knows it, by wavelength."""
    found: dict[float, list[float]] = {}
    for entry in captures:
        for name, values in entry.facts["calibrate"]["snr_db"].items():
            for wavelength_nm, value in zip(entry.facts["wavelength_nm"][name], values, strict=True):
                if value is not None:
                    found.setdefault(float(wavelength_nm), []).append(float(value))
    return found


def _draw(noise: dict[float, list[float]]) -> Drawing:
    means = {nm: sum(values) / len(values) for nm, values in noise.items()}
    worst, best = min(means, key=means.__getitem__), max(means, key=means.__getitem__)
    return Drawing(
        name="noise",
        figure=draw_noise(noise),
        alt=(
            f"Signal to noise by wavelength: mean {means[worst]:.1f} dB at {worst:g} nm, the lowest, and "
            f"{means[best]:.1f} dB at {best:g} nm, the highest."
        ),
        caption="Signal to noise of the measured cubes by band, estimated from each cube alone.",
    )


def _settings(settings: dict[str, Any]) -> Bullets:
    """Return the parameters that shaped the data, a line a stage."""
    return bullets(
        *(
            line(f"{stage}: {', '.join(f'{name} {_value(value)}' for name, value in sorted(values.items()))}")
            for stage, values in sorted(settings.items())
        )
    )


def _value(value: object) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "none" if value == "" else str(value)
