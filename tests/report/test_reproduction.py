"""The report says how its numbers were made, and its commands make these numbers and no others."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from ssmlab.analysis.compare.compare import compare
from ssmlab.analysis.summarize import summarize
from ssmlab.evaluation.results import AttackResults, Check, save_results
from ssmlab.params import Params
from ssmlab.params.paths import Paths
from ssmlab.report.blocks import Commands, Report
from ssmlab.report.checks import flags_sentence
from ssmlab.report.html import write_html
from ssmlab.report.markdown import write_markdown
from ssmlab.report.reproduction import origin_section, reproduction_section
from ssmlab.report.study_tables import interval_table, paper_table
from ssmlab.report.terminal.tables import headline, render
from tests.analysis.synthetic import data_summary, nested_flags, results, with_origin


def attacked(params: Params, run: str) -> AttackResults:
    flags = nested_flags(50, {"clean": 0.9, "fgsm": 0.7, "pgd-2": 0.6, "autoattack": 0.5}, len(run))
    return results(params, run, flags, flags)


@pytest.fixture
def params(tiny_params: Params) -> Params:
    no_claims = tiny_params.analyze.model_copy(update={"claims": ()})
    return tiny_params.model_copy(update={"analyze": no_claims})


def text_of(params: Params, *found: AttackResults) -> str:
    summary = summarize("smoke", found, params.analyze, data_summary())
    report = Report("t", (*origin_section(summary), *reproduction_section(summary)))
    write_html(report)
    return write_markdown(report)


def test_a_clean_checkout_is_named_by_commit_code_versions_device_and_command(params: Params) -> None:
    text = text_of(params, *(with_origin(attacked(params, run)) for run in ("ssm", "ads")))
    rows = [line for line in text.splitlines() if line.startswith(("| train |", "| attack |"))]
    assert len(rows) == 2
    for row, stage in zip(rows, ("train", "attack"), strict=True):
        assert row.startswith(f"| {stage} | all 2 | c0ffeec0ffee | ")
        assert row.endswith(f" | cpu, 1 thread | ssmlab 0.1.0, torch 2.13.0 | ssmlab {stage} RUN |")
    assert "git checkout " + "c0ffee" * 6 + "c0ff\n" in text
    assert "OMP_NUM_THREADS=1 ssmlab repro\n" in text
    assert "cp results/smoke/study.yaml params.yaml\n" in text
    assert "Warning" not in text


def test_uncommitted_changes_are_reported_with_the_commit(params: Params) -> None:
    text = text_of(params, with_origin(attacked(params, "ssm"), git_changes="5bad" * 16))
    assert "| train | ssm | c0ffeec0ffee with uncommitted changes (5bad5bad5bad) |" in text
    assert "> **Warning.** The code had changes that are in no commit (SHA-256 5bad5bad5bad)" in text


def test_runs_of_several_commits_are_told_apart(params: Params) -> None:
    other = with_origin(attacked(params, "ads"), git_commit="ad5" * 13 + "a")
    text = text_of(params, with_origin(attacked(params, "ssm")), other)
    assert "| train | ssm | c0ffeec0ffee |" in text
    assert "| train | ads | ad5ad5ad5ad5 |" in text
    assert "The numbers come from several commits (c0ffeec0ffee and ad5ad5ad5ad5, see above)" in text


def test_results_without_records_are_reported_as_such(params: Params) -> None:
    text = text_of(params, attacked(params, "ssm"))
    assert "did not record code, versions and device" in text
    assert "were not recorded" in text
    assert "git checkout" not in text


def test_with_different_numbers_of_threads_the_command_sets_none(params: Params) -> None:
    found = [with_origin(attacked(params, "ssm")), with_origin(attacked(params, "ads"), threads=2)]
    summary = summarize("smoke", found, params.analyze, data_summary())
    (commands,) = (block for block in reproduction_section(summary) if isinstance(block, Commands))
    assert "\nssmlab repro\n" in commands.text


@pytest.fixture
def stopped(params: Params) -> list[AttackResults]:
    return [with_origin(attacked(params, "ssm"), 4, 40, "asked to stop"), with_origin(attacked(params, "ads"), 40, 40)]


def test_every_table_says_that_a_run_was_stopped_early(params: Params, stopped: list[AttackResults]) -> None:
    summary = summarize("smoke", stopped, params.analyze, data_summary())
    rows = {row[0]: row for row in paper_table(summary).rows}
    epochs = [column.name for column in paper_table(summary).columns].index("epochs")
    assert (rows["ssm"][epochs], rows["ads"][epochs]) == ("4 of 40", "40")
    assert ("ssm", "last (epoch 10 of 40)") in {row[:2] for row in interval_table(summary).rows}
    assert [row[0] for row in headline(summary).table.rows] == ["ssm (cut short)", "ads"]
    text = text_of(params, *stopped)
    assert "ssm (4 of 40 epochs) was stopped by a user; the commands train to the last epoch." in text


def test_compare_says_that_a_run_was_stopped_early(
    params: Params, stopped: list[AttackResults], tmp_path: Path
) -> None:
    paths = Paths("smoke", tmp_path)
    for each in stopped:
        save_results(paths.attack(each.run), each)
    found = compare(["ssm", "ads"], paths)
    assert "ssm is an unfinished training: 4 of 40 epochs." in found.notes
    assert "| epochs | 4 of 40 | 40 |" in str(render(found, "md"))
    subjects = json.loads(str(render(found, "json")))["subjects"]
    assert [(each["epochs_done"], each["epochs_asked"]) for each in subjects] == [([4], [40]), ([40], [40])]
    rows = list(csv.DictReader(io.StringIO(str(render(found, "csv")))))
    assert [row["value"] for row in rows if row["kind"] == "epochs_done"] == ["4", "40"]
    assert [row["value"] for row in rows if row["kind"] == "epochs_asked"] == ["40", "40"]


def test_the_opening_names_the_flags_that_were_raised(params: Params) -> None:
    found = attacked(params, "ssm")
    silent = Check(name="random", value=0.0, threshold=1e-4, raised=False)
    raised = Check(name="saturated", value=0.5, threshold=0.05, raised=True, sentence="saturated")

    def sentence(*checks: Check) -> str:
        best = found.checkpoints["best"].model_copy(update={"checks": checks})
        checked = found.model_copy(update={"checkpoints": {"best": best}})
        return flags_sentence(summarize("smoke", [checked], params.analyze, data_summary()))

    assert sentence() == "The models were not checked for masked gradients."
    assert sentence(silent) == "Every model passed 1 check for masked gradients and other faults."
    assert sentence(silent, raised) == (
        "Every model went through 2 checks for masked gradients and other faults. "
        "1 raised a flag (saturated) on 1 run: ssm."
    )
