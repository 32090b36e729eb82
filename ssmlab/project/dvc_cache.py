"""DVC's cache: where it is, and filling it again after somebody has deleted it to save space."""

from __future__ import annotations

from pathlib import Path

from ssmlab.core.errors import UserError
from ssmlab.project.dvc_command import dvc


def cache_folder_of(root: Path) -> Path:
    """The folder of DVC's cache; the default one if DVC does not name it."""
    default = root / ".dvc" / "cache"
    if not (root / ".dvc").is_dir():
        return default
    try:
        return root / dvc(root, "cache", "dir").strip()
    except UserError:
        return default


def refill_cache(root: Path) -> str | None:
    """If DVC's cache is gone, put those outputs into it that are still as dvc.lock records them.

    DVC takes an output that its cache lacks for changed, although the file is there, and would train everything again.

    Returns:
        what was done, or why DVC refused, in one line; None if there was nothing to do.
    """
    if not (root / "dvc.lock").is_file() or has_files(root / ".dvc" / "cache"):
        return None
    if not (root / ".dvc" / "config").is_file():  # DVC makes it in every project
        return None
    if has_files(cache_folder_of(root)):  # of a cache elsewhere; asked last, because it starts DVC
        return None
    from dvc.exceptions import DvcException
    from dvc.repo import Repo, lock_repo

    try:
        with Repo(str(root)) as repo, lock_repo(repo):
            recorded = [out for out in repo.index.outs if out.use_cache and out.exists and out.hash_info]
            lost = [out for out in recorded if out.changed_cache() and not out.changed_checksum()]
            for out in lost:
                out.commit()
    except DvcException as error:
        return f"DVC's cache is gone, and DVC did not fill it again: {' '.join(str(error).split())}"
    return f"DVC's cache was gone; {len(lost)} outputs that are still here were put into it again" if lost else None


def has_files(folder: Path) -> bool:
    """Whether there is anything in a folder."""
    return folder.is_dir() and any(folder.iterdir())
