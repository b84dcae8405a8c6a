"""From the journal of a run to MLflow: everything once, however often it is tried and wherever it was interrupted."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from filelock import Timeout

from hyperskin.errors import HyperSkinError, ServiceError, VersionError
from hyperskin.tracking.answers import answers, first_line, is_away, is_gone, is_refusal, no_answer
from hyperskin.tracking.journal import (
    FAILED,
    FINISHED,
    RUNNING,
    Begin,
    Cursor,
    End,
    File,
    Journal,
    Metrics,
    Record,
    Tags,
    Weights,
)
from hyperskin.tracking.store import require_experiments

_MOST_METRICS = 1000  # in one request, as MLflow has it; together with tags
_MOST_TAGS = 100
_TRIES = 6
_DELETED = "a person deleted the run in MLflow"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Delivered:
    """What came of an attempt to deliver.

    Attributes:
        run_id: The run in MLflow; empty while there is none.
        sent: Records that MLflow acknowledged.
        left: Records that it has yet to get.
        reason: Why some are left, or why nothing more of the run is told.
        is_away: MLflow did not answer, or is in trouble.
        may_come: Trying again later may help: MLflow is away, or another run must come first.
        refusal: What MLflow or the registry refused for good.
    """

    run_id: str
    sent: int
    left: int
    reason: str = ""
    is_away: bool = False
    may_come: bool = False
    refusal: HyperSkinError | None = None

    @property
    def is_whole(self) -> bool:
        """Whether MLflow needs nothing more."""
        return self.left == 0


class Listener:
    """Hears how a delivery goes, and may end it between two requests."""

    def answered(self) -> None:
        """MLflow answered a request."""

    def computing(self, *, is_on: bool) -> None:
        """The time that passes until it is off is our own, mostly: MLflow is loaded, a network becomes a file."""

    def is_wanted(self) -> bool:
        """Tell whether to go on."""
        return True


def deliver(journal: Journal, uri: str, listener: Listener | None = None) -> Delivered:
    """Tell MLflow what a journal holds and MLflow has not acknowledged.

    May be called any number of times, be stopped anywhere, and be called by another process next: MLflow takes the same
    number of the same moment once, a file replaces itself, and a note beside the journal says how far it came. The run
    is the one of the note, else one with this journal's tag, else an unfinished one of the same unit, else a new one.
    Its end is told last. What has come whole and FINISHED leaves a few kilobytes here.

    MLflow that is away (no connection, no answer, a server in trouble, a locked database, no access) leaves everything
    as it is, for later. A record that it refuses for good would be refused for ever: it is skipped, with a warning and
    the tag `not_taken`, and stays in the journal. A run that a person deleted is not made again, unless another attempt
    at it began since; one that another host took up is told of by that host alone.

    Args:
        journal: What to deliver.
        uri: Address of the store.
        listener: Hears how it goes.
    """
    try:
        with journal.lock().acquire(timeout=0):
            return _Delivery(journal, uri, listener or Listener()).run()
    except Timeout:
        left = sum(1 for _ in journal.records(journal.cursor().offset))
        return Delivered(journal.cursor().run_id, 0, left, "another process delivers it just now", may_come=True)


class _StopError(Exception):
    """Nothing more can be told now."""

    def __init__(self, reason: str, *, may_come: bool = False, refusal: HyperSkinError | None = None) -> None:
        super().__init__(reason)
        self.may_come = may_come
        self.refusal = refusal


class _RestartError(Exception):
    """The note of how far it came was moved: begin again there."""


class _Delivery:
    """One attempt, by whoever holds the journal's lock."""

    def __init__(self, journal: Journal, uri: str, listener: Listener) -> None:
        self._journal = journal
        self._uri = uri
        self._listener = listener
        self._cursor = journal.cursor()
        self._client: Any = None
        self._sent = 0
        self._waiting: list[tuple[int, Metrics | Tags]] = []
        self._told: dict[str, set[int]] = {}
        self._refusal: HyperSkinError | None = None
        self._is_told_already = False

    def run(self) -> Delivered:
        reason, away, may_come = "", False, False
        try:
            self._deliver_from_cursor()
            self._tidy()
        except _StopError as stop:
            reason, may_come, self._refusal = str(stop), stop.may_come, stop.refusal or self._refusal
        except HyperSkinError as error:
            reason, away = str(error), isinstance(error, ServiceError)
        except Exception as error:
            if not (is_away(error) or is_refusal(error)):
                raise
            reason, away = first_line(error), is_away(error)
        left = sum(1 for _ in self._journal.records(self._cursor.offset))
        if self._cursor.refused and not self._refusal and not left:
            self._refusal = VersionError(self._cursor.refused)  # it was told to another process
        reason = reason or self._cursor.dropped
        return Delivered(self._cursor.run_id, self._sent, left, reason, away, away or may_come, self._refusal)

    def _deliver_from_cursor(self) -> None:
        while True:
            records = list(self._journal.records(self._cursor.offset))
            if not records:
                return
            if not answers(self._uri):
                raise no_answer(self._uri, "it does not")
            self._client = self._client or self._load_client()
            try:
                self._look_after_run()
                self._deliver(records)
            except _RestartError:
                self._waiting.clear()
            else:
                return

    def _load_client(self) -> Any:
        self._listener.computing(is_on=True)
        try:
            from mlflow import MlflowClient

            return MlflowClient(self._uri)
        finally:
            self._listener.computing(is_on=False)

    def _deliver(self, records: list[tuple[int, Record]]) -> None:
        for end, record in records:
            if not self._listener.is_wanted():
                raise _StopError("it was not waited for any longer", may_come=True)
            if isinstance(record, Begin):
                self._is_told_already = self._is_told_already and record.run == self._cursor.run
            elif not self._cursor.run_id:
                raise _StopError("the line that says which run it is is damaged")
            if self._is_told_already:
                self._acknowledge(end, 0)
                continue
            if isinstance(record, Metrics | Tags):
                self._waiting.append((end, record))
                if len(self._waiting) >= _MOST_TAGS:
                    self._send_waiting()
                continue
            self._send_waiting()
            match record:
                case Begin():
                    self._begin(record)
                case File():
                    self._send_file(record)
                case End():
                    self._end(record)
                case Weights():
                    pass  # they are registered at the end, when nothing but the end is left to tell
            self._acknowledge(end)
        self._send_waiting()

    def _ask(self, method: str, *arguments: Any, **fields: Any) -> Any:
        """Call the client, and let the listener know that there was an answer, whatever it was."""
        try:
            answer = getattr(self._client, method)(*arguments, **fields)
        except Exception as error:
            if is_refusal(error):
                self._listener.answered()
            raise
        self._listener.answered()
        return answer

    def _acknowledge(self, offset: int, records: int = 1, **changes: Any) -> None:
        self._cursor = replace(self._cursor, offset=offset, **changes)
        self._journal.move_cursor(self._cursor)
        self._sent += records

    # whose run it is

    def _look_after_run(self) -> None:
        """See whether the run we told of before is there and ours.

        Raises:
            _StopError: It is not.
            _RestartError: This is another store than before.
        """
        if not self._cursor.run_id or self._next_begins():
            return
        if self._cursor.dropped:
            self._drop(self._cursor.dropped)
        run = self._find_own()
        if run is None and self._cursor.store != _digest(self._uri):  # another store than before, without this run
            self._cursor = Cursor(offset=self._journal.history().start)
            raise _RestartError
        if run is None or run.info.lifecycle_stage == "deleted":
            self._drop(_DELETED)
        elif run.data.tags.get("process") != self._cursor.process:
            self._drop(f"{run.data.tags.get('process', 'another process')} took the run up")

    def _next_begins(self) -> bool:
        """Tell whether another attempt is the next thing to tell of."""
        first = next(self._journal.records(self._cursor.offset), None)
        return first is not None and isinstance(first[1], Begin)

    def _find_own(self) -> Any | None:
        try:
            return self._ask("get_run", self._cursor.run_id)
        except Exception as error:  # MLflow loads late, so its error has no name here
            if not is_gone(error):
                raise
            return None

    def _drop(self, reason: str) -> None:
        """Tell nothing more of what is journaled so far; an attempt that begins later is told of."""
        records = list(self._journal.records(self._cursor.offset))
        begins = [index for index, (_, record) in enumerate(records) if isinstance(record, Begin)]
        if begins:
            records = records[: begins[0]]
        if records:
            self._acknowledge(records[-1][0], 0, dropped=reason)
        if begins:
            raise _RestartError
        raise _StopError(reason)

    def _begin(self, begin: Begin) -> None:
        """Find or create the run, and say what it is."""
        experiment = self._experiment(begin.experiment)
        tags = {**begin.tags, "process": begin.process, "unit_key": self._journal.key, "journal": begin.run}
        if parent := self._parent(begin, experiment):
            tags["mlflow.parentRunId"] = parent
        run, is_other = self._find_run(begin, experiment)
        is_new = run is None
        if run is None:
            fields = {"start_time": begin.time_ms, "tags": tags, "run_name": begin.name}
            run = self._ask("create_run", experiment, **fields)
        run_id = str(run.info.run_id)
        self._cursor = Cursor(
            self._cursor.offset, begin.run, run_id, self._cursor.process, _digest(self._uri), adopted=is_other
        )
        self._journal.move_cursor(self._cursor)  # so that the run is known, whatever stops us now
        self._cursor = replace(self._cursor, process=begin.process)
        if self._is_told_already:
            return
        self._log_identity(run_id, begin, tags)
        if not is_new:
            self._ask("update_run", run_id, status=RUNNING)

    def _find_run(self, begin: Begin, experiment: str) -> tuple[Any | None, bool]:
        """Return the run in MLflow to continue, if any, and whether others have told of it too."""
        same = self._cursor.run == begin.run and self._cursor.store == _digest(self._uri)
        if same and self._cursor.run_id:
            run = self._find_own()
            if run is not None and run.info.lifecycle_stage != "deleted":
                process = run.data.tags.get("process")
                return run, self._cursor.adopted or process not in {self._cursor.process, begin.process}
            self._tell_from_start()
        if tagged := self._search(experiment, f"tags.journal = '{begin.run}'"):
            self._is_told_already = tagged[-1].info.status == FINISHED  # our note of that was lost
            return tagged[-1], False
        condition = f"tags.unit_key = '{self._journal.key}' and attributes.status != 'FINISHED'"
        unfinished = self._search(experiment, condition)
        return (unfinished[0], True) if unfinished else (None, False)

    def _tell_from_start(self) -> None:
        """Go back to the run's first record, so that its earlier attempts are told too."""
        start = self._journal.history().start
        if self._cursor.offset <= start:
            return
        self._cursor = Cursor(offset=start)
        raise _RestartError

    def _search(self, experiment: str, condition: str) -> list[Any]:
        newest_first = ["attributes.start_time DESC"]
        return list(self._ask("search_runs", [experiment], condition, order_by=newest_first))

    def _experiment(self, name: str) -> str:
        found = self._ask("get_experiment_by_name", name)
        if found is None:
            require_experiments(self._uri, self._journal.root)
            found = self._ask("get_experiment_by_name", name)
        return str(found.experiment_id)

    def _parent(self, begin: Begin, experiment: str) -> str:
        """Return the id of the run that this one belongs to; empty where it has none, or a person deleted it.

        Raises:
            _StopError: It is not there yet.
        """
        if not begin.parent:
            return ""
        condition = f"tags.unit_key = '{begin.parent}'"
        above = Journal(self._journal.root, begin.parent)
        found = self._search(experiment, condition)
        if not found and above.folder.exists():
            if above.is_whole():
                return ""
            deliver(above, self._uri, self._listener)
            found = self._search(experiment, condition)
        if not found:
            raise _StopError("the run that it belongs to is not in MLflow yet", may_come=True)
        return str(found[0].info.run_id)

    def _log_identity(self, run_id: str, begin: Begin, tags: dict[str, str]) -> None:
        from mlflow.entities import Param, RunTag

        params = [Param(key, value) for key, value in sorted(begin.params.items())]
        try:
            self._ask("log_batch", run_id, params=params[:_MOST_TAGS])
            for first in range(_MOST_TAGS, len(params), _MOST_TAGS):
                self._ask("log_batch", run_id, params=params[first : first + _MOST_TAGS])
        except Exception as error:  # MLflow loads late, so its error has no name here
            if "Changing param values is not allowed" not in str(error):
                raise
            reason = (
                f"A run is taken up again only with its own parameters; run {run_id} was started with others: "
                "delete it in MLflow, or go back to its parameters."
            )
            raise _StopError(reason, refusal=VersionError(reason)) from error
        self._ask("log_batch", run_id, tags=[RunTag(key, value) for key, value in tags.items()])
        log_data(lambda *inputs: self._ask("log_inputs", *inputs), run_id, begin.data)

    # what it holds

    def _send_waiting(self) -> None:
        """Send numbers and tags that wait, together; where they are refused, one record after the other."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        try:
            self._log_batch([record for _, record in waiting])
        except Exception as error:
            if not is_refusal(error):
                raise
            self._require_active()
            for end, record in waiting:
                self._send_alone(record)
                self._acknowledge(end)
            return
        self._acknowledge(waiting[-1][0], len(waiting))

    def _send_alone(self, record: Metrics | Tags) -> None:
        try:
            self._log_batch([record])
        except Exception as error:
            if not is_refusal(error):
                raise
            self._skip(record, error)

    def _log_batch(self, records: list[Metrics | Tags]) -> None:
        from mlflow.entities import Metric, RunTag

        numbers: list[Any] = []
        words: dict[str, str] = {}
        for record in records:
            if isinstance(record, Tags):
                words |= record.values
            elif not (record.is_epoch and self._is_told(record)):
                numbers += [Metric(key, value, record.time_ms, record.step) for key, value in record.values.items()]
        tags = [RunTag(key, value) for key, value in words.items()]
        while numbers or tags:
            batch = {"metrics": numbers[: _MOST_METRICS - _MOST_TAGS], "tags": tags[:_MOST_TAGS]}
            self._ask("log_batch", self._cursor.run_id, **batch)
            del numbers[: _MOST_METRICS - _MOST_TAGS], tags[:_MOST_TAGS]

    def _is_told(self, record: Metrics) -> bool:
        """Tell whether MLflow has this epoch from elsewhere: a lost journal, or a host that had the run before."""
        if not (self._cursor.adopted and record.values):
            return False
        key = next(iter(record.values))
        if key not in self._told:
            history = self._ask("get_metric_history", self._cursor.run_id, key)
            own = {(other.step, other.time_ms) for _, other in self._journal.records() if isinstance(other, Metrics)}
            self._told[key] = {each.step for each in history if (each.step, each.timestamp) not in own}
        return record.step in self._told[key]

    def _send_file(self, record: File) -> None:
        path = self._journal.file_path(record.folder, record.name)
        if not path.is_file():
            self._skip(record, FileNotFoundError(f"{path} is gone"))
            return
        try:
            self._ask("log_artifact", self._cursor.run_id, str(path), record.folder or None)
        except Exception as error:
            if not is_refusal(error):
                raise
            self._require_active()
            self._skip(record, error)

    def _require_active(self) -> None:
        """Stop where the refusal is due to a person who deleted the run."""
        run = self._find_own()
        if run is None or run.info.lifecycle_stage == "deleted":
            self._drop(_DELETED)

    def _skip(self, record: Metrics | Tags | File, error: Exception) -> None:
        """Leave out what MLflow would refuse for ever; it stays in the journal, and the run says that it lacks it."""
        what = f"{record.folder}/{record.name}".lstrip("/") if isinstance(record, File) else ", ".join(record.values)
        _log.warning("MLflow does not take %.200s of %s: %s", what, self._journal.key[:10], first_line(error))
        self._cursor = replace(self._cursor, skipped=self._cursor.skipped + 1)
        self._ask("set_tag", self._cursor.run_id, "not_taken", f"{self._cursor.skipped} records; {what}"[:500])

    # how it ends

    def _end(self, end: End) -> None:
        """Register the network of a finished run, then say how the run ended."""
        run_id, status, tags = self._cursor.run_id, end.status, {}
        if end.ended_by:
            tags["ended_by"] = end.ended_by
        if status == FINISHED and (refusal := self._register()):
            self._refusal, status = refusal, FAILED
            tags |= {"ended_by": type(refusal).__name__, "refused": str(refusal)[:500]}
            self._cursor = replace(self._cursor, refused=str(refusal))
        self._remove_twins()
        for key, value in tags.items():
            self._ask("set_tag", run_id, key, value)
        self._ask("set_terminated", run_id, status, end.time_ms)

    def _tidy(self) -> None:
        """Remove the files of a run that is finished and whole; done last, for a broken end needs them."""
        history = self._journal.history()
        is_finished = history.end is not None and history.end.status == FINISHED
        if is_finished and not self._cursor.refused and not self._cursor.dropped and self._journal.is_whole():
            self._journal.remove_files()

    def _register(self) -> HyperSkinError | None:
        """Register the network, if the run made one; return why it is refused."""
        history = self._journal.history()
        if history.weights is None or history.begin is None:
            return None
        from hyperskin.tracking.weights import register_weights

        manifest = history.begin.tags.get("manifest", "")
        self._listener.computing(is_on=True)
        try:
            promotion = register_weights(
                self._journal, history.weights, self._uri, run_id=self._cursor.run_id, manifest=manifest
            )
        except HyperSkinError as refusal:
            return refusal
        finally:
            self._listener.computing(is_on=False)
        _log.info("%s", promotion.reason)
        return None

    def _remove_twins(self) -> None:
        """Delete what a request made whose answer was lost: empty runs of the same journal."""
        run = self._find_own()
        if run is None:
            return
        for twin in self._search(run.info.experiment_id, f"tags.journal = '{self._cursor.run}'"):
            if twin.info.run_id != self._cursor.run_id and not twin.data.metrics:
                self._ask("delete_run", twin.info.run_id)


def log_data(log_inputs: Callable[..., Any], run_id: str, data: list[list[str]]) -> None:
    """Note the data; of runs that bring a data set at the same moment MLflow refuses all but one."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    source = json.dumps({"uri": "data/manifest.json"})
    inputs = [
        DatasetInput(Dataset(name, digest[:10], "local", source), [InputTag("mlflow.data.context", use)])
        for name, digest, use in data
    ]
    for attempt in range(_TRIES):
        try:
            log_inputs(run_id, inputs)
            return
        except Exception as error:  # MLflow's own, in several kinds
            if is_away(error) or attempt == _TRIES - 1:
                raise
            time.sleep(0.05 * 2**attempt)


def _digest(uri: str) -> str:
    """Return a short name for a store that gives no password away."""
    return hashlib.sha256(uri.encode()).hexdigest()[:16]
