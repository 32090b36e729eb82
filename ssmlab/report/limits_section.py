"""The report's section on what its numbers do not show."""

from __future__ import annotations

from collections.abc import Iterator

from ssmlab.analysis.format import number, plural
from ssmlab.analysis.summary import Accuracy, Summary
from ssmlab.core.text import listed
from ssmlab.params import AutoAttackParams, ScreenedAutoAttackParams
from ssmlab.report.blocks import Block, Bullets, Heading
from ssmlab.report.seed_sentences import seed_limit


def limits_section(summary: Summary) -> Iterator[Block]:
    """What must not be concluded from the numbers."""
    smallest = min((name for name in summary.attacks if summary.every(name)), key=lambda name: summary.images(name))
    widest = max(summary.every(smallest), key=half_width)
    epochs = sorted({run.train.epochs for run in summary.runs})
    items = [
        seed_limit(summary),
        f"{smallest} was run on {widest.n} images: its accuracies are known to within about "
        f"{100 * half_width(widest):.0f} points only.",
        f"The data set is `{summary.data.name}` with {number(summary.protocol.data.n)} test images; nothing "
        "here speaks for larger data or models.",
        "Robust accuracy is an upper bound: a stronger attack can only lower it.",
        f"RO gaps are those of {' or '.join(map(str, epochs))} {plural('epoch', epochs[-1])}: robust overfitting shows "
        "late in long trainings, so that a small gap here does not rule it out.",
    ]
    for name, spec in summary.protocol.attacks.items():
        if isinstance(spec, AutoAttackParams) and not spec.standard:
            items.append(f"{name} is not the standard AutoAttack: its steps or queries differ from the published ones.")
        if isinstance(spec, ScreenedAutoAttackParams):
            items.append(
                f"{name} is screened AutoAttack, not the standard one: FAB-T and Square attack only the survivors of "
                "lowest margin, so that standard AutoAttack may break more."
            )
    if summary.left_out:
        items.append(
            f"Results of {listed(summary.left_out)} are in results/{summary.study}/attack, but the study has no such "
            f"{plural('run', len(summary.left_out))} any more: they are left out."
        )
    if len(summary.claims) > 1:
        items.append(
            "Only the verdicts on the claims are corrected for their number; `ssmlab compare` and every other "
            "comparison of these numbers is exploratory."
        )
    yield Heading("What these numbers do not show")
    yield Bullets(tuple(items))


def half_width(measure: Accuracy) -> float:
    """Half the width of an accuracy's interval."""
    low, high = measure.interval
    return (high - low) / 2
