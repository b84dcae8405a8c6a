"""Hands jobs to the workers of a pool through Prefect's API; not how they are followed."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Collection, Iterator
from uuid import UUID

from prefect import runtime
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelling, Crashed

from flows.follow import Api, Phase, Run
from flows.jobs import Job
from hyperskin.errors import UnknownNameError

_PHASES: dict[StateType, Phase] = {
    StateType.SCHEDULED: "waiting",
    StateType.PAUSED: "waiting",
    StateType.PENDING: "starting",
    StateType.RUNNING: "running",
    StateType.COMPLETED: "completed",
    StateType.FAILED: "failed",
    StateType.CRASHED: "failed",
    StateType.CANCELLING: "cancelling",
    StateType.CANCELLED: "cancelled",
}
_AT_ONCE = 100  # runs of one question; the server answers 200
_PREFIX = "Flow run encountered an exception: "


@contextlib.contextmanager
def workers_of(deployment: str) -> Iterator[Api]:
    """Give the API that hands jobs to the workers of a deployment, named FLOW/DEPLOYMENT."""
    with get_client(sync_client=True) as client:
        yield _PrefectApi(client, deployment)


class _PrefectApi:
    """Prefect's API, as far as following needs it."""

    def __init__(self, client: SyncPrefectClient, deployment: str) -> None:
        self._client = client
        self._deployment = deployment
        self._deployment_id: UUID | None = None

    def start(self, job: Job, attempt: int) -> Run:
        """Start this attempt at a job, or return the run that was started for it before, by whatever flow."""
        run = self._client.create_flow_run_from_deployment(
            self._find_deployment(),
            parameters={**job.parameters(), "attempt": attempt},
            name=f"{job}, attempt {attempt}" if attempt > 1 else str(job),
            idempotency_key=_idempotency_key(job, attempt),
            tags=[str(name)] if (name := runtime.flow_run.name) else None,
        )
        return _run(run)

    def read(self, ids: Collection[str]) -> dict[str, Run]:
        """Return how runs stand, without those that were deleted."""
        asked = [UUID(one) for one in ids]
        found: dict[str, Run] = {}
        for begin in range(0, len(asked), _AT_ONCE):
            some = FlowRunFilter(id=FlowRunFilterId(any_=asked[begin : begin + _AT_ONCE]))
            runs = self._client.read_flow_runs(flow_run_filter=some, limit=_AT_ONCE)
            found |= {str(run.id): _run(run) for run in runs}
        return found

    def crash(self, run_id: str, why: str) -> None:
        """Mark a run as crashed, whatever it is."""
        self._client.set_flow_run_state(run_id, Crashed(message=f"{why[0].upper()}{why[1:]}."), force=True)

    def cancel(self, run_id: str) -> None:
        """Ask for the end of a run, over a connection of its own, for the other may have been broken off."""
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(run_id, Cancelling(message="The flow that asked for it was stopped."))

    def _find_deployment(self) -> UUID:
        if self._deployment_id is None:
            try:
                self._deployment_id = self._client.read_deployment_by_name(self._deployment).id
            except ObjectNotFound:
                raise UnknownNameError(
                    f"The deployment {self._deployment} must be known to the Prefect server; it is not: start "
                    "`hyperskin up` with `execution.training: workers` in params.yaml, or run `prefect deploy --all`."
                ) from None
        return self._deployment_id


def _idempotency_key(job: Job, attempt: int) -> str:
    """Return what lets the server give the same run for the same attempt, whoever asks."""
    keys = list(job.keys)
    name = keys[0] if len(keys) == 1 else hashlib.sha256("\n".join(keys).encode()).hexdigest()
    return f"{name}-{attempt}"


def _run(run: FlowRun) -> Run:
    state = run.state
    if state is None:
        return Run(str(run.id), "waiting")
    return Run(str(run.id), _PHASES[state.type], (state.message or "").removeprefix(_PREFIX))
