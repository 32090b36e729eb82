from __future__ import annotations

import dataclasses
import io
import math
import statistics
import struct
from functools import partial
from itertools import pairwise
from pathlib import Path

import matplotlib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.image import imread

from ssmlab.analysis.summarize import summarize, summarize_groups
from ssmlab.analysis.summary import WORST, Run, Summary
from ssmlab.artifacts.history import Row
from ssmlab.project.params_file import load_params
from ssmlab.report import accuracy_figures, curve_figures
from ssmlab.report.figure_style import DARK, LIGHT, Theme, draw_files, figure_files, percent_ticks
from ssmlab.report.side_labels import label_beside, spaced_positions
from ssmlab.report.study_tables import interval_table
from ssmlab.report.training_curves import TrainingCurves
from tests.analysis.synthetic import data_summary, default_study, seeded_params, seeded_study


@pytest.fixture(scope="module")
def summary() -> Summary:
    params = load_params(Path(__file__).resolve().parents[2] / "studies" / "mnist5k-published.yaml")
    return summarize(params.study, default_study(params), params.analyze, data_summary())


def histories(summary: Summary, epochs: int = 10) -> dict[str, list[Row]]:
    return {
        run.name: [
            Row(e, e * 55, 1e-3, 1.0, 0.5, 0.9 * (1 - math.exp(-e / 2)), 0.7 * (1 - math.exp(-e / 3)), 10.0, 500.0)
            for e in range(1, epochs + 1)
        ]
        for run in summary.runs
    }


def with_runs(summary: Summary, runs: tuple[Run, ...]) -> Summary:
    """The summary of these runs alone."""
    return summary.model_copy(update={"runs": runs, "groups": summarize_groups(runs)})


def draw(name: str, summary: Summary, epochs: int = 10) -> bytes:
    return png_of(name, summary, histories(summary, epochs))


def png_of(name: str, summary: Summary, rows: dict[str, list[Row]], theme: Theme = LIGHT) -> bytes:
    draws = {
        "curves": partial(curve_figures.learning_curves, summary, TrainingCurves.of(rows.items())),
        "tradeoff": partial(accuracy_figures.tradeoff, summary),
        "measures": partial(accuracy_figures.measure_bars, summary),
    }
    return figure_files(draws[name], theme, ("png",))[".png"]


@pytest.mark.parametrize("name", ["curves", "tradeoff", "measures"])
def test_figures_show_something_and_are_the_same_bytes_again(name: str, summary: Summary) -> None:
    first = draw(name, summary)
    width, height = struct.unpack(">II", first[16:24])
    assert width == 1600
    assert 500 < height < 2000
    pixels = imread(io.BytesIO(first))
    assert pixels[..., :3].std() > 0.05
    assert b"tEXt" not in first
    before = dict(matplotlib.rcParams)
    with matplotlib.rc_context({"font.size": 30, "lines.linewidth": 9}):
        assert draw(name, summary) == first
    assert dict(matplotlib.rcParams) == before


def test_signs_of_overfitting_are_drawn_where_every_history_has_them(summary: Summary) -> None:
    old = histories(summary)
    assert not TrainingCurves.of(old.items()).gaps
    new = {
        run: [row._replace(val_robust_loss=1 + row.epoch / 9, train_eval_robust=0.9) for row in rows]
        for run, rows in old.items()
    }
    for run in new:
        assert not TrainingCurves.of({**new, run: old[run]}.items()).gaps
    left, right = curve_figures.overfitting_curves(summary, TrainingCurves.of(new.items()), LIGHT).axes
    (line,) = [line for line in left.lines if len(line.get_xdata()) == 10][:1]
    assert list(line.get_ydata()) == [0.9 - row.val_robust for row in old[summary.runs[0].name]]
    assert right.get_ylim()[0] < 1 + 1 / 9 and right.get_ylim()[1] > 1 + 10 / 9


