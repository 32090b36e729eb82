"""How the TUI writes states, accuracies, rates and durations: short, aligned, and never only by colour."""

from __future__ import annotations

from ssmlab.core import text

NOTHING = "-"

GLYPHS = {
    "waiting": "·",
    "queued": "…",
    "training": "▶",
    "attacking": "◆",
    "probing": "◇",
    "trained": "✓",
    "finished": "✔",
    "changed": "≠",
    "stopped": "■",
    "stopped early": "■",
    "failed": "✗",
    "killed": "†",
    "stale": "?",
}

MEANINGS = {
    "waiting": "not started",
    "queued": "the running pipeline will start it",
    "training": "being trained",
    "attacking": "its checkpoints are being attacked",
    "probing": "its checkpoints are being probed",
    "trained": "trained, not attacked yet",
    "finished": "trained and attacked",
    "changed": "params, data or code have changed since it ran",
    "stopped": "stopped by the user; early: before its last epoch",
    "failed": "ended with an error: see its log",
    "killed": "its process ended without an error message",
    "stale": "running, but no heartbeat for over a minute",
}

# Names of Textual theme variables, so that every theme uses its own shade.
COLOURS = {
    "training": "text-primary",
    "attacking": "text-primary",
    "probing": "text-primary",
    "trained": "text-success",
    "finished": "text-success",
    "changed": "text-warning",
    "stopped": "text-warning",
    "stopped early": "text-warning",
    "stale": "text-warning",
    "failed": "text-error",
    "killed": "text-error",
}

# Readable on dark and light backgrounds, and as distinct for colour-blind readers as eight colours can be.
CURVES = ("#4c9be8", "#e8894c", "#3fae7c", "#d4628f", "#9f86d9", "#bf9a1f", "#35adb0", "#dd5f5d")
# Seven shapes and eight colours have no common divisor, so 56 runs have different combinations.
MARKERS = ("●", "■", "▲", "◆", "○", "□", "△")


def curve_colour(index: int) -> str:
    """The colour of the run at this place in params.yaml, `#rrggbb`."""
    return CURVES[index % len(CURVES)]


def curve_marker(index: int) -> str:
    """The marker of the run at this place in params.yaml: one character, one cell wide."""
    return MARKERS[index % len(MARKERS)]


def state(word: str) -> str:
    """`▶ training`."""
    return f"{GLYPHS.get(word, '·')} {word}"


def accuracy(value: float | None) -> str:
    """An accuracy in [0, 1] as percent: `81.2`."""
    return NOTHING if value is None else f"{100 * value:.1f}"


def difference(value: float | None) -> str:
    """A difference of two accuracies as points: `+2.5`."""
    return NOTHING if value is None else f"{100 * value:+.1f}"


def rate(images_per_second: float | None) -> str:
    """Images per second, in at most five characters: `834`, `12.3k`."""
    if images_per_second is None:
        return NOTHING
    return f"{images_per_second:.0f}" if images_per_second < 1000 else f"{images_per_second / 1000:.1f}k"


def short_duration(seconds: float | None) -> str:
    """Seconds in at most six characters; `-` if they are unknown."""
    return NOTHING if seconds is None else text.duration(seconds)


def age(seconds: float | None) -> str:
    """An age: `now`, `4m`, `3h`, `12d`. It is coarse, so that an idle table is rarely redrawn."""
    if seconds is None:
        return NOTHING
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f}{unit}"
    return "now"


def byte_size(count: float | None) -> str:
    """Bytes as `3.2 GB`."""
    if count is None:
        return "n/a"
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
