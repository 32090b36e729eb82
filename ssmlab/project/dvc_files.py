"""DVC's own files: dvc.lock and its last good copy, the list of busy paths; and which DVC commands are running.

After every stage, DVC empties dvc.lock and writes it again, which takes about a second. A signal or a full disk in this
second leaves only a part of the file, and then every DVC command fails. So a copy is made at moments when DVC does not
write: before each launch and at the start of each stage.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path

import psutil

from ssmlab.core.blocked_paths import cannot
from ssmlab.core.errors import UserError
from ssmlab.core.files import read_file, write_atomic
from ssmlab.core.plain_values import parse_json
from ssmlab.core.text import printable
from ssmlab.project.dvc_command import in_git_checkout
from ssmlab.project.lock_check import MERGE_MARKERS, lock_problem, unknown
from ssmlab.project.params_file import place_and_problem
from ssmlab.project.pipeline import stage_specs
from ssmlab.system.processes import command_line

PREPARED = re.compile(rb"^  prepare:\n(?:    .*\n)*?    outs:\n    - path: data/(\S+)\.safetensors$", re.MULTILINE)
WRITING = ("repro", "exp", "experiments", "commit", "checkout", "pull", "add", "remove", "move", "run", "import", "gc")
LEAST_ROOM = 100_000_000  # bytes of free space; on a full disk, DVC damages its own files


def kept_lock(study: str, root: Path) -> Path:
    """Where the last good dvc.lock of a study is kept, also while another study is in use."""
    return root / "runs" / study / "dvc.lock"


def read_lock(path: Path) -> bytes | None:
    """The bytes of a lock file, None if there is none; raises UserError if they cannot be read."""
    try:
        return read_file(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{cannot(path, 'read', error)}; nothing was changed") from None


def lock_owner(content: bytes | None) -> str | None:
    """The study of the data set that the stage `prepare` in a lock file made; None if the file does not say."""
    found = PREPARED.search(content or b"")
    return found.group(1).decode(errors="replace") if found else None


def outputs_asked(root: Path) -> Callable[[str], int | None]:
    """How many outputs dvc.yaml names for a stage; None for one that it does not have, or if it cannot be read."""
    try:
        specs = stage_specs(root)
    except UserError:
        return unknown

    def count_outputs(stage: str) -> int | None:
        spec = specs.get(stage.partition("@")[0])
        spec = spec.get("do", spec) if isinstance(spec, dict) else None
        if not isinstance(spec, dict):
            return None
        kinds = (spec.get(kind) or () for kind in ("outs", "metrics", "plots"))
        return sum(len(kind) for kind in kinds)

    return count_outputs


def present_problem(content: bytes, root: Path, study: str) -> str | None:
    """What is wrong with the dvc.lock of a project that uses `study`, also compared with the study's kept copy.

    Raises UserError if that copy cannot be read.
    """
    copy = read_lock(kept_lock(study, root)) if lock_owner(content) in (None, study) else None
    return lock_problem(content, copy, outputs_asked(root))


def keep_lock(root: Path) -> None:
    """Keep a copy of dvc.lock for the study that it belongs to, if it is complete."""
    content = read_lock(root / "dvc.lock")
    owner = lock_owner(content)
    if content is None or owner is None:
        return
    copy = kept_lock(owner, root)
    before = read_lock(copy)
    if content != before and lock_problem(content, before, outputs_asked(root)) is None:
        write_atomic(copy, content)


def repair_lock(root: Path, study: str) -> str | None:
    """Restore the kept copy if dvc.lock is incomplete; the incomplete file is kept as a backup.

    Returns:
        what was done, in one line; None if nothing had to be done.

    Raises:
        UserError: dvc.lock cannot be read, or has git's merge markers, which only the user can resolve.
    """
    lock = root / "dvc.lock"
    content = read_lock(lock)
    if content is None:
        return None
    problem = present_problem(content, root, study)
    if problem is None:
        return None
    if MERGE_MARKERS.search(content):
        raise UserError(f"{lock}: {problem}; resolve the merge first, for example with `git checkout --ours dvc.lock`")
    kept = f"; the damaged one is kept as {kept_beside(lock)}" if content.strip() else ""
    copy = read_lock(kept_lock(study, root))
    if copy is None or lock_problem(copy) is not None:
        lock.unlink()
        return f"{lock} was damaged ({problem}) and was removed{kept}; DVC will run the stages again"
    write_atomic(lock, copy)
    return f"{lock} was damaged ({problem}); the copy from after the last stage was restored{kept}"


def repair_dvc_files(root: Path, study: str) -> list[str]:
    """Repair files that would make every DVC command fail: the list of busy paths, and dvc.lock. No DVC may be running.

    Returns:
        what was done, one line each.

    Raises:
        UserError: as `repair_busy_paths` and `repair_lock`.
    """
    done = repair_busy_paths(root), repair_lock(root, study)
    return [line for line in done if line is not None]


def kept_beside(path: Path) -> Path:
    """Copy a file to the first unused name of `<name>.bak`, `<name>.bak2`, ...; no backup is overwritten."""
    backups = (path.with_name(f"{path.name}.bak{number if number > 1 else ''}") for number in count(1))
    backup = next(each for each in backups if not each.exists())
    write_atomic(backup, read_file(path))
    return backup


def repair_busy_paths(root: Path) -> str | None:
    """Remove .dvc/tmp/rwlock if a full disk has damaged it, because every DVC command would fail; DVC makes a new one.

    Returns what was done, in one line. Raises UserError while DVC is at work, because the file is then in use.
    """
    path = root / ".dvc" / "tmp" / "rwlock"
    try:
        value = parse_json(read_file(path))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UserError(cannot(path, "read", error)) from None
    except ValueError:
        value = None
    if isinstance(value, dict) and all(isinstance(value.get(mode, {}), dict) for mode in ("read", "write")):
        return None
    busy = dvc_at_work(root)
    if busy is not None:
        raise UserError(f"{path}: damaged, and {busy} is running; wait for it, then try again")
    path.unlink()
    return f"{path} was damaged and was removed; DVC creates it again"


def dvc_at_work(root: Path) -> str | None:
    """The DVC command that is running in the project, as `dvc repro (process 4711)`; None if there is none."""
    here = root.resolve()
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
            name = next((at for at, part in enumerate(command[:3]) if Path(part).name == "dvc"), None)
            if name is None or not any(part in WRITING for part in command[name + 1 :]):
                continue
            folder = Path(process.cwd())
            if process.status() != psutil.STATUS_ZOMBIE and (folder == here or here in folder.parents):
                return f"`{printable(' '.join(['dvc', *command[name + 1 :]]), 80)}` (process {process.pid})"
        except (psutil.Error, OSError):
            continue  # it has ended in the meantime, or belongs to another user
    for pid, words in busy_processes(root):  # of other users only the command line can be seen
        if any("dvc" in part for part in command_line(pid)):
            return f"`{printable(words, 80)}` (process {pid})"
    return None


def busy_processes(root: Path) -> list[tuple[int, str]]:
    """Process and command of every entry of .dvc/tmp/rwlock, also of ended processes; empty if it cannot be read."""
    try:
        value = json.loads(read_file(root / ".dvc" / "tmp" / "rwlock"))
        readers = [info for infos in value.get("read", {}).values() for info in infos]
        return [(int(info["pid"]), str(info["cmd"])) for info in [*value.get("write", {}).values(), *readers]]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return []


def check_free_disk(root: Path) -> None:
    """Raise UserError if the disk is nearly full."""
    free = shutil.disk_usage(root).free
    if free < LEAST_ROOM:
        raise UserError(
            f"{root.resolve()}: only {free / 1e6:.0f} MB are free on its disk; make room for {LEAST_ROOM / 1e6:.0f} MB"
        )


def check_dvc_reads(params_file: Path) -> None:
    """Raise UserError if DVC cannot read a params.yaml that we can.

    DVC reads YAML with libyaml where the package ruamel.yaml.clib is installed, and libyaml knows YAML 1.1 only: inside
    [ ] and { } it allows no colon in a value without quotes.
    """
    if not params_file.is_file():
        return
    from ruamel.yaml import YAML  # imported here: the commands that list runs do not need it
    from ruamel.yaml.error import YAMLError

    try:
        YAML(typ="safe").load(read_file(params_file).decode())
    except YAMLError as error:
        where, problem = place_and_problem(error)
        raise UserError(f"{params_file}: DVC cannot read it{where} ({problem}); put the value in quotes") from None


def check_links(root: Path, study: str) -> None:
    """Raise UserError if an output's folder is a link in a git checkout, which DVC refuses only after the training."""
    if not in_git_checkout(root):
        return
    for folder in ("data", "models", "results"):
        for path in (root / folder, root / folder / study):
            if path.is_symlink():
                raise UserError(
                    f"{path}: it is a link, but DVC does not accept outputs behind links; mount the other disk there "
                    "(mount --bind), or move the whole project to it"
                )
