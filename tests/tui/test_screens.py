"""Every screen over synthetic files, driven by keys."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from textual.command import CommandPalette
from textual.strip import Strip
from textual.widgets import OptionList, Tree
from textual_hires_canvas import Canvas

from ssmlab.core.errors import UserError
from ssmlab.project.launched import log_path
from ssmlab.tui import app as application
from ssmlab.tui import pipeline
from ssmlab.tui.app import StudyApp
from ssmlab.tui.places import PLACES
from ssmlab.tui.preferences import KeySettings, load_keys, load_preferences
from ssmlab.tui.screens.base import LabScreen
from ssmlab.tui.screens.curves import SHOWN, CurvesScreen
from ssmlab.tui.screens.dialogs import Choice, Question, Reading
from ssmlab.tui.screens.study import StudyScreen
from ssmlab.tui.widgets.curve_plot import CurvePlot
from ssmlab.tui.widgets.runs_table import RunsTable
from tests.tui.conftest import Study, line_of, notice_of, screen_text, until


@pytest.fixture
def dvc_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, object]:
    """What a stand-in for DVC answers to `dvc status --json`: the test fills it."""
    answer: dict[str, object] = {}

    async def ask(stages: tuple[str, ...], root: Path) -> pipeline.PipelineState:
        return pipeline.PipelineState(stages, pipeline.parse_status(answer), None)

    monkeypatch.setattr("ssmlab.tui.screens.pipeline.ask_dvc", ask)
    monkeypatch.setattr("ssmlab.tui.screens.launching.ask_dvc", ask)
    return answer


async def test_every_screen_opens_by_its_digit_and_closes_with_escape(
    study: Study, dvc_says: dict[str, object]
) -> None:
    app = StudyApp(study.root)
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: line_of(app, "ads"))
        for number, place in enumerate(PLACES, start=1):
            if not place.where:
                continue
            await pilot.press(str(number))
            await until(pilot, lambda name=place.name: f"smoke · {name}" in screen_text(app).splitlines()[0])
            await pilot.press("escape")
            await until(pilot, lambda: isinstance(app.screen, StudyScreen))


async def test_the_cursor_of_the_curves_reads_every_curve_at_one_epoch(study: Study) -> None:
    app = StudyApp(study.root)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: line_of(app, "ads"))
        await pilot.press("a", "2")
        await until(pilot, lambda: isinstance(app.screen, CurvesScreen))
        await pilot.press("right", "right")
        await until(pilot, lambda: "epoch 2" in screen_text(app))
        lines = [line.split() for line in screen_text(app).splitlines()]
        assert ["epoch", "2", *SHOWN] in lines
        assert ["●", "ssm", "62.5", "12.5", "10.0", "1", "1.25", "0.001"] in lines
        assert ["■", "attention", *["-"] * 6] in lines
        await pilot.press("left")
        await until(pilot, lambda: re.search(r"ssm +50\.0 .*ads +75\.0 ", " ".join(screen_text(app).split())))
        await pilot.press("x", "m")
        await until(pilot, lambda: "by step · mean of 3 epochs" in screen_text(app))


async def test_a_moved_cursor_leaves_the_curves_as_they_were(study: Study) -> None:
    app = StudyApp(study.root)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: line_of(app, "ads"))
        await pilot.press("2")
        await until(pilot, lambda: isinstance(app.screen, CurvesScreen) and "★" in screen_text(app))
        plot = app.screen.query(CurvePlot).first()

        def drawn() -> list[list[tuple[str, str]]]:
            canvas = plot.query_one("#plot", Canvas)
            return [[canvas.get_pixel(x, y) for x in range(canvas.size.width)] for y in range(canvas.size.height)]

        without = drawn()
        await pilot.press("right")
        await until(pilot, lambda: "epoch 1" in screen_text(app) and drawn() != without)
        at_first = drawn()
        await pilot.press("right")
        await until(pilot, lambda: "epoch 2" in screen_text(app) and drawn() != at_first)
        await pilot.press("left")
        await until(pilot, lambda: "epoch 1" in screen_text(app))
        assert drawn() == at_first
        app.screen.cursor = None
        app.screen.redraw()
        await until(pilot, lambda: drawn() == without)


@pytest.mark.parametrize(("size", "count"), [((80, 24), 4), ((40, 24), 2), ((80, 13), 2), ((120, 40), 6)])
async def test_as_many_curves_are_shown_as_can_be_read_and_keys_turn_to_the_others(
    study: Study, size: tuple[int, int], count: int
) -> None:
    app = StudyApp(study.root)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: line_of(app, "ads"))
        await pilot.press("a", "2")
        await until(pilot, lambda: isinstance(app.screen, CurvesScreen))

        def shown() -> list[str]:
            plots = [plot for plot in app.screen.query(CurvePlot) if plot.display]
            return [plot.measure.key for plot in plots if plot.size.height >= 6 and "●" in lines_of(plot)]

        for first in range(0, 6, count):
            await until(pilot, lambda first=first: shown() == list(SHOWN[first : first + count]))
            assert (f"plots {first + 1} to" in screen_text(app)) == (count < 6)
            assert re.search(r"ads +75\.0 ", screen_text(app)) or size[1] < 20
            await pilot.press("down")
        await pilot.press(*["up"] * 5)
        await until(pilot, lambda: shown() == list(SHOWN[:count]))


def lines_of(plot: CurvePlot) -> str:
    canvas = plot.query_one("#plot", Canvas)
    return "\n".join(
        "".join(canvas.get_pixel(x, y)[0] for x in range(canvas.size.width)) for y in range(canvas.size.height)
    )


async def test_every_plot_of_the_curves_is_drawn_once_when_the_screen_opens(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn, rendered = Counter[str](), Counter[str]()
    draw, render = CurvePlot.draw_curves, Canvas.render_line
    monkeypatch.setattr(CurvePlot, "draw_curves", lambda plot: (drawn.update([plot.measure.key]), draw(plot))[1])

    def render_line(canvas: Canvas, y: int) -> Strip:
        rendered.update([canvas.id] if y == 0 else [])
        return render(canvas, y)

    app = StudyApp(study.root)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: line_of(app, "ads") and app.screen.query(CurvePlot))
        await until(pilot, lambda: "★" in screen_text(app))
        drawn.clear()
        monkeypatch.setattr(Canvas, "render_line", render_line)
        await pilot.press("2")
        await until(pilot, lambda: isinstance(app.screen, CurvesScreen) and "latest" in screen_text(app))
        await pilot.pause(0.3)
    assert drawn == dict.fromkeys(SHOWN, 1)
    assert rendered == {"plot": 6, "margin-left": 6, "margin-bottom": 6}  # a second time would be as slow as the first


async def test_a_click_on_a_key_of_the_bottom_line_presses_it(study: Study) -> None:
    app = StudyApp(study.root)
    async with app.run_test(size=(120, 30)) as pilot:
        await until(pilot, lambda: line_of(app, "ads"))
        keys = screen_text(app).splitlines()[-1]
        await pilot.click("#keys", offset=(keys.index("help"), 0))
        await until(pilot, lambda: isinstance(app.screen, Reading))


@pytest.mark.parametrize(("width", "told"), [(120, True), (76, False)])
async def test_the_bottom_line_says_that_digits_open_screens_where_it_has_room(
    study: Study, width: int, told: bool
) -> None:
    app = StudyApp(study.root)
    async with app.run_test(size=(width, 30)) as pilot:
        await until(pilot, lambda: line_of(app, "ads"))
        await until(pilot, lambda: "q quit" in screen_text(app).splitlines()[-1])
        assert ("1-8 screens" in screen_text(app).splitlines()[-1]) is told


async def test_the_bottom_line_does_not_name_digits_that_open_no_screens(study: Study, tmp_path: Path) -> None:
    file = tmp_path / "tui.toml"
    file.write_text('[keys]\ngo-alerts = "A"\n')
    app = StudyApp(study.root, load_keys(file))
    async with app.run_test(size=(120, 30)) as pilot:
        await until(pilot, lambda: line_of(app, "ads") and "q quit" in screen_text(app))
        assert "screens" not in screen_text(app).splitlines()[-1]


async def test_the_stages_are_shown_while_dvc_is_asked(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object) -> pipeline.PipelineState:
        await asyncio.sleep(60)
        raise AssertionError

    monkeypatch.setattr("ssmlab.tui.screens.pipeline.ask_dvc", never)
    app = StudyApp(study.root)
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: line_of(app, "ads"))
        await pilot.press("4")
        await until(pilot, lambda: "train    ? not known yet" in screen_text(app))
        assert "asking DVC" in notice_of(app)


async def test_the_tree_says_which_dependency_or_param_has_changed(study: Study, dvc_says: dict[str, object]) -> None:
    dvc_says["train@ssm"] = [
        {"changed deps": {"params.yaml": {"train.epochs": "modified"}, "ssmlab/core": "modified"}},
        {"changed outs": {"models/smoke/ssm": "deleted"}},
        "changed command",
    ]
    app = StudyApp(study.root)
    async with app.run_test(size=(100, 40)) as pilot:
        await until(pilot, lambda: line_of(app, "ads"))
        await pilot.press("4")
        await until(pilot, lambda: "changed (4)" in screen_text(app))
        text = screen_text(app)
        for reason in ("params train.epochs modified", "code ssmlab/core modified", "output models/smoke/ssm deleted"):
            assert reason in text
        assert "running  epoch 2/2" in text and text.count("✔ up to date") >= 7
        assert re.search(r"1 of \d+ stages are out of date", notice_of(app))
        tree = app.screen.query_one(Tree)
        assert tree.root.children[0].label.plain == "the whole study"


async def test_run_rest_asks_first_and_counts_the_stages(study: Study, dvc_says: dict[str, object]) -> None:
    app = StudyApp(study.root)
    async with app.run_test(size=(100, 40)) as pilot:
        await until(pilot, lambda: line_of(app, "ads"))
        await pilot.press("R")
        await until(pilot, lambda: "nothing to do" in notice_of(app))
        dvc_says |= {"train@ssm": ["changed command"], "attack@ssm": ["changed command"], "report": ["changed command"]}
        await pilot.press("R")
        await until(pilot, lambda: isinstance(app.screen, Question))
        text = screen_text(app)
        assert (
            re.search(r"Run 3 of \d+ stages\?", text) and "train 1, attack 1 and report" in text and "About 3s." in text
        )
        await pilot.press("escape")


async def test_a_launch_waits_for_another_dvc_and_can_be_cancelled(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ssmlab.tui.launcher.dvc_at_work", lambda root: "`dvc repro ads` (process 7)")
    app = StudyApp(study.root)
    async with app.run_test(size=(100, 40)) as pilot:
        await until(pilot, lambda: line_of(app, "ads"))
        await pilot.press("r")
        await until(pilot, lambda: "`dvc repro ads` (process 7) is running" in notice_of(app))
        await pilot.press("s")
        await until(pilot, lambda: "cancelled" in notice_of(app))


async def test_the_report_is_rendered_and_follows_its_file(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda url: opened.append(url) or True)  # type: ignore[func-returns-value]
    app = StudyApp(study.root)
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: line_of(app, "ads"))
        await pilot.press("5")
        await until(pilot, lambda: "There is no report yet" in screen_text(app))
        study.paths.report_md.write_text("# Title of all\n\n| run | clean |\n| :-- | --: |\n| ads | 75.0 |\n")
        await until(pilot, lambda: "Title of all" in screen_text(app) and "75.0" in screen_text(app))
        await pilot.press("o")
        await until(pilot, lambda: "no report yet" in notice_of(app))
        study.paths.report_html.write_text("<html>")
        await pilot.press("o")
        await until(pilot, lambda: opened)


async def test_keys_go_from_one_section_of_the_report_to_the_next_and_back(study: Study) -> None:
    sections = "".join(f"## Section {number}\n\n{'word ' * 900}\n\n" for number in range(3))
    study.paths.report_md.parent.mkdir(parents=True, exist_ok=True)
    study.paths.report_md.write_text(f"# Title of all\n\nFirst words.\n\n{sections}")
    app = StudyApp(study.root)

    def shown() -> set[str]:
        return set(re.findall(r"Section \d|Title of all", screen_text(app)))

    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: line_of(app, "ads"))
        await pilot.press("5")
        await until(pilot, lambda: "First words." in screen_text(app))
        for name in ("Section 0", "Section 1", "Section 2", "Section 2"):
            await pilot.press("n")
            await until(pilot, lambda name=name: shown() == {name})
        for name in ("Section 1", "Section 0"):
            await pilot.press("p")
            await until(pilot, lambda name=name: shown() == {name})
        await pilot.press("p")
        await until(pilot, lambda: "Title of all" in shown())


async def test_the_system_screen_shows_the_process_of_a_run(study: Study) -> None:
    app = StudyApp(study.root)
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: line_of(app, "ads"))
        await pilot.press("6")
        await until(pilot, lambda: f"process {os.getpid()}" in screen_text(app))
        for word in ("processor", "memory", "disk", "GPU"):
            assert word in screen_text(app)


async def test_enter_on_an_alert_goes_to_its_run(study: Study) -> None:
    study.beat(pid_start=1.0)
    app = StudyApp(study.root)
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: "1 alert" in screen_text(app).splitlines()[0])
        await pilot.press("8")
        await until(pilot, lambda: "its process ended without" in screen_text(app))
        assert app.screen.query_one(OptionList).option_count == 1
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, StudyScreen))
        selected = app.screen.query_one(RunsTable).selected
        assert selected is not None and selected.key == "ads"


async def test_a_filter_is_typed_kept_and_removed(study: Study) -> None:
    app = StudyApp(study.root)
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: line_of(app, "ads"))
        table = app.screen.query_one(RunsTable)
        await pilot.press("slash", *"model:mega")
        await until(pilot, lambda: [row.key for row in table.rows] == ["attention"])
        await pilot.press("enter", "space")
        assert table.has_focus and "model:mega" in screen_text(app)
        await pilot.press("escape")
        await until(pilot, lambda: len(table.rows) == 3)


async def test_sort_pin_fold_and_group_by_key(study: Study) -> None:
    text = (study.root / "params.yaml").read_text()
    (study.root / "params.yaml").write_text(text.replace("  ssm: {}", "  ssm: {}\n  ssm-1: {train: {seed: 1}}"))
    app = StudyApp(study.root)
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: line_of(app, "ads"))
        table = app.screen.query_one(RunsTable)

        def keys() -> list[str]:
            return [row.key for row in table.rows]

        group = keys()[0]
        assert keys() == [group, "ssm", "ssm-1", "attention", "ads"] and group.startswith("group:")
        await pilot.press("f")
        await until(pilot, lambda: keys() == [group, "attention", "ads"])
        assert "·1 ✔1" in screen_text(app)
        await pilot.press("a")
        assert isinstance(app.screen, StudyScreen) and app.screen.marks == [group, "attention", "ads"]
        await pilot.press("a", "F", "g")
        await until(pilot, lambda: keys() == ["ssm", "ssm-1", "attention", "ads"])
        await pilot.press("end", "p")
        await until(pilot, lambda: keys()[0] == "ads")
        await pilot.press("S")
        await until(pilot, lambda: isinstance(app.screen, Choice))
        await pilot.press("down", "down", "down", "down", "down", "enter")  # clean accuracy
        await until(pilot, lambda: keys() == ["ads", "ssm", "ssm-1", "attention"])
    assert load_preferences(study.root).arrangement("smoke").pins == ("ads",)


async def test_the_palette_knows_every_action(study: Study) -> None:
    app = StudyApp(study.root)
    async with app.run_test(size=(100, 40)) as pilot:
        await until(pilot, lambda: line_of(app, "ads"))
        titles = {command.title for command in app.get_system_commands(app.screen)}
        actions = {
            "compare",
            "filter",
            "sort",
            "pin",
            "run",
            "run rest",
            "stop",
            "go to pipeline",
            "help",
            "quit",
            "log",
        }
        assert actions <= titles
        await pilot.press("ctrl+p")
        await until(pilot, lambda: isinstance(app.screen, CommandPalette))
        await pilot.press(*"comp")
        await until(pilot, lambda: "put the marked runs side by side" in screen_text(app))
        await pilot.press("down", "enter")
        await until(pilot, lambda: isinstance(app.screen, StudyScreen) and "mark two runs" in notice_of(app))


async def test_keys_can_be_given_to_other_actions(study: Study, tmp_path: Path) -> None:
    file = tmp_path / "tui.toml"
    file.write_text('bell = true\n[keys]\ncompare = "C"\n')
    app = StudyApp(study.root, load_keys(file))
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: line_of(app, "ads"))
        await pilot.press("c")
        await pilot.pause()
        assert "mark two" not in notice_of(app)
        await pilot.press("C")
        await until(pilot, lambda: "mark two" in notice_of(app))
    file.write_text("keys = 3")
    with pytest.raises(UserError, match=r"tui\.toml: needs"):
        load_keys(file)
    assert load_keys(tmp_path / "none.toml") == KeySettings()


async def test_theme_and_axis_are_remembered(study: Study) -> None:
    app = StudyApp(study.root, preferences=load_preferences(study.root))
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: line_of(app, "ads"))
        app.theme = "textual-light"
        await pilot.press("x", "z")
    remembered = load_preferences(study.root)
    assert (remembered.theme, remembered.axis, remembered.panes) == ("textual-light", "step", False)
    (study.root / "runs" / "tui.json").write_text('{"theme": 3')
    assert load_preferences(study.root).axis == "epoch"


@pytest.mark.parametrize("term", ["dumb", "xterm"])
def test_without_a_terminal_one_line_says_what_to_use_instead(study: Study, term: str) -> None:
    command, environment = [sys.executable, "-m", "ssmlab", "tui"], {**os.environ, "TERM": term}
    done = subprocess.run(
        command,
        cwd=study.root,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and done.stdout == "" and done.stderr.count("\n") == 1
    assert "ssmlab runs --json --watch" in done.stderr


def test_the_folder_must_exist(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TERM", "xterm")
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    with pytest.raises(UserError, match="not a folder"):
        application.run(tmp_path / "nowhere")


async def test_work_that_ends_after_its_screen_was_closed_writes_nothing(study: Study) -> None:
    app = StudyApp(study.root)
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.press("6")
        screen = app.screen
        assert isinstance(screen, LabScreen)
        assert await screen.unless_closed(asyncio.sleep(0, "found")) == "found"
        await app.pop_screen()
        with pytest.raises(asyncio.CancelledError):
            await screen.unless_closed(asyncio.sleep(0, "found"))


async def test_a_run_without_a_log_says_how_to_start_it(study: Study) -> None:
    app = StudyApp(study.root)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: line_of(app, "ssm"))
        await pilot.press("home")
        await until(pilot, lambda: "no log yet: r launches the run under the cursor" in screen_text(app))
        file = log_path(study.paths)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("$ ssmlab repro\n")
        await until(pilot, lambda: "$ ssmlab repro" in screen_text(app))
        assert "no log yet" not in screen_text(app) and file.name in screen_text(app)
