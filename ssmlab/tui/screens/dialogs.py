"""The windows above a screen: a question, a text to read, a list to choose from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from rich.console import RenderableType
from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, OptionList, Static
from textual.widgets.option_list import Option


class Question(ModalScreen[str]):
    """Asks before an action; its result is the text of the chosen answer, or "" for the safe answer.

    Args:
        answers: texts with their keys (`("stop gracefully", "g")`).
        safe: the text of the safe answer.
    """

    BINDINGS: ClassVar[list[BindingType]] = [("escape,n", "answer('')", "no")]

    def __init__(self, question: str, consequence: str, answers: Sequence[tuple[str, str]], safe: str) -> None:
        super().__init__()
        self.question, self.consequence, self.answers, self.safe = question, consequence, answers, safe

    def compose(self) -> ComposeResult:
        """The question, its consequences, and a button for every answer."""
        with Vertical(classes="dialog"):
            yield Static(self.question, classes="question", markup=False)
            yield Static(self.consequence, classes="consequence", markup=False)
            with Horizontal(classes="buttons"):
                yield Button(f"{self.safe} (n)", id="safe", compact=True)
                for place, (word, key) in enumerate(self.answers):
                    yield Button(f"{word} ({key})", id=f"answer-{place}", variant="warning", compact=True)

    def on_mount(self) -> None:
        """Focus the safe answer, so that Enter does no harm."""
        self.query_one("#safe", Button).focus()

    @on(Button.Pressed)
    def pressed(self, event: Button.Pressed) -> None:
        number = (event.button.id or "").removeprefix("answer-")
        self.dismiss(self.answers[int(number)][0] if number.isdigit() else "")

    def on_key(self, event: Any) -> None:
        for word, key in self.answers:
            if event.key == key:
                event.stop()
                self.dismiss(word)

    def action_answer(self, answer: str) -> None:
        self.dismiss(answer)


class Reading(ModalScreen[None]):
    """A text in a window; Escape, Enter, q or a click beside the window closes it."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape,enter,q,question_mark", "close", "close")]

    def __init__(self, title: str, content: RenderableType) -> None:
        super().__init__()
        self.heading = title
        self.content = content

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="reading") as window:
            window.border_title = Text(self.heading).markup
            window.border_subtitle = "esc closes"
            yield Static(self.content)

    def on_click(self, event: Any) -> None:
        """Close on a click beside the window."""
        if event.widget is self:
            self.dismiss(None)

    def action_close(self) -> None:
        self.dismiss(None)


class Choice(ModalScreen[str]):
    """A list of words with their meanings; its result is the chosen word, or ""."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape,q", "close", "close")]

    def __init__(self, title: str, options: Sequence[tuple[str, str]], at: str = "") -> None:
        super().__init__()
        self.heading, self.options, self.at = title, options, at

    def compose(self) -> ComposeResult:
        with Vertical(classes="reading") as window:
            window.border_title = Text(self.heading).markup
            lines = [
                Option(Text.assemble(word, "  ", (about, "dim")), id=f"o{i}") for i, (word, about) in self.numbered()
            ]
            yield OptionList(*lines)

    def numbered(self) -> list[tuple[int, tuple[str, str]]]:
        return list(enumerate(self.options))

    def on_mount(self) -> None:
        """Highlight the current choice."""
        words = [word for word, _ in self.options]
        if self.at in words:
            self.query_one(OptionList).highlighted = words.index(self.at)

    @on(OptionList.OptionSelected)
    def chosen(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self.options[event.option_index][0])

    def action_close(self) -> None:
        self.dismiss("")
