"""The windows over the study: a question before something is stopped, a run's details, the keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from rich.table import Table
from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from ssmlab.analysis.protocol import dotted_leaves
from ssmlab.params import Params
from ssmlab.project.status import RunStatus
from ssmlab.tui import labels


class Question(ModalScreen[bool]):
    """Asks before something that cannot be undone; the safe answer is the one that Enter gives."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("y", "answer(True)", "yes"),
        ("n", "answer(False)", "no"),
        ("escape", "answer(False)", "no"),
    ]

    def __init__(self, question: str, consequence: str, yes: str, no: str) -> None:
        super().__init__()
        self.question, self.consequence, self.yes, self.no = question, consequence, yes, no

    def compose(self) -> ComposeResult:
        """The question, what follows from a yes, and two buttons."""
        with Vertical(classes="dialog"):
            yield Static(self.question, classes="question", markup=False)
            yield Static(self.consequence, classes="consequence", markup=False)
            with Horizontal(classes="buttons"):
                yield Button(f"{self.no} (n)", id="no", compact=True)
                yield Button(f"{self.yes} (y)", id="yes", variant="error", compact=True)

    def on_mount(self) -> None:
        """Start on the safe answer."""
        self.query_one("#no", Button).focus()

    @on(Button.Pressed)
    def pressed(self, event: Button.Pressed) -> None:
        """Answer by button."""
        self.dismiss(event.button.id == "yes")

    def action_answer(self, answer: bool) -> None:
        """Answer by key."""
        self.dismiss(answer)


class Reading(ModalScreen[None]):
    """Something to read in a window of its own; Escape, Enter, q or a click beside it closes it."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape,enter,q", "dismiss_none", "close")]

    def __init__(self, title: str, content: Table | Text) -> None:
        super().__init__()
        self.heading = title
        self.content = content

    def compose(self) -> ComposeResult:
        """The text, scrollable."""
        with VerticalScroll(classes="reading") as window:
            window.border_title = Text(self.heading).markup
            window.border_subtitle = "esc closes"
            yield Static(self.content)

    def on_click(self, event: Any) -> None:
        """Close on a click beside the window."""
        if event.widget is self:
            self.dismiss(None)

    def action_dismiss_none(self) -> None:
        """Close."""
        self.dismiss(None)


def details(status: RunStatus, params: Params, now: float) -> Reading:
    """A run whole: how it stands, and every parameter, those bold in which the study's runs differ."""
    table = Table.grid(padding=(0, 2))
    for key, value in standing(status, now):
        table.add_row(Text(key, style="dim"), Text(value))
    table.add_row("", "")
    runs = {name: dict(dotted_leaves(run.plain())) for name, run in params.runs.items()}
    for key, value in runs[status.name].items():
        differs = any(other.get(key) != value for other in runs.values())
        table.add_row(Text(key, style="bold" if differs else "dim"), Text(str(value), style="bold" if differs else ""))
    return Reading(f"{status.name} of {params.study}", table)


def standing(status: RunStatus, now: float) -> Iterator[tuple[str, str]]:
    """How a run stands, as pairs of a word and a value."""
    yield "state", f"{labels.GLYPHS[status.state]} {status.words}" + (f": {status.task}" if status.task else "")
    for reason in status.reasons:
        yield "changed", reason
    if status.updated is not None:
        yield "last sign of life", f"{labels.span(max(0.0, now - status.updated))} ago"
    if status.rows:
        yield "now", f"epoch {status.rows[-1].epoch}: {accuracies(status.clean, status.robust)}"
        yield "best", f"epoch {status.best_epoch}: {accuracies(status.best_clean, status.best_robust)}"


def accuracies(clean: float | None, robust: float | None) -> str:
    """`81.2 clean, 64.0 robust`, in percent."""
    return f"{labels.accuracy(clean)} clean, {labels.accuracy(robust)} robust"


KEYS = {
    "↑ ↓": "move; the curves and the log follow",
    "space": "mark a run: marked runs share the curves",
    "a": "mark all runs, or none",
    "enter": "a run's details (or click it twice)",
    "c": "compare the marked runs",
    "r": "launch the marked runs, or the one under the cursor",
    "R": "launch everything that is out of date",
    "s": "stop what was launched (asks first)",
    "l": "the log: of the run, or of the launch",
    "tab": "to the log and back, to scroll",
    "ctrl+p": "themes and more",
    "q": "quit; what runs goes on running",
}


def keys() -> Reading:
    """The keys, and what the states mean."""
    table = Table.grid(padding=(0, 2))
    for key, meaning in KEYS.items():
        table.add_row(Text(key, style="bold"), meaning)
    table.add_row("", "")
    for word, meaning in labels.MEANINGS.items():
        table.add_row(f"{labels.GLYPHS[word]} {word}", Text(meaning, style="dim"))
    return Reading("keys and states", table)
