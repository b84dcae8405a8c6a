"""One run in the MLflow store: what was trained, on which data, how well."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import mlflow
import numpy.typing as npt
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from hyperskin.errors import ConsentError, DataError, VersionError
from hyperskin.pictures import save_figure, save_picture
from hyperskin.tracking.store import experiment_id, find_runs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FLOOR = "regression_"
_TEXT_SUFFIXES = frozenset({".json", ".csv", ".txt", ".md", ".yaml", ".tex", ".diff"})
_LARGEST_BATCH = 100  # MLflow takes 1000 numbers in a request, but only 100 tags
_TRIES = 6
_LEADING_COLUMNS = ("sam/masked", "sam/full", "ssim/masked", "ssim/full")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Provenance:
    """Which data and code a result comes from, each as a digest.

    Attributes:
        unit_key: Model, pair, parameters, data and code together: equal keys are the same training.
        manifest: Every file that may be read.
        split: Which subjects train, select and test.
        evaluation: What decides whether two scores may be compared: test cubes, masks and metric.
        code: The modules that decide the weights.
        params: The parameters that decide the result.
    """

    unit_key: str
    manifest: str
    split: str
    evaluation: str
    code: str
    params: str


def is_floor(model: str) -> bool:
    """Tell whether a model is a regression, which every network must beat."""
    return model.startswith(_FLOOR)


class RunLog:
    """One MLflow run as a context: FINISHED at its end, KILLED or FAILED when an exception passes.

    A run of the same unit key that did not finish is taken up again. Everything sent is plain text or came
    through `hyperskin.pictures`.
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
    ) -> None:
        """Describe the run; nothing is sent before the context is entered.

        Args:
            uri: Address of the store, from `prepare_store`.
            model: Name of the model, as people type it.
            pair: Name of the pair.
            params: Everything that may differ between runs; floats are logged as %g.
            provenance: Where the result comes from.
            data_name: What the data set is called, such as the name of its source.
            size: The size of a reduced network, such as "blocks 8"; empty for the published size.
            device: What it is computed on.
        """
        self._uri = uri
        self._client = MlflowClient(uri)
        self.name = f"{model}-{pair}" + (f" ({size})" if size else "")
        self.provenance = provenance
        self.run_id = ""
        self.skipped_pictures = 0
        self._data_name = data_name
        self._waiting: list[Metric | RunTag] = []
        self._about = _describe(model, pair, size)
        unsized = "closed form" if is_floor(model) else "full"
        self._params = {"model": model, "pair": pair, "size": size or unsized, **params}
        self._tags = {
            **asdict(provenance),
            "environment.device": device,
            **_environment_facts(),
            **_git_facts(),
            "process": f"{platform.node()}:{os.getpid()}",
            "mlflow.source.name": "hyperskin train",
            "mlflow.source.type": "LOCAL",
            "mlflow.note.content": self._about,
        }

    def __enter__(self) -> Self:
        """Start the run, or take up the unfinished one of the same unit key."""
        unfinished = find_runs(
            self._uri, f"tags.unit_key = '{self.provenance.unit_key}' and attributes.status != 'FINISHED'"
        )
        if unfinished:
            self.run_id = unfinished[0].info.run_id
            self._client.update_run(self.run_id, status="RUNNING")
            _log.info("taking up run %s again", self.run_id)
        else:
            self.run_id = self._client.create_run(experiment_id(self._uri), run_name=self.name).info.run_id
        self._log_identity()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the run with the status that fits what happened."""
        if self.skipped_pictures:
            self._client.set_tag(self.run_id, "pictures_without_consent", str(self.skipped_pictures))
        if error is None:
            self._client.set_terminated(self.run_id, "FINISHED")
            return
        was_stopped = isinstance(error, KeyboardInterrupt | SystemExit)
        self._client.set_tag(self.run_id, "ended_by", type(error).__name__)
        self._client.set_terminated(self.run_id, "KILLED" if was_stopped else "FAILED")

    def log_epoch(self, metrics: Mapping[str, float], step: int) -> None:
        """Send the numbers of one epoch in one request; while MLflow is away they wait for the next one."""
        self._add_metrics(metrics, step)
        try:
            self._send_metrics()
        except (MlflowException, OSError) as error:
            _log.warning("MLflow did not take epoch %d, it is sent again with the next one: %s", step, error)

    def log_summary(self, metrics: Mapping[str, float]) -> None:
        """Send the final scores and show the four that people look for in the run's description."""
        self._add_metrics(metrics, 0)
        self._send_metrics()
        self._client.set_tag(self.run_id, "mlflow.note.content", self._about + _score_table(metrics))

    def log_tables(self, tables: Mapping[str, Sequence[Mapping[str, str | float | None]]]) -> None:
        """Send tables by name; the first column names the row, the masked angle follows so that the page shows it."""
        for name, rows in tables.items():
            self._client.log_text(self.run_id, _to_split_json(rows), f"{name}.json")
        shown = [{"path": f"{name}.json", "type": "table"} for name in tables]
        self._client.set_tag(self.run_id, "mlflow.loggedArtifacts", json.dumps(shown))

    def log_figure(self, figure: Figure, name: str) -> None:
        """Send a figure of curves, which shows nobody, as figures/`name`.png."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}.png"
            save_figure(figure, path=path, run_id=self.run_id)
            self._client.log_artifact(self.run_id, str(path), "figures")

    def log_picture(
        self, picture: Figure | npt.NDArray[Any], name: str, *, subjects: Sequence[str], publishable: Collection[str]
    ) -> bool:
        """Send a picture as pictures/`name`.png if everyone in it agreed; return whether it went.

        A picture that may not be shown is counted and left out; training goes on.
        """
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}.png"
            try:
                save_picture(picture, subjects=subjects, publishable=publishable, path=path, run_id=self.run_id)
            except ConsentError:
                self.skipped_pictures += 1
                _log.info("picture left out: not everyone in it is in `privacy.publishable_subjects`")
                return False
            self._client.log_artifact(self.run_id, str(path), "pictures")
        return True

    def log_file(self, path: Path, folder: str = "") -> None:
        """Send a text file, such as params.yaml.

        Raises:
            DataError: It is no text: pictures, cubes and arrays do not go this way.
        """
        require_text(path)
        self._client.log_artifact(self.run_id, str(path), folder or None)

    def _log_identity(self) -> None:
        params = [Param(key, _to_text(value)) for key, value in sorted(self._params.items())]
        tags = [RunTag(key, value) for key, value in self._tags.items()]
        try:
            self._client.log_batch(self.run_id, params=params, tags=tags)
        except MlflowException as error:
            if "Changing param values is not allowed" not in str(error):
                raise
            raise VersionError(
                f"A run is taken up again only with its own parameters; run {self.run_id} was started with others: "
                "delete it in MLflow, or go back to its parameters."
            ) from error
        self._log_data()

    def _log_data(self) -> None:
        """Note the data; of runs that bring a data set at the same moment MLflow refuses all but one."""
        for attempt in range(_TRIES):
            try:
                self._client.log_inputs(self.run_id, self._data())
                return
            except MlflowException:
                if attempt == _TRIES - 1:
                    raise
                time.sleep(0.05 * 2**attempt)

    def _data(self) -> list[DatasetInput]:
        """Name the data twice, because MLflow keeps one use of a data set: all of it, and what is tested on."""
        source = json.dumps({"uri": "data/manifest.json"})
        uses = (
            (self._data_name, self.provenance.manifest, "training"),
            (f"{self._data_name} test captures", self.provenance.evaluation, "test"),
        )
        return [
            DatasetInput(Dataset(name, digest[:10], "local", source), [InputTag("mlflow.data.context", use)])
            for name, digest, use in uses
        ]

    def _add_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        now_ms = int(time.time() * 1000)
        for key, value in metrics.items():
            if math.isfinite(value):
                self._waiting.append(Metric(key, float(value), now_ms, step))
            else:  # MLflow would store an infinite PSNR as 1.8e308, which no chart survives
                self._waiting.append(RunTag(f"not_finite/{key}", str(value)))

    def _send_metrics(self) -> None:
        """Send what waits, in as many requests as MLflow's limit asks for."""
        while self._waiting:
            batch = self._waiting[:_LARGEST_BATCH]
            numbers = [entry for entry in batch if isinstance(entry, Metric)]
            others = [entry for entry in batch if isinstance(entry, RunTag)]
            self._client.log_batch(self.run_id, metrics=numbers, tags=others)
            del self._waiting[: len(batch)]


