"""The tables of a study hold the numbers that the flags give: means, deviations, differences and intervals."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean, stdev

import pytest
from scipy.stats import binomtest

from ssmlab.analysis.summarize import summarize
from ssmlab.analysis.summary import Summary
from ssmlab.core.text import percent
from ssmlab.evaluation.results import AttackResults
from ssmlab.params import Params
from ssmlab.project.params_file import load_params
from ssmlab.report.study_tables import group_table, interval_table, paper_table
from ssmlab.report.table import TextTable
from tests.analysis.synthetic import data_summary, default_study, seeded_params, seeded_study


@pytest.fixture(scope="module")
def params() -> Params:
    return load_params(Path(__file__).resolve().parents[2] / "studies" / "mnist5k-published.yaml")


@pytest.fixture(scope="module")
def study(params: Params) -> list[AttackResults]:
    return default_study(params)


@pytest.fixture(scope="module")
def summary(params: Params, study: list[AttackResults]) -> Summary:
    return summarize(params.study, study, params.analyze, data_summary())


def cells(table: TextTable, row: int) -> dict[str, str]:
    """A row by the headings of its columns."""
    return dict(zip((column.title for column in table.columns), table.rows[row], strict=True))


def share(found: AttackResults, which: str, name: str) -> float:
    """The accuracy by counting flags, in percent."""
    flags = found.checkpoints[which].measures[name].flags  # type: ignore[index]
    return 100 * flags.count("1") / len(flags)


def test_the_papers_table_has_the_accuracies_of_best_and_last_and_their_difference(
    summary: Summary, study: list[AttackResults]
) -> None:
    for row, found in enumerate(study):
        shown = cells(paper_table(summary), row)
        for name in ("clean", "fgsm", "pgd-10", "autoattack"):
            best, last = share(found, "best", name), share(found, "last", name)
            assert (shown[f"{name} best"], shown[f"{name} last"]) == (f"{best:.1f}", f"{last:.1f}")
            assert float(shown[f"{name} diff"]) == pytest.approx(best - last, abs=0.0501)


def test_the_table_of_groups_has_means_and_standard_deviations_over_seeds(params: Params) -> None:
    seeded = seeded_params(params)
    study = seeded_study(seeded)
    table = group_table(summarize(params.study, study, seeded.analyze, data_summary()))
    by_name = {found.run: found for found in study}
    for row, name in enumerate(("ssm-pgd", "ssm-trades", "ads-pgd", "ads-trades")):
        runs, shown = [by_name[f"{name}-s{seed}"] for seed in range(3)], cells(table, row)
        for measure in ("clean", "pgd-10"):
            best, last = ([share(run, which, measure) for run in runs] for which in ("best", "last"))
            falls = [before - after for before, after in zip(best, last, strict=True)]
            assert shown[f"{measure} best"] == f"{fmean(best):.1f} ± {stdev(best):.1f}"
            assert shown[f"{measure} last"] == f"{fmean(last):.1f} ± {stdev(last):.1f}"
            assert shown[f"{measure} diff"] == f"{fmean(falls):+.1f} ± {stdev(falls):.1f}"


def test_the_table_of_intervals_has_scipys_intervals_and_the_ends_of_a_difference_in_order(
    summary: Summary, study: list[AttackResults]
) -> None:
    table = interval_table(summary)
    best, last, gap = (cells(table, row) for row in range(3))
    assert [shown["checkpoint"] for shown in (best, last, gap)] == ["best (epoch 9)", "last (epoch 10)", "best - last"]
    flags = study[0].checkpoints["best"].measures["pgd-10"].flags
    exact = binomtest(flags.count("1"), len(flags)).proportion_ci(0.95, method="wilson")
    ends = " to ".join(percent(end).removesuffix("%") for end in (exact.low, exact.high))
    assert best["pgd-10"] == f"{share(study[0], 'best', 'pgd-10'):.1f} ({ends})"
    value, low, high = (float(word.strip("()")) for word in gap["pgd-10"].replace(" to ", " ").split())
    assert low < value < high
    assert value == pytest.approx(share(study[0], "best", "pgd-10") - share(study[0], "last", "pgd-10"), abs=0.0501)


def test_numbers_of_images_are_shown_where_they_differ_within_a_column(
    params: Params, study: list[AttackResults], summary: Summary
) -> None:
    assert all("n =" not in cell for row in interval_table(summary).rows for cell in row)
    first, *others = study
    best = first.checkpoints["best"]
    short = best.measures["fgsm"].of(best.measures["fgsm"].flags[:20])
    fewer = best.model_copy(update={"measures": {**best.measures, "fgsm": short}})
    mixed = first.model_copy(update={"checkpoints": {"best": fewer}})
    table = interval_table(summarize(params.study, [mixed, *others], params.analyze, data_summary()))
    assert cells(table, 0)["fgsm"].endswith(", n = 20") and cells(table, 1)["fgsm"].endswith(", n = 1,000")
    assert "n =" not in cells(table, 0)["clean"]
