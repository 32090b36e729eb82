"""Unusual environments: the same commands give the same checkpoints, byte for byte, or say in one line what is missing.

docs/trust.md has the table of what was tried. Python versions, a built wheel and the oldest packages are tried by
`make environments`.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.tiny_project import RUN, STUDY, make_tiny_project

ROOT = Path(__file__).parents[2]
COMMANDS = (("prepare",), ("train", RUN), ("runs",))
NOBODY = 65534
SSHD = Path("/usr/sbin/sshd")
pytestmark = pytest.mark.slow

as_root = pytest.mark.skipif(sys.platform != "linux" or os.getuid() != 0, reason="needs root on Linux")


def ssmlab(
    folder: Path,
    *command: str,
    code: Path = ROOT,
    without: tuple[str, ...] = (),
    prefix: tuple[str, ...] = (),
    umask: int = -1,
    **variables: str,
) -> subprocess.CompletedProcess[str]:
    """Run a command of the code in `code` with no terminal; `without` are environment variables to leave out."""
    environment = {**os.environ, "PYTHONPATH": str(code), "OMP_NUM_THREADS": "1", **variables}
    for name in without:
        environment.pop(name, None)
    return subprocess.run(
        [*prefix, sys.executable, "-m", "ssmlab", *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        stdin=subprocess.DEVNULL,
        check=False,
        umask=umask,
    )


def checkpoints(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "models" / STUDY / RUN).glob("*.safetensors")}


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny project, prepared and trained in the environment of the tests."""
    folder = tmp_path_factory.mktemp("usual")
    make_tiny_project(folder)
    for command in COMMANDS:
        done = ssmlab(folder, *command)
        assert done.returncode == 0, done.stderr
    assert len(checkpoints(folder)) == 2
    return folder


def check_same(folder: Path, usual: Path, **how: object) -> list[str]:
    """Run the commands in a fresh project and compare; gives back what they printed."""
    make_tiny_project(folder)
    printed = []
    for command in COMMANDS:
        done = ssmlab(folder, *command, **how)  # type: ignore[arg-type]
        assert done.returncode == 0, done.stdout + done.stderr
        printed.append(done.stdout)
    assert checkpoints(folder) == checkpoints(usual)
    return printed


