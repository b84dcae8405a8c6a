"""One journal's line to MLflow: its requests, and the note of how far it came, which moves with their answers."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any, Never

from hyperskin.errors import HyperSkinError
from hyperskin.tracking.answers import answers, is_gone, is_refusal, no_answer
from hyperskin.tracking.journal import Journal
from hyperskin.tracking.records import Begin

DELETED = "a person deleted the run in MLflow"


class StopError(Exception):
    """Nothing more can be told now."""

    def __init__(self, reason: str, *, may_come: bool = False, refusal: HyperSkinError | None = None) -> None:
        """Say why, whether trying again later may help, and what was refused for good, if anything was."""
        super().__init__(reason)
        self.may_come = may_come
        self.refusal = refusal


class RestartError(Exception):
    """The note of how far it came was moved: begin again there."""


class Listener:
    """Hears how a delivery goes, and may end it between two requests."""

    def answered(self) -> None:
        """MLflow answered a request."""

    def computing(self, *, is_on: bool) -> None:
        """The time that passes until it is off is our own, mostly: MLflow is loaded, a network becomes a file."""

    def is_wanted(self) -> bool:
        """Tell whether to go on."""
        return True


class Post:
    """Whoever holds the journal's lock talks to MLflow through this.

    Attributes:
        journal: What is told.
        uri: Address of the store.
        store: The same as a digest, which gives no password away.
        listener: Hears of every answer.
        cursor: How far MLflow has acknowledged.
        sent: How many records it has, of this attempt to deliver.
    """

    def __init__(self, journal: Journal, uri: str, listener: Listener) -> None:
        """Take up the journal's note; MLflow is loaded with the first request."""
        self.journal = journal
        self.uri = uri
        self.store = hashlib.sha256(uri.encode()).hexdigest()[:16]
        self.listener = listener
        self.cursor = journal.cursor()
        self.sent = 0
        self._client: Any = None

    def require_answer(self) -> None:
        """Raise ServiceError where nobody is at home; a client would find out much later."""
        if not answers(self.uri):
            raise no_answer(self.uri, "it does not")

    def ask(self, method: str, *arguments: Any, **fields: Any) -> Any:
        """Call the client, and let the listener know that there was an answer, whatever it was."""
        self._client = self._client or self._load_client()
        try:
            answer = getattr(self._client, method)(*arguments, **fields)
        except Exception as error:  # MLflow loads late, so its error has no name here
            if is_refusal(error):
                self.listener.answered()
            raise
        self.listener.answered()
        return answer

    def acknowledge(self, offset: int, records: int = 1, **changes: Any) -> None:
        """Note that MLflow has everything up to `offset`."""
        self.cursor = replace(self.cursor, offset=offset, **changes)
        self.journal.move_cursor(self.cursor)
        self.sent += records

    def find_own(self) -> Any | None:
        """Return the run that we told of before; None where MLflow holds no such run."""
        try:
            return self.ask("get_run", self.cursor.run_id)
        except Exception as error:  # MLflow loads late, so its error has no name here
            if not is_gone(error):
                raise
            return None

    def search(self, experiment: str, condition: str) -> list[Any]:
        """Return the runs of an experiment, by its id, that meet a condition, newest first."""
        newest_first = ["attributes.start_time DESC"]
        return list(self.ask("search_runs", [experiment], condition, order_by=newest_first))

    def require_active(self) -> None:
        """Return where a refusal has nothing to do with whether the run is there.

        Raises:
            RestartError: The store holds no such run any longer.
            StopError: A person deleted it.
        """
        run = self.find_own()
        if run is None:
            self.restart()
        if run.info.lifecycle_stage == "deleted":
            self.drop(DELETED)

    def restart(self) -> Never:
        """Tell all of the newest run anew: the store is another, or was emptied, or came back from an old copy.

        Raises:
            RestartError: Always.
        """
        self.journal.forget_delivery()
        self.cursor = self.journal.cursor()
        raise RestartError

    def drop(self, reason: str) -> Never:
        """Tell nothing more of what is journaled so far; an attempt that begins later is told of.

        Raises:
            RestartError: There is one.
            StopError: There is none.
        """
        records = list(self.journal.records(self.cursor.offset))
        begins = [index for index, (_, record) in enumerate(records) if isinstance(record, Begin)]
        if begins:
            records = records[: begins[0]]
        if records:
            self.acknowledge(records[-1][0], 0, dropped=reason)
        if begins:
            raise RestartError
        raise StopError(reason)

    def _load_client(self) -> Any:
        self.listener.computing(is_on=True)
        try:
            from mlflow import MlflowClient

            return MlflowClient(self.uri)
        finally:
            self.listener.computing(is_on=False)
