"""Whether a dvc.lock is complete, judged by its lines.

DVC always writes dvc.lock in the same form, so its lines are enough to recognise a complete one; parsing the YAML of a
large study would take seconds.
"""

from __future__ import annotations

import re
from collections.abc import Callable

STAGE = re.compile(rb"^  (\S.*):$", re.MULTILINE)
OUTPUT = re.compile(rb"^    - path: .*\n(?:      .*\n)*?      size: \d+\n(?:      .*\n)*", re.MULTILINE)
MERGE_MARKERS = re.compile(rb"^(<{7}|={7}|>{7})( |$)", re.MULTILINE)


def unknown(stage: str) -> None:
    """The number of outputs of a stage is not known."""


def lock_problem(
    content: bytes, before: bytes | None = None, asked: Callable[[str], int | None] = unknown
) -> str | None:
    """Why a dvc.lock is incomplete or damaged, in a few words; None if nothing is wrong with it.

    Args:
        before: an earlier dvc.lock of the same study. DVC never removes a stage, so a lock file with only the first
            stages of the earlier one was cut; so was one whose last stage has fewer outputs than before.
        asked: how many outputs dvc.yaml names for a stage now; None if unknown. If dvc.yaml names fewer than before,
            that explains why the lock file has fewer.
    """
    if not content.strip():
        return "it is empty"
    if MERGE_MARKERS.search(content):
        return "it has git's merge markers"
    if not content.startswith(b"schema:") or b"\nstages:" not in content:
        return "it does not begin as DVC begins it"
    if not content.endswith(b"\n"):
        return "it ends in the middle of a line"
    try:
        content.decode()
    except UnicodeDecodeError:
        return "it is not UTF-8 text"
    names = STAGE.findall(content)
    if content.count(b"\nstages:") > 1 or len(set(names)) < len(names):  # a merge that kept both sides
        return "it has a stage twice"
    earlier = STAGE.findall(before or b"")
    if len(names) < len(earlier) and names == earlier[: len(names)]:
        return f"it ends after {len(names)} of {len(earlier)} stages"
    if names and (problem := cut_stage(content, names[-1], before, asked)):
        return f"it ends inside its last stage, {names[-1].decode()}: {problem}"
    return None


def cut_stage(content: bytes, name: bytes, before: bytes | None, asked: Callable[[str], int | None]) -> str:
    """What the last stage of a lock file lacks, in a few words; an empty text if it is complete."""
    stage = stage_text(content, name)
    earlier = stage_text(before or b"", name)
    _, section, outs = stage.partition(b"    outs:\n")
    if not section:
        had = b"    outs:\n" in earlier or bool(asked(name.decode()))
        return "it has no outputs" if had else ""
    whole = OUTPUT.findall(outs)
    if not whole or b"".join(whole) != outs or (b".dir\n" in whole[-1] and b"nfiles:" not in whole[-1]):
        return "an output is incomplete"
    were = len(OUTPUT.findall(earlier.partition(b"    outs:\n")[2]))
    if len(whole) < were and asked(name.decode()) != len(whole):
        return f"it has {len(whole)} of {were} outputs"
    return ""


def stage_text(content: bytes, name: bytes) -> bytes:
    """The lines of one stage of a lock file, without its name; empty if there is no such stage."""
    found = re.search(rb"^  " + re.escape(name) + rb":\n((?:    .*\n)*)", content, re.MULTILINE)
    return found.group(1) if found else b""
