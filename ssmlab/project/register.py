"""Register with DVC the outputs of stages that ran outside it.

The result is that of `dvc commit --force` with all the stages. That command reads and writes the whole dvc.lock once
for each stage, so its time grows with the square of their number, and a kill while it writes leaves an empty file.
Here the file is written once, and replaced as a whole.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from ssmlab.core.errors import UserError
from ssmlab.core.events import Listener, Progress, silence
from ssmlab.core.files import read_file, write_atomic
from ssmlab.core.progress import ProgressMeter


def register(root: Path, names: Collection[str], on_event: Listener = silence) -> None:
    """Record the present dependencies, params and outputs of stages, and keep copies of the outputs in DVC's cache.

    Args:
        root: the project's folder.
        names: the stages, as DVC calls them (`train@ads`).

    Raises:
        UserError: DVC refuses, for example because an output is missing or another DVC command is at work.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo, lock_repo
    from dvc.stage.serialize import to_lockfile
    from dvc.utils.serialize import dumps_yaml, parse_yaml_for_update

    lock_file, meter = root / "dvc.lock", ProgressMeter(len(names))
    entries: dict[str, Any] = {}
    try:
        with Repo(str(root)) as repo, lock_repo(repo):
            chosen = {stage.name: stage for stage in repo.index.stages if stage.name in names}
            if unknown := sorted(set(names) - set(chosen)):
                raise UserError(f"dvc.yaml: no stage {unknown[0]}")
            for stage in chosen.values():
                stage.save()
                stage.commit()
                entries |= to_lockfile(stage)
                meter.advance()
                on_event(Progress("registering with DVC", int(meter.done), len(names), eta=meter.eta))
            text = read_file(lock_file).decode() if lock_file.is_file() else ""
            content: Any = parse_yaml_for_update(text, str(lock_file)) if text else {"schema": "2.0"}
            content["stages"] = content.get("stages") or {}
            content["stages"].update(entries)
            write_atomic(lock_file, dumps_yaml(content))
    except DvcException as error:
        raise UserError(f"dvc.lock: the runs cannot be registered: {' '.join(str(error).split())}") from error
