import base64
import json
import zlib

from hyperskin.pairs import PAIRS
from hyperskin.tracking.views import page_links, shared_views

LONGEST_TAG = 5000


def _state(value):
    """Read a view as the page does."""
    packed = json.loads(value)["state"].removeprefix("deflate;")
    return json.loads(zlib.decompress(base64.b64decode(packed)))


def test_there_is_a_view_of_everything_and_one_of_each_pair():
    views = shared_views()
    assert set(views) == {f"mlflow.sharedViewState.{key}" for key in ("scores", *PAIRS)}
    names = [json.loads(value)["name"] for value in views.values()]
    assert len(set(names)) == len(names)


def test_every_view_fits_into_a_tag():
    assert max(map(len, shared_views().values())) < LONGEST_TAG


def test_view_of_a_pair_shows_its_finished_runs_best_first():
    state = _state(shared_views()["mlflow.sharedViewState.msi_nir"])
    assert state["searchFilter"] == "attributes.status = 'FINISHED' and params.pair = 'msi_nir'"
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`sam/masked`", True)
    assert state["columnOrder"][1:5] == [
        f"metrics.`{metric}/{region}`" for metric in ("sam", "ssim") for region in ("masked", "full")
    ]


def test_masked_and_full_stand_side_by_side():
    state = _state(shared_views()["mlflow.sharedViewState.scores"])
    first, second = state["compareRunSections"][:2]
    shown = {
        section["uuid"]: [
            chart["metricKey"] for chart in state["compareRunCharts"] if chart["metricSectionId"] == section["uuid"]
        ]
        for section in (first, second)
    }
    assert list(shown.values()) == [["sam/masked", "sam/full"], ["ssim/masked", "ssim/full"]]


def test_every_chart_stands_in_a_section():
    state = _state(shared_views()["mlflow.sharedViewState.scores"])
    sections = {section["uuid"] for section in state["compareRunSections"]}
    assert {chart["metricSectionId"] for chart in state["compareRunCharts"]} <= sections
    assert len({chart["uuid"] for chart in state["compareRunCharts"]}) == len(state["compareRunCharts"])


def test_links_open_model_training_with_our_view():
    links = page_links("http://127.0.0.1:5000", "1", ["rgb_vis"])
    assert list(links) == ["all scores", "rgb_vis: scores", "rgb_vis: charts", "registered models"]
    assert all("workflowType=machine_learning" in link for link in links.values())
    assert links["rgb_vis: charts"].endswith("viewStateShareKey=rgb_vis&compareRunsMode=CHART")
