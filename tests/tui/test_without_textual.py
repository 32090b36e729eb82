"""The parts of the TUI that draw nothing: follower, filter, curves, alerts, pipeline."""

from __future__ import annotations

import asyncio
import gc
import math
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmlab.artifacts.history import Row
from ssmlab.params import Params
from ssmlab.project.pipeline import stages_of
from ssmlab.tui import labels
from ssmlab.tui.alerts import AlertFinder, alerts_of, disk_alerts, history_alerts
from ssmlab.tui.arrange import Arrangement, arrange, matches
from ssmlab.tui.collector import THRESHOLDS, spare_collector
from ssmlab.tui.columns import columns_for
from ssmlab.tui.details import state_lines
from ssmlab.tui.follower import StudyFollower
from ssmlab.tui.labels import MARKERS, age, curve_colour, curve_marker
from ssmlab.tui.look import Look
from ssmlab.tui.pipeline import ask_dvc, parse_status, seconds_needed
from ssmlab.tui.series import MEASURES, group_curve, run_curve, smoothed, thinned
from tests.tui.conftest import BEAT, Study

COLUMNS = columns_for(("clean", "fgsm"))


def look_of(study: Study) -> Look:
    return StudyFollower(study.root).look(time.time())


def epoch(number: int, loss: float, robust: float, train_robust: float | None = 0.5) -> Row:
    return Row(number, number, 1e-3, loss, train_robust, 0.9, robust, 10.0, 100.0)


def test_a_run_with_unchanged_files_is_not_read_again(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    follower = StudyFollower(study.root)
    first = follower.look(time.time())
    read: list[str] = []
    watcher = type(follower.runs[0].watcher)
    poll = watcher.poll
    monkeypatch.setattr(watcher, "poll", lambda self, *now: (read.append(self.name), poll(self, *now))[1])
    second = follower.look(time.time())
    assert read == ["ads"]  # a process may end without a word
    assert all(a is b for a, b in zip(first.runs, second.runs, strict=True))
    study.add_rows(study.paths.model("ssm"), (0.5, 0.5))
    third = follower.look(time.time())
    assert third.runs[0] is not first.runs[0] and third.runs[2] is first.runs[2]


def test_many_result_files_are_read_in_several_looks(study: Study) -> None:
    study.attack("ads")
    follower = StudyFollower(study.root, results_at_once=1)
    first, second = follower.look(time.time()), follower.look(BEAT.time)
    assert [bool(view.tests) for view in first.runs] == [True, False, False]
    assert [bool(view.tests) for view in second.runs] == [True, False, True]


def test_test_accuracies_of_a_run_that_trains_again_are_marked_as_those_of_an_earlier_training(study: Study) -> None:
    study.attack("ads")  # its heartbeat says that it is training
    study.attack("ssm")
    finished, _, training = look_of(study).runs
    column = next(each for each in COLUMNS if each.key == "test:clean")
    assert (finished.status.state, training.status.state) == ("finished", "training")
    assert [column.cell([view], 0.0).style for view in (finished, training)] == ["", "dim"]
    assert column.cell([finished, training], 0.0).style == "dim"
    said = [dict(state_lines(view, ("clean", "fgsm"), time.time()))["test, clean"] for view in (finished, training)]
    assert ["of an earlier training" in text for text in said] == [False, True]


def test_the_first_look_at_many_runs_reads_some_and_says_that_it_loads(study: Study) -> None:
    follower = StudyFollower(study.root, runs_at_once=2)
    first, second = follower.look(time.time()), follower.look(BEAT.time)
    assert first.loading and [view.status.task for view in first.runs][2] == "loading ..."
    assert [view.status.state for view in first.runs] == ["finished", "waiting", "waiting"]
    assert not second.loading and second.runs[2].status.rows and second.runs[0] is first.runs[0]


def test_the_collector_is_spared_what_was_read_whenever_the_last_run_has_been(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    spared: list[bool] = []
    thresholds: list[tuple[int, ...]] = []
    monkeypatch.setattr(gc, "freeze", lambda: spared.append(True))
    monkeypatch.setattr(gc, "set_threshold", lambda *numbers: thresholds.append(numbers))
    follower = StudyFollower(study.root, runs_at_once=2)
    before, counts, working = None, [], []
    gc.disable()  # as `ssmlab tui` does
    try:
        for _ in range(4):
            look = follower.look(time.time())
            spare_collector(before, look)
            counts.append(len(spared))
            working.append(gc.isenabled())
            before = look
    finally:
        gc.enable()
    assert counts == [0, 1, 1, 1] and working == [False, True, True, True]  # three runs, two at once
    assert thresholds == [THRESHOLDS] and gc.get_threshold() < THRESHOLDS


def test_a_result_file_that_cannot_be_read_is_a_warning(study: Study) -> None:
    study.paths.attack("ssm").write_text("{}")
    view = look_of(study).runs[0]
    assert view.tests == {} and "cannot be read as attack results" in view.warnings[0]
    assert [alert.kind for alert in alerts_of(look_of(study)) if alert.run == "ssm"] == ["evaluation"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ["ssm", "attention", "ads"]),
        ("model:ads", ["ads"]),
        ("state:finished", ["ssm"]),
        ("s4 !state:training", ["ssm"]),
        ("^a", ["attention", "ads"]),
        ("run:^ads$", ["ads"]),
        ("robust>20", ["ads"]),
        ("robust<20", ["ssm"]),
        ("epoch>0", ["ssm", "ads"]),
        ("regime:pgd", ["ssm", "attention", "ads"]),
        ("(ads", []),
        ("AdS", ["ads"]),
    ],
)
def test_a_filter_finds_words_fields_numbers_and_regular_expressions(study: Study, text: str, found: list[str]) -> None:
    fits = matches(text, COLUMNS)
    assert [view.name for view in look_of(study).runs if fits(view)] == found


