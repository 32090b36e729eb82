"""The curve over the scan and the maps of the image: means over seeds, and only where every seed has a map."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssmlab.analysis.summarize import summarize
from ssmlab.analysis.summary import Summary
from ssmlab.evaluation.results import AttackResults, Measure
from ssmlab.evaluation.token_map import TokenMap
from ssmlab.params import Params
from ssmlab.project.params_file import load_params
from ssmlab.report.blocks import Bullets
from ssmlab.report.figure_style import LIGHT, Theme, figure_files
from ssmlab.report.limits_section import limits_section
from ssmlab.report.token_figures import group_maps, scan_curves, scan_maps, token_pictures
from tests.analysis.synthetic import data_summary, seeded_params, seeded_study

SCAN = (0.0, 1.0, 0.5, 0.5, 0.25, 0.75)  # of 2 x 3 patches; two of them are read at the same place


@pytest.fixture(scope="module")
def params() -> Params:
    raw = load_params(Path(__file__).resolve().parents[2] / "studies" / "mnist5k-published.yaml").plain()
    common = {"kind": "token", "patch": 14, "steps": 5, "images": 8, "checkpoints": ["best"]}
    raw["attack"]["attacks"] |= {"one": common | {"positions": 2}, "token-map": common | {"positions": "all"}}
    return seeded_params(Params.model_validate(raw))


def with_map(result: AttackResults, broken: tuple[int, ...]) -> AttackResults:
    found = TokenMap(patch=14, rows=2, columns=3, n=8, right=6, broken=broken)
    best = result.checkpoints["best"]
    measures = {**best.measures, "token-map": Measure.of("11000000", patch=14, token_map=found)}
    measures["one"] = Measure.of("11100000", patch=14)
    checkpoints = {"best": best.model_copy(update={"measures": measures})}
    return result.model_copy(update={"checkpoints": checkpoints, "scans": {"token-map": SCAN}})


def summary_of(params: Params, without: str = "") -> Summary:
    """The run number i of a study breaks i more images at the second position; `without` has no map."""
    results = [
        result if result.run == without else with_map(result, (0, place % 3, 2, 4, 6, 1))
        for place, result in enumerate(seeded_study(params, 40))
    ]
    return summarize(params.study, results, params.analyze, data_summary())


def test_a_group_shows_the_mean_over_its_seeds_at_every_position_in_the_order_of_its_scan(params: Params) -> None:
    summary = summary_of(params)
    found = group_maps(summary)
    assert [each.name for each in found] == [group.name for group in summary.groups]
    for each in found:
        assert each.accuracies == pytest.approx([6 / 8, 5 / 8, 4 / 8, 2 / 8, 0, 5 / 8])
        places, accuracies = zip(*each.in_order, strict=True)
        assert places == (0.0, 0.25, 0.5, 0.75, 1.0)
        assert accuracies == pytest.approx((6 / 8, 0, 3 / 8, 5 / 8, 5 / 8))
        assert each.weakest == (2, 2)


def test_a_group_with_a_seed_that_was_not_attacked_everywhere_is_left_out(params: Params) -> None:
    whole = summary_of(params)
    missing = whole.groups[1].runs[0]
    assert [each.name for each in group_maps(summary_of(params, without=missing))] == [
        group.name for group in whole.groups if missing not in group.runs
    ]


def test_the_pictures_say_what_they_show_and_are_absent_without_maps(params: Params) -> None:
    curve, maps = token_pictures(summary_of(params))
    assert (curve.name, maps.name) == ("scan", "scan-maps")
    for each in (curve, maps):
        assert f"{group_maps(summary_of(params))[0].name} 0.0% in row 2, column 2" in each.alt
    assert "n = 8, means over seeds" in curve.caption and "5 steps of PGD at every position" in curve.caption
    assert "2 x 3 patches of 14 x 14 pixels" in maps.caption
    plain = summarize(params.study, seeded_study(params, 40), params.analyze, data_summary())
    assert list(token_pictures(plain)) == []


@pytest.mark.parametrize("theme", [LIGHT, Theme(**{**vars(LIGHT), "narrow": True})], ids=["wide", "narrow"])
def test_the_figures_have_a_line_and_a_map_for_every_group(params: Params, theme: Theme) -> None:
    found = group_maps(summary_of(params))
    assert len(scan_curves(found, theme).axes[0].lines) == len(found)
    shown = [axes for axes in scan_maps(found, theme).axes if axes.images]
    assert [axes.get_title() or axes.get_title("left") for axes in shown] == [each.name for each in found]
    assert shown[0].images[0].get_array().shape == (2, 3)  # type: ignore[union-attr]
    assert figure_files(lambda each: scan_maps(found, each), theme, ("png",))[".png"].startswith(b"\x89PNG")


def test_the_report_says_that_a_token_attack_is_another_threat_than_the_ball(params: Params) -> None:
    bullets = [block for block in limits_section(summary_of(params)) if isinstance(block, Bullets)]
    for name in ("one", "token-map"):
        says = (
            f"{name} changes one patch of 14 x 14 pixels to any values: a different threat from eps 0.1 on all pixels"
        )
        assert sum(item.startswith(says) for block in bullets for item in block.items) == 1
