"""The screens of the TUI, in the order of their digit keys."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from ssmlab.tui.screens.base import LabScreen


@dataclass(frozen=True)
class Place:
    """A screen.

    Attributes:
        where: `MODULE:CLASS` below ssmlab.tui.screens. It is imported when the screen is opened, because the first
            screen does not need it. Empty for the table of runs, which is always open, and for screens that it opens.
    """

    name: str
    about: str
    where: str = ""

    @property
    def id(self) -> str:
        """The name of its key in tui.toml."""
        return f"go-{self.name}"

    def make(self) -> LabScreen:
        """A new screen."""
        module, _, name = self.where.partition(":")
        return cast("LabScreen", getattr(import_module(f"ssmlab.tui.screens.{module}"), name)())


PLACES = (
    Place("runs", "the table of runs, their curves and logs"),
    Place("curves", "the curves of the marked runs, large, with a cursor", "curves:CurvesScreen"),
    Place("compare", "the marked runs or groups side by side"),
    Place("pipeline", "which stages are out of date and why, and which are running", "pipeline:PipelineScreen"),
    Place("report", "the study's report", "report:ReportScreen"),
    Place("system", "processor, memory, disk, GPUs, and the share of each run", "system:SystemScreen"),
    Place("samples", "test images that an attack has flipped"),
    Place("alerts", "runs and disks that need attention", "alerts:AlertsScreen"),
)
