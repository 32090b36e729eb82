"""The report's section on what its numbers do not show."""

from __future__ import annotations

from collections.abc import Iterator

from ssmlab.analysis.format import number
from ssmlab.analysis.summary import Accuracy, Summary
from ssmlab.core.text import listed, plural
from ssmlab.params import AutoAttackParams, ScreenedAutoAttackParams, TokenParams
from ssmlab.report.blocks import Block, Bullets, Heading
from ssmlab.report.seed_sentences import seed_limit


def limits_section(summary: Summary) -> Iterator[Block]:
    """What must not be concluded from the numbers."""
    smallest = min((name for name in summary.attacks if summary.every(name)), key=lambda name: summary.images(name))
    widest = max(summary.every(smallest), key=half_width)
    epochs = sorted({run.train.epochs for run in summary.runs})
    items = [
        seed_limit(summary),
        f"{smallest} was run on only {widest.n} images: its accuracies are uncertain by about "
        f"{100 * half_width(widest):.0f} points in each direction.",
        f"The data set is `{summary.data.name}` with {number(summary.protocol.data.n)} test images: the results may "
        "not hold for larger data sets or larger models.",
        "Robust accuracy is an upper bound: a stronger attack can only lower it.",
        f"RO gaps were measured after {listed(epochs, 'or')} {plural('epoch', epochs[-1])}: robust "
        "overfitting appears late in long trainings, so a small gap here does not rule it out.",
    ]
    for name, spec in summary.protocol.attacks.items():
        if isinstance(spec, AutoAttackParams) and not spec.standard:
            items.append(f"{name} is not the standard AutoAttack: its steps or queries differ from the published ones.")
        if isinstance(spec, ScreenedAutoAttackParams):
            items.append(
                f"{name} is screened AutoAttack, not the standard one: FAB-T and Square attack only the survivors with "
                "the lowest margin, so standard AutoAttack may break more images."
            )
        if isinstance(spec, TokenParams):
            far = "to any values" if spec.eps is None else f"within {spec.eps}"
            items.append(
                f"{name} changes one patch of {spec.patch} x {spec.patch} pixels {far}: a different threat from eps "
                f"{summary.protocol.eps_text} on all pixels, so it is not part of the worst case."
            )
    if summary.left_out:
        items.append(
            f"results/{summary.study}/attack also holds results of {listed(summary.left_out)}. The study no longer has "
            f"{'this run' if len(summary.left_out) == 1 else 'these runs'}, so the report leaves them out."
        )
    if len(summary.claims) > 1:
        items.append(
            "Only the verdicts on the claims are corrected for the number of tests. `ssmlab compare` and any other "
            "comparison of these numbers are exploratory."
        )
    yield Heading("What these numbers do not show")
    yield Bullets(tuple(items))


def half_width(measure: Accuracy) -> float:
    """Half the width of an accuracy's interval."""
    low, high = measure.interval
    return (high - low) / 2
