"""`hyperskin tune`: one worker of one search; the last one to end tells what came of it and writes the best recipe."""

from __future__ import annotations

import contextlib
import gc
import logging
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from hyperskin.data.manifest import Manifest
from hyperskin.errors import ParamsError, VersionError
from hyperskin.ledger import Ledger
from hyperskin.params import Params, profile_file
from hyperskin.processes import StopRequest, ended_by_signals, stop_on_signals
from hyperskin.steps.claim import GOES_ON, checkpoint_path
from hyperskin.steps.finished import reachable_store
from hyperskin.steps.search import Plan, worker_key
from hyperskin.steps.tuned import PROFILE, write_profile
from hyperskin.steps.unit import CHECKPOINTS
from hyperskin.tracking.journal import KILLED, Journal
from hyperskin.tuning.storage import SWEEPS
from hyperskin.tuning.study import Search

_log = logging.getLogger(__name__)


def tune(
    *,
    model: str,
    pair: str,
    trials: int | None = None,
    worker: int = 0,
    expect: str = "",
    params_file: Path = Path("params.yaml"),
    data: Path = Path("data"),
) -> None:
    """Search the best recipe of a network on one pair, and write it into params.tuned.yaml.

    Recipes are tried one after the other, first the one as it is, and judged by the validation captures alone: no test
    capture is read. Any number of workers may share a search, on this machine or on others; what a killed one had begun
    is gone on with. A search is as big as `sweep` says, and is gone on with when that grows. Nothing is registered:
    `train-all` with the profile `tuned` trains the best recipes in full.

    Args:
        model: hscnn_plus, hrnet, mst_plus_plus or basal.
        pair: rgb_vis, msi_nir or msi_visnir.
        trials: How many recipes are tried, by all workers together; default: `sweep.trials`.
        worker: Number of this worker, so that workers choose differently.
        expect: Name of the search that whoever asks means; another is refused. The ledger then hears of this worker.
        params_file: Parameters; this step reads `train`, `sweep` and `execution`.
        data: Folder with the manifest.

    Raises:
        VersionError: The search is not the one expected.
        ServiceError: The database of searches does not answer, or was lost; a worker that is started again goes on.
        HyperSkinError: The recipe as it is cannot be trained; then nothing is begun.
    """
    root = Path.cwd()
    if params_file.name == profile_file(PROFILE):
        raise ParamsError(f"A search must start from params.yaml, not from what it writes; got {params_file}.")
    params = Params.read(params_file)
    with ended_by_signals():
        manifest = Manifest.read(data / "manifest.json")
        plan = Plan.of(model, pair, params, manifest)
        manifest.require_pairs([plan.unit.pair])
        total = params.sweep.trials if trials is None else trials
        if total < 1:
            raise ParamsError(f"`trials` must be at least 1; got {total}.")
        if expect and plan.name != expect:
            raise VersionError(
                f"Data, code and params.yaml must be here what they were where the search was asked for; they make "
                f"{plan.name} instead of {expect}: bring this folder up to date, or ask again."
            )
        from hyperskin.tuning.storage import study_names

        search = plan.open(root) if plan.name in study_names(root) else None
        if search is not None and search.is_concluded(total):
            _log.info("%s on %s: searched already, skipped (%s)", model, pair, plan.name)
            write_profile(root, params_file, params, manifest)
            return
        if search is None or not search.is_whole(total):
            manifest.check_files()
            _require_trainable(plan)
        work = _Work(root, plan, search or plan.open(root), total, worker)
    with stop_on_signals(on_deadline=work.note_killed) as stopping:
        with _claimed_worker(root, plan, worker, total) if expect else contextlib.nullcontext():
            is_told = work.run(stopping)
        if is_told:  # else another worker tells
            write_profile(root, params_file, params, manifest)
        stopping.check()  # also a search that was just finished ends a script that was interrupted


def _require_trainable(plan: Plan) -> None:
    """Load all that makes trials, and refuse a search whose first trial would be refused."""
    gc.disable()  # torch and MLflow take seconds to load, a quarter of them for vain searches for garbage
    import hyperskin.steps.tune_report
    import hyperskin.steps.tune_trial  # noqa: F401 - so that nothing is loaded once a search has begun
    from hyperskin.steps.ready import require_trainable

    gc.freeze()  # nor need what was loaded be searched later
    gc.enable()
    require_trainable(plan.unit, plan.manifest)


@contextlib.contextmanager
def _claimed_worker(root: Path, plan: Plan, worker: int, total: int) -> Iterator[None]:
    """Give signs of life as this worker of this search, for whoever follows it from elsewhere."""
    about = {"study": plan.name, "worker": str(worker)}
    key = worker_key(plan.name, worker, total)
    with Ledger.of(root).claim(key, about=about, stale_s=plan.params.execution.stale_s) as claim:
        yield
        claim.finish()


class _Work:
    """One worker's share of a search."""

    def __init__(self, root: Path, plan: Plan, search: Search, total: int, worker: int) -> None:
        self._root = root
        self._plan = plan
        self._search = search
        self._total = total
        self._worker = worker
        self._store = reachable_store(root)
        self._lock = FileLock(root / SWEEPS / f"{plan.name}.run.lock")
        self._keys = {plan.name}  # of the runs that this process makes

    def run(self, stopping: StopRequest) -> bool:
        """Make trials until the search is whole; return whether it was this worker that told what came of it.

        The first worker on a machine keeps the run of the search, below which every trial has one.
        """
        try:
            if self._keeps_run(stopping):
                return True
            if not self._search.is_whole(self._total):
                self._try_recipes(stopping)
            return self._keeps_run(stopping)  # whoever kept it may be dead
        except KeyboardInterrupt:
            has_checkpoint = any(checkpoint_path(CHECKPOINTS / key).is_file() for key in self._keys)
            if has_checkpoint or self._search.counts().finished:
                _log.info(GOES_ON)
            raise

    def _keeps_run(self, stopping: StopRequest) -> bool:
        """Keep the run of the search unless another worker does; return whether what came of it was told here."""
        try:
            held = self._lock.acquire(timeout=0)
        except Timeout:
            return False
        with held:
            if self._search.is_concluded(self._total):
                return False
            self._keep_run(stopping)
            return True

    def _keep_run(self, stopping: StopRequest) -> None:
        from hyperskin.steps.tune_report import report, search_run

        with search_run(self._root, self._plan, self._store, should_stop=stopping.is_set) as run:
            if not self._search.is_whole(self._total):
                self._try_recipes(stopping)
            report(run, self._plan, self._search)
        self._search.conclude()

    def _try_recipes(self, stopping: StopRequest) -> None:
        from hyperskin.steps.tune_trial import TrialMaker

        maker = TrialMaker(
            self._root,
            self._plan,
            ledger=Ledger.of(self._root),
            store=self._store,
            stopping=stopping,
            on_key=self._keys.add,
        )
        sweep = self._plan.params.sweep
        self._search.choose(pruner=sweep.pruner, total=self._total, seed=sweep.seed, worker=self._worker)
        self._search.run(self._total, maker.make, should_stop=stopping.is_set, on_told=maker.forget)

    def note_killed(self) -> None:
        """Let the journals say that their runs were killed, when there is no time for anything else."""
        for key in sorted(self._keys):
            Journal(self._root, key).end_if_begun(KILLED)
