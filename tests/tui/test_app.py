"""The TUI over a folder of synthetic files, driven by keys; no training, no DVC."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from textual.app import App
from textual.pilot import Pilot
from textual.widgets import Static

from ssmlab.artifacts.heartbeat import Heartbeat
from ssmlab.artifacts.history import HistoryWriter, Row
from ssmlab.core.files import canonical_json
from ssmlab.evaluation.results import AttackResults, CheckpointResults, Measure, Protocol, save_results, worst_case
from ssmlab.params import Params
from ssmlab.params.paths import Paths
from ssmlab.project import launch
from ssmlab.system.processes import pid_start_time
from ssmlab.tui.app import StudyApp
from ssmlab.tui.compare_screen import CompareScreen
from ssmlab.tui.curves import AccuracyPlot
from ssmlab.tui.dialogs import Question, Reading
from ssmlab.tui.log_pane import LogPane
from ssmlab.tui.runs_table import RunsTable

BEAT = Heartbeat(
    stage="train",
    study="smoke",
    run="ads",
    pid=os.getpid(),
    pid_start=pid_start_time(os.getpid()),
    host=socket.gethostname(),
    device="cpu",
    task="epoch 2/2",
    epoch=2,
    epochs=2,
    images_per_second=1234.0,
    eta_seconds=75.0,
)


@pytest.fixture
def paths(tmp_path: Path, project: Path) -> Iterator[Paths]:
    """The smoke study: `ssm` published and attacked, `ads` in training, `attention` not begun."""
    (tmp_path / "params.yaml").write_text((project / "studies" / "smoke.yaml").read_text())
    (tmp_path / "dvc.yaml").write_text((project / "dvc.yaml").read_text())
    paths = Paths("smoke", tmp_path)
    add_rows(paths.model("ssm"), (0.5, 0.25), (0.625, 0.125))
    paths.attack("ssm").parent.mkdir(parents=True)
    paths.attack("ssm").write_text("{}")
    add_rows(paths.live("ads"), (0.75, 0.5))
    beat(paths, BEAT)
    (paths.live("ads") / "log.txt").write_text("epoch 1/2 of ads is done\n")
    yield paths
    left = launch.active(paths)
    if left is not None:
        launch.stop(left, patience=0.1)


def add_rows(folder: Path, *accuracies: tuple[float, float]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    writer = HistoryWriter(folder / "history.csv")
    for epoch, (clean, robust) in enumerate(accuracies, start=1):
        writer.append(Row(epoch, epoch, 1e-3, 2.0, 0.1, clean, robust, 1.0, 800.0))


def beat(paths: Paths, heartbeat: Heartbeat) -> None:
    text = canonical_json(asdict(replace(heartbeat, time=time.time())))
    (paths.live(heartbeat.run) / "progress.json").write_text(text)


def attack_results(params: Params, run: str, seed: int) -> AttackResults:
    protocol = Protocol.model_validate(
        {
            "data": {
                "name": "mnist5k",
                "fingerprint": "a",
                "split": "test",
                "n": 8,
                "indices_hash": "b",
                "train": 9,
                "validation": 2,
            },
            "norm": "linf",
            "eps": {"text": "0.1", "value": 0.1},
            "batch_size": 4,
            "seed": seed,
            "attacks": {"fgsm": params.attack.attacks["fgsm"].plain()},
            "torchattacks": "3.5.1",
            "device": "cpu",
        }
    )
    measures = {"clean": Measure.of("11111100"), "fgsm": Measure.of("10101000")}
    best = CheckpointResults(
        measures=measures,
        worst_case=worst_case(measures),
        warnings=(),
        sha256="c" * 64,
        epoch=2,
        val_clean=0.5,
        val_robust=0.25,
        selection_split="validation",
    )
    return AttackResults(
        format=2,
        study=params.study,
        run=run,
        parameters=1000,
        model=params.runs[run].model.plain(),
        train=params.runs[run].train.plain(),
        code_version="0",
        protocol=protocol,
        protocol_fingerprint=protocol.fingerprint(),
        checkpoints={"best": best},
    )


async def until(pilot: Pilot[None], condition: Callable[[], object]) -> None:
    """Wait for what the watcher brings; a minute is a failure, not a measurement."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, screen(pilot.app)
        await pilot.pause(0.02)


