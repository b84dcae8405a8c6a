"""Batches of random crops for training, decided by (seed, epoch) alone, and whole frames for scoring."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset

from hyperskin.data.chunks import Window
from hyperskin.data.cubefile import OFFSET, decode_reflectance, encode_reflectance
from hyperskin.data.exposure import GAINS, expose
from hyperskin.data.frames import Frame, FrameReader, PairFiles, StoredFrame, decode_input, read_frame
from hyperskin.data.scaling import Span, find_span, stretch_rgb
from hyperskin.data.tensors import cubes_to_batch
from hyperskin.errors import DataError, ShapeError
from hyperskin.pairs import Pair

_MOST_OPEN = 300  # captures at once, two files each: under the usual limit of 1024 files per process
_AHEAD = 3


class Crop(NamedTuple):
    """Where one training patch lies and how it is turned.

    Attributes:
        capture: Index of the capture.
        top: First row; below 0 where it lies in the padding.
        left: First column, likewise.
        flip: Whether it is mirrored left to right, before turning.
        quarter_turns: 0 to 3 turns by 90 degrees.
        camera: Number of the camera whose picture is taken.
        gain: What its light is multiplied by.
    """

    capture: int
    top: int
    left: int
    flip: bool = False
    quarter_turns: int = 0
    camera: int = 0
    gain: float = 1.0


class Batch(NamedTuple):
    """Training patches: input (N, C_in, H, W) and reference (N, C_out, H, W) float32, valid (N, 1, H, W) bool."""

    input: torch.Tensor
    reference: torch.Tensor
    valid: torch.Tensor


def draw_crops(
    shapes: Sequence[tuple[int, int]],
    count: int,
    *,
    crop_px: int,
    augment: bool,
    seed: int,
    epoch: int,
    padding_px: int = 0,
    stride_px: int = 1,
    camera_count: int = 1,
    exposure_jitter: float = 0.0,
) -> list[Crop]:
    """Return the `count` crops of one epoch; equal arguments give equal crops, whoever reads them.

    Every capture comes equally often (to within one), in random order; positions are uniform over those that lie
    `stride_px` apart on the frame with `padding_px` around it, from its upper left corner on, and so is the camera
    over `camera_count`. With probability `exposure_jitter` a crop is taken in another light. Neither how many cameras
    there are nor how likely other light is moves a crop.
    """
    generator = torch.Generator().manual_seed(_mix(seed, epoch))
    rounds = math.ceil(count / len(shapes))
    order = torch.cat([torch.randperm(len(shapes), generator=generator) for _ in range(rounds)])[:count]
    room = (torch.tensor(shapes)[order] + 2 * padding_px - crop_px) // stride_px + 1
    corners = (torch.rand((count, 2), generator=generator, dtype=torch.float64) * room).long() * stride_px - padding_px
    if augment:
        flips = torch.randint(2, (count,), generator=generator).bool()
        turns = torch.randint(4, (count,), generator=generator)
    else:
        flips, turns = torch.zeros(count, dtype=torch.bool), torch.zeros(count, dtype=torch.int64)
    cameras = torch.randint(camera_count, (count,), generator=generator)  # after those, so that it changes none
    exposed, place = torch.rand((2, count), generator=generator, dtype=torch.float64)
    least, most = map(math.log, GAINS)
    gains = torch.where(exposed < exposure_jitter, torch.exp(least + (most - least) * place), 1.0)
    columns = (order, corners[:, 0], corners[:, 1], flips, turns, cameras, gains)
    return [Crop(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]


class StoredCaptures:
    """Captures whose windows are read from their files; a process opens a file when it first needs it."""

    def __init__(self, files: Sequence[PairFiles], pair: Pair, *, cameras: Sequence[str]) -> None:
        if not files:
            raise DataError("A training needs at least one capture; the split gives none.")
        self._files = tuple(files)
        self._pair = pair
        self.cameras = tuple(cameras)
        self._open: OrderedDict[int, FrameReader] = OrderedDict()
        self._spans: dict[tuple[int, int], Span] = {}
        readers = [self._reader(i) for i in range(len(files))]
        self.names = tuple(each.capture.name for each in files)
        self.shapes = tuple(reader.shape for reader in readers)
        self.stored_bytes = sum(reader.stored_bytes for reader in readers)

    def __enter__(self) -> StoredCaptures:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._open:
            self._open.popitem()[1].close()

    def __getstate__(self) -> dict[str, Any]:
        """Leave open files behind: another process opens its own."""
        return {**self.__dict__, "_open": OrderedDict()}

    def read(self, capture: int, window: Window | None = None, *, camera: int = 0) -> StoredFrame:
        """Return capture number `capture`, or a window of it, as stored, as camera number `camera` saw it."""
        return self._reader(capture).read(window, camera=camera)

    def read_views(self, capture: int) -> list[StoredFrame]:
        """Return a whole capture as each camera saw it; all but the pictures is read once and shared."""
        reader = self._reader(capture)
        first = reader.read()
        others = (reader.read_rgb(camera=camera) for camera in range(1, len(self.cameras)))
        return [first, *map(first.seen_as, others)]

    def rgb_span(self, capture: int, *, camera: int = 0) -> Span:
        """Return the darkest and the brightest number of a camera's whole picture, which is read once."""
        if (capture, camera) not in self._spans:
            self._spans[capture, camera] = find_span(self._reader(capture).read_rgb(camera=camera))
        return self._spans[capture, camera]

    def _reader(self, capture: int) -> FrameReader:
        if capture not in self._open:
            if len(self._open) == _MOST_OPEN:
                self._open.popitem(last=False)[1].close()
            self._open[capture] = FrameReader(self._files[capture], self._pair, cameras=self.cameras)
        self._open.move_to_end(capture)
        return self._open[capture]


