"""`hyperskin doctor`: all that is wrong with this installation, and how to mend it."""

from __future__ import annotations

import json
import logging
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from hyperskin.environment import apply_closed_settings, repository_root
from hyperskin.errors import HyperSkinError
from hyperskin.health.examine import QUESTIONS, Report, examine, mend
from hyperskin.health.finding import Finding

_WIDTH = 110
_PIPELINE, _OURS = "dvc.yaml", "hyperskin.cli"
_HEADINGS = {
    "broken": "BROKEN: work will fail, or something is lost or seen by others",
    "warning": "WARNING: works, but worse",
    "hint": "NEXT",
}


def doctor(*, fix: bool = False, json: bool = False) -> None:
    """Say all that is wrong with this installation, and what to do about each thing.

    Nothing is changed without `--fix`. Exit code 0: nothing is broken, whatever is warned of; 1: something is.

    Args:
        fix: Mend what can be mended without losing anything, and say what was mended.
        json: Print what was found for programs.
    """
    root = _repository()
    logging.getLogger("hyperskin").setLevel(logging.ERROR)  # what others would warn of is found and said here
    report = examine(root)
    mended, left = mend(report) if fix else ([], list(report.findings))
    write = _write_json if json else _write_text
    write(root, report, mended, left)
    if any(finding.severity == "broken" for finding in left):
        sys.exit(1)


def _repository() -> Path:
    """Return the nearest repository, also one whose params.yaml is gone: that is one thing to tell among others.

    Raises:
        MissingFileError: There is none.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        pipeline = folder / _PIPELINE
        if pipeline.is_file() and _OURS in pipeline.read_text(encoding="utf-8", errors="replace"):
            return folder
    return repository_root()


def _write_text(root: Path, report: Report, mended: Sequence[str], left: Sequence[Finding]) -> None:
    parts = [_looked_at(root, report)]
    if mended:
        parts.append("\n".join(["MENDED", *(_paragraph(line) for line in mended)]))
    for severity, heading in _HEADINGS.items():
        found = [finding for finding in left if finding.severity == severity]
        if found:
            parts.append("\n".join([heading, *map(_say, found)]))
    parts.append(_sum_up(left))
    sys.stdout.write("\n\n".join(parts) + "\n")
    sys.stdout.flush()


def _looked_at(root: Path, report: Report) -> str:
    """List the checks, each with what it found."""
    counts = {name: sum(one.check == name for one in report.findings) for name in report.looked_at}
    width = max(map(len, counts))
    lines = [
        f"  {name:{width}}  {'ok' if not count else f'{count} found':8}  {QUESTIONS.get(name, '')}".rstrip()
        for name, count in counts.items()
    ]
    return "\n".join([f"Looked at {root} for {report.seconds:.1f} s", *lines])


def _say(finding: Finding) -> str:
    return f"{_paragraph(finding.what)}\n      do: {finding.remedy}"


def _paragraph(text: str) -> str:
    return textwrap.fill(
        text, _WIDTH, initial_indent="  - ", subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )


def _sum_up(left: Sequence[Finding]) -> str:
    wrong = [finding for finding in left if finding.severity != "hint"]
    if not wrong:
        return "Nothing is wrong."
    broken = sum(finding.severity == "broken" for finding in wrong)
    by_itself = sum(finding.fix is not None for finding in left)
    warnings = len(wrong) - broken
    said = f"{broken} broken, {warnings} warning{'' if warnings == 1 else 's'}."
    return f"{said} `hyperskin doctor --fix` mends {by_itself} of them." if by_itself else said


def _write_json(root: Path, report: Report, mended: Sequence[str], left: Sequence[Finding]) -> None:
    values = {
        "root": str(root),
        "seconds": round(report.seconds, 2),
        "looked_at": list(report.looked_at),
        "broken": sum(finding.severity == "broken" for finding in left),
        "warnings": sum(finding.severity == "warning" for finding in left),
        "mended": list(mended),
        "findings": [
            {
                "check": finding.check,
                "severity": finding.severity,
                "what": finding.what,
                "remedy": finding.remedy,
                "can_be_mended": finding.fix is not None,
            }
            for finding in left
        ],
    }
    sys.stdout.write(json.dumps(values, indent=1) + "\n")


def main() -> None:
    """Run without the command line's own packages, which may be what is missing."""
    try:
        apply_closed_settings(_repository())
        doctor(fix="--fix" in sys.argv, json="--json" in sys.argv)
    except HyperSkinError as error:
        sys.stderr.write(f"hyperskin: {error}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
