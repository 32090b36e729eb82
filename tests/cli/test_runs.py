"""`ssmlab runs` and `ssmlab alerts`: the content of the TUI for scripts."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ssmlab.cli.app import app
from ssmlab.tui import app as laboratory
from tests.tui.conftest import Study
from tests.unreadable import unreadable


@pytest.fixture
def study(tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """The smoke study in the current folder: `ssm` finished, `ads` in training, `attention` not started."""
    study = Study(tmp_path, project)
    study.add_rows(study.paths.model("ssm"), (0.5, 0.25), (0.625, 0.125))
    study.attack("ssm")
    study.add_rows(study.paths.live("ads"), (0.75, 0.5))
    study.beat()
    monkeypatch.chdir(tmp_path)
    return study


def output(*arguments: str) -> str:
    """What a command that succeeds writes on stdout."""
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return result.stdout


def test_runs_as_json_has_group_regime_state_and_test_accuracies(study: Study) -> None:
    value = json.loads(output("runs", "--json"))
    assert (value["schema"], value["kind"]) == (1, "runs")
    rows = {row["name"]: row for row in value["rows"]}
    assert [rows[name]["state"] for name in ("ssm", "attention", "ads")] == ["finished", "waiting", "training"]
    assert rows["ssm"]["test_clean"] == 0.75 and rows["ssm"]["test_clean_n"] == 8
    assert rows["ssm"]["test_fgsm_low"] < rows["ssm"]["test_fgsm"] == 0.375 < rows["ssm"]["test_fgsm_high"]
    assert rows["ads"]["test_clean"] is None and rows["ads"]["group"] == "ads" and "PGD" in rows["ads"]["regime"]
    table = csv.DictReader(io.StringIO(output("runs", "--format", "csv")))
    assert next(table)["test_clean"] == "0.75"
    assert output("runs", "--format", "json") == output("runs", "--json")


def test_watching_writes_a_line_of_json_whenever_something_changes(study: Study) -> None:
    command = [sys.executable, "-m", "ssmlab", "runs", "--json", "--watch", "--interval", "0.1"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    watching = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert watching.stdout is not None
        first = json.loads(watching.stdout.readline())
        time.sleep(0.5)  # nothing changes, and nothing is written
        study.beat(state="failed", message="the loss is not finite")
        second = json.loads(watching.stdout.readline())
    finally:
        watching.send_signal(signal.SIGINT)
        watching.wait(timeout=30)
    assert [value["rows"][2]["state"] for value in (first, second)] == ["training", "failed"]
    assert watching.stdout.read() == ""


def test_watching_is_for_tables_and_json(study: Study) -> None:
    result = CliRunner().invoke(app, ["runs", "--format", "csv", "--watch"])
    assert result.exit_code == 1 and "--watch writes a table or JSON, not csv" in result.stderr


def test_alerts_are_listed_for_people_and_for_scripts(study: Study) -> None:
    study.beat(state="failed", message="the loss is not finite")
    value = json.loads(output("alerts", "--json"))
    assert value["kind"] == "alerts"
    assert {"kind": "failed", "run": "ads", "text": "the loss is not finite"} in value["rows"]
    assert "failed  ads: the loss is not finite" in output("alerts")


def test_the_laboratory_opens_the_project_that_is_named(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path] = []
    monkeypatch.setattr(laboratory, "run", opened.append)
    output("tui", str(study.root))
    output("tui")
    assert opened == [study.root, Path()]


def test_without_params_yaml_the_commands_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments in (["runs", "--json"], ["runs", "--watch"], ["alerts"]):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 1 and "params.yaml: not found" in result.stderr


@pytest.mark.parametrize(
    ("imported", "spared"),
    [
        ("ssmlab.cli.app", "pydantic rich.console ruamel.yaml psutil textual torch"),
        (
            "ssmlab.tui.follower, ssmlab.report.terminal.tables",
            "ssmlab.analysis.compare.compare ssmlab.evaluation.results ssmlab.report.terminal.export torch",
        ),
        (
            "ssmlab.tui.app",
            "numpy textual_plot ruamel.yaml ssmlab.analysis.compare.compare textual.widgets._markdown torch",
        ),
    ],
)
def test_the_command_line_and_the_table_of_runs_load_only_what_they_need(imported: str, spared: str) -> None:
    code = f"import sys, {imported}; print(*(name for name in '{spared}'.split() if name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"


READS = """
import sys
from collections import Counter
opened = Counter()

def hook(event, args):
    if event == "open" and args[1] is not None:  # os.open, with which `open` may do its work, reports no mode
        opened.update([str(args[0])])

sys.addaudithook(hook)
from ssmlab.cli.app import app
app(sys.argv[1:], standalone_mode=False)
print(*(f"{name}={opened[name]}" for name in opened if name.endswith((".yaml", ".csv", ".json"))), file=sys.stderr)
"""


def test_the_table_of_runs_opens_every_file_of_the_study_once(study: Study) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", READS, "runs"]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    opened = dict(part.split("=") for part in result.stderr.split())
    history, results = study.paths.model("ssm") / "history.csv", study.paths.attack("ssm")
    expected = ["params.yaml", *(str(path.relative_to(Path.cwd())) for path in (history, results))]
    assert {name: opened.get(name) for name in expected} == dict.fromkeys(expected, "1")


def test_a_study_that_cannot_be_read_is_one_line_for_both_commands(study: Study) -> None:
    Path("params.yaml").write_text("study: [")
    for command in ("runs", "alerts"):
        result = CliRunner().invoke(app, [command])
        assert result.exit_code == 1 and result.stderr.count("\n") == 1 and "params.yaml: not YAML" in result.stderr


@pytest.mark.parametrize(
    ("run", "file"),
    [
        ("ssm", "models/smoke/ssm/history.csv"),
        ("ads", "runs/smoke/ads/history.csv"),
        ("ads", "runs/smoke/ads/progress.json"),
        ("ssm", "results/smoke/attack/ssm.json"),
    ],
)
def test_a_file_of_a_run_that_the_disk_does_not_give_is_a_warning_and_an_alert(
    run: str, file: str, study: Study
) -> None:
    says = f"{file}: cannot be read (Input/output error)"
    assert "warning" not in CliRunner().invoke(app, ["runs"]).stderr
    with unreadable(Path(file)):
        shown, alerts = CliRunner().invoke(app, ["runs"]), output("alerts")
    assert shown.exit_code == 0
    assert shown.stderr == f"warning: {run}: its state may be wrong: {says}\n"
    assert f"disk  {run}: {says}\n" in alerts
