"""The report's section on the probes: what it says, what it leaves out, and that it is not there without probes."""

from __future__ import annotations

from dataclasses import replace
from statistics import median
from typing import Any

import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from numpy.polynomial import Polynomial

from ssmlab.analysis.summarize import summarize
from ssmlab.analysis.summary import Summary
from ssmlab.params import Params
from ssmlab.probes.growth import fit_growth
from ssmlab.probes.perturbed_token import geometric_means
from ssmlab.probes.probe import probe_model
from ssmlab.probes.results import CheckpointProbes, Growth, GrowthFit, LayerGains, ProbeResults
from ssmlab.report.blocks import Block, Caution, Folded, Paragraph, Picture
from ssmlab.report.figure_style import LIGHT, Theme, figure_files
from ssmlab.report.probe_figures import add_legend, fitted_line, gain_scatter, growth_curves
from ssmlab.report.probe_section import (
    exact_paragraph,
    fit_texts,
    gain_blocks,
    misled_components,
    probe_section,
)
from tests.analysis.synthetic import data_summary, nested_flags, results
from tests.probes.models import labelled_images, model_of, params_of
from tests.report.test_ladder_figure import ladder_of

ADS = {"enhancement": "ads", "ads": {"act": "relu", "parts": "both"}}
MEGA = {"mixer": "mega", "mega": {"z": 4, "hidden": 8, "ffn": 8, "ema": 2}}
MODELS: dict[str, dict[str, object]] = {"ssm": {"norm": "none"}, "attention": MEGA, "ads": ADS}


@pytest.fixture
def summary(tiny_params: Params) -> Summary:
    flags = nested_flags(20, dict.fromkeys(("clean", *tiny_params.attack.attacks), 0.9), 0)
    found = [results(tiny_params, run, flags) for run in tiny_params.runs]
    return summarize(tiny_params.study, found, tiny_params.analyze.model_copy(update={"claims": ()}), data_summary())


@pytest.fixture
def probes(tiny_params: Params, summary: Summary) -> dict[str, ProbeResults]:
    return {run.name: probed(tiny_params, run.name, run.checkpoints["best"].sha256) for run in summary.runs}


def probed(params: Params, run: str, sha256: str) -> ProbeResults:
    model = model_of(**MODELS[run])
    images = {"train": labelled_images(model, 6), "test": labelled_images(model, 6)}
    found = probe_model(model, params_of(**MODELS[run]), images, params.probe, sha256, 1)
    return ProbeResults(
        format=1,
        study=params.study,
        run=run,
        model={},
        train={},
        data_fingerprint="0",
        probe=params.probe,
        images={"train": 6, "test": 6},
        code_version="0",
        checkpoints={"best": found, "last": found},
    )


def with_best(results: ProbeResults, **changes: object) -> ProbeResults:
    best: CheckpointProbes = results.checkpoints["best"].model_copy(update=changes)
    return results.model_copy(update={"checkpoints": {**results.checkpoints, "best": best}})


def text_of(blocks: list[Block]) -> str:
    return " ".join(block.text for block in blocks if isinstance(block, (Paragraph, Caution)))


def test_every_probe_has_a_sentence_and_a_picture(summary: Summary, probes: dict[str, ProbeResults]) -> None:
    blocks = list(probe_section(summary, probes))
    assert [block.name for block in blocks if isinstance(block, Picture)] == [
        "probe-ladder",
        "probe-tightness",
        "probe-gain",
        "probe-growth",
    ]
    text = text_of(blocks)
    total = next(each for each in probes["ads"].checkpoints["best"].ladders if each.split == "test").total
    assert f"ads x{total:.2f}" in text
    exact = text.split("exact robust accuracy is known for linear models: ")[1].split(".")[0]
    assert exact.startswith("ssm ") and "attention" not in exact
    assert "vacuous" in text
    (table,) = (block.table for block in blocks if isinstance(block, Folded))
    assert len(table.rows) == 3 * 3


@pytest.mark.parametrize(("kl", "mse"), [(3.0, 1.0), (1.0, 6.0)])
def test_a_component_that_shrinks_rho_but_enlarges_kl_or_mse_is_named(
    kl: float, mse: float, summary: Summary, probes: dict[str, ProbeResults]
) -> None:
    ends = (("embedding", None, 0.2, 1.0, 1.0), ("AdS", 1, 0.1, kl, mse), ("output", 1, 0.01, 0.1, 0.1))
    ladder = ladder_of(*ends)
    blocks = list(probe_section(summary, {"ads": with_best(probes["ads"], ladders=(ladder,))}))
    assert f"They suggest the opposite for AdS in ads (KL x{kl:.1f}, MSE x{mse:.1f}, rho x0.50)." in text_of(blocks)
    picture = next(block for block in blocks if isinstance(block, Picture))
    assert "ads rho x0.05, KL x0.1, MSE x0.1" in picture.alt


