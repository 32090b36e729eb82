"""Arms the library of faults (inject.c) in one process of many; Python imports this file at the start of each.

It is the process whose command line contains FAULT_PROCESS. FAULT_FOLDER, FAULT_AT and FAULT_KIND say what to break. A
process that is not killed writes to FAULT_TOLD how many changes of the disk it made.
"""

import atexit
import ctypes
import os
from pathlib import Path

words = Path("/proc/self/cmdline").read_text().replace("\0", " ")
if os.environ.get("FAULT_PROCESS", "\0") in words:
    library = ctypes.CDLL(os.environ["SSMLAB_FAULTS"])
    library.fault_arm(os.environ["FAULT_FOLDER"].encode(), int(os.environ["FAULT_AT"]), int(os.environ["FAULT_KIND"]))
    atexit.register(lambda: Path(os.environ["FAULT_TOLD"]).write_text(str(library.fault_disarm())))
