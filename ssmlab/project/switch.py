"""Switching studies: params.yaml becomes studies/<study>.yaml, and dvc.lock the one that study had last.

DVC makes its stages of what stands under `runs` and knows no grid. A study with a grid is therefore written out: its
params.yaml has the runs that the grid stands for, and the grid stays in studies/.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from ssmlab.core.errors import UserError
from ssmlab.core.files import write_atomic
from ssmlab.params.paths import Paths
from ssmlab.project.expand import materialised
from ssmlab.project.launch import active
from ssmlab.project.params_file import expanded, load_params, read_yaml


@dataclass(frozen=True, slots=True)
class Study:
    """A file in studies/.

    Attributes:
        name: the study's, which is also that of the file.
        title: of its report; why the file cannot be read, if it cannot.
        data: the data set that it names, and runs: how many it has, a grid written out; None if it does not say.
    """

    name: str
    path: Path
    title: str
    data: str | None = None
    runs: int | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """One key of params.yaml, dotted, with its value before and after as text; None where it is not there."""

    key: str
    old: str | None
    new: str | None


def studies(root: Path) -> list[Study]:
    """The studies of the project in `root`, by name; one that cannot be read has the reason for its title."""
    return [study_in(path) for path in sorted((root / "studies").glob("*.yaml"), key=lambda path: path.stem)]


def changes(current: Path | None, target: Path, settings: Mapping[str, str] | None = None) -> list[Change]:
    """What using the study in `target`, with `settings` put in, would change in `current`: keys as they are written.

    Values are compared as they are written (`1` is not `1.0`, and `8/255` is text); lists are one value. A current
    file that is missing or unreadable says nothing, so that every key of the target is new.

    Raises:
        UserError: the target is missing or not YAML, or a setting does not fit.
    """
    new = flat(YAML(typ="safe", pure=True).load(materialised(target, settings)))
    try:
        old = flat(read_yaml(current)) if current is not None else {}
    except UserError:
        old = {}
    keys = [*new, *(key for key in old if key not in new)]
    return [Change(key, old.get(key), new.get(key)) for key in keys if old.get(key) != new.get(key)]


def use(study: str, root: Path, *, settings: Mapping[str, str] | None = None, force: bool = False) -> Path | None:
    """Make `study` the one that params.yaml in `root` holds: byte for byte, but for its grid and the settings.

    DVC keeps no cache of what the stages made (`persist: true`), but every study has its own folders, so its results
    are still there when it comes back. What DVC knows of them, dvc.lock, is therefore kept as runs/<study>/dvc.lock and
    put back with its study: switching there and back runs nothing again. Interrupted, it can simply be repeated.

    Args:
        settings: values to put in, by dotted key; see `materialised`.
        force: replace a params.yaml that was edited and is saved under no name in studies/; a backup is kept beside it.

    Returns:
        the backup, if one was needed.

    Raises:
        UserError: there is no such study; it is not valid; params.yaml holds an edit that would be lost; or its
            pipeline runs at the moment.
    """
    known = {each.name: each.path for each in studies(root)}
    if study not in known:
        raise UserError(f"no study '{study}' in {root / 'studies'} (studies: {', '.join(known) or 'none'})")
    target = known[study]
    named = load_params(target).study
    if named != study:
        raise UserError(f"{target}: study: it is '{named}', and the file's name says '{study}'; make them equal")

    content = materialised(target, settings)
    params = root / "params.yaml"
    refuse_while_running(params)
    backup = None
    if params.exists() and params.read_bytes() != content and not saved(params, known.values()):
        if not force:
            raise UserError(
                f"{params}: it holds changes that no file in studies/ has; save it as studies/NAME.yaml with "
                f"`study: NAME`, or replace it with --force, which keeps a backup"
            )
        backup = kept_beside(params)
    swap_lock(study, root)
    write_atomic(params, content)
    return backup


def saved(params: Path, files: Iterable[Path]) -> bool:
    """Whether one of the studies in `files` would make the very same params.yaml."""
    content = params.read_bytes()
    for file in files:
        with suppress(UserError):  # a study that is not valid makes none
            if materialised(file) == content:
                return True
    return False


def in_use(params: Path) -> str | None:
    """The study that a params.yaml holds; None if it does not say."""
    try:
        return str(read_yaml(params)["study"])
    except (UserError, LookupError):
        return None


def refuse_while_running(params: Path) -> None:
    """Raises UserError if the pipeline of the study in `params` runs: DVC would write its lock file over the next."""
    study = in_use(params)
    running = None if study is None else active(Paths(study, params.parent))
    if running is not None:
        raise UserError(
            f"the pipeline of study {study} is running (process {running.pid}); wait for it, or stop it in `ssmlab tui`"
        )


def swap_lock(study: str, root: Path) -> None:
    """Keep dvc.lock for the study it belongs to, and put back the one kept for `study`, if it is another."""
    lock = root / "dvc.lock"
    owner = lock_owner(lock)
    if owner == study:
        return
    if owner is not None:
        write_atomic(kept_lock(owner, root), lock.read_bytes())
    kept = kept_lock(study, root)
    if kept.exists():
        write_atomic(lock, kept.read_bytes())
    else:
        lock.unlink(missing_ok=True)


def lock_owner(lock: Path) -> str | None:
    """The study whose data set the lock file's stage `prepare` made last; None without a lock file that says so."""
    try:
        prepared = Path(read_yaml(lock)["stages"]["prepare"]["outs"][0]["path"])
    except (UserError, LookupError, TypeError):
        return None
    return prepared.name.removesuffix(".safetensors")


def kept_lock(study: str, root: Path) -> Path:
    """Where a study's lock file waits while another study is in use."""
    return root / "runs" / study / "dvc.lock"


def kept_beside(path: Path) -> Path:
    """Copy a file to the first free one of `<name>.bak`, `<name>.bak2`, ...; no earlier backup is overwritten."""
    backups = (path.with_name(f"{path.name}.bak{number if number > 1 else ''}") for number in count(1))
    backup = next(each for each in backups if not each.exists())
    write_atomic(backup, path.read_bytes())
    return backup


def study_in(path: Path) -> Study:
    """What a file in studies/ says of itself, unchecked."""
    try:
        sections = expanded(read_yaml(path), str(path))[0]
    except UserError as error:
        return Study(path.stem, path, str(error))
    try:
        title, data, runs = sections["report"]["title"], sections["data"]["name"], sections["runs"]
        return Study(path.stem, path, str(title), str(data), len(runs))
    except (LookupError, TypeError):
        return Study(path.stem, path, f"{path}: report.title, data.name or runs: this key is missing")


def flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """A nested mapping as dotted keys with their values as text; an empty mapping is the value `{}`."""
    result: dict[str, str] = {}
    for key, below in value.items():
        if isinstance(below, Mapping) and below:
            result |= flat(below, f"{prefix}{key}.")
        else:
            result[f"{prefix}{key}"] = as_text(below)
    return result


def as_text(value: Any) -> str:
    """A YAML value on one line; a date, which JSON does not know, as ISO text."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
