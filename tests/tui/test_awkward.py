"""Projects that are empty, large or odd, and machines that lack something."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest

from ssmlab.artifacts.history import Row, format_history
from ssmlab.tui import machine
from ssmlab.tui.app import StudyApp
from ssmlab.tui.screens.system import machine_table
from ssmlab.tui.widgets.curve_plot import CurvePlot
from ssmlab.tui.widgets.runs_table import RunsTable
from tests.tui.conftest import Study, line_of, notice_of, screen_text, until


async def test_a_study_without_runs_says_what_to_add(study: Study) -> None:
    text = (study.root / "params.yaml").read_text()
    begin, end = text.index("runs:\n"), text.index("attack:\n")
    (study.root / "params.yaml").write_text(text[:begin] + "runs: {}\n\n" + text[end:])
    app = StudyApp(study.root)
    async with app.run_test(size=(100, 24)) as pilot:
        await until(pilot, lambda: "the study has no runs" in notice_of(app))
        await pilot.press("r", "R", "s", "c", "e", "i", "2", "escape", "4", "escape")


async def test_a_folder_without_a_project_gets_no_files(tmp_path: Path) -> None:
    app = StudyApp(tmp_path)
    async with app.run_test(size=(100, 24)) as pilot:
        await until(pilot, lambda: "params.yaml: not found" in notice_of(app))
    assert list(tmp_path.iterdir()) == []


async def test_a_project_without_studies_says_so(study: Study) -> None:
    app = StudyApp(study.root)
    async with app.run_test(size=(100, 24)) as pilot:
        await until(pilot, lambda: line_of(app, "ads"))
        await pilot.press("w")
        await until(pilot, lambda: "there are no studies here" in notice_of(app))


async def test_three_hundred_runs_are_all_read_and_moved_through(study: Study) -> None:
    text = (study.root / "params.yaml").read_text()
    begin, end, claims = text.index("runs:\n"), text.index("attack:\n"), text.index("  claims:")
    names = [f"run-{i:03d}" for i in range(300)]
    runs = "runs:\n" + "".join(f"  {name}: {{train: {{batch_size: {i + 1}}}}}\n" for i, name in enumerate(names))
    rest = text[end:claims] + "  claims: []\n\n" + text[text.index("report:\n") :]
    (study.root / "params.yaml").write_text(text[:begin] + runs + "\n" + rest)
    for name in names:
        path = study.paths.model(name) / "history.csv"
        path.parent.mkdir(parents=True)
        path.write_text(format_history([Row(1, 1, 1e-3, 1.0, 0.1, 0.5, 0.25, 1.0, 10.0)]))
    app = StudyApp(study.root)
    async with app.run_test(size=(100, 30)) as pilot:
        table = app.screen.query_one(RunsTable)
        await until(pilot, lambda: app.look is not None and len(app.look.runs) == 300 and not app.look.loading)
        await until(pilot, lambda: len(table.rows) == 300)
        assert all(view.status.rows for view in app.look.runs)  # type: ignore[union-attr]
        await pilot.press("end")
        await until(pilot, lambda: line_of(app, "run-299"))
        await pilot.press("a", "2")
        await until(pilot, lambda: "12 of 300 drawn" in screen_text(app))
        await pilot.press("escape", "home", "slash", *"run-01[0-9]", "enter")
        await until(pilot, lambda: len(table.rows) == 10)


def test_a_machine_without_gpu_or_with_one_that_does_not_answer_shows_not_available(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pynvml

    def missing() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", missing)
    assert machine.opened_gpus() is None
    found = machine.MachineWatcher().look(tmp_path, None, [])
    assert found.gpus is None
    cells = [str(cell) for column in machine_table(found).columns for cell in column.cells]
    assert "GPU" in cells and "n/a" in cells

    def silent(handle: object) -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)

    monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", silent)
    assert machine.gpu_now(None, "H100") == machine.Gpu("H100", None, None, None, None)


async def test_a_long_notice_does_not_hide_the_run_under_the_cursor_in_the_smallest_terminal(study: Study) -> None:
    app = StudyApp(study.root)
    async with app.run_test(size=(20, 5)) as pilot:
        await until(pilot, lambda: line_of(app, "ssm"))
        await pilot.press("v")
        await until(pilot, lambda: "runs/smoke/ssm" in screen_text(app))
        assert line_of(app, "ssm") and screen_text(app).splitlines()[0].split()[:2] == ["1", "run"]


async def test_all_runs_of_a_comparison_have_curves_whether_they_are_in_a_group_or_not(study: Study) -> None:
    seeds = "".join(f"  ssm-s{seed}:\n    train: {{seed: {seed}}}\n" for seed in (1, 2))
    params = study.root / "params.yaml"
    params.write_text(params.read_text().replace("\nattack:\n", f"\n{seeds}\nattack:\n", 1))
    for run in ("ssm-s1", "ads"):
        study.add_rows(study.paths.model(run), (0.5, 0.25))
        study.attack(run)
    app = StudyApp(study.root)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: line_of(app, "ads"))
        app.compare(["ads", "ssm-s1", "ssm"])
        await until(pilot, lambda: app.screen.query(CurvePlot))
        plot = app.screen.query(CurvePlot).first()
        await until(pilot, lambda: [curve.name for curve in plot.curves] == ["ads", "ssm-s1", "ssm"])


async def test_the_first_use_of_the_processor_that_is_shown_was_measured(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def cpu_percent() -> float:
        asked.append(threading.current_thread().name)
        return 37.0 if asked.count(asked[-1]) > 1 else 0.0  # psutil's first answer to a thread is 0 by definition

    monkeypatch.setattr("psutil.cpu_percent", cpu_percent)
    app, seen = StudyApp(study.root), set[str]()
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: line_of(app, "ads"))
        await pilot.press("6")

        def shown() -> str | None:
            found = re.search(r"(\d+)% of \d+ cores", screen_text(app))
            seen.update([found[1]] if found else [])
            return found[1] if found else None

        await until(pilot, lambda: shown() == "37")
    assert seen == {"37"} and asked[0].startswith("machine") and len(set(asked)) == 1
