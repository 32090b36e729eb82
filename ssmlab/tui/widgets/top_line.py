"""The top line of every screen: study and screen on the left, alerts and the launch on the right."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal

from ssmlab.params import NORM_NAMES
from ssmlab.project.launched import Launched, launch_text
from ssmlab.tui import labels
from ssmlab.tui.look import Look
from ssmlab.tui.widgets.text_line import TextLine


class TopLine(Horizontal):
    """Study, screen, data and eps on the left; alerts and the running launch on the right."""

    def __init__(self, title: str) -> None:
        super().__init__(id="heading")
        self.title = title
        self.study = TextLine(id="study")
        self.activity = TextLine(id="activity")

    def compose(self) -> ComposeResult:
        yield self.study
        yield self.activity

    def show(self, look: Look | None, stopping: Launched | None, alerts: int) -> None:
        """Draw it; `look` is None before the files were read. A line that has its text before it is composed is laid
        out only once.
        """
        if look is None or look.params is None:
            self.study.set("ssmlab  loading ..." if look is None else "ssmlab")
            return
        params = look.params
        study = f"{params.study} (not in use)" if look.foreign else params.study
        norm = "" if params.attack.norm == "linf" else f" ({NORM_NAMES[params.attack.norm]})"
        data = look.data_name or params.data.name
        self.study.set(f"ssmlab  {study} · {self.title}   data {data} · eps {params.attack.eps}{norm}")
        parts = [f"! {alerts} {'alert' if alerts == 1 else 'alerts'}"] if alerts else []
        if look.launched is not None:
            verb = "stopping" if look.launched == stopping else "▶"
            since = labels.short_duration(max(0.0, look.now - look.launched.started))
            parts.append(f"{verb} {launch_text(look.launched)}  {since}")
        self.activity.set("   ".join(parts))
