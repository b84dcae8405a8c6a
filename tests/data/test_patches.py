"""Crops are decided by (seed, epoch), lie anywhere, and hold what the frame holds there."""

import pickle
from collections import Counter
from collections.abc import Callable

import h5py
import numpy as np
import pytest
import torch

from hyperskin.data import patches
from hyperskin.data.cubefile import encode_reflectance
from hyperskin.data.exposure import expose_rgb
from hyperskin.data.frames import PairFiles, read_frame
from hyperskin.data.patches import (
    Batch,
    CachedCaptures,
    Crop,
    CropBatches,
    StoredCaptures,
    draw_crops,
    feed_batches,
    require_room,
    whole_frames,
)
from hyperskin.errors import DataError, ShapeError
from hyperskin.pairs import PAIRS, find_pair

WriteCapture = Callable[..., PairFiles]
SHAPES = [(24, 32), (40, 20), (16, 16)]


def _draw(count: int = 30, **changes: object) -> list[Crop]:
    arguments = {"crop_px": 16, "augment": True, "seed": 0, "epoch": 1, **changes}
    return draw_crops(SHAPES, count, **arguments)


@pytest.fixture
def files(write_capture: WriteCapture) -> list[PairFiles]:
    return [
        write_capture("p001_neutral_front", seed=1),
        write_capture("p002_smile_left", seed=2, height=20, width=40, invalid=(slice(0, 10), slice(0, 10))),
    ]


# Which crops


def test_equal_seeds_and_epochs_give_equal_crops() -> None:
    assert _draw() == _draw()


@pytest.mark.parametrize("change", [{"seed": 1}, {"epoch": 2}])
def test_another_seed_or_epoch_gives_other_crops(change: dict[str, int]) -> None:
    assert _draw() != _draw(**change)


def test_other_light_is_as_likely_as_asked_and_moves_no_crop() -> None:
    crops = _draw(4000, exposure_jitter=0.7, camera_count=2)
    gains = np.array([crop.gain for crop in crops if crop.gain != 1])
    assert len(gains) == pytest.approx(2800, abs=100)
    assert 0.2 <= gains.min() < 0.21 < 1.18 < gains.max() <= 1.2
    assert np.log(gains).mean() == pytest.approx(np.log(0.2 * 1.2) / 2, abs=0.03)
    assert [crop._replace(gain=1.0) for crop in crops] == _draw(4000, camera_count=2)


@pytest.mark.parametrize("pair_name", PAIRS)
def test_a_crop_in_other_light_is_the_exposed_crop(files: list[PairFiles], pair_name: str) -> None:
    pair = find_pair(pair_name)
    crops = [Crop(0, 3, 5, True, 1, gain=0.5), Crop(0, 3, 5, True, 1)]
    with StoredCaptures(files, pair, cameras=["cie"]) as stored:
        batch = CropBatches(stored, crop_px=16)[crops]
    np.testing.assert_allclose(batch.reference[0], 0.5 * batch.reference[1], atol=1e-4)
    picture = np.rint(255 * batch.input[:, :3].numpy()).astype(np.uint8)
    np.testing.assert_array_equal(picture[0], expose_rgb(picture[1], 0.5))
    np.testing.assert_allclose(batch.input[0, 3:], 0.5 * batch.input[1, 3:], atol=1e-4)


def test_seed_and_epoch_are_not_just_added() -> None:
    assert _draw(seed=0, epoch=1) != _draw(seed=1, epoch=0)


def test_drawing_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    _draw()
    assert torch.equal(torch.get_rng_state(), before)


def test_every_crop_lies_inside_its_frame() -> None:
    for crop in _draw(3000):
        height, width = SHAPES[crop.capture]
        assert 0 <= crop.top <= height - 16
        assert 0 <= crop.left <= width - 16


def test_captures_take_turns() -> None:
    assert Counter(crop.capture for crop in _draw(3000)) == {0: 1000, 1: 1000, 2: 1000}
    assert max(Counter(crop.capture for crop in _draw(10)).values()) == 4


