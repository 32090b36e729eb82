"""How the TUI writes states, accuracies, rates and durations: short, aligned, and never by colour alone."""

from __future__ import annotations

from ssmlab.core.text import duration, percent
from ssmlab.project.status import RunStatus

NOTHING = "-"

GLYPHS = {
    "waiting": "·",
    "queued": "…",
    "training": "▶",
    "attacking": "◆",
    "trained": "✓",
    "finished": "✔",
    "stopped": "■",
    "failed": "✗",
    "killed": "†",
    "stale": "?",
    "changed": "≠",
}

MEANINGS = {
    "waiting": "nothing of it yet",
    "queued": "the pipeline at work will come to it",
    "training": "being trained",
    "attacking": "its checkpoints are being attacked",
    "trained": "trained, not attacked yet",
    "finished": "trained and attacked",
    "stopped": "ended before its last epoch, by Ctrl-C or stop",
    "failed": "ended by an error: see its log",
    "killed": "its process is gone without a word",
    "stale": "no sign of life for a minute",
    "changed": "made with other params or data than the present ones",
}

# Names of Textual theme variables, so that every theme, light or dark, has its own shade.
COLOURS = {
    "training": "text-primary",
    "attacking": "text-primary",
    "trained": "text-success",
    "finished": "text-success",
    "stopped": "text-warning",
    "stale": "text-warning",
    "changed": "text-warning",
    "failed": "text-error",
    "killed": "text-error",
}

# Readable on dark and on light ground, and apart for the colour-blind as far as eight colours can be.
CURVES = ("#4c9be8", "#e8894c", "#3fae7c", "#d4628f", "#9f86d9", "#bf9a1f", "#35adb0", "#dd5f5d")


def curve_colour(index: int) -> str:
    """The colour of the run at this place in params.yaml."""
    return CURVES[index % len(CURVES)]


def state(status: RunStatus) -> str:
    """`▶ training`."""
    return f"{GLYPHS[status.state]} {status.state}"


def accuracy(fraction: float | None) -> str:
    """An accuracy in [0, 1] as `81.2`: the column's head says that it is a percentage."""
    return NOTHING if fraction is None else percent(fraction).removesuffix("%")


def epochs(status: RunStatus) -> str:
    """`3/10`."""
    return f"{status.epoch}/{status.epochs}" if status.epoch else NOTHING


def rate(images_per_second: float | None) -> str:
    """Images a second, in at most five characters: `834`, `12.3k`."""
    if images_per_second is None:
        return NOTHING
    return f"{images_per_second:.0f}" if images_per_second < 1000 else f"{images_per_second / 1000:.1f}k"


def span(seconds: float | None) -> str:
    """A length of time in at most six characters: `12m05s`."""
    return NOTHING if seconds is None else duration(seconds)
