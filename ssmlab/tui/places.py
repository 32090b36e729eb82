"""The screens of the laboratory, in the order of their digits."""

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
    """A screen. make: makes it; None for the runs, which are always there, and for what the runs open themselves."""

    name: str
    about: str
    make: Callable[[], LabScreen] | None = None

    @property
    def id(self) -> str:
        """What tui.toml calls its key."""
        return f"go-{self.name}"


PLACES = (
    Place("runs", "the table of runs, their curves and logs"),
    Place("curves", "the curves of the marked runs, large, with a cursor", CurvesScreen),
    Place("compare", "the marked runs or groups side by side"),
    Place("pipeline", "what is out of date and why, and what runs", PipelineScreen),
    Place("report", "the study's report", ReportScreen),
    Place("system", "processor, memory, disk, GPUs, and what each run takes", SystemScreen),
    Place("alerts", "what should be looked at", AlertsScreen),
)