def test_positions_and_turns_are_uniform() -> None:
    crops = draw_crops([(18, 20)], 30_000, crop_px=16, augment=True, seed=3, epoch=1)
    for counts, places in (
        (Counter((crop.top, crop.left) for crop in crops), 3 * 5),
        (Counter((crop.flip, crop.quarter_turns) for crop in crops), 8),
    ):
        expected = len(crops) / places
        assert len(counts) == places
        chi_square = sum((count - expected) ** 2 / expected for count in counts.values())
        assert chi_square < 45  # 99.99 % point of 14 degrees of freedom is 42


def test_without_augmentation_nothing_turns() -> None:
    assert {(crop.flip, crop.quarter_turns) for crop in _draw(100, augment=False)} == {(False, 0)}


def test_a_frame_of_the_crops_size_is_taken_whole() -> None:
    assert {(crop.top, crop.left) for crop in _draw(300) if crop.capture == 2} == {(0, 0)}


# What they hold


def _reference_patch(
    files: PairFiles, pair_name: str, crop: Crop, crop_px: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut and turn one pixel at a time, in float."""
    frame = read_frame(files, find_pair(pair_name), camera="cie")
    results = []
    for whole in (frame.input, frame.reference, frame.valid[..., None]):
        part = whole[crop.top : crop.top + crop_px, crop.left : crop.left + crop_px]
        turned = np.empty_like(part)
        for row in range(crop_px):
            for column in range(crop_px):
                y, x = row, column
                for _ in range(crop.quarter_turns):  # where the pixel was before each turn against the clock
                    y, x = x, crop_px - 1 - y
                turned[row, column] = part[y, crop_px - 1 - x if crop.flip else x]
        results.append(turned)
    return results


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("pair_name", PAIRS)
def test_a_batch_holds_the_turned_crops(
    files: list[PairFiles], pair_name: str, channels_last: bool, cached: bool
) -> None:
    crops = [Crop(1, 3, 0, False, 1), Crop(0, 7, 11, True, 2), Crop(1, 2, 5, True, 3), Crop(0, 0, 0)]
    with StoredCaptures(files, find_pair(pair_name), cameras=["cie"]) as stored:
        captures = CachedCaptures(stored) if cached else stored
        batch = CropBatches(captures, crop_px=16, channels_last=channels_last)[crops]
    assert batch.input.is_contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    for i, crop in enumerate(crops):
        expected = _reference_patch(files[crop.capture], pair_name, crop, 16)
        for got, wanted in zip(batch, expected, strict=True):
            np.testing.assert_array_equal(got[i].numpy(), wanted.transpose(2, 0, 1))
    assert batch.valid.dtype == torch.bool
    assert not batch.valid[0].all()


def test_the_memory_a_cache_takes_is_known_beforehand(files: list[PairFiles]) -> None:
    with StoredCaptures(files, find_pair("msi_nir"), cameras=["cie"]) as stored:
        frames = [stored.read(i) for i in range(2)]
        taken = sum(part.nbytes for frame in frames for part in (*frame.inputs, frame.target, frame.valid))
        assert stored.stored_bytes == taken


def test_files_beyond_the_limit_are_closed_and_opened_again(
    write_capture: WriteCapture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patches, "_MOST_OPEN", 2)
    files = [write_capture(f"p{i:03d}_neutral_front", seed=i, height=8, width=9) for i in range(4)]
    with StoredCaptures(files, find_pair("rgb_vis"), cameras=["cie"]) as stored:
        wanted = [stored.read(i).target for i in range(4)]
        for i in (0, 3, 1, 2, 0):
            np.testing.assert_array_equal(stored.read(i).target, wanted[i])
        assert len(stored._open) == 2
    assert not stored._open


def test_another_process_opens_its_own_files(files: list[PairFiles]) -> None:
    with StoredCaptures(files, find_pair("rgb_vis"), cameras=["cie"]) as stored:
        copy = pickle.loads(pickle.dumps(stored))
        assert stored._open
        assert not copy._open
        with copy:
            np.testing.assert_array_equal(copy.read(0).target, stored.read(0).target)


def test_a_frame_smaller_than_the_crop_is_refused_by_name(files: list[PairFiles]) -> None:
    with StoredCaptures(files, find_pair("rgb_vis"), cameras=["cie"]) as stored:
        require_room(stored, 20)
        with pytest.raises(
            ShapeError,
            match="got 21 px, but p002_smile_left has 20 x 40 px",
        ):
            require_room(stored, 21)


def test_no_captures_are_refused() -> None:
    with pytest.raises(DataError, match="needs at least one capture"):
        StoredCaptures([], find_pair("rgb_vis"), cameras=["cie"])


# Who reads them


def _schedule(count: int) -> list[list[Crop]]:
    crops = draw_crops([(24, 32), (20, 40)], 3 * count, crop_px=16, augment=True, seed=5, epoch=1)
    return [crops[3 * i : 3 * i + 3] for i in range(count)]


def _assert_equal(batches: list[Batch], others: list[Batch]) -> None:
    assert len(batches) == len(others)
    for batch, other in zip(batches, others, strict=True):
        for part, other_part in zip(batch, other, strict=True):
            assert torch.equal(part, other_part)


def test_batches_come_in_the_schedules_order(files: list[PairFiles]) -> None:
    schedule = _schedule(4)
    with StoredCaptures(files, find_pair("rgb_vis"), cameras=["cie"]) as stored:
        batches = CropBatches(stored, crop_px=16)
        _assert_equal(list(feed_batches(batches, schedule)), [batches[crops] for crops in schedule])


def test_a_thread_that_reads_ahead_gives_the_same(files: list[PairFiles]) -> None:
    schedule = _schedule(9)
    with StoredCaptures(files, find_pair("rgb_vis"), cameras=["cie"]) as stored:
        batches = CropBatches(stored, crop_px=16)
        ahead = patches._read_ahead(batches[crops] for crops in schedule)
        _assert_equal(list(ahead), [batches[crops] for crops in schedule])


def test_an_endless_schedule_may_be_left(files: list[PairFiles]) -> None:
    def endless():
        while True:
            yield _schedule(1)[0]

    with StoredCaptures(files, find_pair("rgb_vis"), cameras=["cie"]) as stored:
        ahead = patches._read_ahead(feed_batches(CropBatches(stored, crop_px=16), endless()))
        next(ahead)
        ahead.close()


def test_an_error_while_reading_ahead_is_raised_to_the_reader(files: list[PairFiles]) -> None:
    with StoredCaptures(files, find_pair("rgb_vis"), cameras=["cie"]) as stored:
        files[0].inputs.unlink()
        files[0].cube.unlink()
        stored.__exit__(None, None, None)
        ahead = patches._read_ahead(feed_batches(CropBatches(stored, crop_px=16), _schedule(2)))
        with pytest.raises(FileNotFoundError, match="there is none: run `dvc repro`"):
            list(ahead)


@pytest.mark.slow
def test_worker_processes_give_the_same_and_leave_the_generator_alone(files: list[PairFiles]) -> None:
    schedule = _schedule(5)
    with StoredCaptures(files, find_pair("msi_visnir"), cameras=["cie"]) as stored:
        batches = CropBatches(stored, crop_px=16, channels_last=True)
        before = torch.get_rng_state()
        _assert_equal(list(feed_batches(batches, iter(schedule), workers=2)), [batches[crops] for crops in schedule])
        assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_batches_for_cuda_are_pinned(files: list[PairFiles]) -> None:
    schedule = _schedule(5)
    with StoredCaptures(files, find_pair("rgb_vis"), cameras=["cie"]) as stored:
        batches = CropBatches(stored, crop_px=16, channels_last=True)
        pinned = list(feed_batches(batches, schedule, pin_memory=True))
        assert all(part.is_pinned() for batch in pinned for part in batch)
        _assert_equal(pinned, [batches[crops] for crops in schedule])


def test_whole_frames_come_in_the_given_order(files: list[PairFiles]) -> None:
    frames = list(whole_frames(files[::-1], find_pair("rgb_vis"), camera="cie"))
    assert [frame.capture.name for frame in frames] == ["p002_smile_left", "p001_neutral_front"]
    assert frames[0].reference.shape == (20, 40, 31)


# Beyond the frame


def _torchvision_corners(height: int, width: int, crop_px: int, padding_px: int) -> set[tuple[int, int]]:
    """Every place that a crop of RandomCrop(crop_px, padding=padding_px) may begin at, told from the frame's corner."""
    padded_height, padded_width = height + 2 * padding_px, width + 2 * padding_px
    return {
        (row - padding_px, column - padding_px)
        for row in range(padded_height - crop_px + 1)
        for column in range(padded_width - crop_px + 1)
    }


@pytest.mark.parametrize("padding_px", [1, 5, 16])
def test_padded_crops_lie_wherever_they_fit_into_the_padded_frame(padding_px: int) -> None:
    crops = draw_crops([(17, 19)], 40_000, crop_px=16, augment=False, seed=1, epoch=1, padding_px=padding_px)
    counts = Counter((crop.top, crop.left) for crop in crops)
    places = _torchvision_corners(17, 19, 16, padding_px)
    assert set(counts) == places
    expected = len(crops) / len(places)
    chi_square = sum((count - expected) ** 2 / expected for count in counts.values())
    freedom = len(places) - 1
    assert chi_square < freedom + 4 * (2 * freedom) ** 0.5


def test_a_padding_of_nothing_draws_as_none_does() -> None:
    assert _draw(padding_px=0, stride_px=1) == _draw()


@pytest.mark.parametrize(("padding_px", "rows"), [(0, {0, 8, 16, 24}), (4, {-4, 4, 12, 20, 28})])
def test_a_stride_leaves_only_its_multiples_from_the_corner(padding_px: int, rows: set[int]) -> None:
    crops = draw_crops([(40, 24)], 500, crop_px=16, augment=False, seed=1, epoch=1, stride_px=8, padding_px=padding_px)
    assert {crop.top for crop in crops} == rows
    assert {crop.left for crop in crops} == {row for row in rows if row + 16 <= 24 + padding_px}


def _reference_padded(
    files: PairFiles, pair_name: str, crop: Crop, crop_px: int, padding_px: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pad the whole decoded frame, cut a square out of it, and turn that: in float, by numpy alone."""
    frame = read_frame(files, find_pair(pair_name), camera="cie")
    around = ((padding_px, padding_px), (padding_px, padding_px), (0, 0))
    top, left = crop.top + padding_px, crop.left + padding_px
    results = []
    for whole, outside in ((frame.input, 0.0), (frame.reference, 0.0), (frame.valid[..., None], True)):
        part = np.pad(whole, around, constant_values=outside)[top : top + crop_px, left : left + crop_px]
        results.append(np.rot90(part[:, ::-1] if crop.flip else part, crop.quarter_turns))
    return results[0], results[1], results[2]


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("pair_name", PAIRS)
def test_padded_crops_are_slices_of_the_padded_frame(files: list[PairFiles], pair_name: str, cached: bool) -> None:
    drawn = draw_crops([(24, 32), (20, 40)], 60, crop_px=16, augment=True, seed=2, epoch=1, padding_px=16)
    corners = [Crop(0, -16, -16), Crop(0, 24, 32), Crop(1, -16, 3, True, 1), Crop(1, 4, 40, False, 2)]  # nothing inside
    with StoredCaptures(files, find_pair(pair_name), cameras=["cie"]) as stored:
        batch = CropBatches(CachedCaptures(stored) if cached else stored, crop_px=16)[drawn + corners]
    for i, crop in enumerate(drawn + corners):
        for got, wanted in zip(batch, _reference_padded(files[crop.capture], pair_name, crop, 16, 16), strict=True):
            np.testing.assert_array_equal(got[i].numpy(), wanted.transpose(2, 0, 1))
    assert not batch.input[-4:].any()
    assert not batch.reference[-4:].any()
    assert batch.valid[-4:].all()  # zeros that a network is to see in zeros: they count


def test_a_crop_wider_than_the_frame_fits_with_its_padding(files: list[PairFiles]) -> None:
    with StoredCaptures(files, find_pair("rgb_vis"), cameras=["cie"]) as stored:
        require_room(stored, 30, padding_px=5)
        assert CropBatches(stored, crop_px=30)[[Crop(1, -5, 8)]].valid.shape == (1, 1, 30, 30)
        with pytest.raises(ShapeError, match="got 31 px, but p002_smile_left has 20 x 40 px and 5 px around it"):
            require_room(stored, 31, padding_px=5)


# Stretched


@pytest.fixture
def dull_files(files: list[PairFiles]) -> list[PairFiles]:
    """The same, with pictures of half the contrast, each of another brightness."""
    for black, each in zip((40, 90), files, strict=True):
        with h5py.File(each.inputs, "r+") as file:
            file["rgb/cie"][...] = file["rgb/cie"][...] // 2 + black
    return files


@pytest.mark.parametrize("cached", [False, True])
def test_stretched_crops_are_those_of_the_stretched_frame(dull_files: list[PairFiles], cached: bool) -> None:
    drawn = draw_crops([(24, 32), (20, 40)], 20, crop_px=16, augment=True, seed=3, epoch=1, padding_px=16)
    with StoredCaptures(dull_files, find_pair("rgb_vis"), cameras=["cie"]) as stored:
        numbers = [stored.read(i).inputs[0].astype(np.float64) for i in range(2)]
        batch = CropBatches(CachedCaptures(stored) if cached else stored, crop_px=16, stretched=True)[drawn]
    for i, crop in enumerate(drawn):
        rgb = numbers[crop.capture]
        whole = np.pad((rgb - rgb.min()) / (rgb.max() - rgb.min()), ((16, 16), (16, 16), (0, 0)))
        part = whole[crop.top + 16 : crop.top + 32, crop.left + 16 : crop.left + 32]
        wanted = np.rot90(part[:, ::-1] if crop.flip else part, crop.quarter_turns)
        np.testing.assert_allclose(batch.input[i].numpy(), wanted.transpose(2, 0, 1), rtol=1e-6, atol=0)


def test_only_the_picture_is_stretched(dull_files: list[PairFiles]) -> None:
    with StoredCaptures(dull_files, find_pair("rgb_vis"), cameras=["cie"]) as stored:
        crops = [Crop(0, 0, 0), Crop(1, 3, 4)]
        plain, stretched = (CropBatches(stored, crop_px=16, stretched=how)[crops] for how in (False, True))
    assert torch.equal(plain.reference, stretched.reference)
    assert torch.equal(plain.valid, stretched.valid)
    assert not torch.equal(plain.input, stretched.input)


# Whose pictures they are

CAMERAS = {"cie": 0, "twin": 0, "other": 1}


@pytest.fixture
def seen_by_three(write_capture: WriteCapture) -> list[PairFiles]:
    names = ("p001_neutral_front", "p002_smile_left")
    return [write_capture(name, seed=i, height=20 + 4 * i, cameras=CAMERAS) for i, name in enumerate(names)]


def test_more_cameras_move_no_crop() -> None:
    one, three = _draw(300), _draw(300, camera_count=3)
    assert [crop._replace(camera=0) for crop in three] == one
    assert {crop.camera for crop in one} == {0}


def test_cameras_are_drawn_uniformly_and_by_seed_and_epoch() -> None:
    drawn = [crop.camera for crop in _draw(3000, camera_count=4)]
    assert all(650 < count < 850 for count in Counter(drawn).values())
    assert drawn == [crop.camera for crop in _draw(3000, camera_count=4)]
    assert drawn != [crop.camera for crop in _draw(3000, camera_count=4, epoch=2)]


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("pair_name", ["rgb_vis", "msi_nir"])
def test_a_crop_holds_the_picture_of_its_camera(
    seen_by_three: list[PairFiles], pair_name: str, cached: bool
) -> None:
    pair = find_pair(pair_name)
    crops = [Crop(1, 3, 2, camera=2), Crop(0, 1, 0, camera=0), Crop(1, 3, 2, camera=0)]
    with StoredCaptures(seen_by_three, pair, cameras=list(CAMERAS)) as stored:
        batch = CropBatches(CachedCaptures(stored) if cached else stored, crop_px=16)[crops]
    for i, crop in enumerate(crops):
        frame = read_frame(seen_by_three[crop.capture], pair, camera=list(CAMERAS)[crop.camera])
        expected = frame.input[crop.top : crop.top + 16, crop.left : crop.left + 16]
        np.testing.assert_array_equal(batch.input[i].numpy(), expected.transpose(2, 0, 1))
    assert torch.equal(batch.reference[0], batch.reference[2])


def test_cameras_that_see_the_same_make_the_batches_of_one(seen_by_three: list[PairFiles]) -> None:
    crops, twins = ([*draw_crops([(20, 32), (24, 32)], 9, crop_px=16, augment=True, seed=5, epoch=1, camera_count=n)]
                    for n in (1, 2))  # fmt: skip
    assert {crop.camera for crop in twins} == {0, 1}
    with StoredCaptures(seen_by_three, find_pair("msi_nir"), cameras=["cie", "twin"]) as stored:
        batches = CropBatches(stored, crop_px=16)
        _assert_equal([batches[twins]], [batches[crops]])


def test_the_memory_of_several_cameras_is_known_beforehand_and_shared(seen_by_three: list[PairFiles]) -> None:
    with StoredCaptures(seen_by_three, find_pair("msi_nir"), cameras=list(CAMERAS)) as stored:
        arrays = {
            id(part): part.nbytes
            for views in CachedCaptures(stored)._views
            for view in views
            for part in (*view.inputs, view.target, view.valid)
        }
        assert stored.stored_bytes == sum(arrays.values())


def test_a_picture_is_stretched_by_its_own_span(seen_by_three: list[PairFiles]) -> None:
    with StoredCaptures(seen_by_three, find_pair("rgb_vis"), cameras=list(CAMERAS)) as stored:
        cached = CachedCaptures(stored)
        for number, camera in enumerate(CAMERAS):
            picture = np.rint(255 * read_frame(seen_by_three[0], find_pair("rgb_vis"), camera=camera).input)
            assert stored.rgb_span(0, camera=number) == cached.rgb_span(0, camera=number)
            assert stored.rgb_span(0, camera=number) == (int(picture.min()), int(picture.max()))


@pytest.mark.slow
def test_worker_processes_give_the_pictures_of_the_same_cameras(seen_by_three: list[PairFiles]) -> None:
    crops = draw_crops([(20, 32), (24, 32)], 12, crop_px=16, augment=True, seed=5, epoch=1, camera_count=3)
    schedule = [crops[3 * i : 3 * i + 3] for i in range(4)]
    with StoredCaptures(seen_by_three, find_pair("rgb_vis"), cameras=list(CAMERAS)) as stored:
        batches = CropBatches(stored, crop_px=16)
        _assert_equal(list(feed_batches(batches, iter(schedule), workers=2)), [batches[crops] for crops in schedule])


def test_an_msis_own_rgb_and_pictures_of_8_bits_share_a_batch(write_capture: Callable[..., PairFiles]) -> None:
    """Numbers of two scales must not be taken for one: each crop is what a batch of its own would hold."""
    files = write_capture()
    generator = np.random.default_rng(4)
    with h5py.File(files.inputs, "a") as file:
        own, picture = generator.random((24, 32, 3)), generator.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        file.create_dataset("msi_rgb/cie", data=encode_reflectance(own)[0], chunks=(24, 32, 3), fletcher32=True)
        file.create_dataset("rgb/nikon", data=picture, chunks=(24, 32, 3), fletcher32=True)
    crops = [Crop(0, 3, 4, camera=0), Crop(0, -2, 5, True, 1, camera=1), Crop(0, 1, 0, camera=1)]
    with StoredCaptures([files], find_pair("msi_nir"), cameras=("cie", "nikon")) as stored:
        batches = CropBatches(stored, crop_px=16)
        together = batches[crops].input
        for place, crop in enumerate(crops):
            torch.testing.assert_close(together[place], batches[[crop]].input[0], rtol=0, atol=2e-5)
    np.testing.assert_allclose(together[0, :3].permute(1, 2, 0), own[3:19, 4:20], atol=2e-5)
    np.testing.assert_allclose(together[2, :3].permute(1, 2, 0), picture[1:17, :16] / 255, atol=2e-5)
