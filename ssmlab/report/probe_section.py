"""The section on the probe results: sentences, three figures and a table; docs/probes.md has the formulas."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

from ssmlab.analysis.summary import Summary
from ssmlab.core.text import listed, percent, plural
from ssmlab.probes.results import CheckpointProbes, GrowthFit, ProbeResults
from ssmlab.report.blocks import Block, Caution, Folded, Heading, Paragraph, Picture
from ssmlab.report.by_group import names_by_group, ranges_by_group
from ssmlab.report.change_rates import COMPONENTS, change_rates, loss_ladder, total_rates
from ssmlab.report.figure_style import draw_files
from ssmlab.report.ladder_figure import component_ladder
from ssmlab.report.probe_figures import Found, gain_and_amplification, gain_scatter, gains_of, growth_curves
from ssmlab.report.table import ABSENT, Column, TextTable
from ssmlab.report.tightness_figure import shown_violins, tightness_violins, violins


def probe_section(summary: Summary, probes: Mapping[str, ProbeResults]) -> Iterator[Block]:
    """The section on the best checkpoints of the probed runs; nothing if no run was probed.

    Args:
        summary: the numbers of the study.
        probes: the probe results by run name; runs that were not probed are missing.
    """
    found, stale = current(summary, probes)
    if not probes:
        return
    yield Heading("Inside the models")
    if stale:
        yield Caution(
            f"The probes of {listed(stale)} were made on other checkpoints than the attacks. They are left out; run "
            "`ssmlab repro`."
        )
    if not found:
        return
    first = probes[next(iter(found))]
    adversary = first.probe.adversary
    yield Paragraph(
        f"The best checkpoints were probed on {first.images['test']} test images and their adversarial examples (PGD, "
        f"{adversary.steps} {plural('step', adversary.steps)}, eps {adversary.eps}). docs/probes.md explains how to "
        "read the figures, and what they do not show."
    )
    yield from exact_paragraph(found)
    yield from ladder_blocks(summary, found)
    yield from gain_blocks(summary, found)
    yield from growth_blocks(summary, found)


def current(summary: Summary, probes: Mapping[str, ProbeResults]) -> tuple[Found, list[str]]:
    """The probes of checkpoints that were attacked, and the runs whose probed checkpoint is another one."""
    found: dict[str, CheckpointProbes] = {}
    stale = []
    for run in summary.runs:
        if run.name in probes:
            best = probes[run.name].checkpoints["best"]
            if best.sha256 == run.checkpoints["best"].sha256:
                found[run.name] = best
            else:
                stale.append(run.name)
    return found, stale


def exact_paragraph(found: Found) -> Iterator[Block]:
    """The exact robust accuracy of linear models."""
    known = [
        f"{run} {percent(each.exact)} (under PGD {percent(each.robust)})"
        for run, each in found.items()
        if each.exact is not None
    ]
    if known:
        yield Paragraph(f"The exact robust accuracy is known for linear models: {listed(known)}.")


def ladder_blocks(summary: Summary, found: Found) -> Iterator[Block]:
    """How the error changes from component to component."""
    ladders = {run: ladder for run, each in found.items() if (ladder := loss_ladder(each))}
    if not ladders:
        return
    totals = ranges_by_group(summary, {run: ladder.total for run, ladder in ladders.items()}, "x{:.2f}")
    text = (
        "rho is the error that an attack causes, relative to the differences between the tokens. From the tokens to "
        f"the output of the last layer, rho changes by the factor {totals}."
    )
    misled = [text for _, text in sorted(misled_components(summary, found), reverse=True)]
    if misled:
        text += (
            " KL and the mean squared error (MSE) also depend on the scale of the features. They suggest the opposite "
            f"for {listed(misled[:4])}."
        )
    yield Paragraph(text)
    ends = [
        f"{run} rho x{rates.rho:.2f}, KL x{rates.kl:.3g}, MSE x{rates.mse:.3g}"
        for run, ladder in ladders.items()
        if (rates := total_rates(ladder))
    ]
    yield Picture(
        "probe-ladder",
        draw_files(partial(component_ladder, summary, found)),
        "Three charts of the change rates of an error by kind of component (rho, KL, MSE), one mark per run. All "
        f"together: {listed(ends)}.",
        "Change rate of an attack's error by each kind of component: the error after it divided by the error before "
        "it, as the product over all layers. Left of 1 the error shrinks, right of 1 it grows. rho does not depend on "
        "the scale of the features. KL and MSE follow it: where they differ from rho, a component changed the scale, "
        "so do not read them alone.",
    )


def misled_components(summary: Summary, found: Found) -> Iterator[tuple[float, str]]:
    """Components in which rho shrinks but KL or MSE more than doubles, each with the larger of their factors.

    For a group, only the seed with the largest factor is named.
    """
    for group in summary.groups:
        ladders = {run: ladder for run in group.runs if run in found and (ladder := loss_ladder(found[run]))}
        for name in COMPONENTS:
            misled = [
                (max(rates.mse, rates.kl), run, rates)
                for run, ladder in ladders.items()
                if (rates := change_rates(ladder, name)) and rates.rho < 1.0 and max(rates.mse, rates.kl) > 2.0
            ]
            if misled:
                largest, run, rates = max(misled, key=lambda each: each[:2])
                yield largest, f"{name} in {run} (KL x{rates.kl:.1f}, MSE x{rates.mse:.1f}, rho x{rates.rho:.2f})"


def gain_blocks(summary: Summary, found: Found) -> Iterator[Block]:
    """How much fixed SSMs can amplify an error, and how much they do."""
    rows = [gains for _, _, gains in gains_of(summary, found)]
    medians = [gains.tightness[2] for gains in rows if gains.tightness]
    if rows:
        highest = max(gains.tightness[-1] for gains in rows if gains.tightness)
        peaks = [sorted(gains.peak)[len(gains.peak) // 2] for gains in rows]
        yield Paragraph(
            f"The kernel of a fixed SSM gives an exact bound on its error: the largest error of its input times the "
            f"peak gain. The peak gain of the median channel is {span(peaks)}. Under attack the error reaches "
            f"{percent(min(medians))} to {percent(max(medians))} of the bound (medians of the layers), and "
            f"{percent(highest)} at most."
        )
        yield tightness_picture(summary, found)
        yield gain_picture(summary, found)
    yield from certificate_paragraph(summary, found)


def tightness_picture(summary: Summary, found: Found) -> Picture:
    """How close the error of each SSM comes to its bound."""
    everything = violins(summary, found)
    drawn = shown_violins(everything)
    medians = [f"{each.name} {percent(each.median)}" for each in drawn]
    few = len(drawn) < len(everything)
    return Picture(
        "probe-tightness",
        draw_files(partial(tightness_violins, summary, found)),
        f"Violin charts of measured error over bound, one per layer. Medians: {listed(medians)}.",
        "Largest error of the SSM's output divided by its bound (peak gain times the largest error of its input), over "
        "images, channels and seeds. A violin is high where many values lie; in it, the bar reaches from the first to "
        "the third quartile, and the circle is the median. At 1 the error equals the bound: the further left a violin, "
        "the less of the possible amplification the attack finds."
        + (f" {len(drawn)} of {len(everything)} layers are drawn, in the order of their medians." if few else ""),
    )


def gain_picture(summary: Summary, found: Found) -> Picture:
    """What the fixed SSMs do to the error, and the robust accuracy, against their gain."""
    points = [
        f"{run} {point[0]:.1f}, x{point[1]:.2f} and {percent(each.robust)}"
        for run, each in found.items()
        if (point := gain_and_amplification(each))
    ]
    return Picture(
        "probe-gain",
        draw_files(partial(gain_scatter, summary, found)),
        f"Two scatter plots against the peak gain of the SSMs, one mark per run. Gain, amplification of rho and robust "
        f"accuracy: {listed(points)}.",
        "The factor by which the SSMs change rho under attack, and the robust accuracy of the probed images, against "
        "the SSMs' peak gain: that of the median channel, multiplied over the layers. If robust models do not lie to "
        "the left of others, they are not robust because of a small gain.",
    )


def certificate_paragraph(summary: Summary, found: Found) -> Iterator[Block]:
    """What the combined bounds of all layers certify, and for which models they certify nothing."""
    certificates = {run: each.certificate for run, each in found.items() if each.certificate}
    if not certificates:
        return
    halves = ranges_by_group(summary, {run: each.half for run, each in certificates.items()}, "{:.1e}")
    vacuous = names_by_group(summary, [run for run, each in certificates.items() if each.vacuous])
    text = f"The combined bounds of all layers certify half of the images up to eps {halves}."
    if vacuous:
        text += (
            f" At the attack's eps they certify none of the images that survive the attack in {vacuous}: there "
            "the bound is vacuous and does not explain the robustness."
        )
    yield Paragraph(text)


def growth_blocks(summary: Summary, found: Found) -> Iterator[Block]:
    """Whether errors grow along the tokens."""
    exploding = [f"{each.system} of {run}" for run, probed in found.items() for each in probed.growth if each.explodes]
    yield Paragraph(
        f"The error of one perturbed token grows exponentially along the sequence in {listed(exploding)}."
        if exploding
        else "No model lets the error of one perturbed token grow exponentially along the sequence."
    )
    yield Picture(
        "probe-growth",
        draw_files(partial(growth_curves, summary, found)),
        "Two line charts of the error after one perturbed token, one line per run; the fitted growth is in the table.",
        "The error after one perturbed token through all layers, in units of the perturbation. Left: in the tokens "
        "after it. Right: in the last token, against its distance from the perturbed token. Dashed: the fitted law. "
        "A falling line is an error that fades; a straight rise in both panels is exponential growth.",
    )
    yield Folded("Fitted growth of the error, by layer", growth_table(found))


def growth_table(found: Found) -> TextTable:
    """The fitted growth of every layer and of the whole model, after one token and in the last token."""
    columns = (
        Column("run", left=True),
        Column("system", left=True),
        Column("after one token", left=True),
        Column("rate"),
        Column("in the last token", left=True),
        Column("rate"),
    )
    rows = tuple(
        (run, each.system, *fit_texts(each.after), *fit_texts(each.over))
        for run, probed in found.items()
        for each in probed.growth
    )
    return TextTable(
        columns, rows, "Rates with 95% intervals over images. Exponential: per token. Power law: the exponent."
    )


def fit_texts(fit: GrowthFit | None) -> tuple[str, str]:
    """`fades as a power`, `-1.59 (-1.66 to -1.51)`."""
    if fit is None:
        return "too few errors", ABSENT
    return fit.trend, f"{fit.rate:.3g} ({fit.low:.3g} to {fit.high:.3g})"


def span(values: list[float]) -> str:
    """`3.0 to 5.2`, or one number if both ends are equal."""
    low, high = f"{min(values):.1f}", f"{max(values):.1f}"
    return low if low == high else f"{low} to {high}"
