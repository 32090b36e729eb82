"""The window for editing common parameters of a run."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Label, Static

from ssmlab.core.errors import UserError
from ssmlab.params import Params
from ssmlab.params.train import REGIMES
from ssmlab.project.edit import RunEdit, edit_run, run_values

ABOUT = {
    "epochs": "passes over the training images",
    "eps": "of the training adversary, such as 8/255",
    "seed": "of weights, order and random starts",
    "regime": ", ".join(REGIMES),
}


class EditRun(ModalScreen[RunEdit | None]):
    """Asks for new values; its result is a valid edit, or None for no change."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape", "close", "close")]

    def __init__(self, path: Path, params: Params, run: str) -> None:
        super().__init__()
        self.path, self.params, self.run_name = path, params, run

    def compose(self) -> ComposeResult:
        """A line for every field."""
        with Vertical(classes="dialog") as window:
            window.border_title = f"edit {self.run_name}"
            for name, value in run_values(self.params, self.run_name).items():
                with Horizontal(classes="field"):
                    yield Label(name, classes="name")
                    yield Input(value, id=f"edit-{name}", compact=True)
                    yield Label(ABOUT[name], classes="about")
            yield Static("Enter shows what would change; Escape leaves everything as it is.", id="edit-notice")

    def on_mount(self) -> None:
        self.query(Input).first().focus()

    @on(Input.Submitted)
    def submit(self) -> None:
        """Validate the values; an error is shown in place."""
        values = {name: self.query_one(f"#edit-{name}", Input).value for name in ABOUT}
        try:
            edit = edit_run(self.path, self.run_name, values)
        except UserError as error:
            self.query_one("#edit-notice", Static).update(str(error))
            self.query_one("#edit-notice").add_class("bad")
            return
        self.dismiss(edit if edit.diff else None)

    def action_close(self) -> None:
        self.dismiss(None)
