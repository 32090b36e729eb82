"""ssmlab: a laboratory for the adversarial robustness of deep state space models.

The public Python API is two functions: `load` reads a checkpoint, `evaluate` attacks a model. They are imported when
they are first used, so that `import ssmlab` and the CLI do not pay for torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssmlab.artifacts.checkpoint import load
    from ssmlab.evaluation.evaluate import evaluate

from ssmlab.core.version import __version__

__all__ = ["__version__", "evaluate", "load"]


def __getattr__(name: str) -> Any:
    if name == "load":
        from ssmlab.artifacts.checkpoint import load

        return load
    if name == "evaluate":
        from ssmlab.evaluation.evaluate import evaluate

        return evaluate
    raise AttributeError(f"module 'ssmlab' has no attribute '{name}'")