def test_a_figure_changes_with_its_numbers(summary: Summary) -> None:
    assert draw("curves", summary, epochs=9) != draw("curves", summary)
    fewer = with_runs(summary, summary.runs[:2])
    for name in ("tradeoff", "measures"):
        assert draw(name, fewer) != draw(name, summary)


def test_figures_of_one_epoch_one_run_and_one_checkpoint_can_be_drawn(summary: Summary) -> None:
    run = summary.runs[0]
    best = run.checkpoints["best"]
    kept = best.model_copy(update={"epoch": 1, "measures": {k: best.measures[k] for k in ("clean", "pgd-10")}})
    small = with_runs(summary, (run.model_copy(update={"checkpoints": {"best": kept}, "gaps": {}}),))
    for name in ("curves", "tradeoff", "measures"):
        assert draw(name, small, epochs=1).startswith(b"\x89PNG")


@pytest.fixture(scope="module")
def seeded() -> Summary:
    params = seeded_params(load_params(Path(__file__).resolve().parents[2] / "studies" / "mnist5k-published.yaml"))
    return summarize(params.study, seeded_study(params), params.analyze, data_summary())


def test_a_group_is_drawn_as_its_mean_and_deviation(seeded: Summary) -> None:
    group = seeded.groups[2]
    assert group.name == "ads-pgd"
    found, values = accuracy_figures.accuracy_bar(seeded, group, "clean", "best"), []
    for run in seeded.runs:
        if run.name.startswith("ads-pgd"):
            values.append(run.checkpoints["best"].measures["clean"].value)
    assert found is not None
    assert found.seeds == tuple(values)
    assert len(values) == 3
    assert found.value == pytest.approx(statistics.fmean(values))
    assert found.high - found.value == pytest.approx(statistics.stdev(values))
    assert found.value - found.low == pytest.approx(statistics.stdev(values))
    one = with_runs(seeded, seeded.runs[:1])
    alone = seeded.runs[0].checkpoints["best"].measures["clean"]
    assert accuracy_figures.accuracy_bar(one, one.groups[0], "clean", "best") == (
        alone.value,
        *alone.interval,
        alone.n,
        (),
    )


@pytest.mark.parametrize("name", ["curves", "tradeoff", "measures"])
def test_every_seed_is_in_the_picture(name: str, seeded: Summary) -> None:
    """One seed's number changes it."""
    first, *others = seeded.runs
    best = first.checkpoints["best"].model_copy(update={"epoch": 2})
    moved = first.model_copy(update={"checkpoints": {**first.checkpoints, "best": best}})
    if name != "curves":
        measures = {k: v.model_copy(update={"value": v.value - 0.2}) for k, v in best.measures.items()}
        moved = first.model_copy(
            update={"checkpoints": {**first.checkpoints, "best": best.model_copy(update={"measures": measures})}}
        )
    assert draw(name, with_runs(seeded, (moved, *others))) != draw(name, seeded)


def test_seeds_that_ended_early_are_drawn(seeded: Summary) -> None:
    rows = histories(seeded)
    rows["ads-pgd-s1"] = rows["ads-pgd-s1"][:4]
    assert png_of("curves", seeded, rows) != png_of("curves", seeded, histories(seeded))


@settings(deadline=None, max_examples=25)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_labels_that_are_moved_apart_keep_their_order_and_distance(wanted: list[float]) -> None:
    places = spaced_positions(wanted, 0.1, 0.0, 1.0)
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    ranked = [places[i] for i in order]
    assert all(b - a >= 0.1 - 1e-9 for a, b in pairwise(ranked))
    assert ranked[0] >= -1e-9
    assert ranked[-1] <= 1 + 1e-9


@pytest.mark.parametrize(("points", "named"), [(17, 17), (300, 17)])
def test_a_column_names_as_many_points_as_it_has_room_for_and_always_both_ends(points: int, named: int) -> None:
    axes = Figure().subplots()
    label_beside(axes, [(f"run-{i}", 1.0, i / points, "#000000") for i in range(points)], 0.06, LIGHT)
    texts = [text.get_text() for text in axes.texts]
    names = [text for text in texts if text.startswith("run-")]
    assert len(set(names)) == named and {"run-0", f"run-{points - 1}"} <= set(names)
    assert (f"{named} of {points} named" in texts) == (points > named)


