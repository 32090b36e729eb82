"""Figures of very many groups: every group is drawn, but without a separate matplotlib artist for each."""

from __future__ import annotations

import dataclasses
import math
import re
from functools import partial
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ssmlab.analysis.summary import Summary
from ssmlab.artifacts.history import Row
from ssmlab.report import accuracy_figures, crowded_figures, curve_figures
from ssmlab.report.accuracy_bars import accuracy_bar
from ssmlab.report.accuracy_figures import gap_against_parameters, groups_with_gaps, measure_bars, tradeoff
from ssmlab.report.curve_figures import learning_curves
from ssmlab.report.figure_style import DARK, LIGHT, Theme, darkened, figure_files
from ssmlab.report.pictures import pictures
from ssmlab.report.training_curves import TrainingCurves, curve_points
from tests.report.test_figures import histories, seeded, summary

__all__ = ["seeded", "summary"]  # fixtures


@pytest.fixture
def crowded(seeded: Summary, monkeypatch: pytest.MonkeyPatch) -> Summary:
    """A study of seeds that counts as crowded."""
    monkeypatch.setattr(crowded_figures, "CROWDED", len(seeded.groups) - 1)
    return seeded


def test_a_study_is_crowded_from_25_groups(summary: Summary) -> None:
    groups = summary.groups[:1] * 24
    assert not crowded_figures.is_crowded(summary.model_copy(update={"groups": groups}))
    assert crowded_figures.is_crowded(summary.model_copy(update={"groups": (*groups, groups[0])}))


