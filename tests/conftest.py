"""Small captures on disk, as the stages write them, for whoever reads pairs."""

import json
import os
import random
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from hyperskin.bands import NIR, VIS
from hyperskin.data.capture import CaptureId
from hyperskin.data.cubefile import encode_reflectance, write_cubes
from hyperskin.data.frames import PairFiles
from hyperskin.data.truth import LABELS, NAMES, PANEL, SKIN_SHARE, TruthFiles
from tests.postgres import Server, running_server

WriteCapture = Callable[..., PairFiles]
WriteTruth = Callable[..., TruthFiles]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the tests run in another order, to show that none needs the one before it."""
    parser.addoption("--shuffle", type=int, metavar="SEED", help="run the tests in a random order drawn from SEED")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Shuffle, the same way in every worker."""
    if (seed := config.getoption("shuffle")) is not None:
        random.Random(seed).shuffle(items)


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # so a shell starts what runs in the background, and so do we
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # before anything imports mlflow, which else writes to the home folder


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of an MLflow store with nothing in it, made once; tests take copies."""
    from hyperskin.tracking.store import STORE, prepare_store

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        root = tmp_path_factory.mktemp("store")
        prepare_store(root)
    return root / STORE


@pytest.fixture(scope="session")
def _one_server() -> Iterator[Server | None]:
    with running_server() as server:
        yield server


@pytest.fixture
def postgres_server(_one_server: Server | None) -> Iterator[Server]:
    """A PostgreSQL server that the test may stop and start; skips where none is installed."""
    if _one_server is None:
        pytest.skip("no PostgreSQL server is installed here")
    yield _one_server
    _one_server.start()


@pytest.fixture
def postgres(postgres_server: Server) -> str:
    """The address of a fresh PostgreSQL database, with a password in it; skips where no server is installed."""
    pytest.importorskip("psycopg")
    return postgres_server.new_database()


@pytest.fixture
def write_capture(tmp_path: Path) -> WriteCapture:
    """Return a function that writes one capture: smooth spectra that its rgb and infrared do follow, and a mask."""

    def write(
        name: str = "p001_neutral_front",
        *,
        seed: int = 0,
        height: int = 24,
        width: int = 32,
        invalid: tuple[slice, slice] | None = None,
        mask: bool = True,
        cameras: Mapping[str, int] = {"cie": 0},  # each camera's picture: the cie's with its channels rolled so often
    ) -> PairFiles:
        generator = np.random.default_rng(seed)
        rgb = generator.random((height, width, 3))
        across = np.linspace(0, 1, 61)
        basis = np.stack([1 - across, across, np.sin(np.pi * across)])
        cube = 0.05 + 0.4 * rgb @ basis
        valid = np.ones((height, width), dtype=bool)
        if invalid is not None:
            valid[invalid] = False
        path = tmp_path / "cubes" / f"{name}.h5"
        bands = {"vis": VIS, "nir": NIR}
        with write_cubes(path, height=height, width=width, bands=bands, attributes={}) as writer:
            writer.append({"vis": cube[..., :31], "nir": cube[..., 30:]}, valid)
        inputs = tmp_path / "inputs" / f"{name}.h5"
        inputs.parent.mkdir(exist_ok=True)
        chunk = (min(64, height), min(64, width))
        with h5py.File(inputs, "w", libver=("v110", "v110")) as file:
            picture = np.rint(rgb * 255).astype(np.uint8)
            for camera, turns in cameras.items():
                seen = np.roll(picture, turns, axis=2)
                file.create_dataset(f"rgb/{camera}", data=seen, chunks=(*chunk, 3), fletcher32=True)
            infrared = encode_reflectance(cube[..., 56])[0]
            file.create_dataset("infrared_960", data=infrared, chunks=chunk, fletcher32=True)
        if not mask:
            return PairFiles(CaptureId.parse(name), path, inputs, None)
        drawn = np.zeros((height, width), dtype=np.uint8)
        drawn[height // 4 :, width // 4 :] = 255
        picture_path = tmp_path / "masks" / f"{name}.png"
        picture_path.parent.mkdir(exist_ok=True)
        Image.fromarray(drawn).save(picture_path)
        return PairFiles(CaptureId.parse(name), path, inputs, picture_path)

    return write


@pytest.fixture
def write_truth(tmp_path: Path) -> WriteTruth:
    """Return a function that writes what a phantom knows of a capture, 24 x 32 px: on the left hair, on the right skin.

    The skin is lips in its last column, and half hair in its first. The cubes hold `level` times what the panel, which
    falls from 0.9 to 0.6 over the bands, reflects.
    """

    def write(level: float = 0.5, *, white_reflectance: float = 1.0, panel: bool = True) -> TruthFiles:
        shape = (24, 32)
        reflects = np.linspace(0.9, 0.6, 31)
        attributes = {PANEL: {"vis": reflects.tolist(), "nir": reflects.tolist()}} if panel else {}
        cube = np.broadcast_to(level * reflects, (*shape, 31))
        path = tmp_path / "truth" / "cubes.h5"
        bands = {"vis": VIS, "nir": NIR}
        with write_cubes(path, height=shape[0], width=shape[1], bands=bands, attributes=attributes) as writer:
            writer.append({"vis": cube, "nir": cube}, np.ones(shape, dtype=bool))
        labels = np.zeros(shape, dtype=np.uint8)
        labels[:, 16:] = 1
        labels[:, -1] = 2
        share = np.where(labels == 1, np.float32(1), np.float32(np.nan))
        share[:, 16] = 0.5
        with h5py.File(path.with_name("maps.h5"), "w") as file:
            file[LABELS] = labels
            file[LABELS].attrs[NAMES] = json.dumps(["hair", "skin", "lips"])
            file[SKIN_SHARE] = share
        return TruthFiles(path, path.with_name("maps.h5"), white_reflectance)

    return write


class RealScene(NamedTuple):
    """A measured scene (512, 512, 31) in [0, 1] and where real skin and printed skin are, (512, 512) bool."""

    cube: npt.NDArray[np.float32]
    real_skin: npt.NDArray[np.bool_]
    printed_skin: npt.NDArray[np.bool_]


@pytest.fixture(scope="session")
def real_scene() -> RealScene:
    """Return the scene with a real face and a printed one."""
    if "HYPERSKIN_REALDATA" not in os.environ:
        pytest.skip("HYPERSKIN_REALDATA is not set")
    folder = Path(os.environ["HYPERSKIN_REALDATA"])
    scene = folder / "cave" / "photo_and_face_ms" / "photo_and_face_ms"
    bands = [np.asarray(Image.open(path)) for path in sorted(scene.glob("*_ms_??.png"))]
    masks = [
        np.asarray(Image.open(folder / "masks" / f"photo_and_face_ms_{name}.png")) > 127
        for name in ("realskin", "printedphoto")
    ]
    return RealScene((np.stack(bands, axis=2) / 65535).astype(np.float32), masks[0], masks[1])
