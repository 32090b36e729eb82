"""The screen of runs over synthetic files, driven by keys."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from ssmlab.artifacts.history import Row, append_row
from ssmlab.project import launch
from ssmlab.project.launched import active, log_path
from ssmlab.tui.app import StudyApp
from ssmlab.tui.screens.compare import CompareScreen
from ssmlab.tui.screens.dialogs import Question, Reading
from ssmlab.tui.widgets.curve_plot import CurvePlot
from ssmlab.tui.widgets.log_pane import LogPane
from ssmlab.tui.widgets.runs_table import RunsTable
from tests.analysis.synthetic import data_summary, write_data
from tests.tui.conftest import Study, line_of, notice_of, screen_text, until


async def test_the_table_shows_what_the_files_say(study: Study) -> None:
    app = StudyApp(study.root)
    async with app.run_test(size=(150, 30)) as pilot:
        await until(pilot, lambda: "[41-93]" in screen_text(app))
        words = " ".join(line_of(app, "ssm"))
        assert words.startswith("● ssm S4 ✔ finished 2/2 62.5 12.5 25.0")
        assert "75.0 [41-93]" in words and "37.5 [14-69]" in words
        study.beat()  # a slow machine may have aged the first one
        await until(pilot, lambda: line_of(app, "ads")[-1:] == ["now"])
        words = " ".join(line_of(app, "ads"))
        assert words.startswith("▲ ads S4 + AdS (relu) ▶ training 2/2 75.0 50.0 50.0") and "1.2k 1m15s" in words
        assert " ".join(line_of(app, "attention")).startswith("■ attention Mega · waiting - - - -")
        heading = screen_text(app).splitlines()[0]
        assert "smoke · runs" in heading and "data mnist5k · eps 0.1" in heading


async def test_the_heading_names_the_data_as_results_do(study: Study) -> None:
    write_data(study.paths.prepared, data_summary(name="mnist5k-noise0.2"))
    app = StudyApp(study.root)
    async with app.run_test(size=(120, 30)) as pilot:
        await until(pilot, lambda: "data mnist5k-noise0.2 · eps 0.1" in screen_text(app).splitlines()[0])


async def test_the_table_follows_the_files(study: Study) -> None:
    app = StudyApp(study.root)
    async with app.run_test(size=(120, 30)) as pilot:
        await until(pilot, lambda: "training" in line_of(app, "ads"))
        append_row(study.paths.live("ads") / "history.csv", Row(2, 2, 1e-3, 1.9, 0.2, 0.875, 0.625, 1.0, 900.0))
        study.add_rows(study.paths.model("ads"), (0.75, 0.5), (0.875, 0.625))
        study.beat(state="finished", eta_seconds=None)
        await until(pilot, lambda: "trained" in line_of(app, "ads"))
        assert line_of(app, "ads")[4:8] == ["2/2", "87.5", "62.5", "62.5"]
        study.beat(state="failed", message="the loss is not finite")
        await until(pilot, lambda: "failed" in line_of(app, "ads"))
        study.beat(pid_start=1.0)
        await until(pilot, lambda: "killed" in line_of(app, "ads"))
        assert "alert" in screen_text(app).splitlines()[0]


async def test_a_finished_run_reads_changed_when_params_yaml_asks_for_something_else(study: Study) -> None:
    path = study.root / "params.yaml"
    text = path.read_text()
    app = StudyApp(study.root)
    async with app.run_test(size=(120, 30)) as pilot:
        await until(pilot, lambda: "finished" in line_of(app, "ssm"))
        path.write_text(text.replace("  eps: 0.1\n  batch_size: 25", "  eps: 0.2\n  batch_size: 25"))
        await until(pilot, lambda: "changed" in line_of(app, "ssm"))
        await pilot.press("enter")
        await until(pilot, lambda: "attack.eps: 0.2 (attacked with 0.1)" in screen_text(app))
        await pilot.press("escape")
        path.write_text(text)
        await until(pilot, lambda: "finished" in line_of(app, "ssm"))


async def test_only_the_line_that_changed_is_drawn_again(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    app = StudyApp(study.root)
    async with app.run_test(size=(120, 30)) as pilot:
        await until(pilot, lambda: "[41-93]" in screen_text(app))
        await pilot.pause(0.3)
        lines: list[int] = []
        monkeypatch.setattr(RunsTable, "refresh_lines", lambda self, y_start, line_count=1: lines.append(y_start))
        study.beat(eta_seconds=74.0)
        await until(pilot, lambda: lines)
        assert set(lines) == {3}


async def test_curves_are_those_of_the_marked_runs_or_else_of_the_selected_run(study: Study) -> None:
    app = StudyApp(study.root)
    async with app.run_test(size=(120, 30)) as pilot:
        await until(pilot, lambda: line_of(app, "ads"))
        await until(pilot, lambda: app.screen.query(CurvePlot))
        clean = app.screen.query(CurvePlot).first()

        def drawn() -> list[tuple[str, list[float]]]:
            return [(curve.name, list(curve.y)) for curve in clean.curves]

        await until(pilot, lambda: drawn() == [("ssm", [50.0, 62.5])])
        await pilot.press("down", "down")
        await until(pilot, lambda: drawn() == [("ads", [75.0])])
        await pilot.press("space", "up", "up", "space")
        await until(pilot, lambda: [name for name, _ in drawn()] == ["ads", "ssm"])  # under the cursor: on top
        assert line_of(app, "ads")[0] == line_of(app, "ssm")[0] == "✓"
        await pilot.press("a")
        await until(pilot, lambda: len(drawn()) == 3)
        await pilot.press("a")
        await until(pilot, lambda: len(drawn()) == 1)


async def test_the_log_shown_is_that_of_the_run_or_of_the_launch(study: Study) -> None:
    log_path(study.paths).write_text("Running stage 'train@ads':\n" + "x" * 5_000_000 + "\n")
    app = StudyApp(study.root)
    async with app.run_test(size=(120, 36)) as pilot:
        await pilot.pause()
        await pilot.press("down", "down")
        await until(pilot, lambda: "epoch 1/2 of ads is done" in screen_text(app))
        with (study.paths.live("ads") / "log.txt").open("a") as file:
            file.write("epoch 2/2 [of] ads is done\n")
        await until(pilot, lambda: "epoch 2/2 [of] ads is done" in screen_text(app))
        await pilot.press("l")
        await until(pilot, lambda: app.screen.query_one(LogPane).path == log_path(study.paths))


async def test_details_and_keys_open_and_close(study: Study) -> None:
    app = StudyApp(study.root)
    async with app.run_test(size=(100, 60)) as pilot:
        await until(pilot, lambda: line_of(app, "ads"))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Reading))
        assert "epoch 1: 50.0 clean, 25.0 robust" in screen_text(app)
        assert "train.adversary.alpha" in screen_text(app)
        await pilot.press("escape", "question_mark")
        await until(pilot, lambda: "keys and states" in screen_text(app))
        assert "put the marked runs side by side" in screen_text(app)
        await pilot.press("escape")
        await until(pilot, lambda: line_of(app, "ads"))


async def test_a_second_click_opens_details_and_a_click_on_a_heading_sorts(study: Study) -> None:
    app = StudyApp(study.root)
    async with app.run_test(size=(100, 40)) as pilot:
        await until(pilot, lambda: line_of(app, "ads"))
        table = app.screen.query_one(RunsTable)
        await pilot.click(RunsTable, offset=(8, 3))
        assert table.selected is not None and table.selected.key == "ads"
        await pilot.click(RunsTable, offset=(5, 0))
        await until(pilot, lambda: [row.key for row in table.rows] == ["ssm", "attention", "ads"])
        await pilot.click(RunsTable, offset=(8, 3))
        await until(pilot, lambda: isinstance(app.screen, Reading))


async def test_compare_shows_what_ssmlab_compare_shows(study: Study) -> None:
    study.attack("ads")
    app = StudyApp(study.root)
    async with app.run_test(size=(100, 40)) as pilot:
        await until(pilot, lambda: line_of(app, "ads"))
        await pilot.press("c")
        assert "mark two runs" in notice_of(app)
        await pilot.press("space", "down", "down", "space", "c")
        await until(pilot, lambda: isinstance(app.screen, CompareScreen) and "model.enhancement" in screen_text(app))
        assert "75.0%" in screen_text(app)
        await pilot.press("i")
        await until(pilot, lambda: "40.9 to 92.9, n 8" in screen_text(app))
        await pilot.press("escape")
        await until(pilot, lambda: line_of(app, "ads"))


async def test_compare_refuses_unequal_protocols_until_forced(study: Study) -> None:
    study.attack("ads", seed=1)
    app = StudyApp(study.root)
    async with app.run_test(size=(100, 40)) as pilot:
        await until(pilot, lambda: line_of(app, "ads"))
        await pilot.press("space", "down", "down", "space", "c")
        await until(pilot, lambda: isinstance(app.screen, CompareScreen) and "different protocols" in notice_of(app))
        assert "model.enhancement" not in screen_text(app)
        await pilot.press("f")
        await until(pilot, lambda: "model.enhancement" in screen_text(app))
        assert "not comparable" in screen_text(app)


async def test_no_number_of_a_comparison_is_cut_where_it_is_narrow(study: Study) -> None:
    study.attack("ads")
    app = StudyApp(study.root)
    async with app.run_test(size=(50, 80)) as pilot:
        await until(pilot, lambda: line_of(app, "ads"))
        app.compare(["ssm", "ads"])
        await until(pilot, lambda: "fgsm, best" in screen_text(app))
        text = screen_text(app)
        assert text.count("75.0%") == 2 and text.count("37.5%") == 2 and "…" not in text.replace("compare", "")
        assert text.index("fgsm, best") < text.index("model.enhancement")  # what the screen is for comes first


async def test_a_launch_is_followed_found_again_and_stopped(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys, time; print('at work on', *sys.argv[1:], flush=True); time.sleep(60)"
    monkeypatch.setattr(launch, "repro_command", lambda targets, force: [sys.executable, "-c", code, *targets])
    app = StudyApp(study.root)
    async with app.run_test(size=(100, 40)) as pilot:
        await until(pilot, lambda: line_of(app, "ads"))
        await pilot.press("s")
        await until(pilot, lambda: "ads was not launched here" in notice_of(app))
        await pilot.press("r")
        await until(pilot, lambda: "▶ repro of ssm" in screen_text(app))
        await until(pilot, lambda: "at work on train@ssm attack@ssm probe@ssm" in screen_text(app))
        await pilot.press("R")
        await until(pilot, lambda: "already running" in notice_of(app))
        await pilot.press("s")
        await until(pilot, lambda: isinstance(app.screen, Question))
        assert "ads publishes its 1 epochs" in screen_text(app)
        await pilot.press("enter")  # the safe answer
        await until(pilot, lambda: not isinstance(app.screen, Question))
        assert active(study.paths) is not None
    found = active(study.paths)  # quitting has left it alone
    assert found is not None
    again = StudyApp(study.root)
    async with again.run_test(size=(100, 40)) as pilot:
        await until(pilot, lambda: "▶ repro of ssm" in screen_text(again))
        await pilot.press("s")
        await until(pilot, lambda: isinstance(again.screen, Question))
        await pilot.press("g")
        await until(pilot, lambda: (study.paths.live("ads") / "stop").exists())
        await pilot.press("s")
        await until(pilot, lambda: isinstance(again.screen, Question))
        await pilot.press("y")
        await until(pilot, lambda: "was stopped" in screen_text(again))
        assert not found.running


async def test_a_launch_that_fails_says_why(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys; print('ERROR: Unable to acquire lock.'); sys.exit(255)"
    monkeypatch.setattr(launch, "repro_command", lambda targets, force: [sys.executable, "-c", code])
    app = StudyApp(study.root)
    async with app.run_test(size=(100, 40)) as pilot:
        await until(pilot, lambda: line_of(app, "ads"))
        await pilot.press("r")
        await until(pilot, lambda: "repro of ssm: Unable to acquire lock." in notice_of(app))


@pytest.mark.parametrize("size", [(80, 24), (40, 12), (300, 20), (200, 60), (20, 5), (7, 3)])
async def test_every_size_of_terminal_shows_the_run_under_the_cursor(study: Study, size: tuple[int, int]) -> None:
    app = StudyApp(study.root)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: app.screen.query_one(RunsTable).rows)
        await pilot.press("a", "question_mark", "escape", "enter", "escape", "2", "left", "escape", "down", "down")
        await until(pilot, lambda: line_of(app, "ads") or size[0] < 20)
        if size == (80, 24):
            for word in ("robust", "best", "ETA", "finished", "1m15s", "quit"):
                assert word in screen_text(app)
            for plot in app.screen.query(CurvePlot):
                assert plot.size.height >= 5 and plot.size.width >= 30


async def test_the_table_is_complete_after_many_quick_resizes(study: Study) -> None:
    app = StudyApp(study.root)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: line_of(app, "ads"))
        for width, height in ((20, 5), (200, 60), (33, 9), (7, 3), (300, 20), (61, 21), (120, 40)):
            await pilot.resize_terminal(width, height)
        await until(pilot, lambda: line_of(app, "ads") and app.screen.query_one(CurvePlot).size.height > 5)


async def test_a_broken_params_file_is_reported_and_the_last_good_study_stays(study: Study) -> None:
    path = study.root / "params.yaml"
    text = path.read_text()
    path.write_text("study: [")
    app = StudyApp(study.root)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "not YAML" in notice_of(app))
        await pilot.press("r", "s", "c", "enter", "space", "a", "l", "R", "p", "f", "F", "g", "x", "m", "z", "v")
        path.write_text(text)
        await until(pilot, lambda: line_of(app, "ads"))
        path.write_text(text.replace("epochs: 2", "epochs: 0"))
        await until(pilot, lambda: "epochs" in notice_of(app))
        assert line_of(app, "ads")
        path.write_text(text.replace("  ads:", "  new:").replace("run: ads", "run: new"))
        await until(pilot, lambda: line_of(app, "new"))
        assert not line_of(app, "ads")


async def test_torn_files_and_a_clock_that_goes_backwards_do_no_harm(study: Study) -> None:
    (study.paths.live("ads") / "progress.json").write_text('{"stage"')
    with (study.paths.live("ads") / "history.csv").open("ab") as file:
        file.write(b"2,\xff\xfe")
    app = StudyApp(study.root)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "stale" in line_of(app, "ads"))
        assert "75.0" in line_of(app, "ads")
        assert app.look is not None
        app.take(replace(app.look, now=app.look.now - 1e6), [])
        await pilot.pause()
        assert "75.0" in line_of(app, "ads")


async def test_a_folder_that_is_deleted_leaves_runs_that_wait(study: Study) -> None:
    import shutil

    app = StudyApp(study.root)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "finished" in line_of(app, "ssm"))
        shutil.rmtree(study.root / "models")
        shutil.rmtree(study.root / "runs")
        shutil.rmtree(study.root / "results")
        await until(pilot, lambda: "waiting" in line_of(app, "ssm") and "waiting" in line_of(app, "ads"))


async def test_an_empty_folder_says_what_is_missing(tmp_path_factory: pytest.TempPathFactory) -> None:
    app = StudyApp(tmp_path_factory.mktemp("empty"))
    async with app.run_test(size=(100, 24)) as pilot:
        await until(pilot, lambda: "params.yaml: not found" in notice_of(app))
        await pilot.press("r", "R", "s", "c", "2", "escape", "enter")


async def test_a_theme_redraws_the_states(study: Study) -> None:
    app = StudyApp(study.root)
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: line_of(app, "ads"))
        table = app.screen.query_one(RunsTable)
        before = table.style_named("$text-success")
        app.theme = "textual-light"
        await until(pilot, lambda: table.style_named("$text-success") != before)
        assert line_of(app, "ads")


def test_the_laboratory_imports_neither_torch_nor_dvc_nor_matplotlib() -> None:
    code = "import sys, ssmlab.tui.app; assert not {'torch', 'dvc', 'matplotlib'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_follower_imports_no_textual() -> None:
    modules = "follower, arrange, columns, series, alerts, pipeline, launcher, preferences, labels"
    code = f"import sys; from ssmlab.tui import {modules}; assert 'textual' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
