"""The command line: which commands start quickly, and how errors are reported."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from ssmlab.cli import completion
from ssmlab.cli.app import app
from ssmlab.core.errors import RankError, UserError
from ssmlab.project.dvc_files import keep_lock


@pytest.fixture
def folder(tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder with the smoke study and no outputs."""
    shutil.copytree(project / "studies", tmp_path / "studies")
    shutil.copy(project / "studies" / "smoke.yaml", tmp_path / "params.yaml")
    shutil.copy(project / "dvc.yaml", tmp_path / "dvc.yaml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(*arguments: str) -> str:
    """The one line on stderr of a command that must fail with code 1."""
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 1, result.output
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    return lines[0]


@pytest.mark.parametrize(
    "command", [[], ["train"], ["compare"], ["repro"], ["use"], ["runs"], ["stop"], ["tui"], ["import"], ["export"]]
)
def test_help_loads_nothing_that_it_does_not_need(command: list[str]) -> None:
    code = f"""
import sys
sys.argv = ["ssmlab", *{command!r}, "--help"]
from ssmlab.cli.app import main
try:
    main()
except SystemExit as stop:
    assert stop.code == 0, stop.code
needless = {{"torch", "numpy", "pandas", "matplotlib", "textual", "rich", "ruamel.yaml", "psutil"}}
assert not needless & set(sys.modules), needless & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_command_loads_the_module_of_no_other_command() -> None:
    code = "import sys; from ssmlab.cli.app import app; app(['schema', '--help'], standalone_mode=False); "
    code += "print(*sorted(name.split('.')[-1] for name in sys.modules if name.startswith('ssmlab.cli.')))"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "project" in loaded and not {"grid", "runs", "stages", "data", "options"} & set(loaded)


def test_completion_knows_all_commands() -> None:
    environment = {"_SSMLAB_COMPLETE": "complete_bash", "COMP_WORDS": "ssmlab re", "COMP_CWORD": "1"}
    result = CliRunner().invoke(app, [], prog_name="ssmlab", env=environment)
    assert result.output.split() == ["repro", "report"]


def test_the_help_of_every_command_has_examples() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    shown = [name for name, command in commands.items() if not command.hidden]
    lacking = [name for name in shown if "Example" not in CliRunner().invoke(app, [name, "--help"]).output]
    assert len(shown) >= 25 and lacking == []


def test_the_option_version_prints_the_version() -> None:
    from ssmlab import __version__

    assert CliRunner().invoke(app, ["--version"]).output.strip() == f"ssmlab {__version__}"


def test_unknown_run_lists_the_runs(folder: Path) -> None:
    assert "'adz'" in refused("train", "adz") and "ads" in refused("attack", "adz")
    assert "adz" in refused("compare", "adz", "ads")
    assert "adz" in refused("repro", "adz")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (255, "for the reason above"),
        (137, "because DVC was killed (SIGKILL), perhaps for lack of memory"),
        (143, "because DVC was ended by SIGTERM"),
    ],
)
def test_a_pipeline_that_stopped_says_why_if_dvc_could_not(
    code: int, reason: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ssmlab.project.launch.foreground", lambda *_, **__: code)
    result = CliRunner().invoke(app, ["repro"])
    assert result.exit_code == code
    assert result.output == f"error: the pipeline stopped, {reason}; `ssmlab repro` continues from there\n"


@pytest.mark.parametrize(("targets", "shown"), [([], True), (["report"], True), (["ads"], False)])
def test_the_table_of_a_study_is_shown_only_after_a_pipeline_that_wrote_it(
    targets: list[str], shown: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ssmlab repro ads` attacks one run; the table of an earlier analysis would show the earlier numbers."""
    monkeypatch.setattr("ssmlab.project.launch.foreground", lambda *_, **__: 0)
    monkeypatch.setattr("ssmlab.cli.repro.show_headline", lambda _: typer.echo("the table"))
    (folder / "results" / "smoke" / "analysis").mkdir(parents=True)
    (folder / "results" / "smoke" / "analysis" / "summary.json").touch()
    output = CliRunner().invoke(app, ["repro", *targets]).output
    assert ("the table" in output) is shown
    assert ("`ssmlab repro report`" in output) is not shown


def test_a_command_for_one_run_names_the_runs_of_a_group(folder: Path) -> None:
    shutil.copy(folder / "studies" / "mnist5k.yaml", folder / "params.yaml")
    for command in ("train", "stop", "samples"):
        line = refused(command, "ads")
        assert line == "error: 'ads' is a group of 3 runs; name one of them: ads-s0, ads-s1 or ads-s2"


def test_the_command_stop_refuses_a_run_that_is_not_being_trained(folder: Path) -> None:
    assert "run ads is not being trained" in refused("stop", "ads")
    assert "adz" in refused("stop", "adz")


def test_the_command_status_is_another_name_for_runs(folder: Path) -> None:
    assert CliRunner().invoke(app, ["status"]).output == CliRunner().invoke(app, ["runs"]).output
    assert "status" not in CliRunner().invoke(app, ["--help"]).output


def test_help_lists_the_stages_apart_and_cuts_no_sentence() -> None:
    output = CliRunner().invoke(app, ["--help"]).output
    commands, _, stages = output.partition("Stages (what `dvc repro` calls):\n")
    assert "\nCommands:\n" not in output  # every command stands under a heading that says what it is for
    named = [line.split()[0] for line in stages.splitlines() if line[:3].strip()]
    assert named == ["prepare", "train", "attack", "probe", "analyze", "report"]
    assert "  compare " in commands and "..." not in commands.partition("\n")[2] + stages


def test_python_m_is_the_command() -> None:
    called = [sys.executable, "-m", "ssmlab", "--version"]
    version = subprocess.run(called, check=True, capture_output=True, text=True).stdout
    assert version == CliRunner().invoke(app, ["--version"]).output


def test_only_rank_zero_of_torchrun_prints_an_error_unless_another_rank_alone_has_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    assert "torchrun" in refused("prepare") and "'adz'" in refused("train", "adz")
    monkeypatch.setenv("LOCAL_RANK", "1")
    result = CliRunner().invoke(app, ["train", "adz"])
    assert (result.exit_code, result.output) == (1, "")

    def alone(*_: object) -> None:
        raise RankError("process 2 of 2: out of memory")

    monkeypatch.setattr("ssmlab.stages.train.stage.train", alone)
    assert refused("train", "ads") == "error: process 2 of 2: out of memory"


def test_a_stop_during_an_error_reports_the_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when torchrun ends the first process while it is cleaning up after the failure of another."""

    def broken_into(*_: object) -> None:
        try:
            raise UserError("another process has ended")
        except UserError:
            raise KeyboardInterrupt  # noqa: B904

    monkeypatch.setattr("ssmlab.stages.train.stage.train", broken_into)
    assert "another process has ended" in refused("train", "ads")


def test_unknown_study_lists_the_studies(folder: Path) -> None:
    line = refused("use", "nope")
    assert re.search(r"'nope' .*\(studies: (\S+, )+\S+ and \d+ more\)", line)


def test_options_of_use_without_a_study_are_not_ignored(folder: Path) -> None:
    assert "--set train.epochs=3, --dry-run: name the study to use" in refused(
        "use", "--set", "train.epochs=3", "--dry-run"
    )
    assert "--force: name the study to use" in refused("use", "--force")


def test_outside_a_project_commands_say_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "params.yaml" in refused("prepare")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("study: smoke", "study: [", "not YAML"),
        ("epochs: 2", "epochs: many", "train.epochs"),
        ("epochs: 2", "epoch: 2", "train.epoch"),
        ("mixer: s4", "mixer: s44", "model.mixer"),
    ],
)
def test_a_broken_study_names_file_and_key(folder: Path, old: str, new: str, expected: str) -> None:
    text = (folder / "params.yaml").read_text()
    (folder / "params.yaml").write_text(text.replace(old, new))
    line = refused("prepare")
    assert "params.yaml" in line and expected in line


def test_stages_name_the_command_that_makes_what_they_miss(folder: Path) -> None:
    assert "ssmlab prepare" in refused("train", "ads")
    assert "ssmlab" in refused("attack", "ads")
    assert "ssmlab" in refused("probe", "ads")
    assert "ssmlab" in refused("analyze")
    assert "ssmlab" in refused("report")


def test_cuda_on_a_machine_without_it_is_refused_in_one_line(folder: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    assert CliRunner().invoke(app, ["prepare"]).exit_code == 0
    assert "cuda" in refused("train", "ads", "--device", "cuda").lower()


def usage_error(*arguments: str) -> str:
    """The one line on stderr of a command line that is wrong."""
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.strip().splitlines()
    return line


def test_a_wrong_command_line_is_one_line_with_a_suggestion() -> None:
    assert usage_error("compar") == "error: no command 'compar' (did you mean 'compare'?); see `root --help`"
    assert "--detahc" in usage_error("repro", "--detahc") and "root repro --help" in usage_error("repro", "--detahc")
    assert "RUN" in usage_error("train")
    choices = "'xml' is not one of 'table', 'json', 'csv', 'md'"
    for command in (("runs",), ("compare", "a", "b"), ("use",), ("alerts",)):
        assert f"Invalid value for '--format': {choices};" in usage_error(*command, "--format", "xml")
    assert "'mlflow' is not one of 'tensorboard', 'wandb'" in usage_error("track", "--to", "mlflow", "--folder", "x")


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        ("runs --format jsn", "json"),
        ("train ads --device cude", "cuda"),
        ("attack ads --norm linff", "linf"),
        ("track --to tensorbord --folder x", "tensorboard"),
    ],
)
def test_a_misspelt_choice_of_an_option_is_answered_with_the_nearest_one(arguments: str, meant: str) -> None:
    assert f"(did you mean '{meant}'?)" in usage_error(*arguments.split())


def test_a_misspelt_name_is_answered_with_the_nearest_one_by_every_command(folder: Path) -> None:
    results = folder / "results" / "smoke" / "attack" / "ads.json"
    results.parent.mkdir(parents=True)
    results.write_text("{}")
    assert "did you mean study 'smoke'?" in refused("compare", "smok/ads", "smoke/ads")
    assert "did you mean 'train'?" in refused("use", "smoke", "--set", "trian.epochs=3")
    assert "did you mean 'epochs'?" in refused("use", "smoke", "--set", "train.epoch=3")
    assert "did you mean 'train@ads'?" in refused("repro", "train@adss")
    for command in ("train", "attack", "probe", "stop", "samples"):
        assert "did you mean 'ads'?" in refused(command, "adss")


def test_switching_a_study_shows_its_main_changes_and_all_of_them_on_request(folder: Path) -> None:
    main = CliRunner().invoke(app, ["use", "mnist5k", "--set", "train.seed=7", "--dry-run"]).output.splitlines()
    assert len(main) <= 14
    assert "  data.validation" not in "".join(main)
    for shown in ("  study: smoke -> mnist5k", "  train.epochs: 2 -> 16", "  train.seed: 0 -> 7"):
        assert shown in main
    every = CliRunner().invoke(app, ["use", "mnist5k", "--set", "train.seed=7", "--dry-run", "--all"]).output
    keys = [line for line in every.splitlines() if " -> " in line]
    left = next(line for line in main if "more keys" in line)
    assert left.startswith(f"  and {len(keys) - len([line for line in main if ' -> ' in line])} more keys, ")
    assert left.endswith("--dry-run --all lists them")
    few = CliRunner().invoke(app, ["use", "smoke", "--set", "train.seed=7", "--dry-run"]).output
    assert few.splitlines()[0] == "  train.seed: 0 -> 7"


@pytest.mark.parametrize(
    ("command", "lacks"),
    [
        (
            "samples ads",
            "data/smoke.safetensors and models/smoke/ads/best.safetensors: not there yet; run `ssmlab repro",
        ),
        ("attack ads", "data/smoke.safetensors and models/smoke/ads: not there yet; run `ssmlab repro ads`"),
        ("probe ads", "data/smoke.safetensors and models/smoke/ads: not there yet; run `ssmlab repro ads`"),
        (
            "analyze",
            "results/smoke/attack/attention.json and results/smoke/attack/ads.json: not there yet; run `ssmlab",
        ),
    ],
)
def test_all_that_a_command_lacks_is_named_at_once(command: str, lacks: str, folder: Path) -> None:
    assert lacks in refused(*command.split())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_tracker_that_follows_closes_its_sink_at_every_signal(
    number: signal.Signals, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[bool] = []

    class NoSink:
        def close(self) -> None:
            closed.append(True)

    monkeypatch.setattr("ssmlab.project.sinks.open_sink", lambda *_: NoSink())
    monkeypatch.setattr("ssmlab.cli.track.time.sleep", lambda _: signal.raise_signal(number))
    result = CliRunner().invoke(app, ["track", "--to", "wandb", "--folder", "x", "--follow"])
    assert closed == [True]
    assert result.exit_code == 130
    assert result.stderr.strip().endswith("stopped; earlier results are untouched")


def test_ctrl_c_while_the_command_line_is_still_imported_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ssmlab.__main__ import start

    class Importing:
        def __getattr__(self, name: str) -> object:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "ssmlab.cli.app", Importing())
    with pytest.raises(SystemExit) as stop:
        start()
    assert stop.value.code == 130
    assert capsys.readouterr().err == "error: stopped; nothing was done yet\n"


def test_a_project_whose_dvc_folder_is_gone_is_sent_to_the_doctor(folder: Path) -> None:
    result = CliRunner().invoke(app, ["repro"])
    assert result.exit_code == 253
    assert result.stderr.splitlines()[-1] == (
        "error: the pipeline did not start, because DVC finds no folder .dvc here; see `ssmlab doctor`"
    )


def test_an_unknown_run_is_answered_with_the_nearest_one(folder: Path) -> None:
    assert "did you mean 'attention'?" in refused("train", "atention")
    assert "did you mean 'mnist5k'?" in refused("use", "mnist5")


def test_control_sequences_in_names_never_reach_the_terminal(folder: Path) -> None:
    for arguments in (("train", "a\x1b]0;title\x07"), ("use", "\x1b[2J"), ("repro", "x" * 5000 + "\x1b")):
        line = refused(*arguments)
        assert line.isprintable()
        assert len(line) < 700


def test_lists_are_written_for_scripts_too(folder: Path) -> None:
    for arguments, kind in ((["runs"], "runs"), (["use"], "studies")):
        value = json.loads(CliRunner().invoke(app, [*arguments, "--format", "json"]).output)
        assert (value["schema"], value["kind"]) == (1, kind)
        names = [row["name"] for row in value["rows"]]
        table = list(csv.DictReader(io.StringIO(CliRunner().invoke(app, [*arguments, "--format", "csv"]).output)))
        assert [row["name"] for row in table] == names
        lines = CliRunner().invoke(app, [*arguments, "--format", "md"]).output.splitlines()
        assert len(lines) == 2 + len(names)
    assert [
        row["state"] for row in json.loads(CliRunner().invoke(app, ["runs", "--format", "json"]).output)["rows"]
    ] == ["waiting"] * 3


def test_in_an_empty_folder_a_command_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "params.yaml, dvc.yaml, studies/ are missing here; change to a project's folder" in refused("use")
    assert "missing here" in refused("use", "smoke")


def test_the_shell_completes_names(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert completion.run_names("a") == ["attention", "ads"]
    assert completion.target_names("re") == ["report"]
    assert completion.study_names("smo") == ["smoke"]
    assert "mnist5k" in completion.data_set_names("mni")
    assert completion.run_and_group_names("at") == ["attention"]
    (folder / "params.yaml").write_text("[")
    assert completion.run_names("") == []


@pytest.mark.parametrize("runs", ["", " 3", " [ads]", " null"])
def test_completion_offers_nothing_where_runs_are_no_mapping(runs: str, folder: Path) -> None:
    (folder / "params.yaml").write_text(f"study: smoke\nruns:{runs}\n")
    assert completion.run_names("") == completion.run_and_group_names("") == completion.target_names("x") == []


def test_doctor_names_a_damaged_lock_file_and_repairs_it_on_request(folder: Path) -> None:
    (folder / ".dvc").mkdir()
    whole = "schema: '2.0'\nstages:\n  prepare:\n    cmd: x\n    outs:\n    - path: data/smoke.safetensors\n"
    whole += "      md5: 0a\n      size: 12\n"
    (folder / "dvc.lock").write_text(whole)
    keep_lock(folder)
    (folder / "dvc.lock").write_text("")

    def lock_verdict(*options: str) -> str:
        result = CliRunner().invoke(app, ["doctor", "--json", *options])
        return next(row["verdict"] for row in json.loads(result.output)["rows"] if row["name"] == "dvc.lock")

    assert lock_verdict() == "problem"
    assert lock_verdict("--fix") == "ok"
    assert (folder / "dvc.lock").read_text() == whole
    assert "python" in CliRunner().invoke(app, ["doctor"]).output


def test_a_plan_that_cannot_be_carried_out_is_refused_before_any_training(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ssmlab repro` on a new machine checks before the data are prepared, so each training checks again."""
    monkeypatch.setattr("ssmlab.stages.train.stage.train", lambda *_: pytest.fail("it trains"))
    assert CliRunner().invoke(app, ["prepare"]).exit_code == 0
    params = folder / "params.yaml"
    params.write_text(params.read_text().replace("images: 50", "images: 5000"))
    line = refused("train", "ssm")
    assert "5000 images are requested, but there are 100" in line


@pytest.mark.parametrize(("source", "noted"), [("/data/my sets/x.zip", True), ("x.zip", False), ("~/x.zip", False)])
def test_a_path_of_this_machine_in_params_yaml_is_noted_with_what_to_write_instead(
    source: str, noted: bool, folder: Path
) -> None:
    result = CliRunner().invoke(app, ["use", "smoke", "--set", f"data.source={source}"])
    assert result.exit_code == 0, result.output
    assert ("--set data.source=x.zip" in result.stdout) == noted
    assert ("export SSMLAB_DATA='/data/my sets'" in result.stdout) == noted
