"""What a run holds, on its way to MLflow: numbers and tags in few requests, files, and what MLflow would not take."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from hyperskin.tracking.answers import first_line, is_refusal
from hyperskin.tracking.identity import MOST_AT_ONCE
from hyperskin.tracking.post import Post
from hyperskin.tracking.records import Begin, File, Metrics, Tags

_MOST_METRICS = 900  # in one request, beside 100 tags: MLflow takes 1000 of all kinds
_log = logging.getLogger(__name__)


class Contents:
    """Sends what a run holds, each epoch once, and goes on past what MLflow refuses for good."""

    def __init__(self, post: Post) -> None:
        """Look up which epochs of the run were told before."""
        self._post = post
        self._waiting: list[tuple[int, Metrics | Tags]] = []
        self._told_by_others: dict[str, set[int]] = {}
        self._epochs: set[int] = set()
        run = ""
        for end, record in post.journal.records():
            if end > post.cursor.offset:
                break
            if isinstance(record, Begin) and record.run != run:
                run, self._epochs = record.run, set()
            elif isinstance(record, Metrics) and record.is_epoch:
                self._epochs.add(record.step)

    def begin_other(self) -> None:
        """Another run begins, which has epochs of its own."""
        self._epochs.clear()

    def add(self, end: int, record: Metrics | Tags) -> None:
        """Take a record that ends at byte `end`; it is sent with others."""
        self._waiting.append((end, record))
        if len(self._waiting) >= MOST_AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Send what waits, together; where that is refused, one record after the other."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        new = {end: record for end, record in waiting if not self._is_told(record)}
        try:
            self._log_batch(list(new.values()))
        except Exception as error:
            if not is_refusal(error):
                raise
            self._post.require_active()
            for end, _ in waiting:
                if end in new:
                    self._send_alone(new[end])
                self._post.acknowledge(end)
            return
        self._post.acknowledge(waiting[-1][0], len(waiting))

    def send_file(self, record: File) -> None:
        """Send a file of the journal; of one that is gone the end of the run will tell."""
        path = self._post.journal.file_path(record.folder, record.name)
        if not path.is_file():
            return
        try:
            self._post.ask("log_artifact", self._post.cursor.run_id, str(path), record.folder or None)
        except Exception as error:
            if not is_refusal(error):
                raise
            self._post.require_active()
            self._skip(record, error)

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
            else:
                numbers += [Metric(key, value, record.time_ms, record.step) for key, value in record.values.items()]
        tags = [RunTag(key, value) for key, value in words.items()]
        while numbers or tags:
            batch = {"metrics": numbers[:_MOST_METRICS], "tags": tags[:MOST_AT_ONCE]}
            self._post.ask("log_batch", self._post.cursor.run_id, **batch)
            del numbers[:_MOST_METRICS], tags[:MOST_AT_ONCE]

    def _is_told(self, record: Metrics | Tags) -> bool:
        """Tell whether MLflow has this epoch: from an attempt that did not know that it was over, or from elsewhere."""
        if isinstance(record, Tags) or not record.is_epoch:
            return False
        if record.step in self._epochs:
            return True
        self._epochs.add(record.step)
        return self._post.cursor.adopted and bool(record.values) and self._is_told_by_others(record)

    def _is_told_by_others(self, record: Metrics) -> bool:
        """Tell whether MLflow has an epoch that our journal did not tell: it is lost, or another host had the run."""
        key = next(iter(record.values))
        if key not in self._told_by_others:
            own = {
                (other.step, other.time_ms) for _, other in self._post.journal.records() if isinstance(other, Metrics)
            }
            history = self._post.ask("get_metric_history", self._post.cursor.run_id, key)
            self._told_by_others[key] = {each.step for each in history if (each.step, each.timestamp) not in own}
        return record.step in self._told_by_others[key]

    def _skip(self, record: Metrics | Tags | File, error: Exception) -> None:
        """Leave out what MLflow would refuse for ever; it stays in the journal, and the run says that it lacks it."""
        post = self._post
        what = f"{record.folder}/{record.name}".lstrip("/") if isinstance(record, File) else ", ".join(record.values)
        _log.warning("MLflow does not take %.200s of %s: %s", what, post.journal.key[:10], first_line(error))
        post.cursor = replace(post.cursor, skipped=post.cursor.skipped + 1)
        post.ask("set_tag", post.cursor.run_id, "not_taken", f"{post.cursor.skipped} records; {what}"[:500])
