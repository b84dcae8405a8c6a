"""Opens a picture that someone brought: size and checksums first, pixels then, and every failure is a sentence."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from hyperskin.errors import DataError, MissingFileError

MAX_PIXELS = 4_000_000
_MAX_BYTES = 64 << 20
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, OverflowError, MemoryError)
_PNG_DEPTH_BYTE = 24


def open_picture(path: Path, formats: tuple[str, ...], *, max_pixels: int = MAX_PIXELS) -> tuple[Image.Image, int]:
    """Return the decoded picture at `path` and the bits of one sample as the file states them.

    Pillow hands a 16-bit colour PNG over as 8-bit without a word, so the depth comes beside the picture; it is 8 for
    formats that know no other.

    Args:
        path: The file.
        formats: Pillow's names of the formats that are welcome, such as "PNG".
        max_pixels: A larger picture is refused before it is decoded.

    Raises:
        MissingFileError: There is no such file.
        DataError: It is too large, of another format, or its checksums do not hold.
    """
    content = _read(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # its limit is not ours
            with Image.open(io.BytesIO(content), formats=formats) as unread:
                _require_moderate(unread.size, path, max_pixels)
                unread.verify()
            picture = Image.open(io.BytesIO(content), formats=formats)
            picture.load()
    except DataError:
        raise
    except Image.DecompressionBombError:
        raise DataError(f"{path} must hold at most {max_pixels} pixels; its header claims many times that.") from None
    except UnidentifiedImageError:
        raise DataError(f"{path} must be a picture of the format {' or '.join(formats)}; it is none.") from None
    except _BROKEN as error:
        raise DataError(f"{path} must be a whole picture; it cannot be decoded: {error}.") from None
    return picture, content[_PNG_DEPTH_BYTE] if picture.format == "PNG" else 8


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise MissingFileError(f"A picture must be at {path}; there is none.")
    size_bytes = path.stat().st_size
    if size_bytes > _MAX_BYTES:
        raise DataError(f"{path} must have at most {_MAX_BYTES} bytes; it has {size_bytes}.")
    return path.read_bytes()


def _require_moderate(size: tuple[int, int], path: Path, max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise DataError(f"{path} must hold at most {max_pixels} pixels; it holds {width} x {height}.")
