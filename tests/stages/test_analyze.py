"""What the stage `analyze` takes from the histories of the trainings."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ssmlab.analysis.summary import Summary, load_summary
from ssmlab.artifacts.history import Row, format_history
from ssmlab.artifacts.manifest import HISTORY
from ssmlab.params import DataParams, Params
from ssmlab.params.paths import Paths
from ssmlab.stages.analyze import analyze, is_made_with
from tests.analysis.synthetic import data_summary
from tests.stages.test_report import made_up


@pytest.fixture
def paths(tmp_path: Path, tiny_params: Params) -> Paths:
    return made_up(tiny_params, tmp_path)


def analyzed(params: Params, paths: Paths, run: str, rows: list[Row]) -> Summary:
    """The summary of the study after one of its runs got this history."""
    (paths.model(run) / HISTORY).write_text(format_history(rows))
    analyze(params, paths)
    return load_summary(paths.analysis)


def row(epoch: int, epochs: int | None, robust: float = 0.5) -> Row:
    return Row(epoch, 12 * epoch, 2e-3, 1.5, None, 0.8, robust, 1.0, 900.0, 1.2, 0.9, epochs)


def test_how_far_a_training_went_is_in_the_last_row_of_its_history(paths: Paths, tiny_params: Params) -> None:
    summary = analyzed(tiny_params, paths, "ads", [row(1, 5), row(2, 5), row(3, 5)])
    epochs = {run.name: run.epochs for run in summary.runs}
    assert epochs["ads"] is not None and epochs["ssm"] is not None
    assert (epochs["ads"].done, epochs["ads"].asked) == (3, 5)
    assert (epochs["ssm"].done, epochs["ssm"].asked) == (2, tiny_params.run("ssm").train.epochs)  # no number in it


def test_an_empty_history_is_no_record_of_a_training(paths: Paths, tiny_params: Params) -> None:
    summary = analyzed(tiny_params, paths, "ads", [])
    assert {run.name: run.epochs for run in summary.runs}["ads"] is None


@pytest.mark.parametrize(
    ("changes", "fits"),
    [
        ({}, True),
        ({"train": "all", "size": 28, "channels": 1, "classes": 10}, True),
        ({"test": 999}, False),
        ({"seed": 1}, False),
        ({"size": 32}, False),
        ({"channels": 3}, False),
        ({"classes": 5}, False),
        ({"label_noise": 0.2}, False),
    ],
)
def test_settings_that_the_prepared_data_contradict_are_noticed(changes: dict[str, object], fits: bool) -> None:
    data = DataParams(name="mnist5k", source="embedded", train=3500, validation=500, test=1000, seed=0)
    assert is_made_with(data.model_copy(update=changes), data_summary()) is fits


def test_label_noise_of_another_seed_is_noticed() -> None:
    data = DataParams(
        name="mnist5k", source="embedded", train="all", validation=500, test="all", seed=0, label_noise=0.2
    )
    noisy = data_summary(label_noise={"fraction": 0.2, "seed": 0, "changed": 700})
    assert is_made_with(data, noisy)
    assert not is_made_with(data.model_copy(update={"label_noise_seed": 1}), noisy)


def test_a_claim_on_a_run_whose_history_still_rises_at_its_end_is_not_settled(
    paths: Paths, tiny_params: Params
) -> None:
    flat, rising = [row(epoch, 2) for epoch in (1, 2)], [row(1, 2, robust=0.4), row(2, 2, robust=0.5)]
    for run in tiny_params.runs:
        (paths.model(run) / HISTORY).write_text(format_history(flat))
    before = analyzed(tiny_params, paths, "ads", flat).claims[0]
    after = analyzed(tiny_params, paths, "ads", rising).claims[0]
    assert "still improving" not in before.sentence
    assert after.verdict == "not settled" and "ads was still improving" in after.sentence


def test_results_are_synced_and_a_plot_that_a_power_cut_has_emptied_is_written_by_the_next_run(
    paths: Paths, tiny_params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr("os.fsync", lambda handle: synced.append(os.fstat(handle).st_ino))
    analyze(tiny_params, paths)
    plots = {path: path.read_bytes() for path in paths.plots.rglob("*.csv")}
    assert len(plots) == 3 * len(tiny_params.runs)
    assert {path.stat().st_ino for path in (paths.analysis, paths.metrics)} <= set(synced)
    assert not {path.stat().st_ino for path in plots} & set(synced)
    next(iter(plots)).write_bytes(b"")
    analyze(tiny_params, paths)
    assert {path: path.read_bytes() for path in paths.plots.rglob("*.csv")} == plots