class CachedCaptures:
    """Captures held in memory as stored, half the bytes of floats."""

    def __init__(self, stored: StoredCaptures) -> None:
        self.names = stored.names
        self.shapes = stored.shapes
        self._views = [stored.read_views(i) for i in range(len(stored.shapes))]
        self._spans = [[find_span(view.inputs[0]) for view in views] for views in self._views]

    def read(self, capture: int, window: Window, *, camera: int = 0) -> StoredFrame:
        """Return a window of capture number `capture` as camera number `camera` saw it; the arrays are views."""
        return self._views[capture][camera].cut(window)

    def rgb_span(self, capture: int, *, camera: int = 0) -> Span:
        """Return the darkest and the brightest number of a camera's whole picture."""
        return self._spans[capture][camera]


Captures = StoredCaptures | CachedCaptures


def require_room(captures: Captures, crop_px: int, *, padding_px: int = 0) -> None:
    """Raise ShapeError unless a square of `crop_px` fits into every frame with `padding_px` around it."""
    for name, (height, width) in zip(captures.names, captures.shapes, strict=True):
        if min(height, width) + 2 * padding_px < crop_px:
            around = f" and {padding_px} px around it" if padding_px else ""
            raise ShapeError(
                f"`train.crop_px` must fit into every training frame; got {crop_px} px, but {name} has "
                f"{height} x {width} px{around}."
            )


class CropBatches(Dataset[Batch]):
    """Indexed by a list of crops: gives them as one batch; beyond the frame all is 0, and counts as measured.

    Args:
        captures: Where the crops come from.
        crop_px: Their side.
        channels_last: How tensors are laid out.
        stretched: Whether rgb is stretched by the darkest and the brightest value of its whole frame.
    """

    def __init__(
        self, captures: Captures, *, crop_px: int, channels_last: bool = False, stretched: bool = False
    ) -> None:
        self._captures = captures
        self._crop_px = crop_px
        self._channels_last = channels_last
        self._stretched = stretched

    def __getitem__(self, crops: Sequence[Crop]) -> Batch:
        """Read, turn, stack and decode `crops`."""
        patches = [self._read(crop) for crop in crops]
        inputs = [self._stack(_alike(parts)) for parts in zip(*(patch.inputs for patch in patches), strict=True)]
        target = self._stack([patch.target for patch in patches])
        valid = self._stack([patch.valid[..., None] for patch in patches])
        # Decoded only after the axes have turned: numbers are half the bytes to move.
        decoded = torch.cat([self._decode(numbers.numpy(), crops) for numbers in inputs], dim=1)
        layout = torch.channels_last if self._channels_last else torch.contiguous_format
        reference = torch.from_numpy(decode_reflectance(target.numpy()))
        return Batch(decoded.contiguous(memory_format=layout), reference, valid)

    def _decode(self, numbers: npt.NDArray[Any], crops: Sequence[Crop]) -> torch.Tensor:
        if self._stretched and numbers.dtype == np.uint8:
            spans = [self._captures.rgb_span(crop.capture, camera=crop.camera) for crop in crops]
            return torch.from_numpy(stretch_rgb(numbers, spans))
        return torch.from_numpy(decode_input(numbers))

    def _read(self, crop: Crop) -> StoredFrame:
        black = self._captures.rgb_span(crop.capture, camera=crop.camera)[0] if self._stretched else 0
        patch = _read_padded(self._captures, crop, self._crop_px, black=black)
        if crop.gain != 1:
            patch = expose(patch, crop.gain)
        return StoredFrame(
            tuple(_turn(values, crop) for values in patch.inputs), _turn(patch.target, crop), _turn(patch.valid, crop)
        )

    def _stack(self, cubes: Sequence[npt.NDArray[Any]]) -> torch.Tensor:
        return cubes_to_batch(np.stack(cubes), channels_last=self._channels_last)