def require_text(path: Path) -> None:
    """Raise DataError unless a file is text by its name and by its bytes."""
    if path.suffix not in _TEXT_SUFFIXES:
        raise DataError(f"Only text may be logged as a file ({', '.join(sorted(_TEXT_SUFFIXES))}); got {path.name!r}.")
    try:
        content = path.read_bytes().decode()
    except UnicodeDecodeError:
        content = "\0"
    if "\0" in content:
        raise DataError(f"Only text may be logged as a file; {path.name!r} holds other bytes than its name says.")


def _to_text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _environment_facts() -> dict[str, str]:
    return {
        "environment.python": platform.python_version(),
        "environment.torch": version("torch"),
        "environment.mlflow": mlflow.__version__,
        "environment.cpu_count": str(os.cpu_count()),
    }


def _git_facts() -> dict[str, str]:
    """Say which commit the code is and, if it was edited since, the digest of the edit."""
    commit = _ask_git("rev-parse", "HEAD")
    if commit is None:
        return {"git.commit": "none"}
    difference = _ask_git("diff", "HEAD") or ""
    facts = {"git.commit": commit, "git.dirty": str(bool(_ask_git("status", "--porcelain"))).lower()}
    if difference:
        facts["git.diff"] = hashlib.sha256(difference.encode()).hexdigest()
    return facts


