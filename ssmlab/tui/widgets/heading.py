"""The top line of every screen: the study and the screen on the left, alerts and the launch on the right."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal

from ssmlab.project import launch
from ssmlab.project.launch import Launched
from ssmlab.tui import labels
from ssmlab.tui.follower import Look
from ssmlab.tui.widgets.line import Line


class Heading(Horizontal):
    """What one wants to know wherever one is."""

    def __init__(self, title: str) -> None:
        super().__init__(id="heading")
        self.title = title

    def compose(self) -> ComposeResult:
        """Left and right."""
        yield Line(id="study")
        yield Line(id="activity")

    def show(self, look: Look | None, stopping: Launched | None, alerts: int) -> None:
        """Draw what is known; None: nothing yet."""
        if look is None or look.params is None:
            self.query_one("#study", Line).set("ssmlab  loading ..." if look is None else "ssmlab")
            return
        params = look.params
        known = f"ssmlab  {params.study} · {self.title}   data {params.data.name} · eps {params.attack.eps}"
        self.query_one("#study", Line).set(known)
        parts = [f"! {alerts} {'alert' if alerts == 1 else 'alerts'}"] if alerts else []
        if look.launched is not None:
            verb = "stopping" if look.launched == stopping else "▶"
            since = labels.duration(max(0.0, look.now - look.launched.started))
            parts.append(f"{verb} {launch.described(look.launched)}  {since}")
        self.query_one("#activity", Line).set("   ".join(parts))
