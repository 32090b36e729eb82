"""What a command writes for scripts: stdout has the document and nothing else."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from ssmlab.cli import progress
from ssmlab.cli.app import app
from ssmlab.params.paths import Paths
from ssmlab.project.params_file import load_params
from ssmlab.stages.attack.stage import attack
from ssmlab.stages.prepare import prepare
from ssmlab.stages.train.stage import train
from tests.tiny_project import make_tiny_project

WHOLE = ["--eps", "0.1", "--attacks", "fgsm"]
COMMANDS = {  # every command that has --json or --format, and the arguments with which it writes rows
    "alerts": [],
    "attack": ["models/tiny/ssm/best.safetensors", *WHOLE],
    "compare": ["ssm", "other"],
    "data list": [],
    "doctor": [],
    "runs": [],
    "samples": ["ssm"],
    "status": [],
    "transfer": ["--attack", "fgsm", "--images", "20"],
    "use": [],
    "verify": [],
}


def options_of_commands() -> dict[str, set[str]]:
    """The options of every command, hidden ones too."""

    def walk(group: object, before: str) -> Iterator[tuple[str, set[str]]]:
        for name, command in group.commands.items():  # type: ignore[attr-defined]
            if hasattr(command, "commands"):
                yield from walk(command, f"{before}{name} ")
            else:
                yield f"{before}{name}", {option for each in command.params for option in each.opts}

    return dict(walk(typer.main.get_command(app), ""))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny project with two trained and attacked runs."""
    folder = tmp_path_factory.mktemp("tiny")
    make_tiny_project(folder)
    text = (folder / "params.yaml").read_text()
    (folder / "params.yaml").write_text(text.replace("runs: {ssm: {}}", "runs: {ssm: {}, other: {train: {seed: 1}}}"))
    (folder / "studies").mkdir()
    (folder / "studies" / "tiny.yaml").write_text((folder / "params.yaml").read_text())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        params, paths = load_params(Path("params.yaml")), Paths("tiny")
        prepare(params, paths)
        for run in params.runs:
            train(params, run, paths)
            attack(params, run, paths)
    return folder


def test_every_command_that_writes_for_scripts_is_tried_here() -> None:
    found = {name for name, options in options_of_commands().items() if options & {"--json", "--format"}}
    assert found == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_with_json_or_csv_writes_nothing_else_on_stdout(
    trained: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trained)
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_PLAIN_LINES", 0.0)  # every event becomes a line
    options = options_of_commands()[command]
    for form in (["--json"], ["--format", "json"], ["--format", "csv"]):
        if form[0] not in options:
            continue
        result = CliRunner().invoke(app, [*command.split(), *COMMANDS[command], *form])
        assert result.exit_code == 0 or command == "doctor", result.stderr  # which tells with 1 of a problem
        if form == ["--format", "csv"]:
            header, *rows = csv.reader(io.StringIO(result.stdout))
            assert all(len(row) == len(header) for row in rows) and (rows or command == "alerts")
        else:
            assert isinstance(json.loads(result.stdout), dict)
