"""`python -m ssmlab`: the command `ssmlab`, for those who start it with another program (torchrun)."""

from ssmlab.cli.app import main

main()