def screen(app: App[None]) -> str:
    """What stands on the terminal."""
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip) for strip in strips)


def line(app: App[None], start: str) -> list[str]:
    """The words of the table's line for a run."""
    found = (words for text in screen(app).splitlines() if start in (words := text.split()))
    return next(found, [])


def notice(app: App[None]) -> str:
    return str(app.screen.query_one("#notice", Static).content)


async def test_table_from_files(paths: Paths) -> None:
    app = StudyApp(paths.root)
    async with app.run_test(size=(120, 30)) as pilot:
        await until(pilot, lambda: line(app, "ads"))
        assert " ".join(line(app, "ssm")) == "○ ssm S4 ✔ finished 2/2 62.5 12.5 25.0 800 -"
        assert " ".join(line(app, "ads")) == "○ ads S4 + AdS (relu) ▶ training 2/2 75.0 50.0 50.0 1.2k 1m15s epoch 2/2"
        assert " ".join(line(app, "attention")) == "○ attention Mega · waiting - - - - - -"
        assert "smoke" in screen(app).splitlines()[0] and "eps 0.1" in screen(app).splitlines()[0]
        picture = app.export_screenshot()
        for name in ("ssm", "ads", "attention", "training"):
            assert name in picture


async def test_table_follows_files(paths: Paths) -> None:
    app = StudyApp(paths.root)
    async with app.run_test(size=(120, 30)) as pilot:
        await until(pilot, lambda: "training" in line(app, "ads"))
        HistoryWriter(paths.live("ads") / "history.csv").append(Row(2, 2, 1e-3, 1.9, 0.2, 0.875, 0.625, 1.0, 900.0))
        add_rows(paths.model("ads"), (0.75, 0.5), (0.875, 0.625))
        beat(paths, replace(BEAT, state="finished", eta_seconds=None))
        await until(pilot, lambda: "trained" in line(app, "ads"))
        assert line(app, "ads")[-6:] == ["2/2", "87.5", "62.5", "62.5", "800", "-"]
        later = time.time() + 5  # than what is published
        beat(paths, replace(BEAT, state="failed", message="the loss is not finite", time=later))
        await until(pilot, lambda: "failed" in line(app, "ads"))
        assert "the loss is not finite" in screen(app)
        beat(paths, replace(BEAT, pid_start=1.0, time=later))
        await until(pilot, lambda: "killed" in line(app, "ads"))


