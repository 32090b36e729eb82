"""The version, in its own file: checkpoints contain it, and reading it must import nothing else."""

__version__ = "0.2.0"
