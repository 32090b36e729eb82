"""Which part of the package each stage runs: one list for DVC, for resuming a training, and for the records in results.

dvc.yaml repeats these lists as dependencies, because DVC reads no Python; tests/test_dvc_yaml.py checks both against
the imports of the stage. Where a list names a folder, a new file in it counts at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from ssmlab.core.files import read_file

StageName = Literal["prepare", "train", "attack", "probe", "analyze", "report"]
CommandName = Literal["transfer"]  # writes results too, and is no stage of dvc.yaml

PACKAGE = Path(__file__).resolve().parents[1]  # the folder `ssmlab`

SHARED = ("core", "params")
STAGE_RUN = ("artifacts/provenance.py", "artifacts/stage_run.py", "data/header.py")
ANALYSIS = (
    *SHARED,
    *STAGE_RUN,
    "analysis",
    "artifacts/history.py",
    "artifacts/manifest.py",
    "evaluation/protocol.py",
    "evaluation/results.py",
    "evaluation/token_map.py",
)

STAGE_CODE: dict[StageName, tuple[str, ...]] = {
    "prepare": (
        *SHARED,
        *STAGE_RUN,
        "data/fingerprint.py",
        "ingest",
        "stages/prepare.py",
        "system/cores.py",
        "system/locks.py",
        "system/workers.py",
    ),
    "train": (
        *SHARED,
        "artifacts",
        "data",
        "nets",
        "stages/train",
        "system/cores.py",
        "system/freed_memory.py",
        "system/locks.py",
        "system/processes.py",
        "training",
    ),
    "attack": (
        *SHARED,
        "artifacts/checkpoint.py",
        "artifacts/heartbeat.py",
        "artifacts/manifest.py",
        "artifacts/metadata.py",
        "artifacts/outcome.py",
        "artifacts/provenance.py",
        "artifacts/stage_run.py",
        "data",
        "evaluation",
        "nets",
        "stages/attack",
        "stages/trained_run.py",
        "system/cores.py",
        "system/processes.py",
        "system/workers.py",
    ),
    "probe": (
        *SHARED,
        *STAGE_RUN,
        "artifacts/checkpoint.py",
        "artifacts/heartbeat.py",
        "artifacts/manifest.py",
        "artifacts/metadata.py",
        "artifacts/outcome.py",
        "data",
        "nets",
        "probes",
        "stages/probe.py",
        "stages/trained_run.py",
        "system/processes.py",
        "training/adversary.py",
        "training/attack.py",
        "training/sharding.py",
    ),
    "analyze": (*ANALYSIS, "stages/analyze.py"),
    "report": (
        *ANALYSIS,
        "evaluation/checks/finding.py",
        "evaluation/transfer_results.py",
        "probes/results.py",
        "report",
        "stages/report.py",
    ),
}

COMMAND_CODE: dict[CommandName, tuple[str, ...]] = {
    "transfer": (
        *SHARED,
        *STAGE_RUN,
        "artifacts/checkpoint.py",
        "artifacts/manifest.py",
        "artifacts/metadata.py",
        "data",
        "evaluation",
        "nets",
        "stages/trained_run.py",
        "stages/transfer.py",
        "system/workers.py",
    ),
}


def source_files(stage: StageName | CommandName, package: Path = PACKAGE) -> Iterator[Path]:
    """The files that `stage` depends on, sorted, except those that .dvcignore leaves out."""
    found: set[Path] = set()
    for name in COMMAND_CODE[stage] if stage == "transfer" else STAGE_CODE[stage]:
        path = package / name
        found.update([path] if path.is_file() else (each for each in path.rglob("*") if each.is_file()))
    yield from sorted(path for path in found if not is_ignored(path))


def is_ignored(path: Path) -> bool:
    """Whether .dvcignore leaves a file out: compiled Python, and the temporary file of an unfinished write."""
    return "__pycache__" in path.parts or (path.name.startswith(".") and path.name.endswith(".tmp"))


def code_fingerprint(stage: StageName | CommandName, package: Path = PACKAGE) -> str:
    """SHA-256 over the names and the bytes of a stage's files."""
    digest = hashlib.sha256()
    for path in source_files(stage, package):
        content = read_file(path)
        digest.update(f"{path.relative_to(package).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()
