"""Saves outcomes of attacks to disk while an evaluation runs, so that a killed evaluation can continue."""

from __future__ import annotations

import json
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

from ssmlab.core.blocked_paths import cannot
from ssmlab.core.errors import UserError
from ssmlab.core.files import read_file, sha256_text
from ssmlab.evaluation.tasks import AttackOutcome, AttackTask

Key = tuple[str, str, int, tuple[int, ...]]
NUMBERS = tuple(field.name for field in fields(AttackOutcome) if field.name not in ("task", "x_adv"))


class OutcomeJournal:
    """A file with one line per outcome, each with a digest; damaged or incomplete lines are ignored.

    Args:
        path: the file; if it belongs to another evaluation, it is overwritten.
        evaluation: a fingerprint of everything that outcomes depend on: checkpoints, images, attacks, seed and code.

    Raises:
        UserError: the file cannot be read or written.
    """

    def __init__(self, path: Path, evaluation: str) -> None:
        self.path = path
        self.known: dict[Key, dict[str, Any]] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = read_file(path).split(b"\n") if path.exists() else []
            if lines[:1] == [evaluation.encode()]:
                # A killed process may have left an incomplete line, and nothing may be appended to it.
                whole = [line for line in lines[1:] if self.read(line)]
                path.write_bytes(b"\n".join([evaluation.encode(), *whole, b""]))
            else:
                path.write_bytes(evaluation.encode() + b"\n")
        except OSError as error:
            raise UserError(cannot(path, "written", error)) from error

    def read(self, line: bytes) -> bool:
        """Read one line; False if it is damaged or incomplete."""
        try:
            digest, _, text = line.decode().partition(" ")
            if digest != sha256_text(text):
                return False
            model, attack, phase, images, numbers = json.loads(text)
        except ValueError:
            return False
        self.known[model, attack, phase, tuple(images)] = numbers
        return True

    def outcome(self, task: AttackTask) -> AttackOutcome | None:
        """The saved outcome of a task; None if there is none."""
        found = self.known.get((task.model, task.attack, task.phase, task.images))
        if found is None:
            return None
        numbers: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in found.items()
        }
        return AttackOutcome(task, **numbers)

    def write(self, outcome: AttackOutcome) -> None:
        """Append an outcome. When this returns, the outcome is on disk and survives a power failure.

        Raises:
            UserError: the disk is full, or the file cannot be written.
        """
        task = outcome.task
        numbers = {name: getattr(outcome, name) for name in NUMBERS}
        text = json.dumps([task.model, task.attack, task.phase, task.images, numbers])  # infinity is allowed
        try:
            with self.path.open("ab") as file:
                file.write(f"{sha256_text(text)} {text}\n".encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise UserError(cannot(self.path, "written", error)) from error

    def remove(self) -> None:
        """Remove the file after the results were written."""
        self.path.unlink(missing_ok=True)
