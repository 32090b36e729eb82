"""The study at a glance: its runs, their curves, a log; and the keys that launch, stop and compare."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.screen import Screen
from textual.widgets import DataTable, Footer, Static

from ssmlab.core.errors import UserError
from ssmlab.project import launch
from ssmlab.project.launch import Launched
from ssmlab.project.status import Snapshot, StudyWatcher
from ssmlab.tui import dialogs, labels
from ssmlab.tui.compare_screen import CompareScreen
from ssmlab.tui.curves import Curve, Curves
from ssmlab.tui.log_pane import LogPane
from ssmlab.tui.runs_table import RunsTable

POLL = 0.5  # seconds
NOTICE = 10.0  # seconds that a notice stays


class StudyScreen(Screen[None]):
    """Everything about one study on one screen. All files are read beside the event loop, twice a second."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "launch", "run"),
        Binding("R", "launch_all", "run all"),
        Binding("s", "stop", "stop"),
        Binding("space", "mark", "mark"),
        Binding("a", "mark_all", "mark all", show=False),
        Binding("c", "compare", "compare"),
        Binding("l", "switch_log", "log", show=False),
        Binding("question_mark", "keys", "help", key_display="?"),
        Binding("q", "app.quit", "quit"),
    ]

    class Seen(Message):
        """The files have been read.

        Attributes:
            snapshot: what they say.
            running: the launch that runs now, if any.
            ended: the one that ran at the last look and does not run any more, if any.
            problem: what went wrong with it, if anything.
        """

        def __init__(self, snapshot: Snapshot, running: Launched | None, ended: Launched | None) -> None:
            super().__init__()
            self.snapshot, self.running, self.ended = snapshot, running, ended
            self.problem = ended.problem if ended is not None else None

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.watcher = StudyWatcher(root)
        self.snapshot: Snapshot | None = None
        self.launched: Launched | None = None
        self.stopping: Launched | None = None
        self.log_of_launch = False
        self.notice_until = 0.0

    def compose(self) -> ComposeResult:
        """One column: heading, runs, curves and log, notice, keys. Wide terminals have the log beside the curves."""
        with Horizontal(id="heading"):
            yield Static("ssmlab", id="study", markup=False)
            yield Static("", id="activity", markup=False)
        yield RunsTable(id="runs")
        with Vertical(id="below"):
            yield Curves(id="curves")
            yield LogPane(id="log")
        yield Static("", id="notice", markup=False)
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Begin to watch."""
        self.query_one(RunsTable).focus()
        self.app.theme_changed_signal.subscribe(self, lambda _: self.query_one(RunsTable).redraw())
        self.watch_files()

    # Watching

    @work(group="watch")
    async def watch_files(self) -> None:
        """Look at the files again and again, for as long as the screen lives."""
        while True:
            self.post_message(await asyncio.to_thread(self.look))
            await asyncio.sleep(POLL)

    def look(self) -> Seen:
        """Read everything there is to read; runs beside the event loop."""
        snapshot = self.watcher.poll(time.time())
        before = self.launched
        if before is not None and before.running:
            return self.Seen(snapshot, before, None)
        return self.Seen(snapshot, launch.active(snapshot.paths) if snapshot.paths else None, before)

    @on(Seen)
    def show_seen(self, seen: Seen) -> None:
        """Draw what was seen."""
        self.snapshot = seen.snapshot
        if seen.ended is not None and seen.ended == self.launched:
            self.launched = None
            self.say_ended(seen.ended, seen.problem)
        self.launched = self.launched or seen.running
        self.query_one(RunsTable).show(seen.snapshot.runs)
        self.show_heading(seen.snapshot)
        self.show_notice(seen.snapshot)
        self.show_chosen()

    def show_heading(self, snapshot: Snapshot) -> None:
        """The study on the left, what runs on the right."""
        if snapshot.params is not None:
            params = snapshot.params
            known = f"ssmlab  {params.study}   data {params.data.name} · eps {params.attack.eps}"
            self.query_one("#study", Static).update(known)
        activity = ""
        if self.launched is not None:
            verb = "stopping" if self.launched == self.stopping else "▶"
            since = labels.span(max(0.0, time.time() - self.launched.started))
            activity = f"{verb} {launch.described(self.launched)}  {since}"
        self.query_one("#activity", Static).update(activity)

    def show_chosen(self) -> None:
        """The curves of the marked runs, and the log of the one under the cursor."""
        table = self.query_one(RunsTable)
        drawn = sorted(table.chosen, key=lambda run: run == table.selected)  # the one under the cursor lies on top
        self.query_one(Curves).show([Curve(table.colour(run.name), run.rows, run.epochs) for run in drawn])
        paths = self.snapshot.paths if self.snapshot else None
        if paths is None:
            return
        own = table.selected.log if table.selected is not None and not self.log_of_launch else None
        path = own or launch.log_path(paths)
        self.query_one(LogPane).follow(path, str(path.relative_to(paths.root)))

    # Notices

    def say(self, text: str, kind: str = "plain") -> None:
        """Show one line above the keys for a while; `kind`: plain, good or bad."""
        notice = self.query_one("#notice", Static)
        notice.update(text)
        notice.set_classes(kind)
        self.notice_until = time.monotonic() + NOTICE

    def show_notice(self, snapshot: Snapshot) -> None:
        """A broken params.yaml stays said for as long as it is broken; other notices go after a while."""
        if snapshot.problem is not None:
            self.say(snapshot.problem, "bad")
            self.notice_until = time.monotonic()
        elif time.monotonic() > self.notice_until:
            self.query_one("#notice", Static).update("")
            self.query_one("#notice", Static).set_classes("silent")

    def say_ended(self, ended: Launched, problem: str | None) -> None:
        """How a launch came out."""
        if ended == self.stopping:
            self.say(f"{launch.described(ended)} was stopped")
        elif problem is not None:
            self.say(f"{launch.described(ended)}: {problem}", "bad")
        else:
            self.say(f"{launch.described(ended)} has ended", "good")

    # Keys

    @on(DataTable.RowHighlighted)
    def follow_cursor(self) -> None:
        """Another run is under the cursor."""
        self.show_chosen()

    @on(DataTable.RowSelected)
    def show_details(self) -> None:
        """Enter, or a click on the run under the cursor: the run whole."""
        run, snapshot = self.query_one(RunsTable).selected, self.snapshot
        if run is not None and snapshot is not None and snapshot.params is not None:
            self.app.push_screen(dialogs.details(run, snapshot.params, time.time()))

    def action_mark(self) -> None:
        """Mark the run under the cursor, or take its mark away."""
        table = self.query_one(RunsTable)
        if table.selected is not None:
            table.toggle(table.selected.name)
            self.show_chosen()

    def action_mark_all(self) -> None:
        """Mark all runs, or none."""
        self.query_one(RunsTable).toggle_all()
        self.show_chosen()

    def action_switch_log(self) -> None:
        """From the run's log to the launch's, and back."""
        self.log_of_launch = not self.log_of_launch
        self.show_chosen()

    def action_keys(self) -> None:
        """What every key does."""
        self.app.push_screen(dialogs.keys())

    def action_compare(self) -> None:
        """Put the marked runs side by side."""
        names = self.query_one(RunsTable).marked
        if len(names) < 2 or self.snapshot is None or self.snapshot.paths is None:
            self.say("mark two runs or more with space, then press c")
            return
        self.app.push_screen(CompareScreen(list(names), self.snapshot.paths))

    def action_launch(self) -> None:
        """Launch the marked runs, or the one under the cursor."""
        self.start([run.name for run in self.query_one(RunsTable).chosen])

    def action_launch_all(self) -> None:
        """Launch everything."""
        self.start([])

    @work(group="launch")
    async def start(self, targets: list[str]) -> None:
        """Launch `targets` (none: everything) through DVC."""
        snapshot = self.snapshot
        if snapshot is None or snapshot.params is None or snapshot.paths is None:
            return
        if snapshot.problem is not None:
            return  # it stands in the notice already
        try:
            self.launched = await asyncio.to_thread(launch.launch, snapshot.params, snapshot.paths, targets)
        except UserError as error:
            self.say(str(error), "bad")
            return
        self.say(f"{launch.described(self.launched)} launched; it goes on if you quit")
        self.show_heading(snapshot)

    @work(group="stop")
    async def action_stop(self) -> None:
        """Stop what was launched, once the user has said so."""
        launched = self.launched
        if launched is None:
            self.say(self.nothing_to_stop())
            return
        question = dialogs.Question(
            f"Stop {launch.described(launched)}?",
            "What it has not finished is lost; finished results stay as they are.",
            yes="stop it",
            no="let it run",
        )
        if not await self.app.push_screen_wait(question):
            return
        self.stopping = launched
        if self.snapshot is not None:
            self.show_heading(self.snapshot)
        await asyncio.to_thread(launch.stop, launched)

    def nothing_to_stop(self) -> str:
        """Why there is nothing to stop."""
        running = [run.name for run in self.query_one(RunsTable).statuses if run.at_work]
        if running:
            return f"{' and '.join(running)} was not launched here: stop it with Ctrl-C where it was started"
        return "nothing is running"