def test_a_home_that_is_not_set_changes_nothing(tmp_path: Path, usual: Path) -> None:
    check_same(tmp_path, usual, without=("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "USER", "LOGNAME"))


def test_a_c_locale_changes_no_byte_and_every_line_is_printed(tmp_path: Path, usual: Path) -> None:
    folder = tmp_path / "dossier \u00e9t\u00e9"
    folder.mkdir()
    check_same(folder, usual, LANG="C", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", without=("LC_CTYPE",))


def test_without_a_terminal_tables_fit_80_columns_and_nothing_is_coloured(tmp_path: Path, usual: Path) -> None:
    *progress, table = check_same(tmp_path, usual, COLUMNS="80", TERM="dumb")
    assert "\x1b" not in "".join(progress) + table
    assert max(map(len, table.splitlines())) <= 80
    assert "trained" in table


def test_a_strict_umask_holds_for_every_file(tmp_path: Path, usual: Path) -> None:
    make_tiny_project(tmp_path)
    before = set(tmp_path.rglob("*"))
    for command in COMMANDS:
        assert ssmlab(tmp_path, *command, umask=0o077).returncode == 0
    made = [path for path in tmp_path.rglob("*") if path not in before]
    assert len(made) > 5
    assert [path for path in made if stat.S_IMODE(path.stat().st_mode) & 0o077] == []
    assert checkpoints(tmp_path) == checkpoints(usual)


def test_a_source_archive_without_git_trains_the_same_models(tmp_path: Path, usual: Path) -> None:
    """The package alone, outside every checkout, and no `git` to be found."""
    code, programs = tmp_path / "source", tmp_path / "programs"
    shutil.copytree(ROOT / "ssmlab", code / "ssmlab", ignore=shutil.ignore_patterns("__pycache__"))
    programs.mkdir()
    (tmp_path / "project").mkdir()
    check_same(tmp_path / "project", usual, code=code, PATH=str(programs))


@as_root
def test_code_on_a_read_only_file_system_trains_the_same_models(tmp_path: Path, usual: Path) -> None:
    code, project = tmp_path / "source", tmp_path / "project"
    shutil.copytree(ROOT / "ssmlab", code / "ssmlab", ignore=shutil.ignore_patterns("__pycache__"))
    project.mkdir()
    mount = f"mount --bind {code} {code} && mount -o remount,ro,bind {code} && ! touch {code}/x 2>/dev/null"
    prefix = ("unshare", "--mount", "sh", "-c", f'{mount} || exit 99; exec "$@"', "sh")
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no file system may be mounted here")
    check_same(project, usual, code=code, prefix=prefix)
    assert list(code.rglob("*.pyc")) == []


@as_root
def test_another_user_reads_a_study_and_gets_one_line_for_what_may_not_be_written(tmp_path: Path, usual: Path) -> None:
    rights = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")  # this Python may lie in root's home
    other = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *rights)
    if shutil.which("setpriv") is None or subprocess.run([*other, "true"], check=False).returncode:
        pytest.skip("setpriv cannot become another user here")
    project = tmp_path / "project"
    shutil.copytree(usual, project)
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    shown = ssmlab(project, "runs", prefix=other, without=("HOME",))
    assert shown.returncode == 0 and "trained" in shown.stdout, shown.stdout + shown.stderr
    for command in (("prepare",), ("train", RUN)):
        refused = ssmlab(project, *command, prefix=other, without=("HOME",))
        errors = [line for line in (refused.stdout + refused.stderr).splitlines() if line]
        assert refused.returncode == 1 and len(errors) == 1, errors
        assert errors[0].startswith("error: ") and re.search(r"belongs to user|Permission denied", errors[0])
    assert before == {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}


def test_a_drive_without_modes_that_keeps_open_files_under_another_name_changes_nothing(
    tmp_path: Path, usual: Path
) -> None:
    """As on network drives: chmod is refused, and a removed file stays in its folder while it is open."""
    under, drive = tmp_path / "under", tmp_path / "drive"
    under.mkdir()
    drive.mkdir()
    refuse = ("--chmod-deny", "--chown-deny", "--chgrp-deny")
    if shutil.which("bindfs") is None or subprocess.run(["bindfs", *refuse, under, drive], check=False).returncode:
        pytest.skip("no drive can be made here (it needs the program bindfs and /dev/fuse)")
    try:
        with (drive / "open").open("w"):
            (drive / "open").unlink()
            assert len(list(drive.iterdir())) == 1
        with pytest.raises(PermissionError):
            drive.chmod(0o700)
        check_drive(drive, usual)
    finally:
        subprocess.run(["umount", drive], check=True)


@as_root
def test_a_drive_over_ssh_gives_the_same_models(tmp_path: Path, usual: Path) -> None:
    """A real network drive: no locks between machines, no hard links, and every call goes to a server and back."""
    if shutil.which("sshfs") is None or not SSHD.exists():
        pytest.skip("no drive can be mounted here (it needs the programs sshfs and sshd)")
    served, drive, key = tmp_path / "served", tmp_path / "drive", tmp_path / "key"
    served.mkdir()
    drive.mkdir()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    port = free_port()
    settings = f"""
        Port {port}
        ListenAddress 127.0.0.1
        HostKey {key}
        AuthorizedKeysFile {key}.pub
        PermitRootLogin yes
        StrictModes no
        UsePAM no
        Subsystem sftp internal-sftp
        PidFile none
    """
    (tmp_path / "sshd_config").write_text(settings)
    Path("/run/sshd").mkdir(exist_ok=True)  # sshd wants it
    server = subprocess.Popen([SSHD, "-D", "-f", tmp_path / "sshd_config"])
    asked = f"port={port},IdentityFile={key},StrictHostKeyChecking=no,UserKnownHostsFile=/dev/null"
    try:
        wait_for_port(port)
        subprocess.run(["sshfs", "-o", asked, f"root@127.0.0.1:{served}", drive], check=True)
        try:
            check_drive(drive, usual)
        finally:
            subprocess.run(["umount", drive], check=True)
    finally:
        server.terminate()
        server.wait()


@pytest.mark.skipif("SSMLAB_DRIVE" not in os.environ, reason="the variable SSMLAB_DRIVE names no folder on a drive")
def test_a_chosen_drive_gives_the_same_models(usual: Path) -> None:
    """Any folder on any drive: `try_nfs.sh` chooses one of NFS."""
    drive = Path(os.environ["SSMLAB_DRIVE"], f"ssmlab-{os.getpid()}")
    drive.mkdir()
    try:
        check_drive(drive, usual)
    finally:
        shutil.rmtree(drive)


def check_drive(drive: Path, usual: Path) -> None:
    """Train in a folder of a drive, then run a whole new project there: the models are those of `usual`."""
    (drive / "plain").mkdir()
    check_same(drive / "plain", usual)
    made = ssmlab(drive, "new", "project")
    assert made.returncode == 0, made.stderr
    make_tiny_project(drive / "project")
    for command in (("repro",), ("verify",)):
        done = ssmlab(drive / "project", *command)
        assert done.returncode == 0, done.stdout + done.stderr
    assert checkpoints(drive / "project") == checkpoints(usual)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait_for_port(port: int) -> None:
    for _ in range(100):
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.1)
    raise AssertionError("the server did not answer within 10 s")
