"""Every screen as a picture, at one size, over a recorded study with a clock that stands still.

`pytest tests/tui/test_snapshots.py --snapshot-update` renews the pictures; look at them before you commit them.
"""

from __future__ import annotations

import os
import shutil
from collections import namedtuple
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, OptionList

from ssmlab.project.params_file import load_params
from ssmlab.project.switch import StudyFile
from ssmlab.stages.samples.sample_file import save_samples
from ssmlab.tui import pipeline
from ssmlab.tui.app import StudyApp
from ssmlab.tui.machine import Gpu, Machine, RunProcess
from ssmlab.tui.samples import SampleRequest
from ssmlab.tui.screens.dialogs import Choice, Question, Reading
from ssmlab.tui.screens.edit_run import EditRun
from tests.tui.conftest import BEAT, Study, line_of, screen_text, until
from tests.tui.test_samples import samples_of

NOW = 1_800_000_000.0
SIZE = (110, 34)
Compare = Callable[..., bool]
Steps = Callable[[Pilot[None]], Awaitable[None]]
Disk = namedtuple("Disk", "total used free")
STAGES = ("prepare", "train@ssm", "attack@ssm", "train@attention", "attack@attention", "analyze", "report")
SEEDS = """  ads-s1:
    model: {enhancement: ads, ads: {act: relu, parts: both}}
    train: {seed: 1}
"""


@pytest.fixture
def recorded(study: Study, monkeypatch: pytest.MonkeyPatch) -> Study:
    """Two finished runs that differ in their seed, one more that is finished, one in training for 75 more seconds."""
    params_file = study.root / "params.yaml"
    params_file.write_text(
        params_file.read_text().replace("\nattack:\n", SEEDS + "\nattack:\n", 1).replace("epochs: 2", "epochs: 8")
    )
    shutil.rmtree(study.paths.live("ads"))
    for run, shift in (("ssm", 0.0), ("ads", 0.08), ("ads-s1", 0.12)):
        shutil.rmtree(study.paths.model(run), ignore_errors=True)
        study.add_rows(study.paths.model(run), *curve(8, shift))
        study.attack(run)
        os.utime(study.paths.model(run) / "history.csv", (NOW - 7200, NOW - 7200))
    study.add_rows(study.paths.live("attention"), *curve(5, 0.2))
    study.beat(replace(BEAT, run="attention"), task="epoch 6/8", epoch=6, epochs=8)
    log = "".join(f"epoch {epoch}/8 of attention is done\n" for epoch in range(1, 6))
    (study.paths.live("attention") / "log.txt").write_text(log)
    study.paths.report_md.write_text(
        "# Smoke test\n\nEverything was run.\n\n| run | clean |\n| :-- | --: |\n| ads | 75 |\n"
    )
    progress = study.paths.live("attention") / "progress.json"
    progress.write_text(progress.read_text().replace(f'"time":{time_in(progress)}', f'"time":{NOW - 3.0}'))
    monkeypatch.setattr("shutil.disk_usage", lambda path: Disk(100 * 10**9, 40 * 10**9, 60 * 10**9))
    return study


def curve(epochs: int, shift: float) -> list[tuple[float, float]]:
    """Clean and robust accuracies of a training that goes well."""
    return [(0.3 + shift + 0.05 * epoch, 0.1 + shift + 0.04 * epoch) for epoch in range(epochs)]


def time_in(progress: Path) -> str:
    """The time in a heartbeat, as it is written."""
    return progress.read_text().partition('"time":')[2].partition("}")[0].partition(",")[0]


def lab(study: Study) -> StudyApp:
    """The laboratory with a clock that stands still."""
    app = StudyApp(study.root)
    app.clock = lambda: NOW
    return app


