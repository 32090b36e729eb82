"""The version, in a file of its own: checkpoints carry it, and reading it must import nothing else."""

__version__ = "0.2.0"
