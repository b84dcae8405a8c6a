"""A photo as a phone or an editor left it -> upright sRGB of a size that a network can take, or a sentence why not."""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, ImageOps

from hyperskin.errors import DataError
from hyperskin.sources.decode import open_picture

Bools = npt.NDArray[np.bool_]

SUFFIXES = (".png", ".jpg", ".jpeg")
OTHER_SUFFIXES = (".bmp", ".gif", ".heic", ".heif", ".tif", ".tiff", ".webp")
"""Pictures of a form that is not read."""

LONGEST_PX = 1024
"""Of the archive's frames: a longer photo is shrunk, since no network has seen pores, nor has a laptop the memory."""

_MAX_PIXELS = 100_000_000
_LEAST_COLOUR = 4  # levels of 255 by which red, green and blue must differ somewhere
_GREY = ("1", "L", "LA", "I", "I;16")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Photo:
    """A photo that a network can take.

    Attributes:
        rgb: (H, W, 3) float32 in [0, 1], as sRGB encodes light.
        valid: (H, W) bool: where it is not transparent.
        frame: (H, W) that the file had, upright, before it was shrunk.
    """

    rgb: npt.NDArray[np.float32]
    valid: Bools
    frame: tuple[int, int]


def read_photo(path: Path) -> Photo:
    """Read a photo: turned upright as its camera says, in sRGB, at most `LONGEST_PX` high and wide.

    Raises:
        MissingFileError: There is no such file.
        DataError: It is no PNG or JPEG in colour, or too large.
    """
    picture, _ = open_picture(path, ("PNG", "JPEG"), max_pixels=_MAX_PIXELS)
    if picture.mode in _GREY:
        raise DataError(f"{path} must be a photo in colour; it is grey, from which no spectrum follows.")
    if picture.mode not in ("RGB", "RGBA"):
        kind = "of a palette" if picture.mode == "P" else picture.mode
        raise DataError(f"{path} must be a photo in red, green and blue; it is {kind}: save it as RGB.")
    picture = ImageOps.exif_transpose(picture)
    frame = (picture.height, picture.width)
    profile = picture.info.get("icc_profile")
    if max(frame) > LONGEST_PX:
        share = LONGEST_PX / max(frame)
        size = (max(1, round(frame[1] * share)), max(1, round(frame[0] * share)))
        _log.info("%s: shrunk from %d x %d to %d x %d px", path, frame[1], frame[0], *size)
        picture = picture.resize(size, Image.Resampling.BOX)
    valid = _opaque(picture)
    if not valid.any():
        raise DataError(f"{path} must show something; it is transparent all over.")
    colours = np.asarray(_to_srgb(picture.convert("RGB"), profile, path))
    if np.ptp(colours[valid].astype(np.int16), axis=-1).max(initial=0) < _LEAST_COLOUR:
        raise DataError(f"{path} must be a photo in colour; it is grey all over, from which no spectrum follows.")
    return Photo(colours.astype(np.float32) / np.float32(255), valid, frame)


def shrink_mask(mask: Bools, shape: tuple[int, int]) -> Bools:
    """Return a mask of the photo's own size as it lies in the shrunk one, (H, W) = `shape`."""
    if mask.shape == shape:
        return mask
    covered = Image.fromarray(mask.astype(np.float32)).resize((shape[1], shape[0]), Image.Resampling.BOX)
    return np.asarray(np.asarray(covered) >= 0.5, dtype=np.bool_)


def _opaque(picture: Image.Image) -> Bools:
    """Return where a cut-out picture was not cut."""
    if picture.mode == "RGB":
        return np.ones((picture.height, picture.width), dtype=np.bool_)
    return np.asarray(np.asarray(picture.getchannel("A")) == 255, dtype=np.bool_)


def _to_srgb(picture: Image.Image, profile: bytes | None, path: Path) -> Image.Image:
    """Return a picture's colours in sRGB; a phone's have a wider space, in which the same numbers are redder."""
    if not profile:
        return picture
    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(picture, own, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError) as error:
        raise DataError(f"{path} must have a colour profile that can be read; it has not: {error}.") from None
    assert converted is not None, "it is not done in place"
    return converted
