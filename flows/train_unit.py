"""Flow `train-unit`: one job of `train-all` on a worker, which is the slot; not when it is tried again."""

from __future__ import annotations

from prefect import flow, runtime

from flows.alive import marked_alive
from flows.jobs import hyperskin_command, run_alone
from flows.units import TrainJob
from hyperskin.environment import repository_root
from hyperskin.params import FILE_NAME


@flow(name="train-unit", persist_result=False)
def train_unit(
    models: list[str],
    pair: str,
    keys: list[str],
    params_file: str = FILE_NAME,
    camera: str = "",
    seed: int | None = None,
    attempt: int = 1,  # noqa: ARG001 - for people
) -> None:
    """Train some models on one pair and camera in a process of their own; `train-all` starts it where workers train.

    Args:
        models: One after the other.
        pair: On this pair.
        keys: The keys of their units where they were asked for; other data, code or parameters here are refused.
        params_file: Parameters.
        camera: On whose pictures, as in `train.cameras`; empty where nothing else stands there.
        seed: In place of `train.seed`; None for that one.
        attempt: How often this was tried, with this.
    """
    root = repository_root()
    with marked_alive(root, str(runtime.flow_run.id)):
        job = TrainJob(tuple(models), pair, tuple(keys), params_file, camera, seed)
        run_alone(root, job, command=hyperskin_command)
