from __future__ import annotations

import io
import math
import struct
from itertools import pairwise
from pathlib import Path

import matplotlib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.image import imread

from ssmlab.analysis.summary import Summary, summarize
from ssmlab.history import Row
from ssmlab.report import figures
from ssmlab.report.drawing import spread
from ssmlab.study import load_params
from tests.analysis.synthetic import default_study


@pytest.fixture(scope="module")
def summary() -> Summary:
    params = load_params(Path(__file__).resolve().parents[2] / "studies" / "mnist5k.yaml")
    return summarize(params.study, default_study(params), params.analyze)


def histories(summary: Summary, epochs: int = 10) -> dict[str, list[Row]]:
    return {
        run.name: [
            Row(e, e * 55, 1e-3, 1.0, 0.5, 0.9 * (1 - math.exp(-e / 2)), 0.7 * (1 - math.exp(-e / 3)), 10.0, 500.0)
            for e in range(1, epochs + 1)
        ]
        for run in summary.runs
    }


def draw(name: str, summary: Summary, epochs: int = 10) -> bytes:
    if name == "curves":
        return figures.learning_curves(summary, histories(summary, epochs))
    return {"tradeoff": figures.tradeoff, "measures": figures.measure_bars}[name](summary)


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


def test_numbers_change_the_picture(summary: Summary) -> None:
    assert draw("curves", summary, epochs=9) != draw("curves", summary)
    fewer = summary.model_copy(update={"runs": summary.runs[:2]})
    for name in ("tradeoff", "measures"):
        assert draw(name, fewer) != draw(name, summary)


def test_one_epoch_one_run_one_checkpoint_can_be_drawn(summary: Summary) -> None:
    run = summary.runs[0]
    best = run.checkpoints["best"]
    kept = best.model_copy(update={"epoch": 1, "measures": {k: best.measures[k] for k in ("clean", "pgd-10")}})
    small = summary.model_copy(update={"runs": (run.model_copy(update={"checkpoints": {"best": kept}, "gaps": {}}),)})
    for name in ("curves", "tradeoff", "measures"):
        assert draw(name, small, epochs=1).startswith(b"\x89PNG")


@settings(deadline=None, max_examples=25)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_spread_labels_keep_their_order_and_distance(wanted: list[float]) -> None:
    places = spread(wanted, 0.1, 0.0, 1.0)
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    ranked = [places[i] for i in order]
    assert all(b - a >= 0.1 - 1e-9 for a, b in pairwise(ranked))
    assert ranked[0] >= -1e-9
    assert ranked[-1] <= 1 + 1e-9


def test_spread_moves_no_label_without_need() -> None:
    assert spread([0.9, 0.1, 0.5], 0.1, 0.0, 1.0) == [0.9, 0.1, 0.5]
    assert spread([0.5, 0.5], 0.1, 0.0, 1.0) == pytest.approx([0.45, 0.55])
