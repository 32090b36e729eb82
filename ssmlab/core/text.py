"""How durations, fractions, lists and untrusted names are written for readers."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Sequence

LONGEST_LINE = 600  # characters of an error; a longer one would hide the earlier content of the screen
MOST_NAMES = 8  # in a message; a grid has hundreds of runs


def duration(seconds: float) -> str:
    """Seconds in at most six characters: `42s`, `12m05s`, `3h07m`, `2d04h`, `999d+`; `?` if they are not finite."""
    if not math.isfinite(seconds):
        return "?"
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    days, h = divmod(hours, 24)
    if days > 999:
        return "999d+"
    if days > 99:
        return f"{days}d"
    if days:
        return f"{days}d{h:02}h"
    if hours:
        return f"{hours}h{m:02}m"
    return f"{minutes}m{s:02}s" if minutes else f"{s}s"


def percent(fraction: float) -> str:
    """0.8132 is `81.3%`."""
    return f"{100 * fraction:.1f}%"


def listed(words: Iterable[object], last_word: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`; `none` for an empty list. `last_word` replaces the `and`."""
    parts = [str(word) for word in words]
    if not parts:
        return "none"
    *first, last = parts
    return f"{', '.join(first)} {last_word} {last}" if first else last


def few(names: Sequence[str]) -> list[str]:
    """The names, or if they are too many for a message, the first ones and how many more there are."""
    if len(names) <= MOST_NAMES:
        return list(names)
    shown = names[: MOST_NAMES - 1]
    return [*shown, f"{len(names) - len(shown)} more"]


def plural(noun: str, count: int) -> str:
    """`step` for a count of 1, `steps` otherwise."""
    return noun if count == 1 else f"{noun}s"


def printable(text: str, limit: int = LONGEST_LINE) -> str:
    """`text` as one line of at most `limit` characters without control codes, so it is safe to print on a terminal.

    White space becomes single spaces. Control characters, lone surrogates and other characters that are not shown
    become escapes such as `\\x1b`. The middle of a longer text is left out, because the two ends contain the most
    information.
    """
    line = "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in " ".join(text.split())
    )
    if len(line) <= limit:
        return line
    end = (limit - 5) // 3
    return f"{line[: limit - 5 - end]} ... {line[len(line) - end :]}"


def printable_lines(text: str) -> str:
    """`text` with its lines and spaces, but with every character that is not shown as an escape such as `\\x1b`."""
    shown = (each if each.isprintable() or each in "\n\t" else each.encode("unicode_escape").decode() for each in text)
    return "".join(shown)


def hint(name: str, known: Iterable[str], kind: str = "") -> str:
    """The text after "unknown name": the nearest known name if there is one, otherwise the first few known names.

    `did you mean 'ads'?`, or `runs: ssm, ads and 298 more`, with `kind` "runs".
    """
    names = list(dict.fromkeys(known))
    near = nearest(name, names)
    if near is not None:
        return f"did you mean '{near}'?"
    return f"{kind}: {listed(few(names))}" if kind else listed(few(names))


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant: a similar one, or the only one that begins so; None if there is none.

    Capital letters do not matter.
    """
    names = {each.casefold(): each for each in known}
    typed = name.casefold()
    similar = difflib.get_close_matches(typed, names, n=1, cutoff=0.6)
    longer = [each for each in names if typed and each.startswith(typed)]
    if similar:
        return names[similar[0]]
    return names[longer[0]] if len(longer) == 1 else None