@given(st.text(max_size=30))
def test_every_text_is_a_valid_filter(text: str) -> None:
    matches(text, COLUMNS)


def test_rows_without_a_value_stand_last_in_both_orders(study: Study) -> None:
    runs = look_of(study).runs
    for descending, expected in ((True, ["ads", "ssm", "attention"]), (False, ["ssm", "ads", "attention"])):
        rows = arrange(runs, Arrangement(sort="robust", descending=descending), COLUMNS)
        assert [row.key for row in rows] == expected
    assert arrange(runs, Arrangement(pins=("attention",)), COLUMNS)[0].key == "attention"


def test_the_curves_of_the_default_study_have_different_colours_and_markers_for_every_group(
    study: Study, project: Path
) -> None:
    """The first runs of `ssm` and `attention` are eight places apart, and there are eight colours."""
    (study.root / "params.yaml").write_text((project / "params.yaml").read_text())
    rows = [row for row in arrange(look_of(study).runs, Arrangement(), COLUMNS) if row.is_group]
    assert len(rows) == 6
    assert len({curve_colour(row.place) for row in rows}) == len({curve_marker(row.place) for row in rows}) == 6


def test_a_group_shows_mean_and_deviation_and_how_many_are_in_which_state(study: Study) -> None:
    runs = [replace(view, group="all") for view in look_of(study).runs]
    group = arrange(runs, Arrangement(folded=frozenset({"all"})), COLUMNS)
    assert [row.key for row in group] == ["group:all"]
    cells = {column.key: column.cell(group[0].members, 0.0).text for column in COLUMNS}
    assert cells["clean"] == "68.8 ±8.8" and cells["state"] == "·1 ▶1 ✔1" and cells["epoch"] == "0-2/2"


def test_sorting_by_a_column_three_times_is_the_order_of_the_file() -> None:
    how = Arrangement()
    once, twice = how.sorted_by("clean"), how.sorted_by("clean").sorted_by("clean")
    assert (once.sort, once.descending) == ("clean", True) and (twice.sort, twice.descending) == ("clean", False)
    assert twice.sorted_by("clean") == how


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60), st.sampled_from([1, 3, 7, 15]))
def test_smoothing_stays_between_the_least_and_the_greatest_value(values: list[float], window: int) -> None:
    found = smoothed(values, window)
    assert len(found) == len(values)
    assert all(min(values) - 1e-6 <= value <= max(values) + 1e-6 for value in found)
    if window == 1:
        assert found == values


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=500), st.integers(16, 200))
def test_thinned_curves_keep_their_ends_and_their_extremes(values: list[float], most: int) -> None:
    points = [(float(x), y) for x, y in enumerate(values)]
    kept = thinned(points, most)
    assert kept == sorted(kept) and set(kept) <= set(points) and len(kept) <= max(most, 16) + 4
    assert kept[0] == points[0] and kept[-1] == points[-1]
    assert min(y for _, y in kept) == min(values) and max(y for _, y in kept) == max(values)


def test_curves_have_epochs_steps_or_seconds_as_x_and_bands_of_one_deviation(study: Study) -> None:
    view = look_of(study).runs[0]
    rows = (epoch(1, 2.0, 0.2), epoch(2, 1.0, 0.4), epoch(3, math.nan, 0.3))
    runs = [replace(view, status=replace(view.status, rows=rows, best_epoch=2)) for _ in range(2)]
    curve = run_curve(runs[0], MEASURES["robust"], "time", 1, "#ffffff", "o")
    assert list(curve.x) == [10.0, 20.0, 30.0] and curve.best == 20.0
    assert curve.at(19.0) == 40.0 and curve.at(31.0) is None
    assert list(run_curve(runs[0], MEASURES["loss"], "epoch", 1, "#ffffff", "o").y) == [2.0, 1.0]
    other = replace(runs[1], status=replace(runs[1].status, rows=(epoch(1, 2.0, 0.4),)))
    band = group_curve("all", [runs[0], other], MEASURES["robust"], "epoch", 1, "#ffffff", "o")
    assert list(band.x) == [1.0] and list(band.y) == [30.0] and band.high[0] - 30.0 == pytest.approx(math.sqrt(200))


