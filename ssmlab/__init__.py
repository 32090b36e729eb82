"""ssmlab: a laboratory for the adversarial robustness of deep state space models.

The names below are the public Python API. They are imported when they are first used, so that `import ssmlab` and the
command line do not wait for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ssmlab.core.errors import UserError
from ssmlab.core.version import __version__

if TYPE_CHECKING:
    from ssmlab.artifacts.checkpoint import load
    from ssmlab.data.dataset import load_data
    from ssmlab.evaluation.evaluate import evaluate
    from ssmlab.training.adversary import pgd
    from ssmlab.training.attack import Attack

__all__ = ["Attack", "UserError", "__version__", "evaluate", "load", "load_data", "pgd"]

LAZY = {
    "Attack": "ssmlab.training.attack",
    "evaluate": "ssmlab.evaluation.evaluate",
    "load": "ssmlab.artifacts.checkpoint",
    "load_data": "ssmlab.data.dataset",
    "pgd": "ssmlab.training.adversary",
}


def __getattr__(name: str) -> Any:
    if name not in LAZY:
        raise AttributeError(f"module 'ssmlab' has no attribute '{name}'")
    value = globals()[name] = getattr(import_module(LAZY[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
