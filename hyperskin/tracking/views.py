"""What the MLflow pages show at first sight: which columns and charts stand in front, and the links there."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from typing import Any

from hyperskin.pairs import PAIRS

# Column by column from the left, with its width in px.
_WIDTHS = {
    "attributes.`Run Name`": 300,
    "metrics.`sam/masked`": 110,
    "metrics.`sam/full`": 110,
    "metrics.`ssim/masked`": 110,
    "metrics.`ssim/full`": 110,
    "params.`pair`": 90,
    "params.`model`": 150,
    "params.`size`": 90,
    "params.`camera`": 110,
    "attributes.`Dataset`": 240,
    "attributes.`Models`": 180,
}
_SCORES = (
    ("SAM in rad: lower is better", ("sam/masked", "sam/full")),
    ("SSIM: higher is better", ("ssim/masked", "ssim/full")),
)
_PROGRESS = ("While training", ("val_sam/masked", "val_sam/full"))
# The page adds a chart for every other metric; these sections catch them, folded.
_LOSSES = ("val_sam", "val_ssim", "val_mae", "val_mrae", "train")
_CAMERAS = ("camera_sam_masked", "camera_ssim_masked", "camera_sam_full")
_FOLDED = ("sam", "ssim", "rmse", "psnr", "mae", "mrae", *_LOSSES, "cost", *_CAMERAS)
_SHOWN_BY_MLFLOW = ("Model metrics", "System metrics")


def shared_views() -> dict[str, str]:
    """Return the experiment tags that hold our views: one of all runs, and one for each pair."""
    views = {"scores": ("Scores of all pairs", "")}
    views |= {name: (f"Scores of {name}", f"params.pair = '{name}'") for name in PAIRS}
    return {
        f"mlflow.sharedViewState.{key}": _pack(title, _view(condition)) for key, (title, condition) in views.items()
    }


def page_links(address: str, experiment_id: str, pairs: Sequence[str]) -> dict[str, str]:
    """Return where a person should look first, by what is seen there; `pairs` are those with scores."""
    runs = f"{address}/#/experiments/{experiment_id}/runs?workflowType=machine_learning&viewStateShareKey="
    links = {"all scores": f"{runs}scores"}
    for name in pairs:
        links |= {f"{name}: scores": f"{runs}{name}", f"{name}: charts": f"{runs}{name}&compareRunsMode=CHART"}
    return links | {"registered models": f"{address}/#/models?workflowType=machine_learning"}


def _view(condition: str) -> dict[str, Any]:
    """Return the state of the runs page: filter, order, columns and charts."""
    finished = "attributes.status = 'FINISHED'"
    charts, sections = _charts()
    return {
        "searchFilter": f"{finished} and {condition}" if condition else finished,
        "orderByKey": "metrics.`sam/masked`",
        "orderByAsc": True,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": list(_WIDTHS),
        "columnOrder": list(_WIDTHS),
        "columnWidths": _WIDTHS,
        "runsHiddenMode": "FIRST_20_RUNS",
        "compareRunCharts": charts,
        "compareRunSections": sections,
        "isAccordionReordered": True,
        "hideEmptyCharts": True,
    }


def _charts() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the charts and the sections that hold them: masked and with background side by side."""
    charts: list[dict[str, Any]] = []
    sections: list[dict[str, Any]] = []
    for title, keys in (*_SCORES, _PROGRESS):
        kind = "LINE" if title == _PROGRESS[0] else "BAR"
        sections.append(_section(title, is_open=True))
        charts += [_chart(kind, key, title) for key in keys]
    return charts, sections + [_section(name, is_open=False) for name in (*_FOLDED, *_SHOWN_BY_MLFLOW)]


def _section(title: str, *, is_open: bool) -> dict[str, Any]:
    """Return a section of two charts a row, low enough that both rows of scores fit on a screen."""
    place = {"columns": 2, "cardHeight": 270} if is_open else {}
    return {"uuid": title, "name": title, "display": is_open, "isReordered": True, "deleted": False, **place}


def _chart(kind: str, key: str, section: str) -> dict[str, Any]:
    chart: dict[str, Any] = {
        "uuid": f"{section} {key}",
        "type": kind,
        "metricKey": key,
        "displayName": key,
        "metricSectionId": section,
        "runsCountToCompare": 20,
        "deleted": False,
        "isGenerated": True,
    }
    if kind == "LINE":
        chart |= {
            "selectedMetricKeys": [key],
            "xAxisKey": "step",
            "scaleType": "linear",
            "xAxisScaleType": "linear",
            "lineSmoothness": 0,
            "useGlobalXaxisKey": True,
            "useGlobalLineSmoothing": True,
            "range": {},
            "yAxisKey": "metric",
            "yAxisExpressions": [],
        }
    return chart


def _pack(title: str, state: dict[str, Any]) -> str:
    """Return a named view in the form that MLflow's page stores: a tag may hold 5000 characters, so it is deflated."""
    packed = base64.b64encode(zlib.compress(json.dumps(state).encode(), 9)).decode()
    return json.dumps({"name": title, "createdAt": 0, "updatedAt": 0, "state": f"deflate;{packed}"})
