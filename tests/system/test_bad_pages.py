"""A page of a mapped file that cannot be read ends the process with one line instead of a signal."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import mmap, os, sys
from ssmlab.system.bad_pages import ending_at_bad_page
with open(sys.argv[1], "r+b") as file:
    mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    file.truncate(0)
    with ending_at_bad_page(lambda path: print("bad:", path, flush=True)):
        print("before", flush=True)
        if sys.argv[2] == "inside":
            mapped[5000]
    print("after", flush=True)
    mapped[5000]
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the signal's details are Linux's")
@pytest.mark.parametrize(
    ("where", "says", "code"), [("inside", "before\nbad: {}\n", 1), ("outside", "before\nafter\n", -7)]
)
def test_a_bad_page_is_named_and_ends_the_process_within_the_block_alone(
    where: str, says: str, code: int, tmp_path: Path
) -> None:
    file = tmp_path / "mapped"
    file.write_bytes(b"x" * 10_000)
    command = [sys.executable, "-c", SCRIPT, str(file), where]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (code, says.format(file), "")


def test_every_command_of_the_cli_is_such_a_block(tmp_path: Path) -> None:
    script = """
import mmap, sys
from ssmlab.project import own_digests
def map_a_cut_file(path):
    with open("mapped", "w+b") as file:
        file.write(b"x" * 10_000)
        file.flush()
        mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        file.truncate(0)
        return mapped[5000]
own_digests.check_prepared = map_a_cut_file
sys.argv = ["ssmlab", "data", "show", "x.safetensors"]
from ssmlab.cli.app import main
main()
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {tmp_path}/mapped: cannot be read") and done.stderr.count("\n") == 1
