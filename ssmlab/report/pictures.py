"""The report's figures with captions, which state n and eps, and with descriptions, which state the numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from statistics import fmean

from ssmlab.analysis.format import attack_label, level, number, signed
from ssmlab.analysis.protocol import longest_pgd
from ssmlab.analysis.summary import SeedGroup, Summary
from ssmlab.core.text import listed, percent, plural
from ssmlab.report.accuracy_figures import gap_against_parameters, groups_with_gaps, measure_bars, tradeoff
from ssmlab.report.blocks import Picture
from ssmlab.report.crowded_figures import is_crowded
from ssmlab.report.curve_figures import (
    eps_curves,
    groups_with_eps_curves,
    groups_with_step_curves,
    learning_curves,
    overfitting_curves,
    step_curves,
)
from ssmlab.report.figure_style import draw_files
from ssmlab.report.token_figures import token_pictures
from ssmlab.report.training_curves import CurveValues, TrainingCurves, epochs_per_point

NAMED_ONLY = " Only the named runs have a colour and error bars."


def pictures(summary: Summary, curves: TrainingCurves) -> Iterator[Picture]:
    """All pictures of the report with their captions and descriptions."""
    main, eps = summary.main_attack(), summary.protocol.eps_text
    yield Picture(
        "curves",
        draw_files(partial(learning_curves, summary, curves)),
        f"Two line charts of accuracy against epoch, one line per run. Clean and robust accuracy at the end: "
        f"{listed(curve_ends(summary, curves))}.",
        "Learning curves on the split that selects the best checkpoint: first clean images, then images attacked by "
        f"the selection's adversary ({listed(selection_adversaries(summary))}). A marker shows the best epoch."
        + seed_lines(summary)
        + plainer_lines(summary, curves),
    )
    if curves.gaps:
        yield overfitting_picture(summary, curves)
    bars = error_bars(summary)
    yield Picture(
        "tradeoff",
        draw_files(partial(tradeoff, summary)),
        f"Scatter plot of clean accuracy against accuracy under {main}, one point per run: "
        f"{listed(scatter_points(summary, main))}.",
        f"Clean accuracy (n = {summary.images('clean')}) against accuracy under {main} (eps {eps}, n = "
        f"{summary.images(main)}) of the best checkpoints, {bars}."
        + (NAMED_ONLY if is_crowded(summary) else " A marker's area grows with the number of parameters."),
    )
    if len(groups_with_gaps(summary)) > 1:
        yield gap_picture(summary)
    if groups_with_eps_curves(summary):
        yield eps_picture(summary)
    if groups_with_step_curves(summary):
        yield step_picture(summary)
    yield from token_pictures(summary)
    yield Picture(
        "measures",
        draw_files(partial(measure_bars, summary)),
        f"Bar charts of every run's accuracy under {listed(summary.measures)}; the numbers are in the tables.",
        f"Accuracy in percent under every measure (eps {eps}; n above each panel), best and last checkpoint, {bars}."
        + (" Each panel has its own order, from the highest accuracy to the lowest." if is_crowded(summary) else ""),
    )


def error_bars(summary: Summary) -> str:
    """What the error bars and marks of accuracies are."""
    sure = level(summary.confidence)
    if not summary.several_seeds:
        return f"with {sure} intervals"
    alone = "" if all(group.several for group in summary.groups) else f"; for single runs, {sure} intervals over images"
    marks = "" if is_crowded(summary) else "small marks are single seeds, "
    return f"{marks}error bars are ± one standard deviation over seeds{alone}"


def seed_lines(summary: Summary) -> str:
    """Which lines of the curves are seeds; empty without several."""
    if not summary.several_seeds:
        return ""
    if is_crowded(summary):
        return " Lines are means over seeds."
    return " Thin lines are single seeds, thick lines are their means."


def plainer_lines(summary: Summary, curves: TrainingCurves) -> str:
    """What the curves of many groups and of long trainings do not show; empty if they show everything."""
    size = epochs_per_point(curves.clean)
    colours = " Only the named runs have a colour." if is_crowded(summary) else ""
    return colours + (f" Each point of a line is the mean of {size} epochs." if size > 1 else "")


def step_picture(summary: Summary) -> Picture:
    """Accuracy after every step of the longest PGD."""
    name = longest_pgd(summary.protocol.attacks)
    label = attack_label(name, summary.protocol.attacks[name])
    curves = groups_with_step_curves(summary)
    ends = listed(f"{group.name} {percent(curve[10])} and {percent(curve[-1])}" for _, group, curve in curves)
    return Picture(
        "steps",
        draw_files(partial(step_curves, summary)),
        f"Line chart of accuracy against steps of PGD, one line per run. After 10 steps and at the end: {ends}.",
        f"Accuracy of the best checkpoints after every step of one PGD ({label}; eps {summary.protocol.eps_text}, n = "
        f"{summary.images(name)}"
        + (", means over seeds" if summary.several_seeds else "")
        + "). If a curve still falls at its end, fewer steps would make the model look too robust. If it rises, the "
        "gradients mislead the attack.",
    )


def gap_picture(summary: Summary) -> Picture:
    """The RO gap against the number of parameters."""
    gaps = [
        f"{group.name} {signed(gap.mean)} points, {number(group.parameters)} parameters"
        for _, group, gap in groups_with_gaps(summary)
    ]
    spread = "means over seeds, error bars ± one standard deviation; " if summary.several_seeds else ""
    return Picture(
        "gaps",
        draw_files(partial(gap_against_parameters, summary)),
        f"Scatter plot of the RO gap against the number of parameters, one mark per run: {listed(gaps)}.",
        f"RO gap under {summary.main_attack()}, best minus last ({spread}n = {summary.images(summary.main_attack())}), "
        "against the number of parameters. If larger models overfit more, the marks rise to the right; models of equal "
        "size at different heights differ for another reason." + (NAMED_ONLY if is_crowded(summary) else ""),
    )


def eps_picture(summary: Summary) -> Picture:
    """Accuracy against eps, for the models that FMN attacked."""
    eps = summary.protocol.eps
    at_eps = []
    for _, group, curve in groups_with_eps_curves(summary):
        accuracy = min(curve, key=lambda point: abs(point[0] - eps.value))[1]
        at_eps.append(f"{group.name} {percent(accuracy)}")
    return Picture(
        "eps",
        draw_files(partial(eps_curves, summary)),
        f"Line chart of accuracy against eps, one line per run. At eps {eps.text}: {listed(at_eps)}.",
        "Accuracy of the best checkpoints against eps, from the smallest perturbation with which FMN broke each image"
        + (", means over seeds" if summary.several_seeds else "")
        + f". The dashed line is the eps of the other attacks ({eps.text}). If a curve does not fall to zero at large "
        "eps, the attack has failed; this is not a sign of robustness.",
    )


def overfitting_picture(summary: Summary, curves: TrainingCurves) -> Picture:
    """The gap between training and validation over the epochs, and the robust validation loss."""
    ends = []
    for group in summary.groups:
        gap, loss = mean_end(group, curves.gaps), mean_end(group, curves.losses)
        ends.append(f"{group.name} {signed(gap)} points and {loss:.2f}")
    return Picture(
        "overfitting",
        draw_files(partial(overfitting_curves, summary, curves)),
        "Two line charts against epoch: the difference between robust accuracy on training images and on validation "
        f"images in points, and the robust loss on validation images. At the end: {listed(ends)}.",
        "Signs of robust overfitting: first, robust accuracy on a fixed sample of training images minus robust "
        "accuracy on validation images, measured by the same attack; then, the robust loss on the validation images. "
        "If a model overfits, the difference grows and the loss rises. A marker shows the best epoch."
        + plainer_lines(summary, curves),
    )


def curve_ends(summary: Summary, curves: TrainingCurves) -> Iterator[str]:
    """The last points of the curves as text; means for several seeds."""
    for group in summary.groups:
        clean, robust = mean_end(group, curves.clean), mean_end(group, curves.robust)
        yield f"{group.name} {percent(clean)} and {percent(robust)}"


def mean_end(group: SeedGroup, curves: Mapping[str, CurveValues]) -> float:
    """The mean over the runs of a group of the last values of their curves."""
    return fmean(float(curves[run][-1]) for run in group.runs)


def selection_adversaries(summary: Summary) -> list[str]:
    """`PGD, 10 steps, eps 0.1`: the attacks that selected the best checkpoints, without repetition."""
    found = [run.train.selection.adversary for run in summary.runs]
    return list(dict.fromkeys(f"PGD, {a.steps} {plural('step', a.steps)}, eps {a.eps}" for a in found))


def scatter_points(summary: Summary, main: str) -> Iterator[str]:
    """The points of the scatter plot as text."""
    for group in summary.groups:
        clean, robust = group.measure("clean", "best"), group.measure(main, "best")
        if clean and robust:
            size = f"{number(group.parameters)} parameters"
            yield f"{group.name} {percent(clean.mean)} and {percent(robust.mean)}, {size}"
