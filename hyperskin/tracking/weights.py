"""A trained network in a run's journal: as numbers without pickle, and built again from them to be registered."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from hyperskin.atomic import atomic_path, file_sha256
from hyperskin.errors import DataError, HyperSkinError
from hyperskin.models.baselines import build
from hyperskin.models.stretched import Stretched
from hyperskin.pairs import Pair, find_pair
from hyperskin.tracking.answers import first_line, is_away
from hyperskin.tracking.journal import Journal
from hyperskin.tracking.records import Weights
from hyperskin.tracking.registry import promote, register
from hyperskin.training.checkpoint import save_content


def keep_weights(network: nn.Module, path: Path) -> str:
    """Write the numbers of a network to `path`, and return the file's SHA-256."""
    with atomic_path(path) as temporary:
        save_content(
            {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}, temporary
        )
    return file_sha256(path)


def register_weights(journal: Journal, weights: Weights, uri: str, *, run_id: str, manifest: str) -> str:
    """Build the network of a journal again, register it as its run's, promote it if it is better; say what came of it.

    Raises:
        HyperSkinError: It is refused; whatever else goes wrong but MLflow being away is told as a DataError.
    """
    pair = find_pair(weights.pair)
    try:
        network = _load(journal.network, weights, pair)
        version = register(
            uri,
            network,
            run_id=run_id,
            pair=pair,
            manifest=manifest,
            parameter_count=weights.parameter_count,
            size_multiple=weights.size_multiple,
        )
        promotion = promote(uri, pair.registered_name, version)
    except HyperSkinError:
        raise
    except Exception as error:  # torch.export and MLflow raise whatever they like
        if is_away(error):
            raise
        raise DataError(
            f"A network must become a file to be registered; {weights.model} did not "
            f"({type(error).__name__}: {first_line(error)})."
        ) from error
    return f"{pair.registered_name} version {version} registered; {promotion.reason}"


def _load(path: Path, weights: Weights, pair: Pair) -> nn.Module:
    """Return the network, if the file is the one that was written."""
    if not path.is_file() or file_sha256(path) != weights.sha256:
        raise DataError(
            f"The weights of a run must be those it ended with to be registered; {path} is gone or holds others: train "
            "it again."
        )
    state: Mapping[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    network = build(weights.model, in_channels=pair.in_channels, out_channels=pair.out_channels, **weights.config)
    if weights.stretched:
        network = Stretched(network)
    network.load_state_dict(state, strict=True)
    return network
