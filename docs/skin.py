"""Draw what can and cannot be read from a selfie, and print the numbers behind it, on the phantom's people.

python docs/skin.py haemoglobin --data data --out docs/pictures     (or another idea, or `all`)

Every person is reconstructed by a regression fitted to all the others, so that twelve people examine, not three.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from scipy.optimize import fsolve
from scipy.stats import spearmanr

from hyperskin.bands import VIS, Bands
from hyperskin.data.capture import CaptureId
from hyperskin.data.frames import PairFiles, read_frame, read_truth, read_visible
from hyperskin.data.manifest import Manifest
from hyperskin.errors import DataError, HyperSkinError
from hyperskin.metrics.sam import sam
from hyperskin.metrics.summary import CaptureScores, summarise
from hyperskin.models import regression
from hyperskin.pairs import Pair, find_pair
from hyperskin.params import FILE_NAME, Params
from hyperskin.phantom.face import SKIN
from hyperskin.phantom.recipe import SKIN_TYPES, Recipe, plan_subjects
from hyperskin.phantom.scene import Scene
from hyperskin.pictures import save_figure, save_picture
from hyperskin.skin.chromophores import (
    deoxyhaemoglobin_absorption,
    melanin_absorption,
    oxyhaemoglobin_absorption,
    water_absorption,
)
from hyperskin.skin.fidelity import Fidelity, compare_maps, pool
from hyperskin.skin.inverse import inverse_model
from hyperskin.skin.maps import skin_maps
from hyperskin.skin.optics import Skin, skin_reflectance
from hyperskin.skin.typology import individual_typology_angle, skin_type
from hyperskin.spectral.camera import camera_operator, find_camera
from hyperskin.spectral.responses import measured_cameras
from hyperskin.steps.bare_skin import find_bare_skin
from hyperskin.steps.consent import publishable_subjects
from hyperskin.steps.evaluate import Reconstruct
from hyperskin.steps.fit import fit_regression
from hyperskin.steps.unit import Unit, champion_camera
from hyperskin.tracking.grid import align_table

Floats = npt.NDArray[np.float64]

REGRESSIONS = ("linear", "polynomial", "root_polynomial")
SELFIE = "polynomial"  # the nearest by angle of the three
CLEAN, MEASURED, BINNED, STRAIGHT, CONSTANT = "no noise", "measured", "measured, 2 x 2", "straight", "constant"
MAPS = {
    "melanin": "melanin_fraction",
    "blood": "blood_fraction",
    "oxygenation": "oxygenation",
    "water": "water_fraction",
}
SHARES = ("melanin", "blood")  # judged by their logarithm; the others in percentage points
UNITS = {
    "melanin": "melanin, % of the epidermis",
    "blood": "blood, % of the dermis",
    "oxygenation": "oxygenation, %",
    "water": "water, % of the dermis",
}
LIMITS = {"melanin": (0.5, 60.0), "blood": (0.4, 7.0), "oxygenation": (30.0, 100.0), "water": (40.0, 90.0)}
TICKS = {"melanin": (1, 3, 10, 30), "blood": (0.5, 1, 2, 4)}
CAMERA = "nikon_5100_npl"  # whose channels are drawn
DOTS = 1800  # of one panel
LEARNED_PX = 2000  # of one capture, where chromophores are learned straight from the selfie
TYPICAL = Skin(melanin_fraction=0.05, blood_fraction=0.02, oxygenation=0.68, water_fraction=0.65)
COLOURS = {"melanin": "#000000", "oxygenated": "#d55e00", "deoxygenated": "#0072b2", "water": "#009e73"}
TIE = 0.05  # angles as near as that, in parts of the smaller, are called equal


@dataclass(frozen=True, eq=False)
class Opened:
    """A capture in memory.

    Attributes:
        selfie: What the camera gave, (H, W, C_in).
        cubes: By way, (H, W, C).
        truth: True maps by name, (H, W).
        skin: Bare skin, (H, W) bool.
    """

    selfie: npt.NDArray[np.float32]
    cubes: dict[str, npt.NDArray[np.float32]]
    truth: dict[str, npt.NDArray[np.float32]]
    skin: npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Reading:
    """What was read from one cube of one capture, held against the truth.

    Attributes:
        subject: Whose it is.
        capture: Its name.
        way: How the cube came about: without noise, measured, or reconstructed by a regression; or, without any cube,
            straight from the selfie by a regression that has seen the truth of other people.
        angle_rad: Mean spectral angle to the noise-free cube over bare skin; NaN without a cube.
        shading_r: Correlation of the melanin read with how the face is lit, both by their logarithm.
        fidelity: Errors, and the pixels of both sides.
    """

    subject: str
    capture: str
    way: str
    angle_rad: float
    shading_r: float
    fidelity: Fidelity


@dataclass(frozen=True)
class Score:
    """How well one thing is read in one way: the mean error of a capture, and correlations with the truth.

    Attributes:
        error: Median relative error for shares, mean error in percentage points for the others; mean over captures.
        r_pooled: Over the pixels of all people.
        r_people: Over the medians of each person.
        r_within: Over the pixels of one face; mean over captures.
    """

    error: float
    r_pooled: float = float("nan")
    r_people: float = float("nan")
    r_within: float = float("nan")


class Study:
    """The captures of a repository, each read from its cubes and from reconstructions by people who are not in it."""

    def __init__(self, data: Path) -> None:
        """Read the manifest in `data`, and the parameters beside the folder."""
        self._manifest = Manifest.read(data / "manifest.json")
        self.params = Params.read(data.resolve().parent / FILE_NAME)
        self.camera = champion_camera(self.params, self._manifest)
        self.subjects = sorted({entry.id.subject for entry in self._manifest.captures.values()})
        if len(self.subjects) < 3 or not all(entry.truth for entry in self._manifest.captures.values()):
            raise DataError(
                f"{data} must hold a phantom of three people or more, whose truth is known; it holds "
                f"{len(self.subjects)} subjects of the source {self._manifest.source!r}: run `hyperskin init`."
            )
        self.skin_types = plan_subjects(self.params.phantom.subjects)
        self.publishable = publishable_subjects(self._manifest.source, self.subjects, ())
        self._readings: dict[str, list[Reading]] = {}

    def readings(self, pair_name: str) -> list[Reading]:
        """Return what is read from every capture in every way."""
        if pair_name not in self._readings:
            pair = find_pair(pair_name)
            seen = {subject: self._bare_pixels(subject, pair) for subject in self.subjects}
            found = self._readings[pair_name] = []
            for subject in self.subjects:
                ways = self.without(subject, pair)
                inputs, targets = map(
                    np.concatenate, zip(*(seen[name] for name in seen if name != subject), strict=True)
                )
                straight = regression.fit_regression(
                    SELFIE, inputs, targets, ridge=self.params.regression.ridge, transfer=self.params.render.transfer
                )
                for file in self.files(subject, pair):
                    found += self._read(file, pair, ways, straight.reconstruct)
        return self._readings[pair_name]

    def scores(self, pair_name: str, what: str) -> dict[str, Score]:
        """Return how well `what` is read, by way; last the same value for every pixel of everybody."""
        readings = self.readings(pair_name)
        found = {}
        for way in dict.fromkeys(reading.way for reading in readings):
            own = [reading for reading in readings if reading.way == way and what in reading.fidelity.pixels]
            found[way] = _score(what, own)
        told = [r.fidelity.pixels[what][0] for r in readings if r.way == CLEAN and what in r.fidelity.pixels]
        middle = np.concatenate(told).mean(dtype=np.float64)
        found[CONSTANT] = Score(float(np.mean([_error(what, one, np.full_like(one, middle)) for one in told])))
        return found

    def without(self, subject: str, pair: Pair) -> dict[str, Reconstruct]:
        """Return the regressions that are fitted to everybody but `subject`."""
        manifest = self._split(subject)
        return {
            kind: fit_regression(
                Unit.of(f"regression_{kind}", pair.name, self.params, manifest), manifest, lambda: False
            ).reconstruct
            for kind in REGRESSIONS
        }

    def files(self, subject: str, pair: Pair) -> list[PairFiles]:
        """Return where the captures of `subject` lie."""
        return self._split(subject).pair_files("test", pair)

    def open(self, file: PairFiles, pair: Pair, ways: dict[str, Reconstruct]) -> Opened:
        """Return a capture with its cubes, reconstructed in the given ways too."""
        assert file.truth is not None
        frame, truth = read_frame(file, pair, camera=self.camera), read_truth(file.truth, pair)
        found = find_bare_skin(frame, pair.target, read_visible(file.cube))
        assert found is not None
        made = {way: reconstruct(frame.input) for way, reconstruct in ways.items()}
        cubes = {CLEAN: truth.reference, MEASURED: frame.reference, **made}
        return Opened(frame.input, cubes, truth.maps, found.regions.skin & truth.skin)

    def _split(self, subject: str) -> Manifest:
        """Return the manifest in which `subject` is examined and all others are learned from."""
        captures = self._manifest.captures.items()
        return replace(
            self._manifest,
            captures={
                name: replace(entry, split="test" if entry.id.subject == subject else "train")
                for name, entry in captures
            },
        )

    def _bare_pixels(self, subject: str, pair: Pair) -> tuple[npt.NDArray[Any], Floats]:
        """Return what the camera saw of a person's bare skin, (P, C), and what it is made of, (P, 4)."""
        inputs, targets = [], []
        for file in self.files(subject, pair):
            one = self.open(file, pair, {})
            rows = np.stack([one.truth[key][one.skin] for key in MAPS.values()], axis=1, dtype=np.float64)
            rows[:, : len(SHARES)] = np.log(rows[:, : len(SHARES)])
            step = max(1, len(rows) // LEARNED_PX)
            inputs.append(one.selfie[one.skin][::step])
            targets.append(rows[::step])
        return np.concatenate(inputs), np.concatenate(targets)

    def _read(self, file: PairFiles, pair: Pair, ways: dict[str, Reconstruct], straight: Reconstruct) -> list[Reading]:
        one, found = self.open(file, pair, ways), []

        def add(way: str, read: dict[str, npt.NDArray[Any]], angle_rad: float) -> None:
            fidelity = compare_maps(read, one.truth, one.skin)
            lit = np.log(one.truth["shading"][one.skin])
            shading_r = _correlation(np.log(read[MAPS["melanin"]][one.skin]), lit)
            found.append(Reading(file.capture.subject, file.capture.name, way, angle_rad, shading_r, fidelity))

        for way, binning in (*((way, 1) for way in one.cubes), (BINNED, 2)):
            cube = one.cubes[MEASURED if way == BINNED else way]
            read = skin_maps(cube, pair.target, one.skin, binning=binning).values
            add(way, read, sam(cube, one.cubes[CLEAN], one.skin).value)
        told = np.where(one.skin[..., None], straight(one.selfie), np.nan)
        told[..., : len(SHARES)] = np.exp(told[..., : len(SHARES)])
        add(STRAIGHT, {key: told[..., place] for place, key in enumerate(MAPS.values())}, float("nan"))
        return found


def _correlation(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
    known = np.isfinite(one) & np.isfinite(other)
    return float(np.corrcoef(one[known], other[known])[0, 1])


def _score(what: str, readings: Sequence[Reading]) -> Score:
    key = f"fidelity/{what}_relative_error" if what in SHARES else f"fidelity/{what}_mae_pp"
    if not readings:
        return Score(float("nan"))
    people = [_level(what, readings, name) for name in dict.fromkeys(reading.subject for reading in readings)]
    return Score(
        error=float(np.mean([reading.fidelity.values[key] for reading in readings])),
        r_pooled=pool([reading.fidelity for reading in readings]).get(f"fidelity/{what}_r", float("nan")),
        r_people=float(np.corrcoef(np.transpose(people))[0, 1]),
        r_within=float(np.nanmean([r.fidelity.values.get(f"fidelity/{what}_r_within", np.nan) for r in readings])),
    )


def _level(what: str, readings: Sequence[Reading], subject: str) -> Floats:
    """Return one person's true and read level: medians over all pixels of all captures."""
    own = [reading.fidelity.pixels[what] for reading in readings if reading.subject == subject]
    return np.median(np.concatenate(own, axis=1), axis=1).astype(np.float64)


def _error(what: str, told: npt.NDArray[Any], found: npt.NDArray[Any]) -> float:
    if what in SHARES:
        return float(np.median(np.abs(np.expm1(found - told))))
    return 100 * float(np.abs(found - told).mean())


# 1. Three pigments


def draw_pigments(_study: Study, out: Path) -> None:
    """Draw what pigments absorb, what that does to skin, and skins that a camera cannot tell apart."""
    figure = Figure(figsize=(7.0, 5.3), layout="constrained")
    absorption, marks, same, bill = figure.subplots(2, 2).flat
    nm = np.arange(400.0, 1001.0, 2.0)
    absorption.semilogy(nm, melanin_absorption(nm), color=COLOURS["melanin"], label="melanosome")
    absorption.semilogy(nm, oxyhaemoglobin_absorption(nm), color=COLOURS["oxygenated"], label="blood with oxygen")
    absorption.semilogy(nm, deoxyhaemoglobin_absorption(nm), color=COLOURS["deoxygenated"], label="blood without")
    absorption.semilogy(nm, water_absorption(nm), color=COLOURS["water"], label="water")
    absorption.set(ylim=(1e-2, 1e6), xlabel="wavelength in nm", ylabel="absorption in 1/cm", title="What absorbs")
    absorption.legend(loc="upper right", ncols=2)
    _draw_marks(marks)
    lines = [["camera", "oxygenation", "melanin", "blood"]]
    for camera in ("cie", CAMERA):
        alike = same_colour(camera, TYPICAL)
        lines += [[camera, f"{100 * o:.0f} %", f"x {m:.2f}", f"x {b:.2f}"] for o, m, b in alike]
        if camera == CAMERA:
            _draw_alike(same, bill, alike)
    save_figure(figure, path=out / "skin-pigments.png")
    _say("pigments: skins whose red : green : blue is the same, by camera; the typical one has 68 % oxygenation")
    _say(align_table(lines))


def same_colour(camera: str, skin: Skin, oxygenations: Sequence[float] = (0.4, 0.5, 0.6, 0.68, 0.8, 0.9)) -> list[Any]:
    """Return (oxygenation, times the melanin, times the blood) of skins whose colour is that of `skin`.

    A camera gives two ratios of three channels, for brightness is the lamp's; so whatever the oxygenation is, two
    further unknowns can make up for it.
    """
    operator = camera_operator(find_camera(camera), VIS)

    def log_colour(factors: Floats, oxygenation: float) -> Floats:
        other = replace(
            skin,
            melanin_fraction=skin.melanin_fraction * np.exp(factors[0]),
            blood_fraction=skin.blood_fraction * np.exp(factors[1]),
            oxygenation=oxygenation,
        )
        rgb = np.log(skin_reflectance(other, VIS.centres_nm())[0] @ operator)
        return np.array([rgb[0] - rgb[1], rgb[2] - rgb[1]])

    wanted = log_colour(np.zeros(2), float(skin.oxygenation))
    found = []
    for oxygenation in oxygenations:
        factors = fsolve(lambda x, o=oxygenation: log_colour(x, o) - wanted, np.zeros(2))
        found.append((oxygenation, *np.exp(factors)))
    return found


def _draw_marks(axes: Axes) -> None:
    """Draw what more of each does to reflectance, over what a camera's channels answer to."""
    nm = np.arange(400.0, 701.0, 2.0)
    usual = np.log10(skin_reflectance(TYPICAL, nm)[0])
    changes = {
        "melanin + 50 %": (replace(TYPICAL, melanin_fraction=0.075), COLOURS["melanin"]),
        "blood + 50 %": (replace(TYPICAL, blood_fraction=0.03), COLOURS["oxygenated"]),
        "oxygenation - 20 points": (replace(TYPICAL, oxygenation=0.48), COLOURS["deoxygenated"]),
    }
    camera = measured_cameras()[CAMERA]
    for channel, colour in zip(camera.sensitivity.T, ("#c44", "#4a4", "#44c"), strict=True):
        answer = 0.06 * channel / channel.max()
        axes.fill_between(camera.wavelength_nm, -0.02, answer - 0.02, color=colour, alpha=0.15, linewidth=0)
    for name, (skin, colour) in changes.items():
        axes.plot(nm, usual - np.log10(skin_reflectance(skin, nm)[0]), color=colour, label=name)
    axes.axhline(0, color="grey", linewidth=0.8)
    axes.set(
        xlim=(400, 700),
        ylim=(-0.02, 0.16),
        xlabel="wavelength in nm",
        ylabel="absorbance added, log10",
        title="Their marks, over a camera's channels",
    )
    axes.legend()


def _draw_alike(same: Axes, bill: Axes, alike: Sequence[tuple[float, float, float]]) -> None:
    """Draw the spectra of skins of one colour, and what they are made of."""
    nm = np.arange(400.0, 701.0, 2.0)
    colours = mpl.colormaps["viridis"](np.linspace(0, 0.85, len(alike)))
    for (oxygenation, melanin, blood), colour in zip(alike, colours, strict=True):
        skin = replace(TYPICAL, melanin_fraction=0.05 * melanin, blood_fraction=0.02 * blood, oxygenation=oxygenation)
        spectrum = skin_reflectance(skin, nm)[0]
        level = skin_reflectance(skin, VIS.centres_nm())[0] @ camera_operator(find_camera(CAMERA), VIS)
        same.plot(nm, spectrum / level[1], color=colour, label=f"{100 * oxygenation:.0f} %")
    same.set(xlabel="wavelength in nm", ylabel="reflectance / green", title="Six skins of one colour for the camera")
    same.legend(title="oxygenation", ncols=2, loc="upper left")
    oxygenation, melanin, blood = np.transpose(alike)
    bill.plot(100 * oxygenation, melanin, "o-", color=COLOURS["melanin"], label="melanin")
    bill.plot(100 * oxygenation, blood, "s-", color=COLOURS["oxygenated"], label="blood")
    bill.set(
        xlabel="oxygenation, %", ylabel="times that of the skin at 68 %", title="What makes up for the oxygenation"
    )
    bill.grid(alpha=0.3)
    bill.legend()


# 2. to 4. Blood, melanin, oxygenation


def draw_haemoglobin(study: Study, out: Path) -> None:
    """Draw blood: it survives."""
    _draw_reading(study, "blood", out / "skin-haemoglobin.png")


def draw_melanin(study: Study, out: Path) -> None:
    """Draw melanin: it survives as a person's level."""
    _draw_reading(study, "melanin", out / "skin-melanin.png")
    _say("within a face, melanin as it is read follows the shading with r =")
    ways = (CLEAN, MEASURED, *REGRESSIONS, STRAIGHT)
    _say(", ".join(f"{way} {shading_r(study, way):.2f}" for way in ways))
    told = [r.fidelity.pixels["melanin"][0] for r in study.readings("rgb_vis") if r.way == CLEAN]
    spread = np.mean([one.std(dtype=np.float64) for one in told])
    _say(f"true melanin varies within a face by {spread:.2f}, over all by {np.concatenate(told).std():.2f} (sd of ln)")


def shading_r(study: Study, way: str) -> float:
    """Return how far the melanin that is read within a face is its shading: a correlation, mean over captures."""
    return float(np.mean([reading.shading_r for reading in study.readings("rgb_vis") if reading.way == way]))


def draw_oxygenation(study: Study, out: Path) -> None:
    """Draw oxygenation: it does not survive."""
    _draw_reading(study, "oxygenation", out / "skin-oxygenation.png")


def _draw_reading(study: Study, what: str, path: Path) -> None:
    """Draw one face's maps, and below what was read from all faces against the truth."""
    scores = study.scores("rgb_vis", what)
    figure = Figure(figsize=(7.4, 6.1), layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=(0.75, 1))
    subject = _draw_face(study, what, upper)
    panels = lower.subplots(1, 2, sharex=True, sharey=True)
    for axes, way, title in zip(panels, (MEASURED, SELFIE), ("from the measured cube", "from the selfie"), strict=True):
        _scatter(axes, study, "rgb_vis", what, way)
        score = scores[way]
        axes.set_title(f"{title}: r = {score.r_pooled:.2f}, within a face {score.r_within:.2f}")
    _add_type_legend(panels[0])
    save_picture(figure, subjects=[subject], publishable=study.publishable, path=path)
    _say_scores(study, "rgb_vis", what, scores)
    _say_people(study, what)


def _draw_face(study: Study, what: str, figure: Any) -> str:
    """Draw the frontal face that shows most skin: the picture, and what it is made of relative to its own median."""
    pair = find_pair("rgb_vis")
    name = max(
        (r for r in study.readings(pair.name) if r.way == CLEAN and CaptureId.parse(r.capture).direction == "front"),
        key=lambda reading: reading.fidelity.pixels["blood"].shape[1],
    ).capture
    subject = CaptureId.parse(name).subject
    file = next(file for file in study.files(subject, pair) if file.capture.name == name)
    one = study.open(file, pair, {SELFIE: study.without(subject, pair)[SELFIE]})
    maps = {"truth": one.truth[MAPS[what]]}
    for way, title in ((MEASURED, "measured cube"), (SELFIE, "selfie")):
        maps[title] = skin_maps(one.cubes[way], pair.target, one.skin).values[MAPS[what]]
    rows, columns = (slice(max(0, np.min(at) - 2), np.max(at) + 3) for at in np.nonzero(one.skin))
    picture, *panels = figure.subplots(1, 4)
    picture.imshow(one.selfie[rows, columns])
    picture.set_title("the selfie")
    picture.set_axis_off()
    low, high, unit, digits = {
        "blood": (0.5, 2.0, "times the median", 2),
        "melanin": (0.6, 1.6, "times the median", 1),
        "oxygenation": (-20.0, 20.0, "points off the median", 0),
    }[what]
    norm = LogNorm(low, high) if what in SHARES else Normalize(low, high)
    for axes, (title, values) in zip(panels, maps.items(), strict=True):
        values = np.where(one.skin, values, np.nan)[rows, columns]
        median = np.nanmedian(values)
        shown = values / median if what in SHARES else 100 * (values - median)
        axes.imshow(shown, norm=norm, cmap="viridis")
        axes.set_title(f"{title}\nmedian {100 * median:.{digits}f} %")
        axes.set_axis_off()
    ticks = {"blood": (0.5, 0.7, 1, 1.4, 2), "melanin": (0.6, 0.8, 1, 1.25, 1.6), "oxygenation": (-20, -10, 0, 10, 20)}
    bar = figure.colorbar(ScalarMappable(norm, "viridis"), ax=panels, label=unit, ticks=ticks[what], pad=0.01)
    bar.ax.set_yticklabels([f"{tick:g}" for tick in ticks[what]])
    bar.ax.minorticks_off()
    figure.suptitle(f"{what.capitalize()} in one face ({subject}, from the front)")
    return subject


def _scatter(axes: Axes, study: Study, pair_name: str, what: str, way: str) -> None:
    """Draw what was read against the truth: dots are pixels, coloured by skin type, rings are people."""
    readings = [r for r in study.readings(pair_name) if r.way == way and what in r.fidelity.pixels]
    each = max(1, DOTS // len(readings))
    for kind, colour in _type_colours().items():
        pairs = [r.fidelity.pixels[what] for r in readings if study.skin_types[r.subject] == kind]
        thin = [pair[:, :: max(1, pair.shape[1] // each)] for pair in pairs]
        if thin:
            told, found = _in_percent(what, np.concatenate(thin, axis=1))
            axes.plot(told, found, ".", color=colour, markersize=2, markeredgewidth=0, antialiased=False)
    for subject in dict.fromkeys(reading.subject for reading in readings):
        told, found = _in_percent(what, _level(what, readings, subject))
        colour = _type_colours()[study.skin_types[subject]]
        axes.plot(told, found, "o", color=colour, markersize=8, markeredgecolor="black")
    axes.plot(LIMITS[what], LIMITS[what], color="black", linewidth=0.8)
    if what in SHARES:
        axes.set(xscale="log", yscale="log")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_ticks(TICKS[what], [f"{tick:g}" for tick in TICKS[what]])
            axis.set_ticks([], minor=True)
    axes.set(xlim=LIMITS[what], ylim=LIMITS[what], xlabel=f"true {UNITS[what]}", ylabel="read", aspect="equal")
    axes.grid(alpha=0.3)


def _add_type_legend(axes: Axes) -> None:
    handles = [
        mpl.lines.Line2D([], [], color=colour, marker="o", linestyle="", markeredgecolor="black", label=kind)
        for kind, colour in _type_colours().items()
    ]
    axes.legend(handles=handles, title="skin type", loc="upper left", ncols=2)


def _in_percent(what: str, pair: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return 100 * (np.exp(pair) if what in SHARES else pair)


@cache
def _type_colours() -> dict[str, Any]:
    """Return a colour for each skin type, light to dark."""
    return dict(zip(SKIN_TYPES, mpl.colormaps["viridis"](np.linspace(0.97, 0.05, len(SKIN_TYPES))), strict=True))


# 5. The angle


def draw_angle(study: Study, out: Path) -> None:
    """Draw melanin's error against the spectral angle: one does not tell the other."""
    readings = study.readings("rgb_vis")
    scores = study.scores("rgb_vis", "melanin")
    angles = {way: _mean_angle(readings, way) for way in (MEASURED, *REGRESSIONS)}
    figure = Figure(figsize=(7.8, 3.9), layout="constrained")
    axes, spectra = figure.subplots(1, 2)
    looks = {
        MEASURED: ("o", "#000000"),
        "linear": ("s", "#d55e00"),
        "polynomial": ("^", "#0072b2"),
        "root_polynomial": ("D", "#009e73"),
    }
    for way, (marker, colour) in looks.items():
        own = [reading for reading in readings if reading.way == way]
        errors = [reading.fidelity.values["fidelity/melanin_relative_error"] for reading in own]
        axes.plot([r.angle_rad for r in own], errors, marker, color=colour, markersize=4, alpha=0.35, markeredgewidth=0)
        axes.plot(
            angles[way], scores[way].error, marker, color=colour, markersize=11, markeredgecolor="black", label=way
        )
    axes.set(
        yscale="log",
        xlabel="spectral angle to the noise-free skin, rad",
        ylabel="melanin off by, relative",
        title="Small: one capture. Large: the mean",
    )
    axes.set_yticks((0.03, 0.1, 0.3, 1, 3), ("0.03", "0.1", "0.3", "1", "3"))
    axes.grid(alpha=0.3)
    axes.legend(loc="upper right")
    said = _draw_tie(study, spectra, {way: colour for way, (_, colour) in looks.items()})
    save_figure(figure, path=out / "skin-angle.png")
    _say("angle: mean spectral angle to the noise-free skin, and how far melanin is off")
    lines = [["way", "SAM, rad", "melanin off by"]]
    _say(align_table(lines + [[way, f"{angles[way]:.4f}", f"{scores[way].error:.2f}"] for way in angles]))
    made = [reading for reading in readings if reading.way in REGRESSIONS]
    rank = spearmanr(
        [r.angle_rad for r in made], [r.fidelity.values["fidelity/melanin_relative_error"] for r in made]
    ).statistic
    _say(f"Over {len(made)} reconstructed captures the rank correlation of the two is {rank:.2f}.")
    _say(said)


def find_tie(study: Study) -> tuple[Reading, Reading]:
    """Return two reconstructions of one capture as near by angle, the one furthest from the other by melanin."""
    key = "fidelity/melanin_relative_error"
    readings = [reading for reading in study.readings("rgb_vis") if reading.way in REGRESSIONS]
    ties = [
        (keeps, loses)
        for keeps in readings
        for loses in readings
        if keeps.capture == loses.capture
        and abs(keeps.angle_rad - loses.angle_rad) <= TIE * min(keeps.angle_rad, loses.angle_rad)
    ]
    return max(ties, key=lambda tie: tie[1].fidelity.values[key] / tie[0].fidelity.values[key])


def _draw_tie(study: Study, axes: Axes, colours: dict[str, str]) -> str:
    """Draw the mean spectra of two reconstructions of one capture with equal angle; return what they differ in."""
    keeps, loses = find_tie(study)
    pair = find_pair("rgb_vis")
    file = next(file for file in study.files(keeps.subject, pair) if file.capture.name == keeps.capture)
    one = study.open(file, pair, study.without(keeps.subject, pair))
    nm = pair.target.centres_nm()
    said = []
    for way, reading in ((CLEAN, None), (keeps.way, keeps), (loses.way, loses)):
        mean = one.cubes[way][one.skin].mean(axis=0, dtype=np.float64)
        label = "truth"
        if reading is not None:
            error = reading.fidelity.values["fidelity/melanin_relative_error"]
            label = f"{way}: SAM {reading.angle_rad:.3f},\nmelanin off by {error:.2f}"
            said.append(f"{way} has SAM {reading.angle_rad:.4f} and melanin off by {error:.2f}")
        axes.plot(nm, mean / mean.mean(), color=colours.get(way, "grey"), label=label, linewidth=2 if reading else 5,
                  alpha=1 if reading else 0.5)  # fmt: skip
    axes.set(
        xlabel="wavelength in nm", ylabel="reflectance / its mean", title=f"One angle, two melanins ({keeps.capture})"
    )
    axes.grid(alpha=0.3)
    axes.legend()
    return f"The starkest tie, {keeps.capture}: {'; '.join(said)}."


def _mean_angle(readings: Sequence[Reading], way: str) -> float:
    return float(np.mean([reading.angle_rad for reading in readings if reading.way == way]))


# 6. Noise


def draw_noise(study: Study, out: Path) -> None:
    """Draw how far the measurement's own noise reaches, between no noise and a constant."""
    figure = Figure(figsize=(7.8, 3.2), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    ways = (CLEAN, BINNED, MEASURED, SELFIE, CONSTANT)
    names = ("no noise", "measured,\n2 x 2 binned", "measured", "selfie", "one value\nfor all")
    colours = ("#000000", "#56b4e9", "#0072b2", "#d55e00", "#999999")
    for axes, what in zip(panels, ("melanin", "blood", "oxygenation"), strict=True):
        scores = study.scores("rgb_vis", what)
        errors = [scores[way].error for way in ways]
        axes.barh(names, errors, color=colours)
        for place, error in enumerate(errors):
            text = f" {error:.2f}" if what in SHARES else f" {error:.1f}"
            axes.text(error, place, text, va="center")
        axes.set(xlim=(0, 1.2 * max(errors)), xlabel="off by, relative" if what in SHARES else "off by, points",
                 title=what)  # fmt: skip
        _say_scores(study, "rgb_vis", what, scores)
    panels[0].set_ylim(len(ways) - 0.5, -0.5)
    save_figure(figure, path=out / "skin-noise.png")


# 7. Water


def draw_water(study: Study, out: Path) -> None:
    """Draw water, read from 61 bands to 1000 nm: it is no better than a constant."""
    figure = Figure(figsize=(7.8, 3.5), layout="constrained")
    panels = figure.subplots(1, 3, sharex=True, sharey=True)
    scores = study.scores("msi_visnir", "water")
    titles = {CLEAN: "61 bands, no noise", MEASURED: "61 bands, measured", SELFIE: "selfie and 960 nm"}
    for axes, (way, title) in zip(panels, titles.items(), strict=True):
        _scatter(axes, study, "msi_visnir", "water", way)
        axes.set_title(f"{title}:\nr = {scores[way].r_pooled:.2f}, off by {scores[way].error:.1f} points")
        if axes is not panels[0]:
            axes.set_ylabel("")
    _add_type_legend(panels[0])
    figure.suptitle(f"Water. One value for all is off by {scores[CONSTANT].error:.1f} points")
    save_figure(figure, path=out / "skin-water.png")
    _say_scores(study, "msi_visnir", "water", scores)
    _say_mismatch(study, find_pair("msi_visnir").target, ("water",))


# 8. The circle


def draw_circle(study: Study, out: Path) -> None:
    """Draw how the reading suffers where skin is not what the model says."""
    names = ("melanin", "blood", "oxygenation")
    _say_mismatch(study, VIS, names)
    levels = (0.0, 0.005, 0.01, 0.02, 0.04)
    errors = {what: misfit_errors(study, what, levels) for what in names}
    figure = Figure(figsize=(7.8, 3.2), layout="constrained")
    for axes, what in zip(figure.subplots(1, 3), names, strict=True):
        axes.plot([100 * level for level in levels], errors[what], "o-", color="#0072b2", label="read")
        constant = study.scores("rgb_vis", what)[CONSTANT].error
        axes.axhline(constant, color="#999999", linestyle="--", label="one value for all")
        measured = study.scores("rgb_vis", what)[MEASURED].error
        axes.axhline(measured, color="black", linestyle=":", label="measured, with its noise")
        axes.set(
            ylim=(0, 1.15 * max(constant, *errors[what])),
            xlabel="departure from the model, %",
            ylabel="off by, relative" if what in SHARES else "off by, points",
            title=what,
        )
        axes.grid(alpha=0.3)
    figure.axes[0].legend()
    save_figure(figure, path=out / "skin-circle.png")
    _say("circle: error without noise where every person's skin departs from the model by a smooth factor")
    lines = [["departure", *names]]
    for place, level in enumerate(levels):
        lines.append([f"{100 * level:g} %", *(_format(what, errors[what][place]) for what in names)])
    _say(align_table(lines))


def misfit_errors(study: Study, what: str, levels: Sequence[float]) -> list[float]:
    """Return the error of reading noise-free skin of the phantom that a smooth factor of its person's has bent."""
    nm = VIS.centres_nm()
    faces = made_up_faces(study, VIS, extended=True)
    alike = np.exp(-0.5 * ((nm[:, None] - nm) / 80.0) ** 2)  # how far two bands depart alike
    root = np.linalg.cholesky(alike + 1e-8 * np.eye(len(nm)))
    found = []
    for level in levels:
        stream = np.random.default_rng(0)
        draws = [
            _read_error(what, spectra * np.exp(level * root @ stream.standard_normal(len(nm))), truth, VIS, "extended")
            for spectra, truth in faces
            for _ in range(10)
        ]
        found.append(float(np.mean(draws)))
    return found


def mismatch(study: Study, bands: Bands, what: str) -> dict[tuple[str, str], float]:
    """Return the error without noise, by what skin varies in (`phantom.extended_optics`) and the inverse's prior."""
    return {
        (made, prior): float(
            np.mean(
                [
                    _read_error(what, spectra, truth, bands, prior)
                    for spectra, truth in made_up_faces(study, bands, extended=made == "extended")
                ]
            )
        )
        for made in ("basic", "extended")
        for prior in ("basic", "extended")
    }


_faces: dict[tuple[Any, ...], list[Any]] = {}


def made_up_faces(study: Study, bands: Bands, *, extended: bool) -> list[tuple[npt.NDArray[Any], dict[str, Any]]]:
    """Return noise-free spectra (N, C) of bare skin of every person's frontal face, and what it is made of."""
    phantom = study.params.phantom
    key = (id(study), len(bands), extended)
    if key in _faces:
        return _faces[key]
    found = _faces[key] = []
    for subject, kind in study.skin_types.items():
        recipe = Recipe(phantom.seed, kind, phantom.height_px, phantom.width_px, extended_optics=extended)
        scene = Scene.of(CaptureId.parse(f"{subject}_neutral_front"), recipe).lines(0, phantom.height_px)
        cube = np.concatenate([scene.vis, scene.nir[..., 1:]], axis=2)[..., : len(bands)]
        bare = (scene.labels == SKIN) & (scene.maps["skin_share"] > 0.95)
        found.append((cube[bare], {name: scene.maps[key][bare] for name, key in MAPS.items()}))
    return found


def _read_error(
    what: str, spectra: npt.NDArray[Any], truth: dict[str, npt.NDArray[Any]], bands: Bands, prior: str
) -> float:
    found = inverse_model(bands, prior=prior).estimate(spectra).values[MAPS[what]]
    if what in SHARES:
        return _error(what, np.log(truth[what]), np.log(found))
    return _error(what, truth[what], found)


def _say_mismatch(study: Study, bands: Bands, names: Sequence[str]) -> None:
    _say(f"error without noise, {len(bands)} bands, by what skin varies in and what the inverse knows of")
    tables = {what: mismatch(study, bands, what) for what in names}
    lines = [["skin", "inverse", *names]]
    for made, prior in next(iter(tables.values())):
        lines.append([made, prior, *(_format(what, tables[what][made, prior]) for what in names)])
    _say(align_table(lines, left=2))


# 9. For whom


def say_types(study: Study, _out: Path) -> None:
    """Print what is read from the selfie by type of skin, and how well the measured cube tells the type."""
    pair = find_pair("rgb_vis")
    selfies = {reading.capture: reading for reading in study.readings(pair.name) if reading.way == SELFIE}
    off, right, scores = [], 0, []
    for file in (file for subject in study.subjects for file in study.files(subject, pair)):
        assert file.truth is not None
        truth, visible = read_truth(file.truth, pair), read_visible(file.cube)
        seen = find_bare_skin(read_frame(file, pair, camera=study.camera), pair.target, visible)
        assert seen is not None
        assert seen.ita_deg is not None
        bare = seen.regions.skin & truth.skin
        in_full_light = truth.reference[bare] / truth.maps["shading"][bare][:, None]
        true_deg = float(np.median(individual_typology_angle(in_full_light, VIS)))
        off.append(abs(seen.ita_deg - true_deg))
        right += seen.skin_type == skin_type(true_deg)
        one = selfies[file.capture.name]
        values = {what: one.fidelity.values[f"fidelity/{what}_relative_error"] for what in SHARES}
        scores.append(
            CaptureScores(one.capture, one.subject, None, None, {"SAM": one.angle_rad, **values},
                          skin_type=seen.skin_type, ita_deg=seen.ita_deg)
        )  # fmt: skip
    _say(
        f"typology angle: {np.mean(off):.1f} degrees off, {max(off):.0f} at most; {right} of {len(off)} types are right"
    )
    lines = [["type", "captures", "people", "SAM, rad", "melanin off by", "blood off by"]]
    for row in summarise(scores).per_skin_type:
        counts = [str(row[key]) for key in ("skin_type", "n_images", "n_subjects")]
        lines.append([*counts, f"{row['SAM']:.3f}", f"{row['melanin']:.2f}", f"{row['blood']:.2f}"])
    _say(align_table(lines))


# What is said


def _say_scores(study: Study, pair_name: str, what: str, scores: dict[str, Score]) -> None:
    captures = sum(reading.way == CLEAN for reading in study.readings(pair_name))
    _say(f"{what}, {pair_name}: {captures} captures of {len(study.subjects)} people against the truth")
    lines = [["read from", "off by", "r pooled", "r people", "r within"]]
    for way, score in scores.items():
        numbers = (score.r_pooled, score.r_people, score.r_within)
        cells = ["-" if np.isnan(number) else f"{number:.2f}" for number in numbers]
        lines.append([way, _format(what, score.error), *cells])
    _say(align_table(lines))


def _say_people(study: Study, what: str) -> None:
    """Print every person's true level and those that are read, dark people last."""
    ways = (MEASURED, *REGRESSIONS, STRAIGHT)
    rows = []
    for subject in study.subjects:
        own = {way: [r for r in study.readings("rgb_vis") if (r.subject, r.way) == (subject, way)] for way in ways}
        levels = [_in_percent(what, _level(what, own[way], subject)) for way in ways]
        rows.append((study.skin_types[subject], subject, levels[0][0], *(level[1] for level in levels)))
    lines = [[kind, name, *(f"{level:.1f}" for level in levels)] for kind, name, *levels in sorted(rows)]
    _say(f"each person's {UNITS[what]}, median of all pixels")
    _say(align_table([["type", "who", "true", *ways], *lines], left=2))


def _format(what: str, error: float) -> str:
    return f"{error:.3f}" if what in SHARES else f"{error:.1f} pp"


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


IDEAS: dict[str, Callable[[Study, Path], None]] = {
    "pigments": draw_pigments,
    "haemoglobin": draw_haemoglobin,
    "melanin": draw_melanin,
    "oxygenation": draw_oxygenation,
    "angle": draw_angle,
    "noise": draw_noise,
    "water": draw_water,
    "circle": draw_circle,
    "types": say_types,
}


def main(words: Sequence[str] | None = None) -> None:
    """Draw one idea, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("idea", choices=[*IDEAS, "all"])
    parser.add_argument("--data", type=Path, default=Path("data"), help="made by `hyperskin init` and `dvc repro`")
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"), help="where the pictures go")
    asked = parser.parse_args(words)
    try:
        study = Study(asked.data)
        asked.out.mkdir(parents=True, exist_ok=True)
        with mpl.rc_context({"font.size": 9, "axes.titlesize": 10, "legend.fontsize": 8}):
            for name in IDEAS if asked.idea == "all" else [asked.idea]:
                IDEAS[name](study, asked.out)
                _say("")
    except HyperSkinError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
