"""What DVC plots for a study: the whole accuracy-eps curve if FMN was run, otherwise two points."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from ssmlab.analysis.metrics_and_plots import metrics, plot_files
from ssmlab.analysis.summarize import summarize
from ssmlab.analysis.summary import Summary
from ssmlab.evaluation.protocol import radius
from ssmlab.evaluation.results import Measure, wilson
from ssmlab.params import Params
from ssmlab.params.written_float import WrittenFloat
from ssmlab.project.params_file import load_params
from tests.analysis.synthetic import data_summary, default_study

EPS = 0.1
DISTANCES = (0.0, 0.05, EPS, 0.25, None)  # wrong when clean, broken at three radii, never broken


@pytest.fixture
def params(project: Path) -> Params:
    raw = load_params(project / "studies" / "mnist5k-published.yaml").plain()
    raw["attack"]["attacks"]["fmn"] = {"kind": "fmn", "steps": 10, "images": 5, "checkpoints": ["best"]}
    raw["analyze"]["claims"] = []
    return Params.model_validate(raw)


@pytest.fixture
def summary(params: Params) -> Summary:
    """The first run has FMN's distances; the others were attacked by versions that knew none."""
    first, *others = default_study(params)
    best = first.checkpoints["best"]
    fmn = Measure.of("00011", distances=DISTANCES)
    checkpoint = best.model_copy(update={"measures": {**best.measures, "fmn": fmn}})
    found = first.model_copy(update={"checkpoints": {"best": checkpoint}})
    return summarize(params.study, [found, *others], params.analyze, data_summary())


def curve(summary: Summary, run: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(plot_files(summary, {})[f"accuracy-eps/{run}.csv"])))


def test_with_fmn_the_curve_is_the_share_of_images_that_are_broken_beyond_each_radius(summary: Summary) -> None:
    lines = curve(summary, summary.runs[0].name)
    radii = [float(line["eps"]) for line in lines]
    assert radii == sorted(set(radii)) and radii[0] == 0.0 and EPS in radii and len(radii) > 20
    for line in lines:
        right = sum(distance is None or distance > float(line["eps"]) for distance in DISTANCES)
        assert float(line["accuracy"]) == right / len(DISTANCES)
        assert (float(line["low"]), float(line["high"])) == wilson(right, len(DISTANCES), summary.confidence)
        assert (line["attack"], line["n"]) == ("fmn", "5")
    assert len({line["accuracy"] for line in lines}) == 4  # 4, 3, 2 and 1 of 5: no radius is beyond the last


@pytest.mark.parametrize(("norm", "eps", "last"), [("l2", 0.6, 3.0), ("linf", 0.3, 1.0), ("linf", 0.1, 0.5)])
def test_the_curve_goes_to_five_times_eps_or_to_the_radius_that_holds_every_image(
    params: Params, norm: str, eps: float, last: float
) -> None:
    first = default_study(params)[0]
    best = first.checkpoints["best"]
    distances = (0.0, 0.2, 0.9, 1.5, None)
    measures = {**best.measures, "fmn": Measure.of("01111", distances=distances)}
    under = first.protocol.model_copy(update={"norm": norm, "eps": radius(WrittenFloat(eps))})
    found = first.model_copy(
        update={
            "protocol": under,
            "checkpoints": {"best": best.model_copy(update={"measures": measures})},
        }
    )
    curve = summarize(params.study, [found], params.analyze, data_summary()).runs[0].checkpoints["best"].by_eps
    radii = [each for each, _ in curve]
    assert radii == sorted(set(radii)) and radii[-1] == pytest.approx(last) and eps in radii
    assert curve[-1][1] == sum(each is None or each > last for each in distances) / 5


def test_metrics_are_the_accuracies_of_the_best_checkpoint_and_the_fall_under_the_main_attack(summary: Summary) -> None:
    for run, found in zip(summary.runs[1:], list(metrics(summary).values())[1:], strict=True):
        best = {name: run.measure(name, "best") for name in ("clean", "pgd-10")}
        last = run.measure("pgd-10", "last")
        assert last is not None and all(best.values())
        assert {name: found[name] for name in best} == {name: each.value for name, each in best.items() if each}
        assert found["ro_gap:pgd-10"] == pytest.approx(found["pgd-10"] - last.value)


def test_without_fmn_the_curve_has_no_attack_and_the_main_attack(summary: Summary) -> None:
    run = summary.runs[1]
    lines = curve(summary, run.name)
    assert [(float(line["eps"]), line["attack"]) for line in lines] == [(0.0, "clean"), (EPS, summary.main_attack())]
    for line in lines:
        measured = run.measure(line["attack"], "best")
        assert measured is not None and (float(line["accuracy"]), int(line["n"])) == (measured.value, measured.n)


def test_the_longest_pgd_gives_a_line_for_every_step_and_without_one_there_is_the_clean_accuracy(
    params: Params,
) -> None:
    first, second, *_ = default_study(params)
    best = first.checkpoints["best"]
    n = len(best.measures["pgd-10"].flags)
    pgd = best.measures["pgd-10"].model_copy(update={"accuracy_by_step": (0.75, 0.5, 0.25)})
    checkpoint = best.model_copy(update={"measures": {**best.measures, "pgd-10": pgd}})
    found = [first.model_copy(update={"checkpoints": {"best": checkpoint}}), second]
    summary = summarize(params.study, found, params.analyze, data_summary())
    files = plot_files(summary, {})
    lines = list(csv.DictReader(io.StringIO(files[f"accuracy-steps/{first.run}.csv"])))
    assert [(line["steps"], float(line["accuracy"])) for line in lines] == [("0", 0.75), ("1", 0.5), ("2", 0.25)]
    for line, correct in zip(lines, (0.75 * n, 0.5 * n, 0.25 * n), strict=True):
        assert (float(line["low"]), float(line["high"])) == wilson(round(correct), n, summary.confidence)
        assert (line["attack"], line["n"]) == ("pgd-10", str(n))
    (alone,) = csv.DictReader(io.StringIO(files[f"accuracy-steps/{second.run}.csv"]))
    assert (alone["steps"], alone["attack"]) == ("0", "clean")