def after(*keys: str, text: str = "", then: Steps | None = None) -> Steps:
    """Wait for the table with its test results and for the curves, press keys, and wait for a text on the screen."""

    async def run(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: line_of(pilot.app, "attention") and "[41-93]" in screen_text(pilot.app))
        await until(pilot, lambda: "● ssm  ★ best" in screen_text(pilot.app))
        await pilot.pause(0.3)
        await pilot.press(*keys)
        if then is not None:
            await then(pilot)
        await until(pilot, lambda: text in screen_text(pilot.app))
        await pilot.pause(0.3)

    return run


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC, the machine: what they say is always the same."""
    answer = {
        "train@ssm": [{"changed deps": {"params.yaml": {"train.epochs": "modified"}}}],
        "report": ["changed command"],
    }

    async def read(params: Any, root: Path) -> tuple[str, ...]:
        return STAGES

    async def ask(stages: tuple[str, ...], root: Path) -> pipeline.PipelineState:
        return pipeline.PipelineState(stages, pipeline.parse_status(answer), None)

    gpus = (Gpu("NVIDIA H100", 93, 40 * 10**9, 80 * 10**9, 61), Gpu("NVIDIA H100", None, None, None, None))
    processes = (RunProcess("attention", 4242, 187.0, 900 * 10**6, 4),)
    machine = Machine(37.0, 16, 5.3, 20 * 10**9, 64 * 10**9, 60 * 10**9, 100 * 10**9, gpus, processes)
    for screen in ("pipeline", "launching"):
        monkeypatch.setattr(f"ssmlab.tui.screens.{screen}.read_stages", read)
        monkeypatch.setattr(f"ssmlab.tui.screens.{screen}.ask_dvc", ask)
    monkeypatch.setattr("ssmlab.tui.screens.system.MachineWatcher.look", lambda self, root, paths, runs: machine)


def test_the_runs(recorded: Study, snap_compare: Compare) -> None:
    assert snap_compare(lab(recorded), terminal_size=SIZE, run_before=after("a", text="★ best"))


def test_the_curves_with_a_cursor(recorded: Study, snap_compare: Compare) -> None:
    keys = ("a", "g", "2", "right", "right", "right", "right")
    assert snap_compare(lab(recorded), terminal_size=SIZE, run_before=after(*keys, text="epoch 4"))


def test_the_comparison(recorded: Study, snap_compare: Compare) -> None:
    keys = ("g", "space", "down", "down", "space", "c")
    assert snap_compare(lab(recorded), terminal_size=SIZE, run_before=after(*keys, text="model.enhancement"))


def test_the_pipeline(recorded: Study, snap_compare: Compare) -> None:
    assert snap_compare(lab(recorded), terminal_size=SIZE, run_before=after("4", text="train.epochs modified"))


def test_the_report(recorded: Study, snap_compare: Compare) -> None:
    assert snap_compare(lab(recorded), terminal_size=SIZE, run_before=after("5", text="Everything was run"))


def test_the_system(recorded: Study, snap_compare: Compare) -> None:
    assert snap_compare(lab(recorded), terminal_size=SIZE, run_before=after("6", text="process 4242"))


def test_the_samples(recorded: Study, snap_compare: Compare) -> None:
    params = load_params(recorded.root / "params.yaml")
    recorded.paths.checkpoint("ssm", "best").write_bytes(b"")
    recorded.paths.live("ssm").mkdir(parents=True, exist_ok=True)
    save_samples(SampleRequest("ssm", "fgsm").path(recorded.paths), samples_of(params, "ssm", "fgsm"))
    assert snap_compare(lab(recorded), terminal_size=SIZE, run_before=after("home", "i", text="image 1 of 2"))


def test_the_alerts(recorded: Study, snap_compare: Compare) -> None:
    recorded.attack("ssm", warnings=("fgsm breaks 2 images that pgd-2 does not",))
    assert snap_compare(lab(recorded), terminal_size=SIZE, run_before=after("8", text="fgsm breaks 2"))


def test_the_keys(recorded: Study, snap_compare: Compare) -> None:
    async def opened(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: isinstance(pilot.app.screen, Reading))

    assert snap_compare(lab(recorded), terminal_size=SIZE, run_before=after("question_mark", then=opened))


def test_the_details_of_a_run(recorded: Study, snap_compare: Compare) -> None:
    assert snap_compare(lab(recorded), terminal_size=SIZE, run_before=after("enter", text="train.adversary"))


def test_the_question_before_a_launch_of_the_rest(recorded: Study, snap_compare: Compare) -> None:
    async def opened(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: isinstance(pilot.app.screen, Question))

    assert snap_compare(lab(recorded), terminal_size=SIZE, run_before=after("R", then=opened))


def test_the_editing_of_a_run(recorded: Study, snap_compare: Compare) -> None:
    async def typed(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: isinstance(pilot.app.screen, EditRun))
        for box in pilot.app.screen.query(Input):
            box.cursor_blink = False  # a picture shows a blinking cursor or not, by chance
        pilot.app.screen.query_one("#edit-regime", Input).value = "pgd"
        await pilot.press("enter")

    assert snap_compare(lab(recorded), terminal_size=SIZE, run_before=after("e", then=typed, text="regime: must"))


def test_the_studies(recorded: Study, monkeypatch: pytest.MonkeyPatch, snap_compare: Compare) -> None:
    names = {"mnist5k": 5, "regimes": 144, "smoke": 4}
    found = [StudyFile(name, Path(f"{name}.yaml"), f"All of {name}", "mnist5k", runs) for name, runs in names.items()]
    monkeypatch.setattr("ssmlab.project.switch.studies", lambda root: found)

    async def opened(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: isinstance(pilot.app.screen, Choice))
        pilot.app.screen.query_one(OptionList).highlighted = 0

    assert snap_compare(lab(recorded), terminal_size=SIZE, run_before=after("w", then=opened))


@pytest.mark.parametrize("size", [(80, 24), (40, 12), (20, 5)], ids=["80x24", "40x12", "20x5"])
def test_the_runs_in_small_terminals(recorded: Study, snap_compare: Compare, size: tuple[int, int]) -> None:
    async def shown(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "✔" in screen_text(pilot.app))
        await pilot.pause(1.0)

    assert snap_compare(lab(recorded), terminal_size=size, run_before=shown)


def test_the_runs_on_a_light_theme(recorded: Study, snap_compare: Compare) -> None:
    async def light(pilot: Pilot[None]) -> None:
        pilot.app.theme = "textual-light"

    assert snap_compare(lab(recorded), terminal_size=SIZE, run_before=after(then=light))
