"""What each model costs beside what it scores: measured once for this code and processor, and kept."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import hyperskin
from hyperskin.atomic import write_json
from hyperskin.metrics.summary import Row
from hyperskin.pairs import find_pair
from hyperskin.params import Params
from hyperskin.processor import processor_name
from hyperskin.steps.captures import code_version, make_key
from hyperskin.steps.unit import describe_size, is_regression, model_names, model_recipe

COSTS = Path("mlruns") / "costs"

_THREADS = 1
_PACKAGE = Path(hyperskin.__file__).parent
_CODE = ("steps/frame_cost.py", "training/reconstruct.py", "data/tensors.py", "data/scaling.py")
_LIBRARIES = ("torch", "numpy")
_OF_PICTURES = ("input_scale", "transfer")
_COLUMNS = (
    "model", "pair", "size", "parameters", "kmac_per_px", "frame_s", "peak_mb", "frame_px", "threads", "processor",
)  # fmt: skip
_log = logging.getLogger(__name__)


def cost(*, model: str, pair: str, params_file: Path = Path("params.yaml")) -> None:
    """Measure what one frame costs a model: parameters, products per pixel, processor seconds and peak memory.

    The model has the size that params.yaml says and random weights, and works on one thread of the processor, on a
    frame of `study.frame_px`; a network that is not small takes minutes. It is done in this process alone, for only a
    fresh one tells its memory, and it is kept in mlruns/costs: what was measured with this code on this processor is
    not measured again. Run it while nothing else runs, or the seconds are those of two.

    Args:
        model: hscnn_plus, hrnet, mst_plus_plus, basal, or regression_mean, _linear, _polynomial, _root_polynomial.
        pair: rgb_vis, msi_nir or msi_visnir.
        params_file: Parameters; `train`, `regression`, `render` and `study` are read.

    Raises:
        UnknownNameError: The params know no such model, or there is no such pair.
    """
    params = Params.read(params_file)
    path = _path(Path.cwd(), model, pair, params)
    row = _read(path)
    if row is None:
        from hyperskin.steps.frame_cost import measure_frame

        config, recipe = model_recipe(model, pair, params)
        found = measure_frame(model, find_pair(pair), config, recipe, frame_px=params.study.frame_px, threads=_THREADS)
        row = {
            "model": model,
            "pair": pair,
            "size": describe_size(config) or ("closed form" if is_regression(model) else "full"),
            **asdict(found),
            "frame_px": params.study.frame_px,
            "threads": _THREADS,
            "processor": processor_name(),
        }
        write_json(path, row)
    _log.info(
        "%s on %s: %d parameters, %.2f kMAC per px; a frame of %d px takes %.2g s and %.0f MB",
        model, pair, row["parameters"], row["kmac_per_px"], row["frame_px"], row["frame_s"], row["peak_mb"],
    )  # fmt: skip


def read_costs(
    root: Path, params: Params, *, models: Sequence[str] | None = None, pairs: Sequence[str] | None = None
) -> list[Row]:
    """Return what was measured of the models of params on its pairs, in its order; what was not is left out.

    Args:
        root: The repository.
        params: Parameters.
        models: Only these models; all where empty.
        pairs: Only these pairs; all where empty.

    Returns:
        Rows of model, pair, size, parameters, kmac_per_px, frame_s, peak_mb, frame_px, threads and processor.
    """
    found = [
        _read(_path(root, model, pair, params))
        for pair in pairs or params.train.pairs
        for model in models or model_names(params)
    ]
    return [row for row in found if row is not None]


def _path(root: Path, model: str, pair: str, params: Params) -> Path:
    """Return where the cost of a model is kept: by all that decides it."""
    config, recipe = model_recipe(model, find_pair(pair).name, params)
    models = sorted(path.relative_to(_PACKAGE).as_posix() for path in (_PACKAGE / "models").glob("*.py"))
    key = make_key(
        model,
        pair,
        config,
        [recipe.get(name) for name in _OF_PICTURES],
        params.study.frame_px,
        _THREADS,
        processor_name(),
        [version(name) for name in _LIBRARIES],
        code_version(*models, *_CODE),
    )
    return root / COSTS / f"{key}.json"


def _read(path: Path) -> Row | None:
    """Return what was measured; None where nothing was, or the file is damaged."""
    try:
        found = json.loads(path.read_bytes())
        return {name: found[name] for name in _COLUMNS}
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
