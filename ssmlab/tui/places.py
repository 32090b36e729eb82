"""The screens of the TUI, in the order of their digit keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ssmlab.tui.screens.alerts import AlertsScreen
from ssmlab.tui.screens.base import LabScreen
from ssmlab.tui.screens.curves import CurvesScreen
from ssmlab.tui.screens.pipeline import PipelineScreen
from ssmlab.tui.screens.report import ReportScreen
from ssmlab.tui.screens.system import SystemScreen


@dataclass(frozen=True)
class Place:
    """A screen. `make` is None for the table of runs, which is always open, and for screens that the table opens."""

    name: str
    about: str
    make: Callable[[], LabScreen] | None = None

    @property
    def id(self) -> str:
        """The name of its key in tui.toml."""
        return f"go-{self.name}"


PLACES = (
    Place("runs", "the table of runs, their curves and logs"),
    Place("curves", "the curves of the marked runs, large, with a cursor", CurvesScreen),
    Place("compare", "the marked runs or groups side by side"),
    Place("pipeline", "which stages are out of date and why, and which are running", PipelineScreen),
    Place("report", "the study's report", ReportScreen),
    Place("system", "processor, memory, disk, GPUs, and the share of each run", SystemScreen),
    Place("samples", "test images that an attack has flipped"),
    Place("alerts", "what should be looked at", AlertsScreen),
)
