"""Whatever stands at report.md, the screen of the report shows it or says why it cannot, and other keys work."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ssmlab.tui.app import StudyApp
from ssmlab.tui.screens.report import ReportScreen
from ssmlab.tui.screens.study import StudyScreen
from tests.tui.conftest import Study, line_of, screen_text, until


def make_large(path: Path) -> None:
    path.touch()
    os.truncate(path, 100 * 2**20)


STRANGE = {
    "a pipe": (os.mkfifo, "not a regular file"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
    "a folder": (Path.mkdir, "Is a directory"),
    "100 MB": (make_large, "larger than 1 MiB"),
}


async def open_report(study: Study, shown: Callable[[str], bool]) -> str:
    """The text of the screen when something is shown; the screen can be closed then."""
    app = StudyApp(study.root)
    async with app.run_test(size=(240, 30)) as pilot:  # wide enough for the whole path of the report in one line
        await until(pilot, lambda: line_of(app, "ads"))
        await pilot.press("5")
        await until(pilot, lambda: isinstance(app.screen, ReportScreen) and shown(screen_text(app)))
        text = screen_text(app)
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, StudyScreen))
    return text


@pytest.mark.parametrize("strange", STRANGE)
async def test_something_else_than_a_report_is_named_and_not_read(study: Study, strange: str) -> None:
    make, reason = STRANGE[strange]
    study.paths.report_md.parent.mkdir(parents=True, exist_ok=True)
    make(study.paths.report_md)
    text = await open_report(study, lambda text: "cannot be shown" in text)
    assert "report.md" in text and reason in " ".join(text.split()) and "for report.html" in text


async def test_a_report_of_other_bytes_than_text_is_shown(study: Study) -> None:
    study.paths.report_md.parent.mkdir(parents=True, exist_ok=True)
    study.paths.report_md.write_bytes(b"# Half \xff\xfe a report \x02 \x1b[2J\n")
    await open_report(study, lambda text: r"a report \x02 \x1b[2J" in text)


async def test_every_kind_of_line_end_ends_a_line(study: Study) -> None:
    study.paths.report_md.parent.mkdir(parents=True, exist_ok=True)
    study.paths.report_md.write_bytes(
        b"# Verdicts\r\n\r\n| run | clean |\r\n| :-- | --: |\r\n| ads | 75.0 |\r\rThe end.\r"
    )
    text = await open_report(study, lambda text: "The end." in text)
    assert r"\r" not in text and ["ads", "75.0"] in [line.split() for line in text.splitlines()]


async def test_a_long_report_is_shown_to_its_end_and_stays_where_it_was_read(study: Study) -> None:
    study.paths.report_md.parent.mkdir(parents=True, exist_ok=True)
    table = "\n\n| run | clean |\n| :-- | --: |\n| ads | 75.0 |\n\n"
    study.paths.report_md.write_text("".join(f"Part {number}.{table}" for number in range(12)))
    app = StudyApp(study.root)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: line_of(app, "ads"))
        await pilot.press("5")
        await until(pilot, lambda: "Part 0." in screen_text(app) and len(app.screen.query("#report > *")) == 24)
        await pilot.press("end")
        await until(pilot, lambda: "Part 11." in screen_text(app))
        study.paths.report_md.write_text(study.paths.report_md.read_text().replace("Part 11.", "The last part."))
        await until(pilot, lambda: "The last part." in screen_text(app))