async def test_only_changed_cells_are_drawn(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    app = StudyApp(paths.root)
    async with app.run_test(size=(120, 30)) as pilot:
        await until(pilot, lambda: line(app, "ads"))
        changed: list[tuple[str, str]] = []
        draw = RunsTable.update_cell

        def note(self: RunsTable, row: str, column: str, value: object) -> None:
            changed.append((row, column))
            draw(self, row, column, value)  # type: ignore[arg-type]

        monkeypatch.setattr(RunsTable, "update_cell", note)
        beat(paths, replace(BEAT, eta_seconds=74.0))
        await until(pilot, lambda: changed)
        assert changed == [("ads", "eta")]


async def test_curves_of_the_selected_and_of_the_marked(paths: Paths) -> None:
    app = StudyApp(paths.root)
    async with app.run_test(size=(120, 30)) as pilot:
        await until(pilot, lambda: line(app, "ads"))
        clean, robust = app.screen.query(AccuracyPlot)
        assert [[row.val_clean for row in curve.rows] for curve in clean.curves] == [[0.5, 0.625]]
        await pilot.press("down", "down")
        assert [[clean.accuracy(row) for row in curve.rows] for curve in clean.curves] == [[0.75]]
        assert [[robust.accuracy(row) for row in curve.rows] for curve in robust.curves] == [[0.5]]
        await pilot.press("space", "up", "up", "space")
        assert [len(curve.rows) for curve in clean.curves] == [1, 2]  # the one under the cursor lies on top
        assert line(app, "ads")[0] == line(app, "ssm")[0] == "●"
        await pilot.press("a")
        assert len(clean.curves) == 3
        await pilot.press("a")
        assert len(clean.curves) == 1


async def test_log_of_the_run_and_of_the_launch(paths: Paths) -> None:
    launch.log_path(paths).write_text("Running stage 'train@ads':\n")
    app = StudyApp(paths.root)
    async with app.run_test(size=(120, 30)) as pilot:
        await until(pilot, lambda: "Running stage" in screen(app))  # ssm has no log of its own
        await pilot.press("down", "down")
        await until(pilot, lambda: "epoch 1/2 of ads is done" in screen(app))
        with (paths.live("ads") / "log.txt").open("a") as file:
            file.write("epoch 2/2 [of] ads is done\n")
        await until(pilot, lambda: "epoch 2/2 [of] ads is done" in screen(app))
        await pilot.press("l")
        await until(pilot, lambda: "Running stage" in screen(app))
        assert app.screen.query_one(LogPane).path == launch.log_path(paths)


async def test_details_help_and_back(paths: Paths) -> None:
    app = StudyApp(paths.root)
    async with app.run_test(size=(100, 60)) as pilot:
        await until(pilot, lambda: line(app, "ads"))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Reading))
        assert "epoch 1: 50.0 clean, 25.0 robust" in screen(app)
        assert "train.adversary.alpha" in screen(app)
        await pilot.press("escape", "question_mark")
        await until(pilot, lambda: "keys and states" in screen(app))
        await pilot.press("escape")
        await until(pilot, lambda: line(app, "ads"))


async def test_a_second_click_opens_details(paths: Paths) -> None:
    app = StudyApp(paths.root)
    async with app.run_test(size=(100, 40)) as pilot:
        await until(pilot, lambda: line(app, "ads"))
        await pilot.click(RunsTable, offset=(8, 3))
        selected = app.screen.query_one(RunsTable).selected
        assert selected is not None and selected.name == "ads"
        await pilot.click(RunsTable, offset=(8, 3))
        await until(pilot, lambda: isinstance(app.screen, Reading))


async def test_compare(paths: Paths, tiny_params: Params) -> None:
    for run in ("ssm", "ads"):
        save_results(paths.attack(run), attack_results(tiny_params, run, seed=0))
    app = StudyApp(paths.root)
    async with app.run_test(size=(100, 40)) as pilot:
        await until(pilot, lambda: line(app, "ads"))
        await pilot.press("c")
        assert "mark two runs" in notice(app)
        await pilot.press("space", "down", "down", "space", "c")
        await until(pilot, lambda: isinstance(app.screen, CompareScreen) and "model.enhancement" in screen(app))
        assert "75.0%" in screen(app)
        await pilot.press("escape")
        await until(pilot, lambda: line(app, "ads"))


async def test_compare_refuses_unequal_protocols_until_forced(paths: Paths, tiny_params: Params) -> None:
    for seed, run in enumerate(("ssm", "ads")):
        save_results(paths.attack(run), attack_results(tiny_params, run, seed))
    app = StudyApp(paths.root)
    async with app.run_test(size=(100, 40)) as pilot:
        await until(pilot, lambda: line(app, "ads"))
        await pilot.press("space", "down", "down", "space", "c")
        await until(pilot, lambda: isinstance(app.screen, CompareScreen) and "different protocols" in notice(app))
        assert "model.enhancement" not in screen(app)
        await pilot.press("f")
        await until(pilot, lambda: "model.enhancement" in screen(app))
        assert "not comparable" in screen(app)


