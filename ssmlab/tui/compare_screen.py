"""Runs side by side: what differs, parameters, clean and robust accuracies."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from rich.console import RenderableType
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import ScrollableContainer
from textual.screen import Screen
from textual.widgets import Footer, Static

from ssmlab.analysis.compare.compare import compare
from ssmlab.core.errors import ProtocolMismatch, UserError
from ssmlab.params.paths import Paths
from ssmlab.report.terminal.tables import render


class CompareScreen(Screen[None]):
    """The comparison that `ssmlab compare` prints, of the runs that were marked; the first is the reference."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,c", "app.pop_screen", "back", key_display="esc"),
        Binding("f", "force", "compare anyway"),
        Binding("q", "app.quit", "quit"),
    ]

    def __init__(self, names: list[str], paths: Paths) -> None:
        super().__init__()
        self.names = names
        self.paths = paths
        self.unequal = False

    def compose(self) -> ComposeResult:
        """A heading, the comparison, a notice, the keys."""
        yield Static(f"compare  {' · '.join(self.names)}", id="heading", classes="title", markup=False)
        with ScrollableContainer(id="comparison"):
            yield Static("", id="text", markup=False)
        yield Static("", id="notice", classes="silent", markup=False)
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Begin to compare."""
        self.query_one("#comparison").focus()
        self.show_comparison()

    def check_action(self, action: str, _: tuple[object, ...]) -> bool | None:
        """Offer to force the comparison only where it was refused."""
        return self.unequal if action == "force" else True

    def action_force(self) -> None:
        """Compare in spite of unequal protocols; the comparison says so."""
        self.show_comparison(force=True)

    @work(exclusive=True)
    async def show_comparison(self, force: bool = False) -> None:
        """Compare beside the event loop, and show the outcome or why there is none."""
        notice = self.query_one("#notice", Static)
        try:
            comparison = await asyncio.to_thread(drawn_comparison, self.names, self.paths, force)
        except UserError as error:
            self.unequal = isinstance(error, ProtocolMismatch)
            notice.update(str(error))
            notice.set_classes("bad")
        else:
            self.unequal = False
            self.query_one("#text", Static).update(comparison)
            notice.set_classes("silent")
        self.refresh_bindings()


def drawn_comparison(names: list[str], paths: Paths, force: bool) -> RenderableType:
    """The table of `ssmlab compare`; raises UserError as `compare` does."""
    return render(compare(names, paths, force=force), "table")