def _alike(parts: Sequence[npt.NDArray[Any]]) -> Sequence[npt.NDArray[Any]]:
    """Return numbers of one type: where an MSI's own rgb meets other cameras' 8 bits, these go onto its scale."""
    if len({part.dtype for part in parts}) == 1:
        return parts
    return [encode_reflectance(decode_input(part))[0] if part.dtype == np.uint8 else part for part in parts]


def _read_padded(captures: Captures, crop: Crop, crop_px: int, *, black: int) -> StoredFrame:
    """Return a square as stored, before it is turned; beyond the frame it is valid, and 0 (in rgb `black`)."""
    height, width = captures.shapes[crop.capture]
    rows, above, below = _cut_span(crop.top, crop_px, height)
    columns, left, right = _cut_span(crop.left, crop_px, width)
    patch = captures.read(crop.capture, (rows, columns), camera=crop.camera)
    if not (above or below or left or right):
        return patch
    margins = ((above, below), (left, right))
    return StoredFrame(
        tuple(_pad(values, margins, black if values.dtype == np.uint8 else OFFSET) for values in patch.inputs),
        _pad(patch.target, margins, OFFSET),
        _pad(patch.valid, margins, True),
    )


def feed_batches(
    batches: CropBatches, schedule: Iterable[Sequence[Crop]], *, workers: int = 0, pin_memory: bool = False
) -> Generator[Batch, None, None]:
    """Yield a batch for each list of crops in `schedule`, in its order, whoever reads them.

    Args:
        batches: Where the crops come from.
        schedule: The crops of every step; may be endless.
        workers: Processes that read ahead; 0 reads here.
        pin_memory: Put batches into page-locked memory, for CUDA; with no workers a thread then reads ahead.
    """
    if workers:
        yield from DataLoader(
            batches,
            sampler=schedule,
            batch_size=None,
            num_workers=workers,
            pin_memory=pin_memory,
            multiprocessing_context="spawn",  # HDF5 and threads do not survive a fork
            generator=torch.Generator(),  # or the loader would draw from the global one
        )
        return
    read = (batches[crops] for crops in schedule)
    if pin_memory:
        read = _read_ahead(Batch(*(part.pin_memory() for part in batch)) for batch in read)
    yield from read


def whole_frames(files: Sequence[PairFiles], pair: Pair, *, camera: str) -> Iterator[Frame]:
    """Yield captures whole, one at a time, in the given order."""
    for each in files:
        yield read_frame(each, pair, camera=camera)


def _cut_span(first: int, length: int, size: int) -> tuple[slice, int, int]:
    """Return the part of `length` px from `first` on that lies within 0 .. `size`, and how much lies before and after.

    Examples:
        >>> _cut_span(-3, 8, 20)
        (slice(0, 5, None), 3, 0)
    """
    start, stop = (min(max(place, 0), size) for place in (first, first + length))
    before = min(max(-first, 0), length)
    return slice(start, stop), before, length - before - (stop - start)


def _pad(values: npt.NDArray[Any], margins: tuple[tuple[int, int], tuple[int, int]], number: int) -> npt.NDArray[Any]:
    """Return `values` (H, W, ...) with `number` around them."""
    return np.pad(values, (*margins, *[(0, 0)] * (values.ndim - 2)), constant_values=number)


def _turn(values: npt.NDArray[Any], crop: Crop) -> npt.NDArray[Any]:
    return np.rot90(values[:, ::-1] if crop.flip else values, crop.quarter_turns)


def _mix(seed: int, epoch: int) -> int:
    """Return a generator seed in which (0, 1) and (1, 0) differ."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0] >> 1)


def _read_ahead(batches: Iterator[Batch]) -> Generator[Batch, None, None]:
    """Yield `batches`, a few of them made ahead by one thread; its errors are raised here."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="crops")
    try:
        pending = deque(pool.submit(next, batches, None) for _ in range(_AHEAD))
        while (batch := pending.popleft().result()) is not None:
            pending.append(pool.submit(next, batches, None))
            yield batch
    finally:
        pool.shutdown(cancel_futures=True)