async def test_launch_follow_and_stop(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys, time; print('at work on', *sys.argv[1:], flush=True); time.sleep(60)"
    monkeypatch.setattr(launch, "dvc_command", lambda targets, force: [sys.executable, "-c", code, *targets])
    app = StudyApp(paths.root)
    async with app.run_test(size=(100, 40)) as pilot:
        await until(pilot, lambda: line(app, "ads"))
        await pilot.press("s")
        assert "ads was not launched here" in notice(app)
        await pilot.press("r")
        await until(pilot, lambda: "▶ repro of ssm" in screen(app))
        await until(pilot, lambda: "at work on train@ssm attack@ssm" in screen(app))
        await pilot.press("R")
        await until(pilot, lambda: "already running" in notice(app))
        await pilot.press("s")
        await until(pilot, lambda: isinstance(app.screen, Question))
        await pilot.press("enter")  # the safe answer
        await until(pilot, lambda: not isinstance(app.screen, Question))
        assert launch.active(paths) is not None
    found = launch.active(paths)  # quitting has left it alone
    assert found is not None
    again = StudyApp(paths.root)
    async with again.run_test(size=(100, 40)) as pilot:
        await until(pilot, lambda: "▶ repro of ssm" in screen(again))
        await pilot.press("s")
        await until(pilot, lambda: isinstance(again.screen, Question))
        await pilot.press("y")
        await until(pilot, lambda: "was stopped" in screen(again))
        assert not found.running


async def test_a_launch_that_fails_says_why(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys; print('ERROR: Unable to acquire lock.'); sys.exit(255)"
    monkeypatch.setattr(launch, "dvc_command", lambda targets, force: [sys.executable, "-c", code])
    app = StudyApp(paths.root)
    async with app.run_test(size=(100, 40)) as pilot:
        await until(pilot, lambda: line(app, "ads"))
        await pilot.press("R")
        await until(pilot, lambda: "repro of everything: Unable to acquire lock." in notice(app))


@pytest.mark.parametrize("size", [(80, 24), (40, 12), (300, 20)])
async def test_any_terminal(paths: Paths, size: tuple[int, int]) -> None:
    app = StudyApp(paths.root)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: line(app, "ads"))
        await pilot.press("a", "question_mark", "escape", "enter", "escape")
        assert line(app, "ads")
        if size == (80, 24):
            assert app.screen.query_one(RunsTable).max_scroll_x == 0
            for word in ("robust", "best", "ETA", "finished", "1m15s", "quit"):
                assert word in screen(app)
            for plot in app.screen.query(AccuracyPlot):
                assert plot.size.height >= 8 and plot.size.width >= 30


async def test_broken_study_is_said_in_place(paths: Paths) -> None:
    path = paths.root / "params.yaml"
    text = path.read_text()
    path.write_text("study: [")
    app = StudyApp(paths.root)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "not YAML" in notice(app))
        await pilot.press("r", "s", "c", "enter", "space", "a", "l")
        path.write_text(text)
        await until(pilot, lambda: line(app, "ads"))
        path.write_text(text.replace("epochs: 2", "epochs: 0"))
        await until(pilot, lambda: "epochs" in notice(app))
        assert line(app, "ads")
        path.write_text(text.replace("  ads:", "  new:").replace("run: ads", "run: new"))
        await until(pilot, lambda: line(app, "new"))
        assert not line(app, "ads")


async def test_torn_files(paths: Paths) -> None:
    (paths.live("ads") / "progress.json").write_text('{"stage"')
    with (paths.live("ads") / "history.csv").open("ab") as file:
        file.write(b"2,\xff\xfe")
    app = StudyApp(paths.root)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "stale" in line(app, "ads"))
        assert "75.0" in line(app, "ads")


async def test_a_theme_redraws_the_states(paths: Paths) -> None:
    app = StudyApp(paths.root)
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: line(app, "ads"))
        table = app.screen.query_one(RunsTable)
        before = table.get_cell("ads", "state").style
        app.theme = "textual-light"
        await until(pilot, lambda: table.get_cell("ads", "state").style != before)
        assert line(app, "ads")


def test_no_torch_and_no_dvc() -> None:
    code = "import sys, ssmlab.tui.app; assert not {'torch', 'dvc', 'matplotlib'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