def made_up(**changes: Any) -> CheckpointProbes:
    """Probes of a checkpoint without a model."""
    return CheckpointProbes.model_validate(
        {"sha256": "0", "clean": 0.9, "robust": 0.55, "ladders": (), "growth": ()} | changes
    )


def test_a_component_that_enlarges_every_error_misleads_nobody(summary: Summary) -> None:
    for rho, named in ((0.1, 1), (0.4, 0)):
        ladder = ladder_of(("embedding", None, 0.2, 1.0, 1.0), ("AdS", 1, rho, 3.0, 6.0))
        assert len(list(misled_components(summary, {"ads": made_up(ladders=(ladder,))}))) == named


def test_the_exact_robust_accuracy_stands_beside_that_under_the_attack() -> None:
    (block,) = exact_paragraph({"ssm": made_up(exact=0.5), "ads": made_up()})
    assert text_of([block]) == "The exact robust accuracy is known for linear models: ssm 50.0% (under PGD 55.0%)."


def test_the_sentence_on_gains_has_the_medians_of_the_layers_and_the_largest_share(summary: Summary) -> None:
    first = LayerGains(layer=1, peak=(1.0, 2.0, 9.0), tightness=(0.0, 0.1, 0.2, 0.3, 0.45))
    second = LayerGains(layer=2, peak=(4.0, 4.0, 4.0), tightness=(0.1, 0.2, 0.35, 0.4, 0.6))
    text = text_of([next(gain_blocks(summary, {"ssm": made_up(gains=(first, second))}))])
    assert "The peak gain of the median channel is 2.0 to 4.0." in text
    assert "the error reaches 20.0% to 35.0% of the bound (medians of the layers), and 60.0% at most." in text


def test_a_fitted_rate_stands_before_its_interval_from_low_to_high() -> None:
    fit = GrowthFit.model_validate(
        {"law": "power", "aicc": {}, "rate": -1.5, "low": -1.75, "high": -1.25, "residual": 0.1}
        | {"trend": "fades as a power"}
    )
    assert fit_texts(fit) == ("fades as a power", "-1.5 (-1.75 to -1.25)")


def test_there_is_no_section_without_probes(summary: Summary) -> None:
    assert list(probe_section(summary, {})) == []


def test_probes_of_other_checkpoints_are_left_out_and_named(summary: Summary, probes: dict[str, ProbeResults]) -> None:
    blocks = list(probe_section(summary, probes | {"ads": with_best(probes["ads"], sha256="1" * 64)}))
    assert "The probes of ads were made on other checkpoints" in text_of(blocks)
    (table,) = (block.table for block in blocks if isinstance(block, Folded))
    assert {row[0] for row in table.rows} == {"ssm", "attention"}


def test_the_attack_of_the_probes_is_that_of_a_probe_that_is_shown(
    summary: Summary, probes: dict[str, ProbeResults]
) -> None:
    stale = with_best(probes["ssm"], sha256="1" * 64).model_copy(update={"images": {"train": 6, "test": 77}})
    blocks = list(probe_section(summary, probes | {"ssm": stale}))
    assert "were probed on 6 test images" in text_of(blocks)


def test_an_explosion_is_named_and_only_if_both_measurements_show_it(
    summary: Summary, probes: dict[str, ProbeResults]
) -> None:
    def growth(after: str, over: str) -> tuple[Growth, ...]:
        def fit(trend: str) -> GrowthFit:
            return GrowthFit.model_validate(
                {"law": "exponential", "aicc": {}, "rate": 0.1, "low": 0.05, "high": 0.2, "residual": 0.1}
                | {"trend": trend}
            )

        each = probes["ads"].checkpoints["best"].growth[-1]
        return (each.model_copy(update={"after": fit(after), "over": fit(over)}),)

    up = "grows exponentially"
    one = {"ads": with_best(probes["ads"], growth=growth(up, "bounded"))}
    assert "No model lets the error" in text_of(list(probe_section(summary, one)))
    both = {"ads": with_best(probes["ads"], growth=growth(up, up))}
    assert "grows exponentially along the sequence in all layers of ads" in text_of(list(probe_section(summary, both)))