def test_the_first_fifty_six_runs_differ_in_colour_or_marker() -> None:
    assert len({(curve_colour(i), curve_marker(i)) for i in range(56)}) == 56
    assert all(len(marker) == 1 for marker in MARKERS)


@pytest.mark.parametrize(("seconds", "text"), [(5.0, "now"), (65.0, "1m"), (7300.0, "2h"), (2e5, "2d"), (None, "-")])
def test_ages_are_coarse(seconds: float | None, text: str) -> None:
    assert age(seconds) == text


def kinds(*rows: Row) -> list[str]:
    return [alert.kind for alert in history_alerts("ads", rows)]


def test_a_loss_that_grows_threefold_or_is_not_finite_has_diverged() -> None:
    assert kinds(epoch(1, 1.0, 0.3), epoch(2, 0.9, 0.3)) == []
    assert kinds(epoch(1, 1.0, 0.3), epoch(2, 3.5, 0.3)) == ["diverged"]
    assert kinds(epoch(1, 1.0, 0.3), epoch(2, math.inf, 0.3)) == ["diverged"]
    assert kinds() == []


def test_catastrophic_overfitting_is_a_fall_under_pgd_while_the_training_attack_is_beaten() -> None:
    before = epoch(1, 1.0, 0.4, train_robust=0.5)
    assert kinds(before, epoch(2, 0.9, 0.02, train_robust=0.9)) == ["catastrophic overfitting"]
    assert kinds(before, epoch(2, 0.9, 0.02, train_robust=0.1)) == []  # both fall: something else is wrong
    assert kinds(before, epoch(2, 0.9, 0.35, train_robust=0.9)) == []  # ordinary robust overfitting
    assert kinds(before._replace(train_robust=None), epoch(2, 0.9, 0.0, train_robust=None)) == []


@pytest.mark.parametrize("thousandths", range(151, 301))
def test_a_fall_of_exactly_the_threshold_is_no_alert(thousandths: int) -> None:
    best = epoch(1, 1.0, thousandths / 1000, train_robust=0.5)
    at, below = (epoch(2, 0.9, (thousandths - fall) / 1000, train_robust=0.9) for fall in (150, 151))
    assert kinds(best, at) == []
    assert kinds(best, below) == ["catastrophic overfitting"]


def test_a_run_that_has_not_changed_is_judged_once(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    study.beat(state="failed", message="the loss is not finite")
    follower, finder = StudyFollower(study.root), AlertFinder()
    first = follower.look(time.time())
    assert finder.find(first) == alerts_of(first) != []
    monkeypatch.setattr("ssmlab.tui.alerts.history_alerts", lambda name, rows: pytest.fail(name))
    assert finder.find(follower.look(time.time())) == finder.find(first)


def test_a_disk_that_is_nearly_full_is_an_alert() -> None:
    assert [alert.kind for alert in disk_alerts(10**9, 10**12)] == ["disk"]
    assert list(disk_alerts(10**11, 10**12)) == [] == list(disk_alerts(None, None))


def test_the_answer_of_dvc_is_sorted_by_kind_or_refused() -> None:
    found = parse_status({"attack@ssm": [{"changed deps": {"data/x": "modified"}}]})
    assert [str(reason) for reason in found["attack@ssm"]] == ["input data/x modified"]
    with pytest.raises(ValueError, match="mapping"):
        parse_status([])


def test_without_dvc_the_pipeline_says_why(study: Study, monkeypatch: pytest.MonkeyPatch, tiny_params: Params) -> None:
    monkeypatch.setattr("ssmlab.tui.pipeline.sys.executable", "/nowhere/python")
    monkeypatch.setattr("ssmlab.project.dvc_command.allow_no_git", lambda root: None)
    state = asyncio.run(ask_dvc(tuple(stages_of(tiny_params, study.root)), study.root))
    assert state.problem is not None and "DVC does not answer" in state.problem and "attack@ads" in state.stages


def test_the_estimate_uses_the_seconds_of_earlier_epochs(study: Study) -> None:
    look = look_of(study)
    assert seconds_needed(look, ["train@ssm"]) == 2.0
    assert seconds_needed(replace(look, runs=()), ["train@ssm"]) is None


def test_an_infinite_time_to_go_is_a_question_mark_and_no_error() -> None:
    assert labels.short_duration(float("inf")) == "?"
    assert labels.short_duration(42) == "42s"
