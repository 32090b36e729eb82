"""Figures of very many groups: every group is drawn, but without a separate matplotlib artist for each."""

from __future__ import annotations

import dataclasses
import math
import re
from functools import partial

import pytest
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.figure import Figure

from ssmlab.analysis.summary import Summary
from ssmlab.artifacts.history import Row
from ssmlab.report import crowded_figures
from ssmlab.report.accuracy_bars import accuracy_bar
from ssmlab.report.accuracy_figures import measure_bars, tradeoff
from ssmlab.report.curve_figures import learning_curves
from ssmlab.report.figure_style import DARK, LIGHT, Theme, darkened, figure_files
from ssmlab.report.pictures import pictures
from ssmlab.report.training_curves import TrainingCurves
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


def test_the_mean_curve_and_every_best_epoch_of_a_crowded_study_are_drawn(crowded: Summary) -> None:
    rows = histories(crowded)
    first = crowded.groups[0].runs[0]
    rows[first] = [row._replace(val_clean=row.val_clean / 2) for row in rows[first]]
    left, _ = learning_curves(crowded, TrainingCurves.of(rows.items()), LIGHT).axes
    assert not left.lines
    lines = next(each for each in left.collections if isinstance(each, LineCollection))
    segments = lines.get_segments()
    assert len(segments) == len(crowded.groups)
    for group, points in zip(crowded.groups, segments, strict=True):
        assert list(points[:, 0]) == list(range(1, 11))
        for epoch, value in enumerate(points[:, 1]):
            assert value == pytest.approx(math.fsum(rows[run][epoch].val_clean for run in group.runs) / len(group.runs))
    marks = [tuple(p) for each in left.collections if isinstance(each, PathCollection) for p in each.get_offsets()]
    wanted = [
        (best.epoch, rows[run.name][best.epoch - 1].val_clean)
        for run in crowded.runs
        if (best := run.checkpoints["best"]).epoch and best.epoch <= 10
    ]
    assert sorted(marks) == pytest.approx(sorted(wanted))


def test_every_group_of_a_crowded_study_is_a_point_of_the_tradeoff(crowded: Summary) -> None:
    (axes,) = tradeoff(crowded, LIGHT).axes
    marks = {tuple(p) for each in axes.collections if isinstance(each, PathCollection) for p in each.get_offsets()}
    main = crowded.main_attack()
    bars = [[accuracy_bar(crowded, group, name, "best") for name in ("clean", main)] for group in crowded.groups]
    assert marks == {(clean.value, robust.value) for clean, robust in bars if clean and robust}


def test_the_panels_of_a_crowded_study_rank_its_groups(crowded: Summary) -> None:
    panels = [axes for axes in measure_bars(crowded, LIGHT).axes if axes.axison]
    names = [name for name in crowded.measures if crowded.every(name)]
    assert [axes.get_title().partition(" (n = ")[0] for axes in panels] == names
    for axes, name in zip(panels, names, strict=True):
        bars = [bar for group in crowded.groups if (bar := accuracy_bar(crowded, group, name, "best"))]
        best = max(
            (each for each in axes.collections if isinstance(each, PathCollection)), key=lambda c: c.get_sizes()[0]
        )
        assert [value for _, value in best.get_offsets()] == sorted((bar.value for bar in bars), reverse=True)
        (arms,) = (each for each in axes.collections if isinstance(each, LineCollection))
        ends = sorted((float(low), float(high)) for (_, low), (_, high) in arms.get_segments())
        assert ends == pytest.approx(sorted((bar.low, bar.high) for bar in bars))


def test_the_captions_of_a_crowded_study_speak_of_what_is_drawn(crowded: Summary) -> None:
    captions = {each.name: each.caption for each in pictures(crowded, TrainingCurves.of(histories(crowded).items()))}
    assert "Lines are means over seeds." in captions["curves"] and "Thin lines" not in captions["curves"]
    assert "area" not in captions["tradeoff"] and "small marks" not in captions["tradeoff"]
    assert "its own order" in captions["measures"]


def dark_and_darkened(draw: partial[Figure], theme: Theme) -> tuple[bytes, bytes | None]:
    """The dark figure as drawn, and as made of the light one; without the ids, which depend on colours."""
    light = figure_files(draw, dataclasses.replace(LIGHT, narrow=theme.narrow), ("svg",))[".svg"]
    made = darkened(light)
    drawn = figure_files(draw, theme, ("svg",))[".svg"]
    ids = re.compile(rb"\b[a-z]+[0-9a-f_]{8,}\b")
    return ids.sub(b"", drawn), None if made is None else ids.sub(b"", made)


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("name", ["curves", "tradeoff", "measures"])
def test_a_light_figure_in_other_colours_is_the_dark_one(
    name: str, many: bool, narrow: bool, seeded: Summary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crowded_figures, "CROWDED", 1 if many else 99)
    rows: dict[str, list[Row]] = histories(seeded)
    draws = {
        "curves": partial(learning_curves, seeded, TrainingCurves.of(rows.items())),
        "tradeoff": partial(tradeoff, seeded),
        "measures": partial(measure_bars, seeded),
    }
    drawn, made = dark_and_darkened(draws[name], dataclasses.replace(DARK, narrow=narrow))
    assert made == drawn
