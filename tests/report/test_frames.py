"""Frames hold the numbers of the files and nothing else; every line of docs/notebooks.md runs."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import ssmlab
from ssmlab.artifacts.history import Row, append_row, read_history
from ssmlab.core.errors import UserError
from ssmlab.evaluation.attack_names import parse_attack
from ssmlab.evaluation.results import AttackResults, save_results
from ssmlab.params import Params
from ssmlab.params.paths import Paths
from ssmlab.params.written_float import WrittenFloat
from ssmlab.report.records import ball_of
from tests.analysis.synthetic import nested_flags, protocol, results, with_origin

RUNS = {"ssm": 0.6, "attention": 0.7, "ads": 0.8}


@pytest.fixture
def found(tiny_params: Params) -> dict[str, AttackResults]:
    made = {}
    for seed, (run, clean) in enumerate(RUNS.items()):
        measures = nested_flags(50, {"clean": clean, "fgsm": clean - 0.2, "pgd-2": clean - 0.3}, seed)
        measures["autoattack"] = measures["pgd-2"][:10]
        made[run] = with_origin(results(tiny_params, run, measures, measures), 4, 40, "asked to stop")
    made["ads"] = made["ads"].model_copy(update={"manifest": None})
    return made


@pytest.fixture
def paths(tmp_path: Path, found: dict[str, AttackResults], monkeypatch: pytest.MonkeyPatch) -> Paths:
    paths = Paths("smoke", tmp_path)
    for run, each in found.items():
        save_results(paths.attack(run), each)
        paths.model(run).mkdir(parents=True)
        for epoch in (1, 2):
            row = Row(epoch, 12 * epoch, 2e-3, 1.5, None, 0.3 * epoch, 0.4, 1.0, 900.0)
            append_row(paths.model(run) / "history.csv", row)
    monkeypatch.chdir(tmp_path)
    return paths


def test_results_has_every_accuracy_of_the_files_once(paths: Paths, found: dict[str, AttackResults]) -> None:
    frame = ssmlab.results("smoke")
    assert len(frame) == 3 * 2 * 5
    assert not frame.duplicated(["run", "checkpoint", "attack"]).any()
    for row in frame.itertuples():
        checkpoint = found[row.run].checkpoints[row.checkpoint]
        count = checkpoint.worst_case if row.attack == "worst case" else checkpoint.measures[row.attack]
        assert (row.n, row.accuracy, (row.low, row.high)) == (count.n, count.accuracy, count.interval)
        assert (row.study, row.group, row.seed, row.norm) == ("smoke", row.run, 0, "linf")
        assert row.eps == (0.0 if row.attack == "clean" else 0.1)
    assert list(frame["attack"][:5]) == ["clean", "fgsm", "pgd-2", "autoattack", "worst case"]


@pytest.mark.parametrize(("eps", "ball"), [(None, ("linf", 1.0)), (0.25, ("l2", 0.25))])
def test_a_token_attack_has_its_own_ball(eps: float | None, ball: tuple[str, float], tiny_params: Params) -> None:
    token = parse_attack("token-2", 0.1).model_copy(update={"eps": None if eps is None else WrittenFloat(eps)})
    under = protocol(tiny_params, norm="l2", attacks={"token-2": token.plain()})
    assert ball_of("token-2", under) == ball
    assert (ball_of("clean", under), ball_of("worst case", under)) == (("l2", 0.0), ("l2", 0.1))


def test_an_imported_checkpoint_is_named_because_its_training_is_unknown(
    paths: Paths, found: dict[str, AttackResults]
) -> None:
    save_results(paths.attack("ssm"), found["ssm"].model_copy(update={"train": {}}))
    with pytest.raises(UserError, match="the training of the imported checkpoint ssm is unknown"):
        ssmlab.results("smoke")
    assert ("ssm", "best", "clean") in ssmlab.flags("smoke").columns


def test_epochs_are_those_of_the_training_or_missing(paths: Paths) -> None:
    frame = ssmlab.results("smoke").set_index("run")
    assert set(frame.loc["ssm", "epochs_done"]) == {4} and set(frame.loc["ssm", "epochs_asked"]) == {40}
    assert frame.loc["ads", "epochs_done"].isna().all()


def test_a_study_can_be_given_by_name_folder_or_file(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    by_name = ssmlab.results("smoke")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert ssmlab.results(paths.results).equals(by_name)
    one = ssmlab.results(paths.attack("ads"))
    assert set(one["run"]) == {"ads"} and len(one) == 10
    assert len(ssmlab.history(paths.results)) == 6


def test_history_has_every_epoch_of_every_run(paths: Paths) -> None:
    frame = ssmlab.history("smoke")
    assert list(frame["run"]) == ["ads", "ads", "attention", "attention", "ssm", "ssm"]
    row = read_history(paths.model("ads") / "history.csv")[1]
    second = frame.iloc[1]
    assert (second.study, second.epoch, second.val_clean) == ("smoke", row.epoch, row.val_clean)
    assert frame["train_robust"].isna().all() and frame["epochs"].isna().all()


def test_flags_are_those_of_the_files_and_missing_where_an_attack_saw_no_image(
    paths: Paths, found: dict[str, AttackResults]
) -> None:
    frame = ssmlab.flags("smoke")
    assert frame.shape == (50, 3 * 2 * 4)
    assert set(map(str, frame.dtypes)) == {"boolean"}
    seen = found["ads"].checkpoints["best"].measures
    assert "".join("01"[int(right)] for right in frame["ads", "best", "fgsm"]) == seen["fgsm"].flags
    assert frame["ads", "best", "autoattack"].notna().sum() == 10
    means = frame.mean()
    assert means["ads", "best", "autoattack"] == seen["autoattack"].accuracy


def test_a_comparison_as_a_frame_has_its_numbers(paths: Paths) -> None:
    comparison = ssmlab.compare(["smoke/ssm", "smoke/ads"])
    frame = comparison.to_frame()
    assert len(frame) == 2 * len(comparison.lines)
    clean = frame[(frame["measure"] == "clean") & (frame["of"] == "best")]
    assert list(clean["value"]) == pytest.approx([0.6, 0.8])
    assert np.isnan(clean["delta"].iloc[0]) and clean["delta"].iloc[1] == pytest.approx(0.2)
    assert clean["delta_low"].iloc[1] < 0.2 < clean["delta_high"].iloc[1]
    assert list(clean["word"]) == ["", "better"]


def test_missing_results_are_reported_in_one_line(paths: Paths, tmp_path: Path) -> None:
    with pytest.raises(ssmlab.UserError, match="did you mean 'smoke'"):
        ssmlab.results("smoek")
    with pytest.raises(ssmlab.UserError, match="name the study too"):
        ssmlab.compare(["ssm", "ads"])
    (tmp_path / "results" / "empty").mkdir()
    with pytest.raises(ssmlab.UserError, match="no attack results there"):
        ssmlab.results("empty")
    with pytest.raises(ssmlab.UserError, match="no training history there"):
        ssmlab.history("empty")


def test_every_line_of_the_page_on_notebooks_runs(paths: Paths, project: Path) -> None:
    page = (project / "docs" / "notebooks.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) >= 4
    names: dict[str, object] = {}
    for block in blocks:
        exec(block, names)
