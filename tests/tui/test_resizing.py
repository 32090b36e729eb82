"""For any order in which the sizes of a terminal arrive, the screen is drawn completely in the last size."""

from __future__ import annotations

import asyncio

import pytest
from textual.events import Resize
from textual.geometry import Size
from textual.pilot import Pilot

from ssmlab.tui.app import StudyApp
from tests.tui.conftest import Study, line_of, screen_text, until

SMALL, WHOLE = Size(40, 10), Size(100, 30)


async def test_a_screen_that_lost_the_last_size_gets_it_and_is_drawn_completely(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = StudyApp(study.root)
    async with app.run_test(size=WHOLE) as pilot:
        drawn = await sizes_drawn(pilot, monkeypatch)
        app.screen.post_message(Resize(SMALL, SMALL))  # while the app knows that the terminal has its whole size
        await until(pilot, lambda: SMALL in drawn)
        await until(pilot, lambda: drawn[-1] == WHOLE == app.screen.outer_size)
        await until(pilot, lambda: "q quit" in screen_text(app).splitlines()[WHOLE.height - 1])


async def test_everything_is_drawn_once_more_after_the_last_size_and_not_again(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = StudyApp(study.root)
    async with app.run_test(size=WHOLE) as pilot:
        drawn = await sizes_drawn(pilot, monkeypatch)
        for _ in range(3):
            app.post_message(Resize(WHOLE, WHOLE))  # another size, and back before anybody has looked
            await asyncio.sleep(0.01)
        await until(pilot, lambda: drawn)
        await asyncio.sleep(0.7)
        assert drawn == [WHOLE]


async def test_an_app_that_has_closed_draws_nothing_more(study: Study) -> None:
    """The timer of the last resize can fire while the app closes and has no screens left."""
    app = StudyApp(study.root)
    async with app.run_test(size=WHOLE):
        pass
    assert not app.screen_stack
    app.draw_whole()


async def sizes_drawn(pilot: Pilot[None], monkeypatch: pytest.MonkeyPatch) -> list[Size]:
    """The size of everything that is drawn whole from here on; the drawing of the start is over."""
    app, sizes, drawn = pilot.app, [], []
    display = app._display

    def noted(screen: object, update: object) -> None:
        if update is not None:
            drawn.append(update)
        if hasattr(update, "region"):
            sizes.append(update.region.size)
        display(screen, update)  # type: ignore[arg-type]

    await until(pilot, lambda: line_of(app, "ads"))
    monkeypatch.setattr(app, "_display", noted)
    before = -1
    while before != len(drawn):
        before = len(drawn)
        await asyncio.sleep(0.5)
    sizes.clear()
    return sizes
