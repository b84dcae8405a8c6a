"""Runs every check side by side, in bounded time; a check that fails, or never ends, becomes a finding itself."""

from __future__ import annotations

import importlib
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from hyperskin.errors import HyperSkinError
from hyperskin.health.finding import Finding

Look = Callable[[Path], Iterator[Finding]]

QUESTIONS: Mapping[str, str] = MappingProxyType(
    {
        "programs": "packages and their versions",
        "settings": "params.yaml",
        "variables": "environment variables",
        "dvc": "DVC's configuration, lock and cache",
        "data": "the manifest and its files",
        "privacy": "who may read data, runs and secrets",
        "machine": "disk, memory, cores, ports",
        "gpu": "GPUs, and whether torch can use them",
        "databases": "databases of runs, searches and the ledger",
        "runs": "MLflow's store, and where its files lie",
        "models": "champions, and the data they know",
        "leftovers": "what killed processes left behind",
        "flows": "the Prefect server, its runs and workers",
    }
)
"""The checks by name, each in the module of its name, and what they look at."""

PATIENCE_S = 8.0
_ORDER = ("broken", "warning", "hint")


@dataclass(frozen=True)
class Report:
    """All that was found, the worst first, and what was looked at."""

    findings: tuple[Finding, ...]
    looked_at: tuple[str, ...]
    seconds: float

    def count(self, severity: str) -> int:
        """Return how many findings are so bad."""
        return sum(finding.severity == severity for finding in self.findings)


@dataclass(frozen=True)
class _Unfinished:
    """A check that did not come to its end: which one, why, and what to do."""

    check: str
    why: str
    remedy: str = "hyperskin doctor"


_Said = Finding | _Unfinished | str


def examine(root: Path, *, checks: Mapping[str, Look] | None = None, patience_s: float = PATIENCE_S) -> Report:
    """Look at everything at once and return what is wrong; nothing is changed.

    Args:
        root: The repository.
        checks: What to look with, by name; None: all there is.
        patience_s: How long all of it may take.
    """
    started = time.monotonic()
    looks = {name: _late(name) for name in QUESTIONS} if checks is None else checks
    box: queue.SimpleQueue[_Said] = queue.SimpleQueue()
    for name, look in looks.items():
        threading.Thread(target=_run, args=(name, look, root, box), name=f"check {name}", daemon=True).start()
    waiting, found, unfinished = set(looks), list[Finding](), list[_Unfinished]()
    while waiting:
        try:
            said = box.get(timeout=max(0.0, started + patience_s - time.monotonic()))
        except queue.Empty:
            unfinished += [
                _Unfinished(name, f"it took longer than {patience_s:g} s") for name in looks if name in waiting
            ]
            break
        if isinstance(said, Finding):
            found.append(said)
        elif isinstance(said, _Unfinished):
            unfinished.append(said)
        else:
            waiting.discard(said)
    place = list(looks).index
    found += _tell_once(sorted(unfinished, key=lambda one: place(one.check)))
    found.sort(key=lambda finding: (_ORDER.index(finding.severity), place(finding.check)))
    return Report(tuple(found), tuple(looks), time.monotonic() - started)


def mend(report: Report) -> tuple[list[str], list[Finding]]:
    """Mend what is safe to mend; return what was done, and what is left."""
    done: list[str] = []
    left = [finding for finding in report.findings if finding.fix is None]
    fixes: dict[Callable[[], str], list[Finding]] = {}
    for finding in report.findings:
        if finding.fix is not None:
            fixes.setdefault(finding.fix, []).append(finding)
    for fix, findings in fixes.items():
        try:
            done.append(fix())
        except Exception as error:  # one that cannot be mended keeps none of the others from it
            said = f"{findings[0].what} It could not be mended: {_first_line(error)}."
            left += [replace(findings[0], what=said), *findings[1:]]
    return done, left


def _late(name: str) -> Look:
    """Return a check that is imported when it is called, for what it imports may be what is broken."""

    def look(root: Path) -> Iterator[Finding]:
        check: Look = importlib.import_module(f"hyperskin.health.{name}").look
        return check(root)

    return look


def _run(name: str, look: Look, root: Path, box: queue.SimpleQueue[_Said]) -> None:
    """Put what a check finds into the box, then why it came to no end if it did not, then its name."""
    try:
        for finding in look(root):
            box.put(replace(finding, check=name))
    except ModuleNotFoundError as error:
        package = (error.name or "a package").partition(".")[0]
        place = f"-e {root}" if package == "hyperskin" else package
        box.put(_Unfinished(name, f"{error.name or 'a package'} is not installed", f"pip install {place}"))
    except Exception as error:  # a check that fails says so, and hides nothing of the others
        box.put(_Unfinished(name, _first_line(error)))
    box.put(name)


def _tell_once(unfinished: Sequence[_Unfinished]) -> Iterator[Finding]:
    """Give one finding for each reason: one broken package may keep many checks from their end."""
    checks: dict[tuple[str, str], list[str]] = {}
    for one in unfinished:
        checks.setdefault((one.why, one.remedy), []).append(one.check)
    for (why, remedy), names in checks.items():
        who = f"The check {names[0]}" if len(names) == 1 else f"The checks {', '.join(names[:-1])} and {names[-1]}"
        yield Finding(names[0], "warning", f"{who} did not come to an end, because {why}.", remedy)


def _first_line(error: Exception) -> str:
    line = str(error).partition("\n")[0].strip().rstrip(".")
    return line if isinstance(error, HyperSkinError) and line else f"{type(error).__name__}: {line}".rstrip(": ")
