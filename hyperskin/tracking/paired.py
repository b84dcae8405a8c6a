"""A challenger against the champion, subject by subject: what their runs scored, and what chance would do."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from hyperskin.errors import DataError
from hyperskin.metrics.paired import SignFlipTest, sign_flip_test

TABLE = "per_subject.json"
PREFIX = "paired."
TEST_CAMERA = "test_camera"
"""Tag of a version: the camera with whose pictures it was examined."""

_GONE = "RESOURCE_DOES_NOT_EXIST"
_FEW = 0.05  # where p cannot come this low the reader is told


@dataclass(frozen=True)
class Comparison:
    """What two versions' subjects say.

    Attributes:
        against: The version of the champion that was.
        test: The test; None where there could be none.
        why_not: Then the reason.
    """

    against: str
    test: SignFlipTest | None
    why_not: str = ""

    def say(self) -> str:
        """Return it in words."""
        if self.test is None:
            return f"not tested: {self.why_not}"
        test = self.test
        said = f"better on {test.better_count} of {test.subject_count} subjects, p {test.p:.2g}"
        if test.smallest_p < _FEW:
            return said
        count = f"{test.subject_count} subject{'s' if test.subject_count > 1 else ''}"
        return f"{said}; with {count} p cannot be below {test.smallest_p:.2g}"

    def tags(self) -> dict[str, str]:
        """Return it as tags of the challenger."""
        test = self.test
        numbers = {
            "subjects": None if test is None else test.subject_count,
            "better": None if test is None else test.better_count,
            "p": None if test is None else f"{test.p:.6g}",
            "mean_difference": None if test is None else f"{test.mean_difference:.6g}",
        }
        values = {"against": self.against, "result": self.say() if test is None else None} | numbers
        return {f"{PREFIX}{name}": str(value) for name, value in values.items() if value is not None}


def compare_subjects(client: MlflowClient, challenger: Any, champion: Any, key: str) -> Comparison:
    """Compare two MLflow model versions by the mean score of each subject; a lower one is better.

    Nothing stops here: where the tables are gone, or of different subjects, the comparison says why there is no test.
    """
    against = str(champion.version)
    if challenger.tags.get("evaluation") != champion.tags.get("evaluation"):
        return Comparison(against, None, "they were scored on different test sets")
    if differing_camera(challenger, champion) is not None:
        return Comparison(against, None, "they were examined with pictures of different cameras")
    try:
        ours, theirs = (_read_scores(client, version, key) for version in (challenger, champion))
    except DataError as error:
        return Comparison(against, None, str(error))
    if ours.keys() != theirs.keys():
        return Comparison(against, None, "they were scored on different subjects")
    return Comparison(against, sign_flip_test([ours[subject] - theirs[subject] for subject in sorted(ours)]))


def differing_camera(challenger: Any, champion: Any) -> tuple[str, str] | None:
    """Return the cameras with whose pictures two versions were examined, if they differ; None where one is unknown."""
    ours, theirs = (str(version.tags.get(TEST_CAMERA, "")) for version in (challenger, champion))
    return (ours, theirs) if ours and theirs and ours != theirs else None


def _read_scores(client: MlflowClient, version: Any, key: str) -> dict[str, float]:
    """Return the score of every subject from the table of a version's run."""
    if not _has_table(client, version.run_id):
        raise DataError(f"the run of version {version.version} has no {TABLE}")
    with tempfile.TemporaryDirectory() as folder:
        path = client.download_artifacts(version.run_id, TABLE, folder)
        try:
            table = json.loads(Path(path).read_text())
            column = table["columns"].index(key)
            scores = {str(row[0]): float(row[column]) for row in table["data"] if row[column] is not None}
        except (ValueError, TypeError, KeyError, IndexError, AttributeError):
            raise DataError(f"{TABLE} of version {version.version} holds no {key} by subject") from None
    if not scores:
        raise DataError(f"{TABLE} of version {version.version} holds no {key} by subject")
    return scores


def _has_table(client: MlflowClient, run_id: str) -> bool:
    try:
        return any(file.path == TABLE for file in client.list_artifacts(run_id))
    except MlflowException as error:
        if error.error_code == _GONE:
            return False  # the run was deleted for good
        raise  # MLflow does not answer: whoever promotes may try again