def test_ticks_in_percent_have_decimals_only_where_they_need_them() -> None:
    ticks = [0.65, 0.7 + 1e-17, 0.975, 0.0, 1.0, -0.02, 0.0005]
    assert percent_ticks().format_ticks(ticks) == ["65%", "70%", "97.5%", "0%", "100%", "\N{MINUS SIGN}2%", "0.05%"]


def test_labels_with_enough_room_are_not_moved() -> None:
    assert spaced_positions([0.9, 0.1, 0.5], 0.1, 0.0, 1.0) == [0.9, 0.1, 0.5]
    assert spaced_positions([0.5, 0.5], 0.1, 0.0, 1.0) == pytest.approx([0.45, 0.55])


@pytest.mark.parametrize("name", ["curves", "tradeoff", "measures"])
def test_a_dark_figure_has_dark_paper_and_light_letters(name: str, summary: Summary) -> None:
    light, dark = (
        imread(io.BytesIO(png_of(name, summary, histories(summary), theme)))[..., :3] for theme in (LIGHT, DARK)
    )
    assert light.shape == dark.shape
    assert light[0, 0].min() == 1.0
    assert dark[0, 0].max() < 0.1
    assert dark.max() > 0.8


def test_every_figure_is_png_svg_pdf_dark_and_narrow_and_the_same_bytes_again(summary: Summary) -> None:
    draw_tradeoff = partial(accuracy_figures.tradeoff, summary)
    files = draw_files(draw_tradeoff)
    assert list(files) == [".png", ".svg", ".pdf", "-dark.svg", "-narrow.svg", "-narrow-dark.svg"]
    assert b"<svg" in files[".svg"] and b"<dc:date>" not in files[".svg"]
    assert files[".pdf"].startswith(b"%PDF") and b"CreationDate" not in files[".pdf"]
    assert draw_files(draw_tradeoff) == files


def test_a_bar_that_counts_other_images_says_how_many(summary: Summary) -> None:
    """AutoAttack saw 100 images of the best checkpoints alone, so that the two worst cases count other images."""
    runs = []
    for run in summary.runs:
        last = run.checkpoints["last"]
        measures = {name: found for name, found in last.measures.items() if name != "autoattack"}
        measures[WORST] = measures["pgd-10"]
        changed = {**run.checkpoints, "last": last.model_copy(update={"measures": measures})}
        runs.append(run.model_copy(update={"checkpoints": changed}))
    mixed = with_runs(summary, tuple(runs))

    def panel(name: str) -> list[str]:
        axes = next(
            axes for axes in accuracy_figures.measure_bars(mixed, LIGHT).axes if axes.get_title().startswith(name)
        )
        return [text.get_text() for text in axes.texts]

    assert [text.split("  ")[1] for text in panel(WORST)] == ["n = 100", "n = 1,000"] * len(runs)
    assert not any("n =" in text for text in panel("clean"))
    rows = interval_table(mixed).rows
    assert [row[-1].partition(", n = ")[2] for row in rows if row[0] == "ads" and row[1] != "best - last"] == [
        "100",
        "1,000",
    ]


@pytest.mark.parametrize("name", ["curves", "tradeoff", "measures"])
def test_a_narrow_figure_has_its_panels_below_each_other(name: str, summary: Summary) -> None:
    draws = {
        "curves": partial(curve_figures.learning_curves, summary, TrainingCurves.of(histories(summary).items())),
        "tradeoff": partial(accuracy_figures.tradeoff, summary),
        "measures": partial(accuracy_figures.measure_bars, summary),
    }
    wide, narrow = (draws[name](theme) for theme in (LIGHT, dataclasses.replace(LIGHT, narrow=True)))
    assert narrow.get_figwidth() == wide.get_figwidth() / 2
    columns = {axes.get_subplotspec().colspan.start for axes in narrow.axes if axes.axison}
    assert columns == {0}
    shown = [axes.get_title(loc="left") or axes.get_title() for axes in wide.axes if axes.axison]
    assert [axes.get_title(loc="left") or axes.get_title() for axes in narrow.axes if axes.axison] == shown


