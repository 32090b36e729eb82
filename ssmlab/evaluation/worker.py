"""What a worker process makes of the inputs it is sent.

It is light to import, as `ssmlab.system.workers` asks for: torch comes with the inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ssmlab.evaluation.tasks import AttackInputs, AttackOutcome, AttackTask


def worker(inputs: AttackInputs) -> Callable[[AttackTask], AttackOutcome]:
    """A runner with one thread; what it returns carries out tasks."""
    import torch

    from ssmlab.evaluation.tasks import AttackRunner

    torch.set_num_threads(1)
    return AttackRunner(inputs).run
