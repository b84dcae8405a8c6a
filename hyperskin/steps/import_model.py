"""`hyperskin models import`: a network trained elsewhere becomes a row beside ours, and a version."""

from __future__ import annotations

import logging
from pathlib import Path

from hyperskin.atomic import file_sha256
from hyperskin.data.manifest import Manifest
from hyperskin.data.scaling import InputScale
from hyperskin.errors import MissingFileError
from hyperskin.ledger import Ledger
from hyperskin.pairs import find_pair
from hyperskin.params import Params
from hyperskin.processes import ended_by_signals, stop_on_signals
from hyperskin.steps.claim import claimed
from hyperskin.steps.finished import find_finished_units, reachable_store
from hyperskin.steps.present import require_recorded
from hyperskin.steps.unit import Unit
from hyperskin.tracking.journal import KILLED, Journal

_log = logging.getLogger(__name__)


def import_model(
    file: Path,
    *,
    model: str,
    pair: str,
    input_scale: InputScale = "fixed",
    params_file: Path = Path("params.yaml"),
    data: Path = Path("data"),
) -> None:
    """Examine a network that was trained elsewhere on the present test captures, and register it as `pretrained`.

    So the paper's "Pre-trained" stands beside "Re-trained": `hyperskin compare` shows a row of its own, such as
    "mst_plus_plus (pretrained)", scored on whole frames with the same metrics, skin maps, tables and figures as a
    network that was trained here. Nothing is trained.

    FILE may be what the MST++ authors' training leaves ({'state_dict': ..., 'optimizer': ...}, with or without the
    "module." of DataParallel before each name), a bare state_dict (what torch saves of `network.state_dict()`), what
    `hyperskin models export` writes, or a checkpoint of ours (mlruns/checkpoints/.../last.pt), of which the best epoch
    counts. Sizes and channels are read off the weights. Only numbers are read: a file that names code is refused.

    The version never becomes champion by its score, for only you know whether it has seen the people that it is
    examined on; `hyperskin models promote` makes it champion by your word. The same file again is skipped, an import
    that was broken off begins anew in its run, and while MLflow is away everything waits for `hyperskin sync`.

    Examples: `hyperskin models import mst_plus_plus.pth --model mst_plus_plus --pair rgb_vis --input-scale min_max`
    for weights of the NTIRE challenge; `hyperskin models import cave.pt --model hrnet --pair rgb_vis` for what
    `hyperskin models export rgb_vis cave.pt` wrote in a project on other scenes. More: docs/pretrained.md.

    Args:
        file: The file of weights.
        model: Which network it is: hscnn_plus, hrnet, mst_plus_plus or basal.
        pair: What it reconstructs: rgb_vis (3 -> 31), msi_nir (4 -> 31) or msi_visnir (4 -> 61).
        input_scale: How the network wants a picture. fixed: rgb / 255. min_max: each picture stretched, (x - min) /
            (max - min) over all its pixels and channels, as the MST++ authors' training (NTIRE) and the published
            Hyper-Skin code do with RGB, and not with MSI; it becomes part of the registered graph.
        params_file: Parameters; this step reads the cameras of `train`, `privacy` and `execution`.
        data: Folder with the manifest.

    Raises:
        MissingFileError: There is no such file, or no manifest.
        DataError: The file holds something else than weights of that network for that pair.
        VersionError: The data are not those that DVC recorded.
    """
    root = Path.cwd()
    params = Params.read(params_file)
    with ended_by_signals():
        find_pair(pair)
        if not file.is_file():
            raise MissingFileError(f"A file of weights must be at {file}; there is none.")
        manifest = Manifest.read(data / "manifest.json")
        sha256 = file_sha256(file)
        unit = Unit.of_file(sha256, model, pair, params, manifest, input_scale=input_scale)
        ledger, store = Ledger.of(root), reachable_store(root)

        def is_finished() -> bool:
            return unit.key in find_finished_units(root, [unit], ledger)

        if is_finished():
            _log.info("%s: imported already as %s on %s, skipped", file, model, pair)
            return
        from hyperskin.steps.import_unit import import_unit, read_import

        given = read_import(file, sha256, unit, manifest)
        manifest.check_files()
        require_recorded(root, digest=manifest.digest)
    with (
        stop_on_signals(on_deadline=lambda: Journal(root, unit.key).end_if_begun(KILLED)) as stopping,
        claimed(
            given.unit, ledger, stale_s=params.execution.stale_s, stopping=stopping, is_finished=is_finished
        ) as claim,
    ):
        if claim is not None and not is_finished():
            import_unit(given, manifest, params, store=store, claim=claim, stopping=stopping)
            claim.finish()
        stopping.check()
