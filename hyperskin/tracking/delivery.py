"""From the journal of a run to MLflow: everything once, however often it is tried and wherever it was interrupted."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from filelock import Timeout

from hyperskin.errors import HyperSkinError, MissingFileError, ServiceError, VersionError
from hyperskin.tracking.answers import damage, first_line, is_away, is_refusal, no_answer
from hyperskin.tracking.contents import Contents
from hyperskin.tracking.identity import begin_run, remove_twins, require_own
from hyperskin.tracking.journal import FAILED, FINISHED, Journal
from hyperskin.tracking.post import Listener, Post, RestartError, StopError
from hyperskin.tracking.records import Begin, End, File, Metrics, Record, Tags, Weights

_OF_A_BAD_END = {"ended_by", "refused"}
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
        cursor = journal.cursor()
        left = sum(1 for _ in journal.records(cursor.offset))
        return Delivered(cursor.run_id, 0, left, "another process delivers it just now", may_come=True)


class _Delivery:
    """One attempt, by whoever holds the journal's lock."""

    def __init__(self, journal: Journal, uri: str, listener: Listener) -> None:
        self._post = Post(journal, uri, listener)
        self._journal = journal
        self._refusal: HyperSkinError | None = None

    def run(self) -> Delivered:
        reason, away, may_come = "", False, False
        try:
            self._deliver_from_cursor()
            self._tidy()
        except StopError as stop:
            reason, may_come, self._refusal = str(stop), stop.may_come, stop.refusal or self._refusal
        except HyperSkinError as error:
            reason, away = str(error), isinstance(error, ServiceError)
        except Exception as error:
            if not (is_away(error) or is_refusal(error)):
                raise
            reason, away = first_line(error), is_away(error)
            if away and (wrong := damage(self._post.uri)):  # which no waiting mends
                reason, away = str(no_answer(self._post.uri, wrong)), False
        cursor = self._post.cursor
        left = sum(1 for _ in self._journal.records(cursor.offset))
        if cursor.refused and not self._refusal and not left:
            self._refusal = VersionError(cursor.refused)  # it was told to another process
        reason = reason or cursor.dropped
        return Delivered(cursor.run_id, self._post.sent, left, reason, away, away or may_come, self._refusal)

    def _deliver_from_cursor(self) -> None:
        while records := list(self._journal.records(self._post.cursor.offset)):
            self._post.require_answer()
            try:
                require_own(self._post)
                self._deliver(records)
            except RestartError:
                continue
            return

    def _deliver(self, records: list[tuple[int, Record]]) -> None:
        post, contents, is_told_already = self._post, Contents(self._post), False
        for end, record in records:
            if not post.listener.is_wanted():
                raise StopError("it was not waited for any longer", may_come=True)
            if isinstance(record, Begin) and record.run != post.cursor.run:
                is_told_already = False
                contents.flush()
                contents.begin_other()
            elif not isinstance(record, Begin) and not post.cursor.run_id:
                raise StopError("the line that says which run it is is damaged")
            if is_told_already:
                post.acknowledge(end, 0)
                continue
            if isinstance(record, Metrics | Tags):
                contents.add(end, record)
                continue
            contents.flush()
            match record:
                case Begin():
                    is_told_already = begin_run(post, record, self._deliver_parent)
                case File():
                    contents.send_file(record)
                case End():
                    self._end(record)
                case Weights():
                    pass  # they are registered at the end, when nothing but the end is left to tell
            post.acknowledge(end)
        contents.flush()

    def _deliver_parent(self, parent: Journal) -> None:
        deliver(parent, self._post.uri, self._post.listener)

    def _end(self, end: End) -> None:
        """Register the network of a finished run, then say how the run ended."""
        post, status, tags = self._post, end.status, {}
        if end.ended_by:
            tags["ended_by"] = end.ended_by
        if status == FINISHED and (refusal := self._refuse_half() or self._register()):
            self._refusal, status = refusal, FAILED
            tags |= {"ended_by": type(refusal).__name__, "refused": str(refusal)[:500]}
            post.cursor = replace(post.cursor, refused=str(refusal))
        run = remove_twins(post)
        for key in run.data.tags.keys() & _OF_A_BAD_END - tags.keys():  # an earlier attempt's
            post.ask("delete_tag", post.cursor.run_id, key)
        for key, value in tags.items():
            post.ask("set_tag", post.cursor.run_id, key, value)
        post.ask("set_terminated", post.cursor.run_id, status, end.time_ms)

    def _refuse_half(self) -> HyperSkinError | None:
        """Return why a finished run cannot come whole, if its files went with a store that had them."""
        if not self._journal.lacks_files():
            return None
        return MissingFileError(
            f"A finished run must come with its files and its network; {self._journal.folder} holds only numbers, the "
            "rest is gone or was in a store that lost it: train it again, which goes on from its checkpoint."
        )

    def _register(self) -> HyperSkinError | None:
        """Register the network, if the run made one; return why it is refused."""
        history = self._journal.history()
        if history.weights is None or history.begin is None:
            return None
        from hyperskin.tracking.weights import register_weights

        post, manifest = self._post, history.begin.tags.get("manifest", "")
        post.listener.computing(is_on=True)
        try:
            told = register_weights(
                self._journal, history.weights, post.uri, run_id=post.cursor.run_id, manifest=manifest
            )
        except HyperSkinError as refusal:
            return refusal
        finally:
            post.listener.computing(is_on=False)
        _log.info("%s", told)
        return None

    def _tidy(self) -> None:
        """Remove the files of a run that is finished and whole; done last, for a broken end needs them."""
        history, cursor = self._journal.history(), self._post.cursor
        is_finished = history.end is not None and history.end.status == FINISHED
        if is_finished and not cursor.refused and not cursor.dropped and self._journal.is_whole():
            self._journal.remove_files()
