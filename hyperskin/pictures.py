"""The one way a picture is written: it asks first whether everyone shown has agreed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from hyperskin.atomic import atomic_path
from hyperskin.errors import ConsentError, DataError, ShapeError

if TYPE_CHECKING:  # the mask stage writes masks and needs no matplotlib, which takes half a second to load
    from matplotlib.figure import Figure

_UNMEASURED = (128, 128, 128)
_DOTS_PER_INCH = 120


def save_picture(
    picture: Figure | npt.NDArray[Any],
    *,
    subjects: Sequence[str],
    publishable: Collection[str],
    path: Path,
    run_id: str = "",
) -> None:
    """Write `picture` to the PNG file `path` if every subject in it may be shown.

    Args:
        picture: A figure, or an array (H, W) or (H, W, 3): uint8 as it is, bool as black and white, floats
            clipped to [0, 1]; a pixel that holds NaN becomes grey.
        subjects: Everyone the picture shows, error maps and masks included; it names at least one.
        publishable: The subjects who agreed to be shown.
        path: Where the picture goes.
        run_id: The run that made it, kept in the file.

    Raises:
        ConsentError: A subject has not agreed, or nobody is named.
        ShapeError: The array is not a picture.
    """
    require_consent(subjects, publishable)
    _require_png(path)
    notes = {"Software": "hyperskin", "Subjects": " ".join(sorted(set(subjects))), "Run": run_id}
    _write(picture, path, notes)


def keep_picture(
    picture: Figure | npt.NDArray[Any], *, subjects: Sequence[str], path: Path, data: Path, run_id: str = ""
) -> None:
    """Write `picture` to the PNG file `path` among the data, where cubes and masks show the same faces.

    It asks for nobody's consent, and says in the file that it must stay. Arguments are as in `save_picture`.

    Args:
        picture: A figure or an array.
        subjects: Everyone the picture shows; it names at least one.
        path: Where the picture goes.
        data: The data folder, which it may not leave.
        run_id: The run that made it, kept in the file.

    Raises:
        ConsentError: `path` is not below `data`, or nobody is named.
        ShapeError: The array is not a picture.
    """
    require_consent(subjects, subjects)
    if not path.resolve().is_relative_to(data.resolve()):
        raise ConsentError(f"A picture that nobody has consented to must stay below {data}; got {path}.")
    _require_png(path)
    notes = {"Software": "hyperskin", "Subjects": " ".join(sorted(set(subjects))), "Run": run_id, "Consent": "none"}
    _write(picture, path, notes)


def save_figure(figure: Figure, *, path: Path, run_id: str = "") -> None:
    """Write a figure of curves, which shows nobody, to the PNG or SVG file `path`; the same figure is the same bytes.

    Raises:
        ConsentError: An axis holds an image; `save_picture` is for those.
    """
    if _holds_image(figure):
        raise ConsentError("A figure that holds an image must name its subjects; write it with `save_picture`.")
    if path.suffix == ".svg":
        _write_curves(figure, path)
        return
    _require_png(path)
    _write_figure(figure, path, {"Software": "hyperskin", "Run": run_id})


def save_mask(mask: npt.NDArray[np.bool_], path: Path) -> None:
    """Write a mask to the PNG file `path` as 0 and 255: data beside its cube, so it asks for nobody's consent."""
    if mask.ndim != 2 or mask.dtype != np.bool_:
        raise ShapeError(f"`mask` must be (H, W) bool; got shape {mask.shape}, dtype {mask.dtype}.")
    _require_png(path)
    _write_array(mask, path, {})


def require_consent(subjects: Sequence[str], publishable: Collection[str]) -> None:
    """Raise ConsentError unless `subjects` names someone and everyone named is in `publishable`."""
    if isinstance(subjects, str) or not subjects:
        raise ConsentError(f"A picture must name everyone it shows as a list in `subjects`; got {subjects!r}.")
    if refused := sorted(set(subjects) - set(publishable)):
        raise ConsentError(
            f"A picture may show only subjects in `privacy.publishable_subjects`; {', '.join(refused)} not among "
            "them: add a subject there once the written consent is at hand."
        )