def _ask_git(*arguments: str) -> str | None:
    git = shutil.which("git")
    if git is None:
        return None
    here = Path(__file__).parent
    answer = subprocess.run([git, *arguments], cwd=here, capture_output=True, text=True, check=False)  # noqa: S603 - fixed words
    return answer.stdout.strip() if answer.returncode == 0 else None


def _describe(model: str, pair: str, size: str) -> str:
    kind = "the floor a network must beat" if is_floor(model) else f"network, {size or 'published size'}"
    return f"**{model}** on **{pair}** ({kind})\n"


def _score_table(metrics: Mapping[str, float]) -> str:
    """Return the four numbers of the benchmark as Markdown."""
    lines = ["", "| | with background | masked |", "|---|---|---|"]
    for key, label in (("ssim", "SSIM, higher is better"), ("sam", "SAM in rad, lower is better")):
        cells = [_mean_and_spread(metrics, f"{key}/{region}") for region in ("full", "masked")]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    images = metrics.get("n_images")
    return "\n".join([*lines, "", "" if images is None else f"Mean ± spread over {images:g} captures."])


def _mean_and_spread(metrics: Mapping[str, float], key: str) -> str:
    if key not in metrics:
        return "no mask"
    spread = metrics.get(f"{key}_std")
    return f"{metrics[key]:.4f}" + ("" if spread is None else f" ± {spread:.4f}")


def _to_split_json(rows: Sequence[Mapping[str, str | float | None]]) -> str:
    """Return rows in the form that MLflow's page shows as a table; numbers that are none become null."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    leading = [name for name in _LEADING_COLUMNS if name in names[1:]]
    columns = names[:1] + leading + [name for name in names[1:] if name not in leading]
    return json.dumps({"columns": columns, "data": [[_to_cell(row.get(name)) for name in columns] for row in rows]})


def _to_cell(value: str | float | None) -> str | float | None:
    if not isinstance(value, str | int | float | None):
        raise DataError(f"A table may hold only text and numbers; got {type(value).__name__}.")
    return None if isinstance(value, float) and not math.isfinite(value) else value