def name_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave room for two names beside a plot: those of the highest and the lowest group."""
    monkeypatch.setattr(curve_figures, "ONE_LINE", 1.0)
    monkeypatch.setattr(accuracy_figures, "ONE_LINE", 1.0)
    monkeypatch.setattr(accuracy_figures, "TWO_LINES", 1.0)


def points_of(artist: Line2D | PathCollection) -> list[tuple[float, float]]:
    """The points of a line, or the places of marks."""
    points = artist.get_xydata() if isinstance(artist, Line2D) else artist.get_offsets()
    return [(float(x), float(y)) for x, y in np.asarray(points).tolist()]


def segments_of(lines: LineCollection) -> list[list[tuple[float, float]]]:
    """The points of every line of a collection."""
    return [[(float(x), float(y)) for x, y in np.asarray(each).tolist()] for each in lines.get_segments()]


def pieces(line: Line2D) -> list[list[tuple[float, float]]]:
    """The lines that are joined in one, which has a point of NaN between them."""
    found: list[list[tuple[float, float]]] = [[]]
    for x, y in points_of(line):
        found = [*found, []] if math.isnan(x) else [*found[:-1], [*found[-1], (x, y)]]
    return [piece for piece in found if piece]


def drawn_marks(axes: Axes) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """The grey dots and the coloured circles."""
    grey = [point for line in axes.lines if line.get_marker() == "." for point in points_of(line)]
    circles = [each for each in axes.collections if isinstance(each, PathCollection)]
    return sorted(grey), sorted(point for each in circles for point in points_of(each))


def test_the_mean_curve_and_every_best_epoch_of_a_crowded_study_are_drawn_and_the_named_ones_in_colour(
    crowded: Summary, monkeypatch: pytest.MonkeyPatch
) -> None:
    name_two(monkeypatch)
    rows = histories(crowded)
    for place, group in enumerate(crowded.groups):
        for run in group.runs:
            rows[run] = [row._replace(val_clean=row.val_clean / (1 + place)) for row in rows[run]]
    left, _ = learning_curves(crowded, TrainingCurves.of(rows.items()), LIGHT).axes
    named = (len(crowded.groups) - 1, 0)
    lines = next(each for each in left.collections if isinstance(each, LineCollection))
    grey = next(line for line in left.lines if line.get_marker() != ".")
    drawn = [*zip(named, segments_of(lines), strict=True)]
    drawn += zip(range(1, len(crowded.groups) - 1), pieces(grey), strict=True)
    assert len(drawn) == len(crowded.groups) == 4
    for place, points in drawn:
        runs = crowded.groups[place].runs
        means = [math.fsum(rows[run][epoch].val_clean for run in runs) / len(runs) for epoch in range(10)]
        assert [y for _, y in points] == pytest.approx(means)
        assert [x for x, _ in points] == list(range(1, 11))
    marks: list[list[tuple[float, float]]] = [[], []]
    for place, group in enumerate(crowded.groups):
        for member in crowded.members(group):
            best = member.checkpoints["best"]
            if best.epoch and best.epoch <= 10:
                marks[place in named].append((best.epoch, rows[member.name][best.epoch - 1].val_clean))
    assert marks[0] and marks[1]
    for found, wanted in zip(drawn_marks(left), marks, strict=True):
        assert found == pytest.approx(sorted(wanted))


def test_every_group_of_a_crowded_study_is_a_point_of_the_tradeoff_and_the_named_ones_have_error_bars(
    crowded: Summary, monkeypatch: pytest.MonkeyPatch
) -> None:
    name_two(monkeypatch)
    (axes,) = tradeoff(crowded, LIGHT).axes
    main = crowded.main_attack()
    bars = [[accuracy_bar(crowded, group, name, "best") for name in ("clean", main)] for group in crowded.groups]
    ranked = sorted(((clean, robust) for clean, robust in bars if clean and robust), key=lambda each: each[1].value)
    grey, circles = drawn_marks(axes)
    assert grey == sorted((clean.value, robust.value) for clean, robust in ranked[1:-1])
    named = [ranked[0], ranked[-1]]
    assert circles == sorted((clean.value, robust.value) for clean, robust in named)
    crosses = next(each for each in axes.collections if isinstance(each, LineCollection))
    ends = {tuple(segment) for segment in segments_of(crosses)}
    assert ends == {((c.low, r.value), (c.high, r.value)) for c, r in named} | {
        ((c.value, r.low), (c.value, r.high)) for c, r in named
    }


def test_every_gap_of_a_crowded_study_is_a_mark_and_the_named_ones_have_error_bars(
    crowded: Summary, monkeypatch: pytest.MonkeyPatch
) -> None:
    name_two(monkeypatch)
    (axes,) = gap_against_parameters(crowded, LIGHT).axes
    gaps = sorted(
        (100 * gap.mean, group.parameters, 100 * (gap.std or 0)) for _, group, gap in groups_with_gaps(crowded)
    )
    grey, circles = drawn_marks(axes)
    assert grey == sorted((size, mean) for mean, size, _ in gaps[1:-1]) and len(grey) == 2
    assert circles == sorted((size, mean) for mean, size, _ in (gaps[0], gaps[-1]))
    arms = next(each for each in axes.collections if isinstance(each, LineCollection))
    ends = [segment for line in segments_of(arms) for segment in line]
    wanted = [(size, mean + sign * std) for mean, size, std in (gaps[0], gaps[-1]) for sign in (-1, 1)]
    assert ends == [pytest.approx(end) for end in wanted]


def test_the_panels_of_a_crowded_study_rank_its_groups(crowded: Summary) -> None:
    panels = [axes for axes in measure_bars(crowded, LIGHT).axes if axes.axison]
    names = [name for name in crowded.measures if crowded.every(name)]
    assert [axes.get_title().partition(" (n = ")[0] for axes in panels] == names
    for axes, name in zip(panels, names, strict=True):
        found = [(group, accuracy_bar(crowded, group, name, "best")) for group in crowded.groups]
        ranked = sorted(((group, bar) for group, bar in found if bar), key=lambda each: -each[1].value)
        arms, last, best = axes.lines
        assert points_of(best) == [(rank, bar.value) for rank, (_, bar) in enumerate(ranked, 1)]
        assert pieces(arms) == [[(rank, bar.low), (rank, bar.high)] for rank, (_, bar) in enumerate(ranked, 1)]
        others = [accuracy_bar(crowded, group, name, "last") for group, _ in ranked]
        assert points_of(last) == [(rank, bar.value) for rank, bar in enumerate(others, 1) if bar]


def test_the_captions_of_a_crowded_study_speak_of_what_is_drawn(crowded: Summary) -> None:
    captions = {each.name: each.caption for each in pictures(crowded, TrainingCurves.of(histories(crowded).items()))}
    assert "Lines are means over seeds." in captions["curves"] and "Thin lines" not in captions["curves"]
    assert "area" not in captions["tradeoff"] and "small marks" not in captions["tradeoff"]
    assert "its own order" in captions["measures"]
    assert all("Only the named runs have a colour" in captions[name] for name in ("curves", "tradeoff", "gaps"))


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.integers(1, 12))
def test_a_drawn_point_is_the_mean_of_its_epochs(values: list[float], size: int) -> None:
    points = curve_points(np.array(values), size).tolist()
    blocks = [range(start, min(start + size, len(values))) for start in range(0, len(values), size)]
    wanted = [(fmean(i + 1 for i in block), fmean(values[i] for i in block)) for block in blocks]
    assert points == [pytest.approx(point) for point in wanted]
    if size == 1:
        assert [y for _, y in points] == values


def test_curves_of_200_epochs_are_drawn_as_they_are_and_longer_ones_as_means_with_a_word_in_the_caption(
    seeded: Summary,
) -> None:
    for epochs, size in ((200, 1), (201, 2), (1000, 5)):
        curves = TrainingCurves.of(histories(seeded, epochs).items())
        left, _ = learning_curves(seeded, curves, LIGHT).axes
        assert max(len(points_of(line)) for line in left.lines) == -(-epochs // size)
        caption = next(each for each in pictures(seeded, curves) if each.name == "curves").caption
        assert ("Each point of a line is the mean of" in caption) == (size > 1)
        assert size == 1 or f"mean of {size} epochs" in caption


def dark_and_darkened(draw: partial[Figure], theme: Theme) -> tuple[bytes, bytes | None]:
    """The dark figure as drawn, and as made of the light one; without the ids, which depend on colours."""
    light = figure_files(draw, dataclasses.replace(LIGHT, narrow=theme.narrow), ("svg",))[".svg"]
    made = darkened(light)
    drawn = figure_files(draw, theme, ("svg",))[".svg"]
    ids = re.compile(rb"\b[a-z]+[0-9a-f_]{8,}\b")
    return ids.sub(b"", drawn), None if made is None else ids.sub(b"", made)


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("name", ["curves", "tradeoff", "gaps", "measures"])
def test_a_light_figure_in_other_colours_is_the_dark_one(
    name: str, many: bool, narrow: bool, seeded: Summary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crowded_figures, "CROWDED", 1 if many else 99)
    rows: dict[str, list[Row]] = histories(seeded)
    draws = {
        "curves": partial(learning_curves, seeded, TrainingCurves.of(rows.items())),
        "tradeoff": partial(tradeoff, seeded),
        "gaps": partial(gap_against_parameters, seeded),
        "measures": partial(measure_bars, seeded),
    }
    drawn, made = dark_and_darkened(draws[name], dataclasses.replace(DARK, narrow=narrow))
    assert made == drawn
