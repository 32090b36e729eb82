"""The list of alerts; Enter goes to the run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from rich.text import Text
from textual import on
from textual.binding import BindingType
from textual.widget import Widget
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from ssmlab.tui.alerts import Alert
from ssmlab.tui.look import Look
from ssmlab.tui.screens.base import BACK, LabScreen
from ssmlab.tui.widgets.runs_table import RunsTable


class AlertsScreen(LabScreen):
    """All alerts, the project's first."""

    heading = "alerts"
    BINDINGS: ClassVar[list[BindingType]] = [*BACK]

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[Alert] | None = None

    def body(self) -> Iterable[Widget]:
        yield OptionList(id="alerts")

    def on_mount(self) -> None:
        self.query_one(OptionList).focus()

    def show_look(self, look: Look) -> None:  # noqa: ARG002 - the app has found the alerts already
        """Draw the alerts if they have changed."""
        alerts = self.lab.alerts
        if alerts == self.shown:
            return
        self.shown = list(alerts)
        options = self.query_one(OptionList)
        options.clear_options()
        if not alerts:
            options.add_option(Option("no alerts: no run has diverged, failed or gone silent, and the disk has space"))
        for alert in alerts:
            text = Text.assemble((f"! {alert.kind}", "bold"), f"  {alert.run}\n  ", (alert.text, "dim"))
            options.add_option(Option(text))
        options.highlighted = 0

    @on(OptionList.OptionSelected)
    async def go_to_run(self, event: OptionList.OptionSelected) -> None:
        """Go back to the table, to this run."""
        alerts = self.shown or []
        if event.option_index < len(alerts) and alerts[event.option_index].run:
            run = alerts[event.option_index].run
            self.lab.back_to_runs()
            self.app.screen_stack[0].query_one(RunsTable).move_to(run)
