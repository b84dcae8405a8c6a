"""A stage depends on the modules whose arithmetic decides its output: no fewer, and no plumbing."""

import ast
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

PACKAGE = Path(__file__).parent.parent.parent / "hyperskin"
STAGES: dict[str, Any] = YAML(typ="safe", pure=True).load((PACKAGE.parent / "dvc.yaml").read_text())["stages"]
# Reads, checks, names and writes; an edit of an error message must not remake 306 captures.
PLUMBING = {
    "__init__.py",
    "atomic.py",
    "cube.py",
    "data/capture.py",
    "data/chunks.py",
    "data/sources.py",
    "data/test_sets.py",
    "environment.py",
    "errors.py",
    "pairs.py",
    "params.py",
    "pictures.py",
    "sources/catalog.py",
    "sources/source.py",
    "steps/captures.py",
}
# Imported by name at run time, which the import statements do not show.
BEHIND_THE_CATALOG = {
    "acquire": {"sources/phantom.py"},
    "calibrate": {"sources/cave.py", "sources/lumo.py", "sources/phantom.py", "sources/release.py"},
    "render": {"sources/release.py"},
}
_CAMERA_NAMES = {"spectral/responses.py", "spectral/colour.py", "spectral/rendering.py"}
# Read for other reasons than arithmetic.
READ_ONLY = {
    "acquire": {"sources/lumo.py", "spectral/resampling.py"},  # opens captures
    # plans, and opens as lumo does; finds files, names cameras after their folders, and turns pictures to look at
    "calibrate": {
        "sources/phantom.py",
        "phantom/recipe.py",
        "sources/layouts.py",
        "data/split.py",
        "data/encoding.py",
        *_CAMERA_NAMES,
    },
    "render": {"sources/layouts.py", "data/split.py"},
    "manifest": {"bands.py", "data/cubefile.py", "data/encoding.py", "data/frames.py", "data/split.py"},
}
# A phantom's capture does not depend on who calls for it.
CALLERS = {"acquire": {"sources/phantom.py", "steps/acquire.py"}}


def _deps(stage: str) -> set[str]:
    deps = STAGES[stage]["deps"]
    return {name.removeprefix("hyperskin/") for name in deps if name.startswith("hyperskin/")}


def _imports(module: str) -> set[str]:
    """Return the modules of ours that a module imports, as paths below the package."""
    tree = ast.parse((PACKAGE / module).read_text())
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("hyperskin"):
            path = "/".join(node.module.split(".")[1:])
            if path and (PACKAGE / path).is_dir():  # from hyperskin.phantom import materials
                found |= {f"{path}/{name.name}.py" for name in node.names}
            else:
                found.add(f"{path}.py" if path else "__init__.py")
    return found


def _closure(modules: set[str]) -> set[str]:
    reached: set[str] = set()
    waiting = set(modules)
    while waiting:
        module = waiting.pop()
        if module in reached:
            continue
        reached.add(module)
        if module not in PLUMBING:
            waiting |= _imports(module)
    return reached


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_all_that_computes(stage: str) -> None:
    start = {f"steps/{stage}.py"} | BEHIND_THE_CATALOG.get(stage, set())
    computing = _closure(start) - PLUMBING - READ_ONLY.get(stage, set())
    assert computing <= _deps(stage)
    modules = {name for name in _deps(stage) if name.endswith(".py")}
    assert modules <= _closure(start), "a dependency that nothing imports"


@pytest.mark.parametrize("stage", ["acquire", "calibrate", "render", "mask"])
def test_a_captures_key_covers_the_same_modules(stage: str) -> None:
    module = import_module(f"hyperskin.steps.{stage}")
    assert set(module.CODE) == _deps(stage) - CALLERS.get(stage, set())


def test_every_listed_file_is_there() -> None:
    for stage in STAGES:
        for name in _deps(stage):
            assert (PACKAGE / name).is_file(), name
