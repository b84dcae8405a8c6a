"""What people read of a model and its versions: the scores first, the code, the last champions."""

from types import SimpleNamespace

import pytest

from hyperskin.tracking.history import Change
from hyperskin.tracking.notes import describe_model, describe_version


def _version(tags, metrics=None, **params):
    return describe_version(SimpleNamespace(params={"model": "hrnet", **params}, metrics=metrics or {}, tags=tags))


@pytest.mark.parametrize(
    ("git", "said"),
    [
        ({"git.commit": "0c6afd5aa", "git.dirty": "false"}, "commit 0c6afd5"),
        ({"git.commit": "0c6afd5aa", "git.dirty": "true"}, "commit 0c6afd5 with uncommitted changes"),
        ({"git.commit": "none"}, "code not under git"),
        ({}, "code not under git"),
    ],
)
def test_a_version_begins_with_its_scores_and_says_which_code_it_was(git, said):
    scores = {"sam/masked": 0.1, "ssim/full": 0.92, "rmse/full": 0.5}
    assert _version(git, scores, size="width 8") == f"sam/masked 0.1000, ssim/full 0.9200; hrnet (width 8); {said}"


def test_a_version_without_scores_and_of_full_size_says_so():
    assert _version({}, size="full") == "not scored; hrnet; code not under git"


def test_a_version_trained_elsewhere_names_its_file_as_plain_text():
    said = _version({"pretrained": "a_b.pt"}, size="full")
    assert said == r"not scored; hrnet; trained elsewhere, from a\_b.pt; code not under git"


def test_a_model_says_what_it_is_for_and_who_was_champion_last():
    assert describe_model("hyperskin-msi-nir", []) == (
        "Networks that reconstruct 31 bands from 700 to 1000 nm from rgb and infrared_960."
    )
    history = [Change(str(number), f"2025-01-0{number}T12:00:00Z", "score", "a|b *c*") for number in range(1, 8)]
    lines = describe_model("hyperskin-msi-nir", history).splitlines()
    assert lines[2:5] == [
        "| champion | since (UTC) | by | why |",
        "|---|---|---|---|",
        "| 7 | 2025-01-07 12:00:00 | score | a\\|b \\*c\\* |",
    ]
    assert len(lines) == 2 + 2 + 5


def test_the_longest_note_of_a_model_fits_its_column():
    history = [Change("123", "2025-01-01T12:00:00Z", "rollback", "*" * 200)] * 20
    assert len(describe_model("hyperskin-msi-visnir", history)) < 5000, "PostgreSQL keeps 5000 characters"