def colour_map(values: npt.NDArray[Any], *, low: float, high: float, name: str = "viridis") -> npt.NDArray[np.uint8]:
    """Return a map of numbers as colours.

    Args:
        values: (H, W); NaN where nothing was measured.
        low: The value that gets the first colour.
        high: The value that gets the last colour.
        name: A colour map of matplotlib.

    Returns:
        (H, W, 3) uint8, grey where `values` is NaN.

    Raises:
        ShapeError: `values` is not (H, W).
        DataError: `low` is not below `high`.

    Examples:
        >>> colour_map(np.array([[0.0, np.nan]]), low=0.0, high=1.0).tolist()
        [[[68, 1, 84], [128, 128, 128]]]
    """
    if values.ndim != 2:
        raise ShapeError(f"`values` must be a map (H, W); got shape {values.shape}.")
    if not low < high:
        raise DataError(f"`low` must be below `high`; got ({low=}, {high=}).")
    scaled = (values.astype(np.float64) - low) / (high - low)
    import matplotlib as mpl

    colours = mpl.colormaps[name](np.nan_to_num(np.clip(scaled, 0.0, 1.0)), bytes=True)[..., :3]
    grey = np.array(_UNMEASURED, dtype=np.uint8)
    return np.where(np.isnan(values)[..., None], grey, colours).astype(np.uint8)


def _to_bytes(picture: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Return an array picture as uint8; the only place where reflectance is clipped."""
    if picture.ndim not in (2, 3) or (picture.ndim == 3 and picture.shape[2] != 3) or 0 in picture.shape:
        raise ShapeError(f"A picture must be (H, W) or (H, W, 3); got shape {picture.shape}.")
    if picture.dtype == np.uint8:
        return np.asarray(picture, dtype=np.uint8)
    if picture.dtype == np.bool_:
        return np.where(picture, np.uint8(255), np.uint8(0))
    if not np.issubdtype(picture.dtype, np.floating):
        raise ShapeError(f"A picture must hold uint8, bool or floats within [0, 1]; got dtype {picture.dtype}.")
    shown = np.clip(np.nan_to_num(picture, nan=_UNMEASURED[0] / 255), 0.0, 1.0)
    return np.asarray(np.rint(shown * 255), dtype=np.uint8)


def _write(picture: Figure | npt.NDArray[Any], path: Path, notes: dict[str, str]) -> None:
    if isinstance(picture, np.ndarray):
        _write_array(picture, path, notes)
    else:
        _write_figure(picture, path, notes)


def _write_array(picture: npt.NDArray[Any], path: Path, notes: dict[str, str]) -> None:
    text = PngInfo()
    for key, value in notes.items():
        text.add_text(key, value)
    image = Image.fromarray(_to_bytes(picture))
    with atomic_path(path) as temporary:
        image.save(temporary, format="PNG", pnginfo=text)


def _write_figure(figure: Figure, path: Path, notes: dict[str, str]) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=_DOTS_PER_INCH, metadata=notes)


def _write_curves(figure: Figure, path: Path) -> None:
    """Write a figure as SVG, without a date and with names that do not change from time to time."""
    import matplotlib as mpl

    with mpl.rc_context({"svg.hashsalt": "hyperskin"}), atomic_path(path) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None, "Creator": "hyperskin"})


def _holds_image(figure: Figure) -> bool:
    """Tell whether pixels stand in the figure: `imshow`, `figimage` or `pcolormesh`; a colour bar is none."""
    from matplotlib.collections import QuadMesh

    meshes = [mesh for axes in figure.axes if axes.get_label() != "<colorbar>" for mesh in axes.collections]
    return (
        bool(figure.images)
        or any(axes.images for axes in figure.axes)
        or any(isinstance(mesh, QuadMesh) for mesh in meshes)
    )


def _require_png(path: Path) -> None:
    if path.suffix != ".png":
        raise DataError(f"A picture must be written as .png; got {path.name!r}.")