def test_a_study_of_models_without_fixed_ssms_has_no_tightness(
    summary: Summary, probes: dict[str, ProbeResults]
) -> None:
    blocks = list(probe_section(summary, {"attention": probes["attention"]}))
    assert [block.name for block in blocks if isinstance(block, Picture)] == ["probe-ladder", "probe-growth"]
    assert "bound" not in text_of(blocks)


def test_every_model_with_a_fixed_ssm_is_drawn_against_its_gain(
    summary: Summary, probes: dict[str, ProbeResults]
) -> None:
    found = {run: each.checkpoints["best"] for run, each in probes.items()}
    left, right = gain_scatter(summary, found, LIGHT).axes
    points = [
        sorted(tuple(p) for each in axes.collections if isinstance(each, PathCollection) for p in each.get_offsets())
        for axes in (left, right)
    ]
    amplified, robust = [], []
    for run in ("ssm", "ads"):  # Mega has no fixed SSM
        first, second = (median(layer.peak) for layer in found[run].gains)
        (ladder,) = (each for each in found[run].ladders if (each.attack, each.split) == ("loss", "test"))
        steps = {(step.layer, step.component): step.amplification for step in ladder.steps}
        amplified.append((first * second, steps[1, "mixer"] * steps[2, "mixer"]))
        robust.append((first * second, found[run].robust))
    assert points == [[pytest.approx(point) for point in sorted(side)] for side in (amplified, robust)]


@pytest.mark.parametrize("law", ["bounded", "power", "exponential"])
def test_the_drawn_law_is_the_mean_of_the_lines_of_the_images(law: str) -> None:
    distances = np.arange(1.0, 21.0)
    generator = np.random.default_rng(0)
    along = {"bounded": 0.0 * distances, "power": np.log(distances), "exponential": distances}[law]
    rates, starts = generator.normal(0.1, 0.02, (5, 1)), generator.normal(0.0, 1.0, (5, 1))
    errors = np.exp(starts + rates * along + generator.normal(0.0, 0.01, (5, 20)))
    fit = fit_growth(errors, distances)
    assert fit is not None and fit.law == law
    degree = 0 if law == "bounded" else 1
    lines = [Polynomial.fit(along if degree else distances, np.log(each), degree) for each in errors]
    expected = np.exp(np.mean([line(along if degree else distances) for line in lines], axis=0))
    assert fitted_line(range(1, 21), geometric_means(errors), fit) == pytest.approx(expected, rel=1e-4)


def test_no_law_is_drawn_without_a_fit_and_none_beyond_an_error_of_zero() -> None:
    fit = GrowthFit.model_validate(
        {"law": "power", "aicc": {}, "rate": -1.0, "low": -1.1, "high": -0.9, "residual": 0.1, "trend": "bounded"}
    )
    assert fitted_line((1, 2, 4, 8), (8.0, 4.0, 2.0, 0.0), fit) == pytest.approx([8.0, 4.0, 2.0])
    assert fitted_line((1, 2, 4), (0.0, 0.0, 0.0), fit) == []
    assert fitted_line((1, 2, 4), (8.0, 4.0, 2.0), None) == []


def test_the_figure_of_growth_shows_every_fit(summary: Summary, probes: dict[str, ProbeResults]) -> None:
    found = {run: each.checkpoints["best"] for run, each in probes.items()}
    for axes, side in zip(growth_curves(summary, found, LIGHT).axes, ("after", "over"), strict=True):
        dashed = [line for line in axes.lines if line.get_linestyle() == "--" and len(line.get_xdata())]
        assert len(dashed) == sum(getattr(each.growth[-1], side) is not None for each in found.values()) > 0


def test_the_legend_fits_a_narrow_screen(summary: Summary, probes: dict[str, ProbeResults]) -> None:
    named = tuple(group.model_copy(update={"name": f"a-long-name-{group.name}"}) for group in summary.groups)
    found = {run: each.checkpoints["best"] for run, each in probes.items()}
    narrow, drawn = replace(LIGHT, narrow=True), []

    def draw(theme: Theme) -> Figure:
        figure = Figure(figsize=(theme.width, 3.0), layout="constrained")
        figure.subplots()
        add_legend(figure, summary.model_copy(update={"groups": named}), found, theme)
        drawn.append(figure)
        return figure

    figure_files(draw, narrow, ("png",))
    ends = drawn[0].legends[0].get_window_extent()
    assert 0 <= ends.x0 < ends.x1 <= drawn[0].bbox.width
