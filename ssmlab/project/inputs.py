"""The current prepared data and code, on which the results of a study depend besides params.yaml."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from ssmlab.core.stage_code import PACKAGE, code_fingerprint, source_files
from ssmlab.data.header import prepared_description
from ssmlab.params.paths import Paths
from ssmlab.project.watched_files import CachedFile, FileStamp, file_stamp

RunStage = Literal["train", "attack"]
STATE_STAGES: tuple[RunStage, ...] = ("train", "attack")  # the stages that decide the state of a run
LOOK_EVERY = 3.0  # seconds; the code of a stage is about 60 files


def package_of(root: Path) -> Path:
    """The package that the stages of a folder run: its own copy if it has one, else the installed one."""
    own = root / "ssmlab"
    return own.resolve() if own.is_dir() else PACKAGE


class StudyInputs:
    """The fingerprints of the current data and code. Files are read again only when one of them has changed."""

    def __init__(self, paths: Paths, clock: Callable[[], float] = time.monotonic) -> None:
        self.package = package_of(paths.root)
        self.prepared = CachedFile(paths.prepared, prepared_description)
        self.clock = clock
        self._looked = -LOOK_EVERY
        self._stamps: dict[RunStage, tuple[FileStamp, ...]] = {}
        self._code: dict[RunStage, str] = {}

    def data(self) -> str | None:
        """The fingerprint of the prepared data; None if there is none."""
        description = self.prepared.poll()
        return None if description is None else description.fingerprint

    def data_name(self) -> str | None:
        """The name by which results call the prepared data, such as `mnist5k-noise0.2`; None if there is none."""
        description = self.prepared.poll()
        return None if description is None else description.name

    def code(self, stage: RunStage) -> str | None:
        """The fingerprint of a stage's code; None if it cannot be read."""
        if self.clock() - self._looked >= LOOK_EVERY:
            self._looked = self.clock()
            for each in STATE_STAGES:
                self._look_at(each)
        return self._code.get(stage)

    def _look_at(self, stage: RunStage) -> None:
        try:
            stamps = tuple(file_stamp(file) for file in source_files(stage, self.package))
            if stamps != self._stamps.get(stage):
                self._code[stage] = code_fingerprint(stage, self.package)
                self._stamps[stage] = stamps
        except OSError:
            self._code.pop(stage, None)

    def seen(self) -> tuple[object, ...]:
        """Something that changes when the data or the code does."""
        return file_stamp(self.prepared.path), *map(self.code, STATE_STAGES)
