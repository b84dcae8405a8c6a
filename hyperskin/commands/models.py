"""`hyperskin models`: which models are registered, and who is champion where a person knows better than the score."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from hyperskin.environment import repository_root
from hyperskin.errors import UnknownNameError
from hyperskin.pairs import PAIRS

_log = logging.getLogger(__name__)


def list_models() -> None:
    """Print every version of every registered model: how good, of which data and code, and who is champion.

    Data `now`: it was trained on the data as they are in data/; `other`: on data that were there before; `pretrained`:
    elsewhere, and `hyperskin models import` brought it. Code `dirty`: what was not committed took part. Runs that
    MLflow does not have yet are not in it, and are told of.
    """
    from hyperskin.steps.present import present_digest
    from hyperskin.tracking.store import prepare_store
    from hyperskin.tracking.versions import read_models, to_text
    from hyperskin.tracking.waiting import say_waiting

    root = repository_root()
    if waiting := say_waiting(root):
        _log.warning("%s", waiting)
    sys.stdout.write(to_text(read_models(prepare_store(root)), manifest=present_digest(root)))


def promote(name: str, version: str, *, because: str = "") -> None:
    """Make a version the champion by hand, whatever it scored and on which test set.

    A version whose stored file is gone, or is not the one that was registered, is refused.

    Args:
        name: rgb_vis, msi_nir or msi_visnir; or the name in MLflow, such as hyperskin-rgb-vis.
        version: Its number, as `hyperskin models list` shows it.
        because: Why, in a few words; kept in the history of champions.
    """
    from hyperskin.tracking.answers import ask
    from hyperskin.tracking.promotion import promote_by_hand
    from hyperskin.tracking.store import prepare_store

    registered, uri = registered_name(name), prepare_store(repository_root())
    promotion = ask(uri, lambda: promote_by_hand(uri, registered, version, because=because), may_take_long=True)
    _log.info("%s", promotion.reason)


def rollback(name: str) -> None:
    """Make the champion before the present one champion again.

    Args:
        name: rgb_vis, msi_nir or msi_visnir; or the name in MLflow, such as hyperskin-rgb-vis.
    """
    from hyperskin.tracking.answers import ask
    from hyperskin.tracking.promotion import roll_back
    from hyperskin.tracking.store import prepare_store

    registered, uri = registered_name(name), prepare_store(repository_root())
    _log.info("%s", ask(uri, lambda: roll_back(uri, registered), may_take_long=True).reason)


def export(name: str, file: Path, *, version: str = "", may_pass_on: bool = False) -> None:
    """Write the weights of a registered version to FILE: a bare state_dict of numbers, which any torch program reads.

    So a network goes to another project: there, `hyperskin models import FILE --model MODEL --pair PAIR` examines it on
    that project's test captures, and registers it as `pretrained`. A network that is registered nowhere has its
    checkpoint, mlruns/checkpoints/.../last.pt, which `import` reads as well. Only the weights go: no captures, no
    scores, no optimiser.

    Args:
        name: rgb_vis, msi_nir or msi_visnir; or the name in MLflow, such as hyperskin-rgb-vis.
        file: Where to; there must be nothing yet.
        version: Its number, as `hyperskin models list` shows it; the champion where it is left out.
        may_pass_on: Licence and consent allow to pass on a network that was trained on people; for made-up people and
            public scenes nobody asks.
    """
    from hyperskin.tracking.answers import ask
    from hyperskin.tracking.export import export_weights
    from hyperskin.tracking.store import prepare_store

    registered, uri = registered_name(name), prepare_store(repository_root())
    told = ask(
        uri,
        lambda: export_weights(uri, registered, version, file, may_pass_on=may_pass_on),
        may_take_long=True,
    )
    _log.info("%s", told)


def registered_name(name: str) -> str:
    """Return the name in MLflow of a pair's model, whichever of the two names is given.

    Raises:
        UnknownNameError: It is neither.
    """
    for pair in PAIRS.values():
        if name in (pair.name, pair.registered_name):
            return pair.registered_name
    known = ", ".join(f"{pair.name} ({pair.registered_name})" for pair in PAIRS.values())
    raise UnknownNameError(f"`name` must be one of {known}; got {name!r}.")
