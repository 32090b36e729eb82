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
