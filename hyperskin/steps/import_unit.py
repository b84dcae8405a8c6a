"""A network trained elsewhere, from its file to the registry: examine on whole frames, log, register."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from hyperskin.data.frames import FrameReader
from hyperskin.data.manifest import Manifest
from hyperskin.data.scaling import is_stretched
from hyperskin.errors import DataError, ParamsError
from hyperskin.ledger import Claim
from hyperskin.models.baselines import channels_of, config_of, network_of, parameter_count, sizes_of
from hyperskin.models.products import products_per_px
from hyperskin.models.stretched import Stretched
from hyperskin.models.weights_file import WeightsFile, read_weights
from hyperskin.pairs import PAIRS
from hyperskin.params import Params
from hyperskin.processes import StopRequest
from hyperskin.steps.claim import Watch
from hyperskin.steps.examine import examine, provenance_of, say_scores
from hyperskin.steps.fit import is_channels_last
from hyperskin.steps.present import require_recorded
from hyperskin.steps.unit import Unit, camera_tags
from hyperskin.tracking.facts import PRETRAINED, PRETRAINED_SHA256
from hyperskin.tracking.runs import RunLog
from hyperskin.training.device import describe_device, find_device, set_threads
from hyperskin.training.reconstruct import reconstruct

_SOURCE = "mlflow.source.name"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Import:
    """A network that came in a file, and the unit that its examination is."""

    file: Path
    sha256: str
    unit: Unit
    network: nn.Module


def read_import(file: Path, sha256: str, unit: Unit, manifest: Manifest) -> Import:
    """Return the network of a file, if it can be examined as the unit says; its sizes are the unit's from here on.

    Raises:
        UnknownNameError: There is no such network.
        DataError: The file holds something else, a network of other channels than the pair's, or one that was trained
            with another scale; or a test capture lacks what the pair or the camera needs.
        ParamsError: Pictures are to be stretched, and the pair's input is more than a picture.
    """
    config_of(unit.model)
    given = read_weights(file)
    network = network_of(given, unit.model)
    found, wanted = channels_of(network), (unit.pair.in_channels, unit.pair.out_channels)
    if found != wanted:
        fitting = [pair.name for pair in PAIRS.values() if (pair.in_channels, pair.out_channels) == found]
        raise DataError(
            f"{file} must hold a network of {wanted[0]} -> {wanted[1]} channels for the pair {unit.pair.name}; it "
            f"holds one of {found[0]} -> {found[1]}, which fits {' and '.join(fitting) or 'no pair'}."
        )
    stretched = _is_stretched(given, unit)
    for files in manifest.pair_files("test", unit.pair):
        FrameReader(files, unit.pair, cameras=(unit.camera, *unit.test_cameras)).close()
    published = config_of(unit.model)
    config = {size: value for size, value in sizes_of(network).items() if value != published[size]}
    return Import(file, sha256, replace(unit, config=config), Stretched(network) if stretched else network)


def _is_stretched(given: WeightsFile, unit: Unit) -> bool:
    """Tell whether pictures are stretched for a network, and refuse what cannot be meant."""
    scale = unit.recipe["input_scale"]
    known = given.made_with.get("input_scale", scale)
    if known != scale:
        raise DataError(
            f"{given.path} must see pictures as it was trained, with the input scale {known}; got {scale}: say "
            f"`--input-scale {known}`."
        )
    stretched = is_stretched(unit.pair, scale)
    if scale == "min_max" and not stretched and not given.made_with:
        raise ParamsError(
            f"`--input-scale` must be fixed for {unit.pair.name}, whose input is more than a picture and goes in as "
            "stored, as the published networks have it; got min_max."
        )
    return stretched


def import_unit(
    given: Import, manifest: Manifest, params: Params, *, store: str, claim: Claim, stopping: StopRequest
) -> None:
    """Examine an imported network in one MLflow run, which is finished when everything is, and register it.

    Args:
        given: The network.
        manifest: The data whose test captures it is examined on.
        params: Their `privacy` and `execution` are read.
        store: Address of the MLflow store.
        claim: Our right to do it.
        stopping: Whether this process was asked to end.

    Raises:
        FencedError: Another process has the unit now.
        KeyboardInterrupt: This process was asked to end.
    """
    unit, device = given.unit, find_device()
    if device.type == "cpu":
        set_threads(params.execution.threads)
    layout = torch.channels_last if is_channels_last(unit.model) else torch.contiguous_format
    network = given.network.to(device=device, memory_format=layout)  # type: ignore[call-overload]  # stubs lack it
    with RunLog(
        store,
        model=unit.model,
        pair=unit.pair.name,
        params=unit.recipe,
        provenance=provenance_of(unit, manifest),
        data_name=manifest.source,
        size=unit.size,
        device=describe_device(device)["device"],
        tags=_tags(given, manifest, params),
        is_pretrained=True,
        should_stop=stopping.is_set,
    ) as run:
        evaluation = examine(
            lambda frame: reconstruct(network, frame, device=device),
            unit,
            manifest,
            params,
            run,
            should_stop=Watch(stopping, claim),
        )
        count = parameter_count(network)
        products = products_per_px(network, unit.pair.in_channels)
        cost = {"cost/parameters": float(count), "cost/kmac_per_px": products / 1e3}
        run.log_summary({**evaluation.metrics, **cost})
        _log.info("%s on %s, pretrained: %s", unit.model, unit.pair.name, say_scores(evaluation))
        require_recorded(Path.cwd(), digest=manifest.digest)
        run.log_model(
            network,
            pair=unit.pair,
            model=unit.model,
            config=unit.config,
            parameter_count=count,
            size_multiple=int(network.size_multiple),
        )
        claim.require_current()


def _tags(given: Import, manifest: Manifest, params: Params) -> dict[str, str]:
    """Return what else there is to say of the run: its file, the test set, and whose pictures examine it."""
    examined = camera_tags(given.unit, params, manifest)
    del examined["cameras"]  # whose pictures it has learned from is not known
    origin = {PRETRAINED: given.file.name, PRETRAINED_SHA256: given.sha256, _SOURCE: "hyperskin models import"}
    return {"test_set": manifest.test_set, **examined, **origin}
