"""Damaged files of a study under the open screens of the laboratory: none ends it, and no control character is shown.

Five projects by default, 40 in the slow test, or as many as SSMLAB_TORTURE seconds allow.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from textual.pilot import Pilot

from ssmlab.tui.app import StudyApp
from ssmlab.tui.places import PLACES
from tests.tiny_project import STUDY
from tests.torture.artifact_readers import Study, damaged, make_study
from tests.tui.conftest import screen_text, until

REPORT = f"results/{STUDY}/report.md"
A_SESSION = 5  # damaged projects; the first is damaged before the app starts
VISITS = 2  # screens that are opened over each
PIPELINE = [place.name for place in PLACES].index("pipeline") + 1  # asks DVC, which takes seconds
CHEAP = [digit for digit in range(1, len(PLACES) + 1) if digit != PIPELINE]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    here, root = Path.cwd(), tmp_path_factory.mktemp("study").resolve()
    try:
        made = make_study(root)  # it changes the folder
        (root / REPORT).write_text(
            "# Tiny\n\n| run | clean |\n|---|---|\n| ssm | 30.0 |\n\n![curves](figures/curves.png)\n"
        )
        yield Study(root, {**made.sound, REPORT: (root / REPORT).read_bytes()}, made.readers)
    finally:
        os.chdir(here)


def damage(study: Study, draws: random.Random) -> list[str]:
    """Put the whole study back, then damage one to three of its files; their names."""
    for name, content in study.sound.items():
        (study.root / name).write_bytes(content)
    names = draws.sample(sorted(study.sound), draws.randint(1, 3))
    for name in names:
        other = study.sound[draws.choice(sorted(study.sound))]
        (study.root / name).write_bytes(damaged(name, study.sound[name], other, draws))
    return names


async def session(study: Study, draws: random.Random) -> None:
    """Open screens over damaged projects, in one app; it raises what ended the app."""
    names = damage(study, draws)
    app = StudyApp(study.root)
    async with app.run_test(size=(100, 30)) as pilot:
        for number in range(A_SESSION):
            if number:
                names = damage(study, draws)
            await visit(app, pilot, draws, names)


async def visit(app: StudyApp, pilot: Pilot[None], draws: random.Random, names: list[str]) -> None:
    """Open some screens once the files have been looked at."""
    before = app.look
    await until(pilot, lambda: app.look is not None and app.look is not before and not app.look.loading)
    for _ in range(VISITS):
        place = CHEAP[draws.randrange(len(CHEAP))] if draws.random() < 0.95 else PIPELINE
        await pilot.press(str(place))
        await pilot.pause()
        shown = screen_text(app)
        bad = [each for each in shown if (ord(each) < 32 and each != "\n") or 127 <= ord(each) < 160]
        assert not bad, f"screen {place} shows {bad!r} with {names}"
        await pilot.press("escape")


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The files are looked at often, so that the test need not wait."""
    monkeypatch.setattr("ssmlab.tui.app.POLL", 0.02)


async def test_damaged_projects_do_not_end_the_laboratory(study: Study) -> None:
    await session(study, random.Random(0))


@pytest.mark.slow
async def test_forty_damaged_projects_do_not_end_the_laboratory(study: Study) -> None:
    seed, until_then = (
        os.environ.get("SSMLAB_TORTURE_SEED", "1"),
        time.monotonic() + float(os.environ.get("SSMLAB_TORTURE", "0")),
    )
    number = 0
    while number < 40 / A_SESSION or time.monotonic() < until_then:
        await session(study, random.Random(f"{seed} {number}"))
        number += 1
