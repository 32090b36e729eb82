"""ssmlab: a laboratory for the adversarial robustness of deep state space models.

The public Python API; `help(ssmlab.load)` and so on say more:

- load: the model of a checkpoint, and its metadata
- load_data: the prepared images of a study, as tensors
- evaluate: the accuracy of a model on clean and attacked images
- pgd, Attack: the attack of the training, and its settings
- results, history, flags: a study's accuracies, learning curves and correct images, as pandas frames
- compare: runs, groups of seeds or checkpoint files side by side
- UserError: the error for everything that a user can correct

The names are imported when they are first used, so that `import ssmlab` and the command line do not wait for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ssmlab.core.errors import UserError
from ssmlab.core.version import __version__

if TYPE_CHECKING:
    from ssmlab.analysis.compare.compare import compare
    from ssmlab.artifacts.checkpoint import load
    from ssmlab.data.dataset import load_data
    from ssmlab.evaluation.evaluate import evaluate
    from ssmlab.report.frames import flags, history, results
    from ssmlab.training.adversary import pgd
    from ssmlab.training.attack import Attack

__all__ = [
    "Attack",
    "UserError",
    "__version__",
    "compare",
    "evaluate",
    "flags",
    "history",
    "load",
    "load_data",
    "pgd",
    "results",
]

LAZY = {
    "Attack": "ssmlab.training.attack",
    "compare": "ssmlab.analysis.compare.compare",
    "evaluate": "ssmlab.evaluation.evaluate",
    "flags": "ssmlab.report.frames",
    "history": "ssmlab.report.frames",
    "load": "ssmlab.artifacts.checkpoint",
    "load_data": "ssmlab.data.dataset",
    "pgd": "ssmlab.training.adversary",
    "results": "ssmlab.report.frames",
}


def __getattr__(name: str) -> Any:
    if name not in LAZY:
        raise AttributeError(f"module 'ssmlab' has no attribute '{name}'")
    value = globals()[name] = getattr(import_module(LAZY[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
