"""A network is validated and handed on as it sees whole frames, and the epoch is chosen by the metric asked for."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np
import numpy.typing as npt
import pytest
import torch
from ruamel.yaml import YAML

from hyperskin.commands.choice import bare_params
from hyperskin.commands.recipes import RECIPES
from hyperskin.data.frames import PairFiles, read_frame
from hyperskin.data.manifest import Manifest
from hyperskin.models.basal_start import Start, StartSums
from hyperskin.models.baselines import build
from hyperskin.models.stretched import Stretched
from hyperskin.pairs import find_pair
from hyperskin.params import Params
from hyperskin.steps.fit import Fitted, fit_network, fit_regression, validate
from hyperskin.steps.unit import Unit
from hyperskin.training.recipe import Epoch
from hyperskin.training.reconstruct import reconstruct

PAIR = find_pair("rgb_vis")
CPU = torch.device("cpu")
SMALL = {"epochs": 2, "seconds": None, "crop_px": 16, "models": {"hscnn_plus": {"blocks": 1}}, "batch_size": 2}


class Files:
    """Stands for a manifest: the same captures for training and validation."""

    def __init__(self, files: list[PairFiles]) -> None:
        self.files = files

    def pair_files(self, *_: object) -> list[PairFiles]:
        return self.files

    of_split = pair_files


@pytest.fixture
def files(write_capture: Callable[..., PairFiles]) -> list[PairFiles]:
    made = [write_capture(f"p{i:03d}_neutral_front", seed=i, invalid=(slice(0, 6), slice(0, 9))) for i in (1, 2)]
    for each in made:
        with h5py.File(each.inputs, "r+") as file:
            file["rgb/cie"][...] = file["rgb/cie"][...] // 2 + 60
    return made


def _unit(recipe: str, pair: str = "rgb_vis", **train: Any) -> Unit:
    values = YAML(typ="safe", pure=True).load(bare_params("demo", recipe))  # type: ignore[arg-type]  # parametrised
    padding = {"crop_padding_px": 16} if values["train"]["crop_padding_px"] else {}
    steps = {} if values["train"]["steps_per_epoch"] is None else {"steps_per_epoch": 3}
    values["train"] |= {**SMALL, **padding, **steps, **train}
    [model] = values["train"]["models"]
    return Unit.of(model, pair, Params.parse(values, "x"), Manifest(Path(), "cave", {}, {}, "d"))


def _fit(
    unit: Unit, files: list[PairFiles], folder: Path, should_stop: Callable[[], bool] = lambda: False
) -> tuple[Fitted, list[Epoch]]:
    told: list[Epoch] = []
    fitted = fit_network(
        unit,
        cast("Manifest", Files(files)),
        device=CPU,
        checkpoint=folder / "last.pt",
        on_epoch=told.append,
        should_stop=should_stop,
    )
    return fitted, told


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_trains_and_chooses_by_its_own_metric(recipe: str, files: list[PairFiles], tmp_path: Path) -> None:
    unit = _unit(recipe)
    fitted, told = _fit(unit, files, tmp_path)
    values = [epoch.metrics[unit.recipe["monitor"]] for epoch in told]
    assert fitted.metrics["train/best_val"] == min(values)
    assert all("val_sam/masked" in epoch.metrics for epoch in told)  # what searches go by
    again, _ = _fit(unit, files, tmp_path / "again")
    assert fitted.network is not None
    assert again.network is not None
    for name, weights in fitted.network.state_dict().items():
        assert torch.equal(weights, again.network.state_dict()[name])


def test_what_is_handed_on_takes_frames_as_they_are_stored(files: list[PairFiles], tmp_path: Path) -> None:
    """Trained on stretched crops, it is scored, registered and used on whole frames that nobody has stretched."""
    fitted, told = _fit(_unit("reference-2023", epochs=1), files, tmp_path)
    assert isinstance(fitted.network, Stretched)
    bare = build("hscnn_plus", in_channels=3, out_channels=31, blocks=1)
    bare.load_state_dict(fitted.network.network.state_dict())
    errors = []
    for file in files:
        frame = read_frame(file, PAIR, camera="cie")
        span = frame.input.max() - frame.input.min()
        estimate = reconstruct(bare, (frame.input - frame.input.min()) / span, device=CPU)
        np.testing.assert_allclose(fitted.reconstruct(frame.input), estimate, rtol=1e-4, atol=1e-5)
        errors.append(np.abs(estimate - frame.reference)[frame.valid].mean())
    assert told[0].metrics["val_mae/full"] == pytest.approx(float(np.mean(errors)), rel=1e-4)


def test_an_infrared_band_goes_in_as_stored(files: list[PairFiles], tmp_path: Path) -> None:
    fitted, _ = _fit(_unit("reference-2023", pair="msi_nir", epochs=1), files, tmp_path)
    assert not isinstance(fitted.network, Stretched)


# Starting from the training captures


def _basal(recipe: str = "ours", **train: Any) -> Unit:
    return _unit(recipe, models={"basal": {"width": 4}}, learning_rate=1e-9, final_learning_rate=1e-9, **train)


class Interrupted:
    """Says to stop when it is asked for the nth time."""

    def __init__(self, nth: int) -> None:
        self.left = nth

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


def test_a_network_starts_from_what_each_camera_saw(
    write_capture: Callable[..., PairFiles], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [write_capture(f"p{i:03d}_neutral_front", seed=i, cameras={"cie": 0, "nikon": 1}) for i in (1, 2)]
    unit = replace(_basal(epochs=1), cameras=("cie", "nikon"))
    seen: list[npt.NDArray[np.float32]] = []
    monkeypatch.setattr(StartSums, "add", lambda _, frame: seen.append(frame.input))
    monkeypatch.setattr(StartSums, "solve", lambda _, rank: Start(*(np.zeros(s) for s in ((14, 12), (12, 31), 12))))
    fitted, _ = _fit(unit, files, tmp_path)
    views = [(file, camera) for file in files for camera in ("cie", "nikon")]
    for input, (file, camera) in zip(seen, views, strict=True):  # noqa: A001 - what a pair calls it
        np.testing.assert_array_equal(input, read_frame(file, PAIR, camera=camera).input)
    assert fitted.parameter_count < 20_000


def test_a_network_starts_from_pictures_as_it_will_see_them(files: list[PairFiles], tmp_path: Path) -> None:
    fitted, _ = _fit(_basal("reference-2023", epochs=1), files, tmp_path)
    network = build("basal", in_channels=3, out_channels=31, width=4)
    frames = [read_frame(file, PAIR, camera="cie") for file in files]
    spans = [(frame.input.min(), frame.input.max()) for frame in frames]
    network.start(
        replace(frame, input=(frame.input - least) / (most - least))
        for frame, (least, most) in zip(frames, spans, strict=True)
    )
    assert isinstance(fitted.network, Stretched)
    for name, weights in network.state_dict().items():
        if name.startswith(("stem", "basis", "spread")):  # a rate of 1e-9 moves them hardly
            torch.testing.assert_close(fitted.network.network.state_dict()[name], weights, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("nth", [1, 6, 12])
def test_an_interrupted_network_is_not_started_again(
    files: list[PairFiles], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    whole, _ = _fit(_basal(), files, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        _fit(_basal(), files, tmp_path, should_stop=Interrupted(nth))
    if (tmp_path / "last.pt").exists():
        monkeypatch.setattr(StartSums, "add", None)
    else:
        assert nth == 1  # while it started
    again, _ = _fit(_basal(), files, tmp_path)
    assert whole.network is not None
    assert again.network is not None
    for name, weights in whole.network.state_dict().items():
        assert torch.equal(weights, again.network.state_dict()[name])


def _half(given: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return np.full((*given.shape[:2], 31), 0.5, dtype=np.float32)


@pytest.mark.parametrize("monitor", ["val_sam/masked", "val_mae/full", "val_mrae/full"])
def test_the_metric_that_chooses_is_validated_on_measured_pixels(files: list[PairFiles], monitor: str) -> None:
    files = [files[0], replace(files[1], mask=None)]
    found = validate(_half, files, PAIR, cameras=["cie"], monitor=monitor)
    assert set(found) == {"val_sam/full", "val_sam/masked", "val_ssim/full", "val_ssim/masked", monitor}
    if monitor == "val_sam/masked":
        return
    errors = []
    for file in files:
        frame = read_frame(file, PAIR, camera="cie")
        error = np.abs(0.5 - frame.reference.astype(np.float64))
        errors.append((error if monitor == "val_mae/full" else error / frame.reference)[frame.valid].mean())
    assert found[monitor] == pytest.approx(float(np.mean(errors)), rel=1e-6)


def test_a_regression_is_validated_as_networks_are(files: list[PairFiles]) -> None:
    values = YAML(typ="safe", pure=True).load(bare_params("demo", "ours"))
    params = Params.parse(values, "x")
    unit = Unit.of("regression_linear", "rgb_vis", params, Manifest(Path(), "cave", {}, {}, "d"))
    fitted = fit_regression(unit, cast("Manifest", Files(files)), lambda: False)
    found = validate(fitted.reconstruct, files, PAIR, cameras=unit.cameras)
    assert set(found) == {"val_sam/full", "val_sam/masked", "val_ssim/full", "val_ssim/masked"}
    assert found.items() <= fitted.metrics.items()
