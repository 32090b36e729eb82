"""Runs attack tasks in a worker process.

This module must be fast to import (see `ssmlab.system.workers`), so torch is imported only with the inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ssmlab.evaluation.tasks import AttackInputs, AttackOutcome, AttackTask


def worker(inputs: AttackInputs) -> Callable[[AttackTask], AttackOutcome]:
    """Create a runner with one thread and return the function that runs tasks."""
    import torch

    from ssmlab.evaluation.tasks import AttackRunner

    torch.set_num_threads(1)
    return AttackRunner(inputs).run