def test_an_eps_curve_is_the_share_of_images_whose_smallest_distance_is_beyond_each_radius(summary: Summary) -> None:
    params = load_params(Path(__file__).resolve().parents[2] / "studies" / "mnist5k-published.yaml")
    first, *others = default_study(params)
    best = first.checkpoints["best"]
    distances = (0.0, 0.05, 0.1, 0.25, None)
    fmn = best.measures["fgsm"].model_copy(update={"distances": distances})
    checkpoint = best.model_copy(update={"measures": {**best.measures, "fgsm": fmn}})
    found = first.model_copy(update={"checkpoints": {"best": checkpoint}})
    no_claims = params.analyze.model_copy(update={"claims": ()})
    drawn = summarize(params.study, [found, *others], no_claims, data_summary())
    ((index, group, curve),) = curve_figures.groups_with_eps_curves(drawn)
    assert (index, group.name) == (0, first.run)
    for eps, accuracy in curve:
        assert accuracy == sum(distance is None or distance > eps for distance in distances) / 5
    assert dict(curve)[0.1] == 0.4
    (axes,) = curve_figures.eps_curves(drawn, LIGHT).axes
    assert list(axes.lines[0].get_ydata()) == [accuracy for _, accuracy in curve]
    assert curve_figures.groups_with_eps_curves(summary) == []


def test_a_step_curve_is_drawn_for_the_pgd_of_most_steps_where_every_seed_has_it(summary: Summary) -> None:
    params = load_params(Path(__file__).resolve().parents[2] / "studies" / "mnist5k-published.yaml")
    seeded = seeded_params(params)
    longest = "pgd-10"
    found = []
    for place, result in enumerate(seeded_study(seeded)):
        steps = tuple((30 - step + place % 3) / 40 for step in range(26))
        best = result.checkpoints["best"]
        pgd = best.measures[longest].model_copy(update={"accuracy_by_step": steps if place else None})
        checkpoint = best.model_copy(update={"measures": {**best.measures, longest: pgd}})
        found.append(result.model_copy(update={"checkpoints": {**result.checkpoints, "best": checkpoint}}))
    drawn = summarize(seeded.study, found, seeded.analyze, data_summary())
    curves = curve_figures.groups_with_step_curves(drawn)
    assert [group.name for _, group, _ in curves] == [group.name for group in drawn.groups[1:]]
    for _, _, curve in curves:
        assert curve == pytest.approx([(31 - step) / 40 for step in range(26)])
    (axes,) = curve_figures.step_curves(drawn, LIGHT).axes
    assert list(axes.lines[0].get_xdata()) == list(range(1, 26))
    assert list(axes.lines[0].get_ydata()) == curves[0][2][1:]
    assert curve_figures.groups_with_step_curves(summary) == []


def test_the_gap_of_every_group_stands_above_its_number_of_parameters(seeded: Summary) -> None:
    (axes,) = accuracy_figures.gap_against_parameters(seeded, LIGHT).axes
    points = [tuple(p) for each in axes.collections if isinstance(each, PathCollection) for p in each.get_offsets()]
    main = seeded.main_attack()
    expected = []
    for group in seeded.groups:
        falls = [
            run.checkpoints["best"].measures[main].value - run.checkpoints["last"].measures[main].value
            for run in seeded.members(group)
        ]
        expected.append((group.parameters, 100 * statistics.fmean(falls)))
    assert sorted(points) == [pytest.approx(point) for point in sorted(expected)]
    without_last = tuple(
        run.model_copy(update={"checkpoints": {"best": run.checkpoints["best"]}, "gaps": {}}) for run in seeded.runs
    )
    assert accuracy_figures.groups_with_gaps(with_runs(seeded, without_last)) == []
