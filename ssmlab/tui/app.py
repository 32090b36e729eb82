"""`ssmlab tui`: shows the files of a study and launches its stages; it never trains in its own process."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from textual import work
from textual.app import SystemCommand
from textual.binding import Binding, BindingType
from textual.filter import LineFilter
from textual.screen import Screen

from ssmlab.core.errors import UserError
from ssmlab.project.launched import Launched, launch_text
from ssmlab.tui.alerts import Alert, AlertFinder
from ssmlab.tui.collector import GarbageCollection, spare_collector
from ssmlab.tui.follower import StudyFollower
from ssmlab.tui.lab import Lab
from ssmlab.tui.launcher import Launcher
from ssmlab.tui.look import Look
from ssmlab.tui.messages import StudyLooked
from ssmlab.tui.no_color import tolerant
from ssmlab.tui.places import PLACES
from ssmlab.tui.preferences import KeySettings, Preferences, keys_path, load_keys, load_preferences, save_preferences
from ssmlab.tui.screens.base import LabScreen
from ssmlab.tui.screens.study import StudyScreen
from ssmlab.tui.terminal_life import watch_terminal
from ssmlab.tui.terminal_size import forget_inherited_size
from ssmlab.tui.widgets.picture import PixelWidget, pixel_widget

POLL = 1.0  # seconds between two looks at the files
POLL_LOADING = 0.05  # seconds, while some runs have not been read yet; the screen is drawn between two looks


def digit_keys() -> list[BindingType]:
    """A digit key for every screen, in order."""
    return [
        Binding(str(number), f"go('{place.name}')", f"go to {place.name}", show=False, tooltip=place.about, id=place.id)
        for number, place in enumerate(PLACES, start=1)
    ]


class StudyApp(Lab):
    """The app that shows the study of `root`/params.yaml."""

    TITLE = "ssmlab"
    CSS_PATH = "app.tcss"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (60, "-normal"), (140, "-wide")]  # noqa: RUF012 - typed so by Textual
    VERTICAL_BREAKPOINTS = [(0, "-tiny"), (9, "-short"), (20, "-tall")]  # noqa: RUF012 - typed so by Textual
    BINDINGS: ClassVar[list[BindingType]] = [
        *digit_keys(),
        Binding("question_mark", "keys", "help", key_display="?", tooltip="all keys and states", id="help"),
        Binding("q", "quit", "quit", tooltip="quit; running stages continue", id="quit"),
    ]

    def __init__(self, root: Path, settings: KeySettings | None = None, preferences: Preferences | None = None) -> None:
        super().__init__()
        self.root = root
        self.settings = settings or KeySettings()
        self.preferences = preferences or Preferences()
        self.follower = StudyFollower(root)
        self.launcher = Launcher()
        self.clock: Callable[[], float] = time.time  # unix seconds
        self.look: Look | None = None
        self.alerts: list[Alert] = []
        self.alert_finder = AlertFinder()
        self.pixel_widget: type[PixelWidget] | None = None  # for terminals that can draw pixels

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Textual's filters, with a repaired one for NO_COLOR."""
        return tolerant(super().get_line_filters())

    def get_default_screen(self) -> Screen[None]:
        """The table of runs."""
        return StudyScreen()

    def on_mount(self) -> None:
        """Start to follow the files. Signals end the app like `q`, so that the terminal is restored."""
        if self.preferences.theme in self.available_themes:
            self.theme = self.preferences.theme
        self.set_keymap(dict(self.settings.keys))
        if not self.is_headless:
            self.heed_signals()
            watch_terminal(sys.stdin.fileno(), self.end_without_terminal)
        self.follow()

    # Following

    @work(group="follow")
    async def follow(self) -> None:
        """Read the files repeatedly, in a separate thread."""
        garbage = GarbageCollection()
        while True:
            look, problem, alerts = await asyncio.to_thread(self.look_once)
            if not self.is_headless:
                spare_collector(self.look, look)
            garbage.collect()
            self.take(look, alerts)
            self.keep_size()
            if look.ended is not None:
                self.say_ended(look.ended, problem)
            await asyncio.sleep(POLL_LOADING if look.loading else POLL)

    def look_once(self) -> tuple[Look, str | None, list[Alert]]:
        """One look, the problem of a launch that has just ended, and the alerts."""
        look = self.follower.look(self.clock())
        problem = look.ended.problem if look.ended is not None else None
        return look, problem, self.alert_finder.find(look)

    def take(self, look: Look, alerts: list[Alert]) -> None:
        """Pass a look to every open screen."""
        if self.settings.bell and len(alerts) > len(self.alerts) and self.look is not None:
            self.bell()
        self.look, self.alerts = look, alerts
        for screen in self.screen_stack:
            if isinstance(screen, LabScreen):
                screen.post_message(StudyLooked(look))

    def take_launch(self, launched: Launched) -> None:
        """Show a launch immediately, before the next look finds it."""
        self.follower.launched = launched
        if self.look is not None:
            self.take(replace(self.look, launched=launched, ended=None), self.alerts)

    def say_ended(self, ended: Launched, problem: str | None) -> None:
        """Show how a launch ended, on the topmost screen that has a notice line."""
        screen = [screen for screen in self.screen_stack if isinstance(screen, LabScreen)][-1]
        if ended == self.launcher.stopping:
            screen.say(f"{launch_text(ended)} was stopped")
        elif problem is not None:
            screen.say(f"{launch_text(ended)}: {problem}", "bad")
        else:
            screen.say(f"{launch_text(ended)} has ended", "good")

    def show_study(self, name: str | None) -> None:
        """Follow another study in studies/; None follows the study of params.yaml."""
        self.follower.shown = name

    # Screens

    def action_go(self, name: str) -> None:
        """Open a screen above the table of runs."""
        self.back_to_runs()
        place = next(place for place in PLACES if place.name == name)
        runs = self.screen
        if place.where:
            self.push_screen(place.make())
        elif name == "compare" and isinstance(runs, StudyScreen):
            runs.action_compare()
        elif name == "samples" and isinstance(runs, StudyScreen):
            runs.action_samples()

    async def action_back(self) -> None:
        """Close the topmost screen; the table of runs stays."""
        if len(self.screen_stack) > 1:
            self.pop_screen()

    def back_to_runs(self) -> None:
        """Close every screen above the table of runs."""
        while len(self.screen_stack) > 1:
            self.pop_screen()

    def compare(self, names: list[str]) -> None:
        """Show runs, groups or checkpoints side by side."""
        from ssmlab.tui.screens.compare import CompareScreen  # imported here: the first screen does not need it

        self.push_screen(CompareScreen(names))

    # Keys

    def known_keys(self) -> list[tuple[str, str, str, str]]:
        """Key, name, description and action of every action on the screen that has a description."""
        found = []
        for active in self.screen.active_bindings.values():
            binding = active.binding
            if binding.tooltip and active.enabled:
                found.append((self.get_key_display(binding), binding.description, binding.tooltip, binding.action))
        return list({entry[3]: entry for entry in found}.values())

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """The command palette: every action by name, and Textual's own commands."""
        for active in screen.active_bindings.values():
            binding = active.binding
            if binding.tooltip and active.enabled:
                run = self.command(active.node, binding.action)
                yield SystemCommand(binding.description, binding.tooltip, run)
        yield from super().get_system_commands(screen)

    def command(self, node: object, action: str) -> Callable[[], Awaitable[None]]:
        """A callback for the palette."""

        async def run() -> None:
            await self.run_action(action, default_namespace=node)  # type: ignore[arg-type]

        return run

    def action_keys(self) -> None:
        """Show all keys of the screen and the meaning of the states."""
        from ssmlab.tui.details import key_table
        from ssmlab.tui.screens.dialogs import Reading

        self.push_screen(Reading("keys and states", key_table(entry[:3] for entry in self.known_keys())))

    def on_unmount(self) -> None:
        """Keep theme, layout and arrangement for the next session; a folder without a project stays as it was."""
        if not (self.root / "params.yaml").is_file():
            return
        self.preferences.theme = self.theme
        try:
            save_preferences(self.root, self.preferences)
        except UserError as error:
            self.log(error)  # a full disk must not prevent quitting


def run(root: Path) -> None:
    """Show the study in `root` until the user quits; launches continue.

    Raises:
        UserError: there is no terminal, no such folder, or tui.toml is not valid.
    """
    if os.environ.get("TERM", "dumb") in ("dumb", "unknown") or not all(
        each.isatty() for each in (sys.stdin, sys.stdout, sys.stderr)
    ):
        raise UserError("ssmlab tui needs a terminal; use `ssmlab runs` or `ssmlab runs --json --watch` here")
    if not root.is_dir():
        raise UserError(f"{root}: not a folder; name the folder that contains params.yaml")
    forget_inherited_size()
    app = StudyApp(root, load_keys(keys_path()), load_preferences(root))
    app.pixel_widget = pixel_widget()  # asks the terminal, which is not possible while the app runs
    app.run()
    if app.return_code:
        raise SystemExit(app.return_code)
