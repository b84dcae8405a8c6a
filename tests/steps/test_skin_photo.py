"""A photo comes upright, in sRGB and of a moderate size; what has no colours is refused."""

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from hyperskin.errors import DataError
from hyperskin.steps import skin_photo
from hyperskin.steps.skin_photo import read_photo, shrink_mask

H, W = 24, 32


def colours(height=H, width=W):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_small_photo_comes_as_it_is(tmp_path):
    Image.fromarray(colours()).save(tmp_path / "a.png")
    photo = read_photo(tmp_path / "a.png")
    assert photo.rgb.dtype == np.float32
    np.testing.assert_array_equal(np.rint(photo.rgb * 255), colours())
    assert photo.valid.all()
    assert photo.frame == (H, W)


def test_sixteen_bits_are_read_as_eight(tmp_path):
    import struct
    import zlib

    deep = (colours().astype(">u2") * 257).astype(">u2")
    lines = b"".join(b"\0" + line.tobytes() for line in deep)
    header = struct.pack(">IIBBBBB", W, H, 16, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    content = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    (tmp_path / "deep.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    np.testing.assert_array_equal(np.rint(read_photo(tmp_path / "deep.png").rgb * 255), colours())


def test_a_long_photo_is_averaged_upright(tmp_path, monkeypatch):
    monkeypatch.setattr(skin_photo, "LONGEST_PX", 8)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    Image.fromarray(colours()).rotate(90, expand=True).save(tmp_path / "a.png", exif=exif)
    photo = read_photo(tmp_path / "a.png")
    means = colours().reshape(6, 4, 8, 4, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(photo.rgb * 255, means, atol=1)
    assert photo.frame == (H, W)


def test_a_wider_space_of_colours_is_brought_to_srgb(tmp_path):
    made = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(colours()).save(tmp_path / "same.png", icc_profile=made)
    np.testing.assert_allclose(read_photo(tmp_path / "same.png").rgb * 255, colours(), atol=1)
    wide = _gamma_profile()
    Image.fromarray(np.full((H, W, 3), (128, 64, 32), dtype=np.uint8)).save(tmp_path / "wide.png", icc_profile=wide)
    found = read_photo(tmp_path / "wide.png").rgb[0, 0]
    light = (np.array([128, 64, 32]) / 255) ** 1.0  # that profile's numbers are light itself
    np.testing.assert_allclose(found, 1.055 * light ** (1 / 2.4) - 0.055, atol=0.01)
    Image.fromarray(colours()).save(tmp_path / "broken.png", icc_profile=b"no profile")
    with pytest.raises(DataError, match="must have a colour profile that can be read"):
        read_photo(tmp_path / "broken.png")


def _gamma_profile() -> bytes:
    """Return sRGB's profile with its curves made straight."""
    content = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = int.from_bytes(content[128:132])
    for entry in (bytes(content[132 + 12 * place : 144 + 12 * place]) for place in range(count)):
        if entry[:4] in (b"rTRC", b"gTRC", b"bTRC"):
            start = int.from_bytes(entry[4:8])
            content[start : start + 12] = b"curv" + bytes(8)  # a curve of no points is straight
    Image.open(io.BytesIO(_as_png(bytes(content)))).load()
    return bytes(content)


def _as_png(profile: bytes) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (1, 1)).save(stream, "PNG", icc_profile=profile)
    return stream.getvalue()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "I;16"])
def test_grey_of_any_kind_is_refused(tmp_path, mode):
    deep = Image.fromarray(colours()[..., 0].astype(np.uint16) * 257)
    picture = deep if mode == "I;16" else Image.fromarray(colours()).convert(mode)
    picture.save(tmp_path / "a.png")
    with pytest.raises(DataError, match="must be a photo in colour; it is grey, from which no spectrum follows"):
        read_photo(tmp_path / "a.png")


def test_a_print_and_a_photo_without_colours_are_refused(tmp_path):
    Image.fromarray(colours()).convert("CMYK").save(tmp_path / "print.jpg")
    with pytest.raises(DataError, match="must be a photo in red, green and blue; it is CMYK: save it as RGB"):
        read_photo(tmp_path / "print.jpg")
    Image.fromarray(colours()).convert("P").save(tmp_path / "few.png")
    with pytest.raises(DataError, match="it is of a palette"):
        read_photo(tmp_path / "few.png")
    Image.fromarray(colours()[..., :1].repeat(3, axis=2)).save(tmp_path / "grey.jpg")
    with pytest.raises(DataError, match="it is grey all over"):
        read_photo(tmp_path / "grey.jpg")
    Image.fromarray(np.zeros((H, W, 4), dtype=np.uint8)).save(tmp_path / "nothing.png")
    with pytest.raises(DataError, match="transparent all over"):
        read_photo(tmp_path / "nothing.png")


def test_a_mask_shrinks_by_the_half(tmp_path):
    mask = np.zeros((4, 6), dtype=np.bool_)
    mask[:2, :2] = True
    mask[0, 2] = True  # a quarter of its square
    np.testing.assert_array_equal(shrink_mask(mask, (2, 3)), [[True, False, False], [False, False, False]])
    assert shrink_mask(mask, (4, 6)) is mask
