"""Small programs in DVC's place, and what can be seen of their processes."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable

import pytest

from ssmlab.project.launched import Launched

# A leader that ignores SIGINT while its child works, as DVC does, and a child that takes SIGINT as an order to end.
FAMILY = """
import signal, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", '''
import signal, sys, time
signal.signal(signal.SIGINT, lambda *_: (print("child: last words", flush=True), sys.exit(3)))
print("child: at work", flush=True)
time.sleep(60)
'''])
signal.signal(signal.SIGINT, signal.SIG_IGN)
child.wait()
print("ERROR: failed to reproduce 'train@ads'", flush=True)
sys.exit(1)
"""


DEAF = """
import signal, time
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
print("deaf: at work", flush=True)
time.sleep(60)
"""


ORPHANING = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "print('orphan: at work', flush=True); import time; time.sleep(60)"])
"""


Fake = Callable[[str], None]


def until(condition: Callable[[], object]) -> None:
    """Wait for something that another process does; fail after a minute."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def says(launched: Launched, text: str) -> bool:
    return text in launched.log.read_text()


def group_members(group: int) -> list[str]:
    """Running processes of the group, as `ps` knows them."""
    if shutil.which("ps") is None:
        pytest.skip("needs ps to count processes independently")
    listing = subprocess.run(["ps", "-e", "-o", "pgid=,stat=,pid="], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in listing.splitlines()]
    return [pid for pgid, stat, pid in rows if int(pgid) == group and "Z" not in stat]
