"""What a worker process makes of the material it is sent.

It is light to import, as `ssmlab.system.workers` asks for: torch comes with the material.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ssmlab.evaluation.tasks import Material, Outcome, Task


def worker(material: Material) -> Callable[[Task], Outcome]:
    """A bench with one thread; what it returns carries out tasks."""
    import torch

    from ssmlab.evaluation.tasks import Bench

    torch.set_num_threads(1)
    return Bench(material).run
