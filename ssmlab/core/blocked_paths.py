"""What is in the way of a file that cannot be read or written, and what the user can do about it."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from ssmlab.core.errors import UserError
from ssmlab.core.text import few, listed

REMEDIES = {
    errno.ENOSPC: "make room on its drive",
    errno.EDQUOT: "make room on its drive, where your quota is used up",
    errno.EROFS: "work in a copy on a drive that can be written",
    errno.ENAMETOOLONG: "use shorter names",
    errno.EMFILE: "allow more open files with `ulimit -n`",
    errno.ENFILE: "end other programs, which have too many files open",
}


def cannot(path: Path, be: str, error: OSError) -> str:
    """`data/x: cannot be written (File exists); data is not a folder, move it away`, where `be` is "written"."""
    remedy = way_out(path, error)
    return f"{path}: cannot be {be} ({error.strerror or error})" + (f"; {remedy}" if remedy else "")


def system_error(error: OSError, where: str = "") -> str:
    """An error of the system, at the file that it names; if it names none, after `where`."""
    if error.filename:
        return cannot(Path(error.filename), "used", error)
    return f"{where}: {error.strerror or error}" if where else str(error.strerror or error)


def way_out(path: Path, error: OSError) -> str:
    """What the user can do about an error of the system at `path`; empty if that is not known."""
    code = error.errno or 0
    try:
        if code in (errno.EACCES, errno.EPERM):
            return permission(path)
        obstacle = REMEDIES.get(code) or in_the_way(path)
    except OSError:  # the path cannot even be looked at
        return ""
    if code == errno.EEXIST and not obstacle:  # a file is where a folder should be made
        return f"{path} is not a folder, move it away"
    return obstacle or ("remove this loop of links" if code == errno.ELOOP else "")


def in_the_way(path: Path) -> str:
    """What stands where `path` or one of its folders should be; empty if nothing does."""
    for folder in reversed(path.parents):
        if os.path.lexists(folder) and not folder.is_dir():
            return f"{folder} is not a folder, move it away"
    if path.is_dir():
        return "move this folder away"
    return "move it away" if path.exists() and not stat.S_ISREG(path.stat().st_mode) else ""


def check_place(*paths: Path) -> None:
    """Raise UserError if one of these files could not be written now: something is in its way, or the user may not.

    So a stage that computes for hours does not find this out at its end.
    """
    for path in paths:
        obstacle = in_the_way(path)
        if obstacle:
            raise UserError(f"{path}: could not be written; {obstacle}")
        folder = next(each for each in path.parents if each.is_dir())
        if not os.access(folder, os.W_OK | os.X_OK):
            raise UserError(f"{path}: could not be written; {permission(folder)}")


def require_all(*paths: Path, remedy: str) -> None:
    """Raise UserError if several of these files do not exist, with all their names.

    If only one is missing, its reader says so, with the command that makes it.
    """
    missing = [str(path) for path in paths if is_missing(path)]
    if len(missing) > 1:
        raise UserError(f"{listed(few(missing))}: not there yet; {remedy}")


def is_missing(path: Path) -> bool:
    """Whether there is nothing at `path`; False if that cannot be seen."""
    try:
        path.lstat()
    except OSError as error:
        return isinstance(error, FileNotFoundError)
    return False


def permission(path: Path) -> str:
    """Whose permissions are missing: those of a file, or of the first of its folders that there is."""
    place = next((each for each in (path, *path.parents) if os.path.lexists(each)), path)
    return f"{place} belongs to {owner(place)}; change its permissions, or work in a copy of the project"


def owner(path: Path) -> str:
    """The name of the user that owns a file, or the user's number."""
    try:
        return f"user {path.owner()}"
    except (KeyError, OSError):
        return f"user {path.lstat().st_uid}"
