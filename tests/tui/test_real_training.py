"""A real smoke training, launched, followed, stopped, taken up again and finished from the laboratory."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot

from ssmlab.params.paths import Paths
from ssmlab.project import launch
from ssmlab.tui.app import StudyApp
from ssmlab.tui.screens.dialogs import Question
from ssmlab.tui.screens.pipeline import PipelineScreen
from tests.tui.conftest import line_of, notice_of, screen_text

EPOCHS = 60


async def wait(pilot: Pilot[None], condition: Callable[[], object], seconds: float = 300.0) -> None:
    """Wait for a process of its own, on a machine that may be busy."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, screen_text(pilot.app)
        await pilot.pause(0.1)


@pytest.mark.slow
async def test_a_training_is_launched_followed_stopped_resumed_and_finished(
    tmp_path: Path, copy_project: Callable[[Path], None]
) -> None:
    copy_project(tmp_path)
    text = (tmp_path / "studies" / "smoke.yaml").read_text().replace("epochs: 2", f"epochs: {EPOCHS}")
    (tmp_path / "params.yaml").write_text(text)
    paths = Paths("smoke", tmp_path)
    app = StudyApp(tmp_path)

    def epoch() -> int:
        view = app.look.run("ads") if app.look is not None else None
        return len(view.status.rows) if view is not None else 0

    try:
        async with app.run_test(size=(140, 40)) as pilot:
            await wait(pilot, lambda: line_of(app, "ads"))
            await pilot.press("end", "r")
            await wait(pilot, lambda: "training" in line_of(app, "ads") and epoch() >= 3)
            assert "▶ repro of ads" in screen_text(app)

            await pilot.press("s")  # immediately: nothing is published, the state is kept
            await wait(pilot, lambda: isinstance(app.screen, Question))
            await pilot.press("y")
            await wait(pilot, lambda: "was stopped" in notice_of(app))
            stopped_at = epoch()
            assert 3 <= stopped_at < EPOCHS and not paths.checkpoint("ads", "best").exists()

            await pilot.press("r")  # continues where it was
            await wait(pilot, lambda: "training" in line_of(app, "ads") and epoch() > stopped_at)
            await pilot.press("s")  # gracefully: the epochs so far are published
            await wait(pilot, lambda: isinstance(app.screen, Question))
            await pilot.press("g")
            await wait(pilot, lambda: app.look is not None and app.look.launched is None)
            await wait(pilot, lambda: "stopped" in line_of(app, "ads"))
            published_at = epoch()
            assert stopped_at < published_at < EPOCHS and paths.checkpoint("ads", "best").exists()

            await pilot.press("r")  # takes up what was published before its last epoch
            await wait(pilot, lambda: "finished" in line_of(app, "ads"), 600)
            assert epoch() == EPOCHS
            await wait(pilot, lambda: app.look is not None and app.look.launched is None)
            await pilot.press("4")
            await wait(pilot, lambda: isinstance(app.screen, PipelineScreen) and "up to date" in screen_text(app))
    finally:
        left = launch.active(paths)
        if left is not None:
            launch.stop(left, patience=0.1)
    rows = (paths.model("ads") / "history.csv").read_text().splitlines()[1:]
    assert [int(row.split(",")[0]) for row in rows] == list(range(1, EPOCHS + 1))
