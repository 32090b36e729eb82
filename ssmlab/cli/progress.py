"""The display of a stage's events: a live bar with accuracies and ETA on a terminal, plain lines in a pipe."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import typer

from ssmlab.core import events
from ssmlab.core.text import duration

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

SECONDS_BETWEEN_PLAIN_LINES = 30.0


@contextmanager
def display(console: Console) -> Iterator[events.Listener]:
    """A listener that draws on `console` within the block."""
    if not console.is_terminal:
        yield plain_listener(partial(console.print, soft_wrap=True, markup=False, highlight=False), time.monotonic)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn  # slow to import
    from rich.table import Column

    bar = Progress(
        TextColumn("{task.description}", table_column=Column(min_width=14)),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[reading]}"),
        console=console,
        refresh_per_second=4,
        transient=True,
    )
    with bar:
        yield live_listener(bar)


def live_listener(bar: Progress) -> events.Listener:
    """One bar for the current task; notes scroll above it."""
    task: TaskID | None = None
    name = ""

    def listen(event: events.Event) -> None:
        nonlocal task, name
        if isinstance(event, events.Note):
            bar.console.print(text_of(event), style="yellow" if event.warning else None, highlight=False, markup=False)
            return
        if task is None or event.task != name:
            if task is not None:
                bar.remove_task(task)
            task, name = bar.add_task(event.task, reading=""), event.task
        bar.update(task, completed=event.done, total=event.total, reading=reading(event))

    return listen


def plain_listener(show: Callable[[str], None], clock: Callable[[], float]) -> events.Listener:
    """Every note as a line, and sometimes a line of progress, so that a log shows that work continues."""
    last = clock()

    def listen(event: events.Event) -> None:
        nonlocal last
        if isinstance(event, events.Note):
            show(text_of(event))
        elif clock() - last < SECONDS_BETWEEN_PLAIN_LINES:
            return
        else:
            show(f"{event.task}  {event.done}/{event.total}  {reading(event)}".rstrip())
        last = clock()

    return listen


def tell(event: events.Event) -> None:
    """Print a note of a command that is not a stage, as a line on stderr."""
    if isinstance(event, events.Note):
        typer.secho(text_of(event), err=True, fg=typer.colors.YELLOW if event.warning else None)


def text_of(note: events.Note) -> str:
    """A note as a line."""
    return f"warning: {note.text}" if note.warning else note.text


def reading(event: events.Progress) -> str:
    """The numbers next to a bar: `clean 91.2%  robust 74.0%  1,234 images/s  ETA 42s`."""
    parts = []
    if event.clean is not None:
        parts.append(f"clean {event.clean:.1%}")
    if event.robust is not None:
        parts.append(f"robust {event.robust:.1%}")
    if event.images_per_second is not None:
        parts.append(f"{event.images_per_second:,.0f} images/s")
    if event.eta is not None:
        parts.append(f"ETA {duration(event.eta)}")
    return "  ".join(parts)
