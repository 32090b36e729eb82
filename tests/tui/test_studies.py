"""Editing runs and changing studies from the laboratory."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from textual.widgets import Input, OptionList

from ssmlab.project.expand import expanded_params_yaml
from ssmlab.project.params_file import load_params
from ssmlab.tui.app import StudyApp
from ssmlab.tui.screens.dialogs import Choice, Question
from ssmlab.tui.screens.edit_run import EditRun
from tests.tui.conftest import Study, line_of, notice_of, screen_text, until


@pytest.fixture
def studies(study: Study, project: Path) -> Study:
    """The study with the folder studies/ of the project, and nothing at work."""
    shutil.copytree(project / "studies", study.root / "studies")
    study.beat(state="finished")
    study.add_rows(study.paths.model("ads"), (0.5, 0.5), (0.5, 0.5))
    return study


async def test_an_edit_is_validated_shown_and_written_only_after_a_yes(studies: Study) -> None:
    path = studies.root / "params.yaml"
    before = path.read_text()
    app = StudyApp(studies.root)
    async with app.run_test(size=(110, 36)) as pilot:
        await until(pilot, lambda: line_of(app, "ssm"))
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, EditRun))
        box = app.screen.query_one("#edit-epochs", Input)
        assert box.value == "2" and app.screen.query_one("#edit-regime", Input).value == "pgd_at"
        box.value = "0"
        await pilot.press("enter")
        await until(pilot, lambda: "epochs" in screen_text(app) and "must be greater than" in screen_text(app))
        box.value = "5"
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Question))
        assert "train: {epochs: 5}" in screen_text(app) and "Only ssm changes" in screen_text(app)
        await pilot.press("escape")
        assert path.read_text() == before
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, EditRun))
        app.screen.query_one("#edit-epochs", Input).value = "5"
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Question))
        await pilot.press("y")
        await until(pilot, lambda: "params.yaml is written" in notice_of(app))
    assert load_params(path).run("ssm").train.epochs == 5 and load_params(path).run("ads").train.epochs == 2


async def test_params_are_not_written_while_a_run_is_active(studies: Study) -> None:
    studies.beat()
    before = (studies.root / "params.yaml").read_text()
    app = StudyApp(studies.root)
    async with app.run_test(size=(110, 36)) as pilot:
        await until(pilot, lambda: line_of(app, "ssm"))
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, EditRun))
        app.screen.query_one("#edit-seed", Input).value = "5"
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Question))
        await pilot.press("y")
        await until(pilot, lambda: "run ads of study smoke is being trained" in notice_of(app))
    assert (studies.root / "params.yaml").read_text() == before


async def choose_study(app: StudyApp, pilot: object, name: str) -> None:
    """Open the list of studies and take one."""
    await pilot.press("w")  # type: ignore[attr-defined]
    await until(pilot, lambda: isinstance(app.screen, Choice))  # type: ignore[arg-type]
    assert isinstance(app.screen, Choice)
    names = [option for option, _ in app.screen.options]
    app.screen.query_one(OptionList).highlighted = names.index(name)
    await pilot.press("enter")  # type: ignore[attr-defined]


async def test_runs_of_another_study_can_be_looked_at_but_not_launched(studies: Study) -> None:
    app = StudyApp(studies.root)
    async with app.run_test(size=(140, 36)) as pilot:
        await until(pilot, lambda: line_of(app, "ssm"))
        await choose_study(app, pilot, "mnist5k")
        await until(pilot, lambda: isinstance(app.screen, Question))
        assert "study: smoke -> mnist5k" in screen_text(app)
        await pilot.press("l")
        await until(pilot, lambda: line_of(app, "ssm-gelu"))
        assert "mnist5k (not in use) · runs" in screen_text(app)
        for key in ("r", "R", "e", "i"):
            await pilot.press(key)
            await until(pilot, lambda: "mnist5k is not the study of params.yaml" in notice_of(app))
        await choose_study(app, pilot, "smoke")
        await until(pilot, lambda: not line_of(app, "ssm-gelu") and "smoke · runs" in screen_text(app))
    assert load_params(studies.root / "params.yaml").study == "smoke"


async def test_a_study_that_is_used_becomes_params_yaml(studies: Study, project: Path) -> None:
    app = StudyApp(studies.root)
    async with app.run_test(size=(140, 36)) as pilot:
        await until(pilot, lambda: line_of(app, "ssm"))
        await choose_study(app, pilot, "mnist5k")
        await until(pilot, lambda: isinstance(app.screen, Question))
        await pilot.press("u")
        await until(pilot, lambda: "mnist5k · runs" in screen_text(app))
    written_out = expanded_params_yaml(project / "studies" / "mnist5k.yaml")
    assert (studies.root / "params.yaml").read_bytes() == written_out
