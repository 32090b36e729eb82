"""Switching studies: params.yaml becomes studies/<study>.yaml, and dvc.lock the last one of that study.

DVC makes its stages from the entries of `runs` and knows no grid. The grid of a study is therefore expanded:
params.yaml gets the runs that it stands for, and the grid itself stays in studies/.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ssmlab.artifacts.heartbeat import heartbeat_in, state_of
from ssmlab.core.blocked_paths import in_the_way
from ssmlab.core.errors import UserError, disk_error_in
from ssmlab.core.files import read_file, write_atomic
from ssmlab.core.text import hint, printable
from ssmlab.params.paths import Paths
from ssmlab.project.dvc_files import dvc_at_work, kept_beside, kept_lock, lock_owner, read_lock, repair_lock
from ssmlab.project.expand import expanded_params_yaml
from ssmlab.project.launched import active, launch_lock
from ssmlab.project.params_file import expanded, load_params, read_yaml
from ssmlab.project.watched_files import CachedFile


@dataclass(frozen=True, slots=True)
class StudyFile:
    """A file in studies/.

    Attributes:
        name: the name of the study and of the file.
        title: the title of its report; if the file cannot be read, the reason.
        data, runs: the name of its data set, and its number of runs, including those of its grid; None if unknown.
    """

    name: str
    path: Path
    title: str
    data: str | None = None
    runs: int | None = None


def studies(root: Path) -> list[StudyFile]:
    """The studies of the project in `root`, by name; the title of one that cannot be read is the reason.

    Raises OSError if the folder cannot be read.
    """
    folder = root / "studies"
    found = [path for path in folder.iterdir() if path.suffix == ".yaml"] if folder.is_dir() else []
    return [study_in(path) for path in sorted(found, key=lambda path: path.stem)]


def use(study: str, root: Path, *, settings: Mapping[str, str] | None = None, force: bool = False) -> Path | None:
    """Write `study` to params.yaml in `root`: an exact copy, except for its grid and the settings.

    DVC does not restore outputs from its cache (`persist: true`). But every study has its own folders, so its results
    still exist when the user switches back. dvc.lock records these results; it is kept as runs/<study>/dvc.lock and
    restored with its study. So after switching to another study and back, nothing runs again. If it is interrupted,
    call it again.

    Args:
        settings: values to insert, by dotted key; see `expanded_params_yaml`.
        force: replace a params.yaml with edits that no file in studies/ has; a backup is kept next to it.

    Returns:
        the backup, if one was needed.

    Raises:
        UserError: there is no such study; it is not valid; params.yaml holds edits that would be lost; or its pipeline
            is running.
    """
    known = {each.name: each.path for each in studies(root)}
    if study not in known:
        if not known:
            raise no_studies(root)
        raise UserError(f"no study '{printable(study, 80)}' in {root / 'studies'} ({hint(study, known, 'studies')})")
    target = known[study]
    named = load_params(target).study
    if named != study:
        raise UserError(f"{target}: study is '{named}', but the file is named '{study}'; make them equal")

    content = expanded_params_yaml(target, settings)
    with launch_lock(root):
        return replace_params(root / "params.yaml", content, study, known.values(), force)


def replace_params(params: Path, content: bytes, study: str, files: Iterable[Path], force: bool) -> Path | None:
    """Write `content`, the params of `study`, and put dvc.lock away and back; arguments and errors as in `use`.

    Args:
        files: the files of all studies; an edit that one of them has is not lost.
    """
    root = params.parent
    refuse_while_running(params)
    current = in_use(params)
    if current is not None:
        repair_lock(root, current)
    backup = None
    if params.exists() and read_file(params) != content and not is_saved(params, files):
        if not force:
            raise UserError(
                f"{params}: it holds changes that no file in studies/ has; save it as studies/NAME.yaml with "
                f"`study: NAME`, or replace it with --force, which keeps a backup"
            )
        backup = kept_beside(params)
    swap_lock(study, root)
    write_atomic(params, content)
    return backup


def no_studies(root: Path) -> UserError:
    """The error for a folder without studies: what is missing, and what to do."""
    if obstacle := in_the_way(root / "studies" / "NAME.yaml"):
        return UserError(f"{root.resolve()}: there are no studies; {obstacle}")
    missing = [name for name in ("params.yaml", "dvc.yaml", "studies/") if not (root / name).exists()]
    lacks = (
        f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing here" if missing else "studies/ is empty"
    )
    return UserError(f"{root.resolve()}: {lacks}; change to a project's folder, or make one with `ssmlab new FOLDER`")


def is_saved(params: Path, files: Iterable[Path]) -> bool:
    """Whether one of the studies in `files` gives exactly this params.yaml."""
    content = read_file(params)
    for file in files:
        try:
            if expanded_params_yaml(file) == content:
                return True
        except UserError as error:  # a study that is not valid gives none
            if disk_error_in(error):
                raise
    return False


def in_use(params: Path) -> str | None:
    """The study that a params.yaml holds; None if it does not say."""
    try:
        return str(read_yaml(params)["study"])
    except (UserError, LookupError):
        return None


def refuse_while_running(params: Path) -> None:
    """Raise UserError while anything runs on the study in `params`, because its params and dvc.lock would change.

    This may be a pipeline that ssmlab has launched, any other DVC command that writes, or a stage that was started
    alone.
    """
    root, study = params.parent, in_use(params)
    running = None if study is None else active(Paths(study, root))
    if running is not None:
        raise UserError(
            f"the pipeline of study {study} is running (process {running.pid}); wait for it, or stop it in `ssmlab tui`"
        )
    busy = dvc_at_work(root)
    if busy is not None:
        raise UserError(f"{busy} is running in this project; wait for it, or stop it")
    if study is None:
        return
    now = time.time()
    for file in sorted((root / "runs" / study).glob("*/*progress.json")):
        beat = CachedFile(file, heartbeat_in)
        found = beat.poll()
        if beat.problem:
            raise UserError(f"nobody knows whether a stage runs: {beat.problem}")
        if found is not None and state_of(found, now) == "running":
            doing = {"train": "trained", "attack": "attacked", "probe": "probed"}[found.stage]
            raise UserError(
                f"run {printable(found.run, 80)} of study {study} is being {doing} (process {found.pid} of "
                f"{printable(found.host, 80)}); wait for it, or stop it"
            )


def swap_lock(study: str, root: Path) -> None:
    """If dvc.lock belongs to another study than `study`, keep it for that study and restore the lock kept for `study`.

    A lock file that names no study is kept as a backup, unchanged.
    """
    lock = root / "dvc.lock"
    content = read_lock(lock)
    owner = lock_owner(content)
    if content is None or owner is None:
        if content is not None:
            kept_beside(lock)
    elif owner == study:
        return
    else:
        write_atomic(kept_lock(owner, root), content)
    kept = read_lock(kept_lock(study, root))
    if kept is not None:
        write_atomic(lock, kept)
    else:
        lock.unlink(missing_ok=True)


def study_in(path: Path) -> StudyFile:
    """The description of a study from its file, unchecked."""
    try:
        sections = expanded(read_yaml(path), str(path))[0]
    except UserError as error:
        return StudyFile(path.stem, path, str(error))
    try:
        title, data, runs = sections["report"]["title"], sections["data"]["name"], sections["runs"]
        return StudyFile(path.stem, path, str(title), str(data), len(runs))
    except (LookupError, TypeError):
        return StudyFile(path.stem, path, f"{path}: report.title, data.name or runs: this key is missing")
