"""One run: what was trained, on which data, how well. It is written down here and told to MLflow in the background."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy.typing as npt

from hyperskin.atomic import write_bytes, write_text
from hyperskin.errors import ConsentError, HyperSkinError
from hyperskin.pairs import Pair
from hyperskin.pictures import save_figure, save_picture
from hyperskin.processes import identity
from hyperskin.tracking import courier
from hyperskin.tracking.courier import Courier
from hyperskin.tracking.facts import (
    Provenance,
    describe,
    environment_facts,
    git_facts,
    is_floor,
    require_text,
    score_table,
    to_split_json,
    to_text,
)
from hyperskin.tracking.journal import FAILED, FINISHED, KILLED, Journal, now_ms
from hyperskin.tracking.records import Begin, End, File, Metrics, Record, Tags, Weights
from hyperskin.tracking.store import EXPERIMENT

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import nn

__all__ = ["Provenance", "RunLog", "is_floor", "require_text"]

_STOPPED_PATIENCE_S = 2.0  # whoever pressed Ctrl-C waits
_log = logging.getLogger(__name__)


class RunLog:
    """One run as a context: FINISHED at its end, KILLED or FAILED when an exception passes.

    All of it goes to the run's journal first, and from there to MLflow by a thread, so that a training neither waits
    for MLflow nor loses anything to it. A run of the same unit key that did not finish is taken up again. Everything
    told is plain text or came through `hyperskin.pictures`.

    Attributes:
        name: What people call it.
        provenance: Where its result comes from.
        skipped_pictures: Pictures left out because not everyone in them agreed.
        delivered: Whether MLflow has all of it; known after the end. What it lacks, `hyperskin sync` brings.
    """

    def __init__(
        self,
        uri: str,
        *,
        model: str,
        pair: str,
        params: Mapping[str, object],
        provenance: Provenance,
        data_name: str,
        size: str = "",
        device: str = "cpu",
        root: Path = Path(),
        experiment: str = EXPERIMENT,
        parent: str | None = None,
        tags: Mapping[str, str] | None = None,
        name: str = "",
        is_pretrained: bool = False,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Describe the run; nothing is written before the context is entered.

        Args:
            uri: Address of the store, from `prepare_store`; nobody need be there.
            model: Name of the model, as people type it.
            pair: Name of the pair.
            params: Everything that may differ between runs; floats are logged as %g.
            provenance: Where the result comes from.
            data_name: What the data set is called, such as the name of its source.
            size: The size of a reduced network, such as "blocks 8"; empty for the published size.
            device: What it is computed on.
            root: The repository, whose mlruns folder holds the journal.
            experiment: The MLflow experiment.
            parent: Unit key of the run that this one belongs to.
            tags: What else there is to say.
            name: What people call it; model, pair and size where it is empty.
            is_pretrained: The network was trained elsewhere, on other data, and is only examined here.
            should_stop: Asked while the end waits for MLflow: whether somebody wants this process to end.
        """
        origin = "pretrained" if is_pretrained else ""
        details = ", ".join(detail for detail in (size, origin) if detail)
        self.name = name or f"{model}-{pair}" + (f" ({details})" if details else "")
        self.provenance = provenance
        self.skipped_pictures = 0
        self.delivered = False
        self._journal = Journal(root, provenance.unit_key)
        self._courier = Courier(self._journal, uri)
        self._should_stop = should_stop
        self._epochs: set[int] = set()
        self._scores: dict[str, float] = {}
        self._about = describe(model, pair, size, origin)
        self._experiment = experiment
        self._parent = parent or ""
        self._data = [] if is_pretrained else [[data_name, provenance.manifest, "training"]]
        if provenance.evaluation:  # named twice, because MLflow keeps one use of a data set
            self._data.append([f"{data_name} test captures", provenance.evaluation, "test"])
        unsized = "closed form" if is_floor(model) else "full"
        self._params = {"model": model, "pair": pair, "size": size or unsized, **params}
        self._tags = {
            **asdict(provenance),
            "environment.device": device,
            **environment_facts(),
            "mlflow.source.name": "hyperskin train",
            "mlflow.source.type": "LOCAL",
            "mlflow.note.content": self._about,
            **(tags or {}),
        }

    @property
    def run_id(self) -> str:
        """Id in MLflow; empty while MLflow has not answered."""
        return self._journal.cursor().run_id

    def __enter__(self) -> Self:
        """Begin the run, or take up the unfinished one of the same unit key; MLflow hears of it in the background."""
        begin = Begin(
            name=self.name,
            params={key: to_text(value) for key, value in self._params.items()},
            tags=self._tags | git_facts(),
            data=self._data,
            experiment=self._experiment,
            parent=self._parent,
            process=identity(),
            time_ms=now_ms(),
        )
        history = self._journal.begin(begin)
        self._epochs, self._scores = history.epochs, history.scores
        if self._epochs:
            count = len(self._epochs)
            _log.info("the run is taken up again after %d %s", count, "epoch" if count == 1 else "epochs")
        self._courier.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the run with the status that fits what happened, and wait a bounded time for MLflow to have it.

        What MLflow lacks then is told at the end of the command, of all its runs in one sentence. A request to end
        that comes while it waits ends the waiting; the run is as good as it was.

        Raises:
            HyperSkinError: The end was good, but MLflow or the registry refused the run.
        """
        if error is not None and _is_fenced(error):  # another process has the run; to tell its end is up to that one
            self._courier.finish(patience_s=courier.PATIENCE_S, limit_s=0)
            return
        was_stopped = isinstance(error, KeyboardInterrupt | SystemExit)
        try:
            self._note_end(error, KILLED if was_stopped else FAILED)
        except HyperSkinError as failure:
            if error is None:
                raise
            _log.warning("%s", failure)  # the error on its way says why
        delivered = self._courier.finish(
            patience_s=courier.PATIENCE_S,
            limit_s=_STOPPED_PATIENCE_S if was_stopped else None,
            should_stop=(lambda: False) if was_stopped else self._should_stop,  # whoever stopped it knows
        )
        self.delivered = delivered.is_whole and not delivered.reason
        if not delivered.is_whole and self._courier.refusal is None:
            courier.keep(self._journal, delivered.reason)
        if error is None and self._courier.refusal is not None:
            raise self._courier.refusal

    def log_epoch(self, metrics: Mapping[str, float], step: int) -> None:
        """Note the numbers of one epoch; one that was noted before, perhaps by an earlier attempt, is left out.

        Raises:
            HyperSkinError: MLflow refused the run, so that going on would be in vain.
            ServiceError: The journal cannot be written.
        """
        if self._courier.refusal is not None:
            raise self._courier.refusal
        if step in self._epochs:
            return
        self._note_numbers(metrics, step, is_epoch=True)
        self._epochs.add(step)

    def log_summary(self, metrics: Mapping[str, float]) -> None:
        """Note the final scores, and show the four that people look for in the run's description."""
        new = {key: value for key, value in metrics.items() if self._scores.get(key) != value}
        if new:
            self._note_numbers(new, 0, is_epoch=False)
            self._scores |= new
        self.set_tag("mlflow.note.content", self._about + score_table(metrics))

    def log_tables(self, tables: Mapping[str, Sequence[Mapping[str, str | float | None]]]) -> None:
        """Note tables by name; the first column names the row, the masked angle follows so that the page shows it."""
        for name, rows in tables.items():
            write_text(self._journal.file_path("", f"{name}.json"), to_split_json(rows))
            self._note(File("", f"{name}.json"))
        shown = [{"path": f"{name}.json", "type": "table"} for name in tables]
        self.set_tag("mlflow.loggedArtifacts", json.dumps(shown))

    def log_figure(self, figure: Figure, name: str) -> None:
        """Note a figure of curves, which shows nobody, as figures/`name`.png."""
        path = self._journal.file_path("figures", f"{name}.png")
        save_figure(figure, path=path, run_id=self._journal.key)
        self._note(File("figures", path.name))

    def log_picture(
        self, picture: Figure | npt.NDArray[Any], name: str, *, subjects: Sequence[str], publishable: Collection[str]
    ) -> bool:
        """Note a picture as pictures/`name`.png if everyone in it agreed; return whether it was.

        A picture that may not be shown is counted and left out; training goes on.
        """
        path = self._journal.file_path("pictures", f"{name}.png")
        try:
            save_picture(picture, subjects=subjects, publishable=publishable, path=path, run_id=self._journal.key)
        except ConsentError:
            self.skipped_pictures += 1
            _log.info("picture left out: not everyone in it is in `privacy.publishable_subjects`")
            return False
        self._note(File("pictures", path.name))
        return True

    def log_file(self, path: Path, folder: str = "") -> None:
        """Note a text file, such as params.yaml.

        Raises:
            DataError: It is no text: pictures, cubes and arrays do not go this way.
        """
        require_text(path)
        write_bytes(self._journal.file_path(folder, path.name), path.read_bytes())
        self._note(File(folder, path.name))

    def log_text(self, text: str, name: str, *, folder: str = "") -> None:
        """Note a text of ours as a file of that name."""
        write_text(self._journal.file_path(folder, name), text)
        self._note(File(folder, name))

    def log_model(
        self,
        network: nn.Module,
        *,
        pair: Pair,
        model: str,
        config: Mapping[str, int],
        parameter_count: int,
        size_multiple: int,
    ) -> None:
        """Note the trained network; it is registered when the run has ended well and all else is in MLflow.

        Args:
            network: On any device; it is not changed.
            pair: What it reconstructs.
            model: Name and
            config: sizes by which it is built again.
            parameter_count: Number of trained weights.
            size_multiple: Height and width must be multiples of this; whoever predicts pads to it.
        """
        from hyperskin.models.stretched import Stretched
        from hyperskin.tracking.weights import keep_weights

        sha256 = keep_weights(network, self._journal.network)
        stretched = isinstance(network, Stretched)
        self._note(Weights(model, dict(config), pair.name, parameter_count, size_multiple, sha256, stretched))

    def set_tag(self, key: str, value: str) -> None:
        """Note a tag; it replaces an earlier one of the same name."""
        self._note(Tags({key: value}))

    def _note(self, record: Record, *, durable: bool = False) -> None:
        self._journal.append(record, durable=durable)
        self._courier.tell()

    def _note_numbers(self, metrics: Mapping[str, float], step: int, *, is_epoch: bool) -> None:
        """Note numbers; MLflow would store an infinite PSNR as 1.8e308, which no chart survives, so it gets a tag."""
        finite = {key: float(value) for key, value in metrics.items() if math.isfinite(value)}
        if others := {f"not_finite/{key}": str(value) for key, value in metrics.items() if key not in finite}:
            self._note(Tags(others))
        self._note(Metrics(step, now_ms(), finite, is_epoch), durable=True)

    def _note_end(self, error: BaseException | None, status: str) -> None:
        if self.skipped_pictures:
            self.set_tag("pictures_without_consent", str(self.skipped_pictures))
        if error is None:
            self._note(End(FINISHED, "", now_ms()), durable=True)
        else:
            self._note(End(status, type(error).__name__, now_ms()), durable=True)


def _is_fenced(error: BaseException) -> bool:
    from hyperskin.ledger import FencedError  # which brings SQLAlchemy

    return isinstance(error, FencedError)
