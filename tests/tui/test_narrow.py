"""Narrow and low terminals: what is shown is shown whole."""

from __future__ import annotations

import pytest
from rich.text import Text
from textual.app import App, ComposeResult
from textual.containers import ScrollableContainer
from textual.pilot import Pilot

from ssmlab.tui.app import StudyApp
from ssmlab.tui.screens.compare import CompareScreen
from ssmlab.tui.screens.edit_run import EditRun
from ssmlab.tui.screens.system import SystemScreen
from ssmlab.tui.widgets.curve_plot import CurvePlot
from ssmlab.tui.widgets.log_pane import LogPane
from ssmlab.tui.widgets.runs_table import RunsTable
from tests.tui.conftest import Study, line_of, notice_of, screen_text, until


async def compare_both(pilot: Pilot[None], app: StudyApp) -> None:
    """Open the comparison of `ssm` and `ads`."""
    await until(pilot, lambda: line_of(app, "ads"))
    app.compare(["ssm", "ads"])
    await until(pilot, lambda: isinstance(app.screen, CompareScreen) and "parameters" in screen_text(app))


async def test_the_log_is_wrapped_again_for_another_width_and_its_end_stays_in_view(study: Study) -> None:
    lines = "".join(f"line {number} has twelve words and so it is long enough to be wrapped\n" for number in range(60))
    study.add_rows(study.paths.live("ssm"), (0.5, 0.25))
    (study.paths.live("ssm") / "log.txt").write_text(lines)
    app = StudyApp(study.root)
    async with app.run_test(size=(120, 36)) as pilot:
        await until(
            pilot, lambda: "line 59 has twelve words and so it is long enough to be wrapped" in screen_text(app)
        )
        for width, height in ((40, 30), (130, 22), (62, 50), (200, 60)):
            await pilot.resize_terminal(width, height)
            await until(pilot, lambda: "line 59 has twelve words" in screen_text(app) and "wrapped" in screen_text(app))
            log = app.screen.query_one(LogPane)
            await until(pilot, lambda log=log: log.virtual_size.width <= log.scrollable_content_region.width)
            assert not log.show_horizontal_scrollbar
        log.scroll_home(animate=False, immediate=True)
        await until(pilot, lambda: "line 0 has" in screen_text(app))
        await pilot.resize_terminal(140, 40)
        await until(pilot, lambda: app.screen.query_one(LogPane).wrapped_for < 140)
        assert "line 0 has" in screen_text(app)


class OneLog(App[None]):
    """A log pane that gets its lines before it has a size."""

    def compose(self) -> ComposeResult:
        pane = LogPane()
        pane.add([Text(f"line {number}") for number in range(60)])
        yield pane


async def test_a_log_that_is_read_before_its_pane_has_a_size_is_shown_at_its_end() -> None:
    app = OneLog()
    async with app.run_test(size=(40, 12)) as pilot:
        await until(pilot, lambda: "line 59" in screen_text(app))


@pytest.mark.parametrize("size", [(40, 24), (58, 24)])
async def test_where_two_plots_have_no_room_one_is_drawn(study: Study, size: tuple[int, int]) -> None:
    app = StudyApp(study.root)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: line_of(app, "ads") and app.screen.query(CurvePlot))

        def heights() -> list[int]:
            return [plot.size.height for plot in app.screen.query(CurvePlot) if plot.display]

        await until(pilot, lambda: "★" in screen_text(app) and len(heights()) == 1 and heights()[0] >= 6)


@pytest.mark.parametrize("size", [(20, 5), (40, 24), (80, 24)])
async def test_a_table_with_more_rows_than_lines_has_no_horizontal_scrollbar(
    study: Study, size: tuple[int, int]
) -> None:
    seeds = "".join(f"  ssm-s{seed}:\n    train: {{seed: {seed}}}\n" for seed in range(1, 30))
    params = study.root / "params.yaml"
    params.write_text(params.read_text().replace("\nattack:\n", f"\n{seeds}\nattack:\n", 1))
    app = StudyApp(study.root)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: len(app.screen.query_one(RunsTable).rows) > 30)
        await pilot.pause(0.2)
        table = app.screen.query_one(RunsTable)
        assert table.show_vertical_scrollbar and not table.show_horizontal_scrollbar


async def test_a_key_that_does_not_fit_is_left_out_and_not_cut(study: Study) -> None:
    app = StudyApp(study.root)
    async with app.run_test(size=(43, 20)) as pilot:
        await until(pilot, lambda: line_of(app, "ads"))
        for width in range(43, 75, 4):
            await pilot.resize_terminal(width, 20)
            await until(pilot, lambda: "R run rest" in screen_text(app).splitlines()[-1])
            line = screen_text(app).splitlines()[-1]
            assert "…" not in line and line.split()[-1] in ("rest", "stop", "mark", "filter", "compare", "help", "quit")


async def test_a_narrow_comparison_needs_no_sideways_scrolling_and_leaves_no_empty_notice(study: Study) -> None:
    study.add_rows(study.paths.model("ads"), (0.5, 0.25))
    study.attack("ads")
    app = StudyApp(study.root)
    async with app.run_test(size=(60, 30)) as pilot:
        await compare_both(pilot, app)
        assert not app.screen.query_one("#comparison", ScrollableContainer).show_horizontal_scrollbar
        assert not notice_of(app) and not app.screen.query_one("#notice").display
        await pilot.press("end")
        await until(pilot, lambda: "not corrected" in screen_text(app))
        assert "comparisons" in screen_text(app)


async def test_two_runs_stand_beside_each_other_although_a_note_is_wider_than_the_terminal(study: Study) -> None:
    study.add_rows(study.paths.model("ads"), (0.5, 0.25))
    study.attack("ads")
    app = StudyApp(study.root)
    async with app.run_test(size=(100, 40)) as pilot:
        await compare_both(pilot, app)
        lines = [line.split() for line in screen_text(app).splitlines()]
        assert ["parameter", "ssm", "ads"] in lines and "not corrected" in screen_text(app)
        assert not app.screen.query_one("#comparison", ScrollableContainer).show_horizontal_scrollbar


async def test_narrow_figures_of_the_machine_and_fields_of_a_run_are_not_cut(study: Study) -> None:
    app = StudyApp(study.root)
    async with app.run_test(size=(40, 24)) as pilot:
        await until(pilot, lambda: line_of(app, "ads"))
        await pilot.press("6")
        await until(pilot, lambda: isinstance(app.screen, SystemScreen) and "cores" in screen_text(app))
        assert "…" not in "\n".join(screen_text(app).splitlines()[1:])
        await pilot.press("escape", "e")
        await until(pilot, lambda: isinstance(app.screen, EditRun))
        await until(pilot, lambda: "Escape leaves" in screen_text(app) and "pgd_at" in screen_text(app))
