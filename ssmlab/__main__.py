"""`python -m ssmlab`: the command `ssmlab`, for those who start it with another program (torchrun)."""

from __future__ import annotations

import sys


def start() -> None:
    """Run the command line; Ctrl-C while Python still imports it is one line too."""
    try:
        from ssmlab.cli.app import main

        main()
    except KeyboardInterrupt:
        sys.stderr.write("error: stopped; nothing was done yet\n")
        sys.exit(130)


if __name__ == "__main__":
    start()
