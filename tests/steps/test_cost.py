"""A cost is measured once for its code and processor, and told from then on."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hyperskin.commands.init import shipped_params
from hyperskin.errors import UnknownNameError
from hyperskin.models.baselines import build, parameter_count
from hyperskin.models.regression import feature_count
from hyperskin.pairs import find_pair
from hyperskin.params import Params
from hyperskin.steps import cost as cost_step
from hyperskin.steps import frame_cost
from hyperskin.steps.cost import COSTS, cost, read_costs
from hyperskin.steps.frame_cost import FrameCost, measure_frame

PAIR = find_pair("msi_nir")


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, int]]:
    """A folder with parameters, and what was measured in it: model, pair and side of the frame."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(shipped_params())
    asked: list[tuple[str, str, int]] = []

    def measure(model: str, pair: Any, *_: object, frame_px: int, threads: int) -> FrameCost:
        asked.append((model, pair.name, frame_px))
        return FrameCost(10 * len(asked), 1.5, 0.25, 20.0)

    monkeypatch.setattr(frame_cost, "measure_frame", measure)
    return asked


def _edit(old: str, new: str) -> None:
    text = Path("params.yaml").read_text()
    assert old in text
    Path("params.yaml").write_text(text.replace(old, new))


def test_what_was_measured_is_kept_and_not_measured_again(measured: list[tuple[str, str, int]]) -> None:
    for _ in range(2):
        cost(model="hrnet", pair="rgb_vis")
        cost(model="regression_mean", pair="rgb_vis")
    assert measured == [("hrnet", "rgb_vis", 1024), ("regression_mean", "rgb_vis", 1024)]
    mean, hrnet = read_costs(Path(), Params.read())
    assert (mean["model"], mean["size"], mean["parameters"]) == ("regression_mean", "closed form", 20)
    assert {key: hrnet[key] for key in hrnet.keys() - {"processor"}} == {
        "model": "hrnet", "pair": "rgb_vis", "size": "width 8", "parameters": 10, "kmac_per_px": 1.5,
        "frame_s": 0.25, "peak_mb": 20.0, "frame_px": 1024, "threads": 1,
    }  # fmt: skip
    assert hrnet["processor"]
    assert list(hrnet)[:3] == ["model", "pair", "size"]


@pytest.mark.parametrize(
    "change",
    [("frame_px: 1024", "frame_px: 512"), ("width: 8", "width: 16"), ("input_scale: fixed", "input_scale: min_max")],
)
def test_another_frame_size_or_scale_is_measured_anew(
    measured: list[tuple[str, str, int]], change: tuple[str, str]
) -> None:
    cost(model="hrnet", pair="rgb_vis")
    _edit(*change)
    assert read_costs(Path(), Params.read()) == []
    cost(model="hrnet", pair="rgb_vis")
    assert len(measured) == 2


def test_how_it_is_trained_does_not_matter_and_another_processor_does(
    measured: list[tuple[str, str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    cost(model="hrnet", pair="rgb_vis")
    _edit("  learning_rate: 2e-3", "  learning_rate: 1e-3")
    cost(model="hrnet", pair="rgb_vis")
    assert len(measured) == 1
    monkeypatch.setattr(cost_step, "processor_name", lambda: "another, 64 cores")
    cost(model="hrnet", pair="rgb_vis")
    assert len(measured) == 2


def test_a_damaged_file_is_measured_again(measured: list[tuple[str, str, int]]) -> None:
    cost(model="hrnet", pair="rgb_vis")
    (path,) = COSTS.glob("*.json")
    whole = path.read_text()
    for damaged in (whole[:20], "{}", "1"):
        path.write_text(damaged)
        assert read_costs(Path(), Params.read()) == []
    cost(model="hrnet", pair="rgb_vis")
    assert json.loads(path.read_text())["parameters"] == 20


def test_rows_stand_in_the_order_of_params_and_can_be_chosen(measured: list[tuple[str, str, int]]) -> None:
    for pair in ("msi_nir", "rgb_vis"):
        for model in ("basal", "hrnet", "regression_linear"):
            cost(model=model, pair=pair)
    params = Params.read()
    assert [(row["pair"], row["model"]) for row in read_costs(Path(), params)] == [
        (pair, model) for pair in ("rgb_vis", "msi_nir") for model in ("regression_linear", "hrnet", "basal")
    ]
    assert [row["pair"] for row in read_costs(Path(), params, models=["basal"], pairs=["msi_nir"])] == ["msi_nir"]


def test_an_unknown_model_lists_the_known(measured: list[tuple[str, str, int]]) -> None:
    with pytest.raises(UnknownNameError, match=r"`model` must be one of regression_mean, .*got 'unet'"):
        cost(model="unet", pair="rgb_vis")
    with pytest.raises(UnknownNameError, match="`pair` must be one of"):
        cost(model="hrnet", pair="rgb_swir")


def test_whoever_finds_it_measured_loads_no_torch(measured: list[tuple[str, str, int]]) -> None:
    cost(model="hrnet", pair="rgb_vis")
    code = (
        "import sys; from hyperskin.steps.cost import cost; cost(model='hrnet', pair='rgb_vis');"
        "print(sorted({'mlflow', 'torch', 'matplotlib', 'prefect'} & set(sys.modules)))"
    )
    root = Path(__file__).parent.parent.parent
    said = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(root)}, capture_output=True, text=True, check=False
    )
    assert said.stdout == "[]\n", said.stderr


def test_a_regression_weighs_every_feature_once_for_each_band() -> None:
    found = measure_frame("regression_polynomial", PAIR, {}, {"transfer": "srgb"}, frame_px=64, threads=1)
    assert found.parameters == feature_count("polynomial", 4) * 31 == 35 * 31
    assert found.kmac_per_px == pytest.approx(35 * 31 / 1e3)
    assert found.frame_s > 0


def test_a_network_is_measured_at_its_size() -> None:
    found = measure_frame("hrnet", PAIR, {"width": 4}, {"input_scale": "fixed"}, frame_px=64, threads=1)
    assert found.parameters == parameter_count(build("hrnet", in_channels=4, out_channels=31, width=4))
    assert found.kmac_per_px > 0


MEASURE = """
import numpy as np
from hyperskin.pairs import find_pair
from hyperskin.steps import frame_cost

np.ones(2 * 10**8, np.uint8)  # an earlier peak, forgotten
frame_cost._build = lambda *_: (lambda given: np.ones(5 * 10**7, np.uint8)[:1], 1, 1.0)
print(frame_cost.measure_frame("any", find_pair("rgb_vis"), {}, {}, frame_px=64, threads=1).peak_mb)
"""


def test_memory_is_what_a_frame_takes_beyond_what_was_there() -> None:
    said = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True).stdout
    assert float(said) == pytest.approx(50, abs=5)


def test_the_best_round_counts_and_what_takes_long_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, took = [0.0], iter([5.0, 3.0, 4.0, 40.0])

    def way(given: np.ndarray) -> None:
        clock[0] += next(took)

    monkeypatch.setattr(frame_cost, "_build", lambda *_: (way, 1, 1.0))
    monkeypatch.setattr(frame_cost.time, "process_time", lambda: clock[0])
    assert measure_frame("any", PAIR, {}, {}, frame_px=8, threads=1).frame_s == 3.0
    assert measure_frame("any", PAIR, {}, {}, frame_px=8, threads=1).frame_s == 40.0
