"""What the TUI keeps in memory: the histories, and little else."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace

import pytest
from textual.strip import Strip

from ssmlab.artifacts.history import Row, append_row
from ssmlab.tui.app import StudyApp
from ssmlab.tui.collector import THRESHOLDS
from ssmlab.tui.follower import StudyFollower
from ssmlab.tui.look import Look
from ssmlab.tui.screens.curves import CurvesScreen
from ssmlab.tui.series import MEASURES, run_curve
from tests.tui.conftest import Study, line_of, screen_text, until

REDRAWS = 60
MOST = 2.4  # times the lines on the screen; 1.9 was found here, and 3.0 with THRESHOLDS alone


@pytest.fixture
def collector_as_in_a_terminal() -> Iterator[None]:
    thresholds, was_on = gc.get_threshold(), gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
    gc.enable()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()
    if not was_on:
        gc.disable()


def lines_in_memory() -> int:
    return sum(type(each) is Strip for each in gc.get_objects())


@pytest.mark.usefixtures("collector_as_in_a_terminal")
async def test_the_lines_of_old_redraws_do_not_stay_in_memory(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssmlab.tui.app.POLL", 0.01)
    app, history = StudyApp(study.root), study.paths.live("ads") / "history.csv"
    looks, lines = 0, list[int]()
    async with app.run_test(size=(120, 40)) as pilot:
        take = app.take

        def take_and_add_an_epoch(look: Look, alerts: list[object]) -> None:
            nonlocal looks
            take(look, alerts)  # type: ignore[arg-type]
            looks += 1
            lines.append(lines_in_memory())
            append_row(history, Row(1 + looks, looks, 1e-3, 2 / looks, 0.5, 0.9, 0.6, 1.5, 900.0))

        monkeypatch.setattr(app, "take", take_and_add_an_epoch)
        await until(pilot, lambda: "training" in line_of(app, "ads"))
        await pilot.press("a", "2")
        await until(pilot, lambda: isinstance(app.screen, CurvesScreen) and "★" in screen_text(app))
        gc.collect()
        shown = lines_in_memory()
        lines.clear()
        looks = 0
        while looks < REDRAWS:
            await pilot.pause(0.02)
        assert shown > 50
        assert max(lines) < MOST * shown


def test_a_curve_keeps_its_points_in_sixteen_bytes_each(study: Study) -> None:
    rows = tuple(Row(n, n, 1e-3, 2 / n, 0.5, n / 90_000, 0.6, 1.5, 900.0) for n in range(1, 50_001))
    view = StudyFollower(study.root).look(time.time()).runs[0]
    view = replace(view, status=replace(view.status, rows=rows))
    tracemalloc.start()
    try:
        curve = run_curve(view, MEASURES["clean"], "epoch", 1, "#ffffff", "o")
        kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(curve.x) == len(curve.y) == 50_000
    assert kept < 1.2 * 16 * 50_000  # Python keeps 2,000 freed pairs for the next ones
