"""The text of the report on a study."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import get_args

from ssmlab.analysis.claims import Judgement, Verdict, p_text, tally
from ssmlab.analysis.format import PROVENANCES, level, number
from ssmlab.analysis.summary import Summary
from ssmlab.core.text import listed, plural
from ssmlab.evaluation.transfer_results import TransferResults
from ssmlab.probes.results import ProbeResults
from ssmlab.report.blocks import Block, Bullets, Caution, ClaimVerdict, Folded, Heading, Paragraph, Report
from ssmlab.report.checks import checks_section, flags_sentence
from ssmlab.report.limits_section import limits_section
from ssmlab.report.pictures import pictures
from ssmlab.report.probe_section import probe_section
from ssmlab.report.reproduction import origin_section, reproduction_section
from ssmlab.report.seed_sentences import seed_counts, seeds_phrase, seeds_sentence
from ssmlab.report.settings_tables import settings_tables
from ssmlab.report.study_tables import group_table, interval_table, paper_table
from ssmlab.report.training_curves import TrainingCurves
from ssmlab.report.transfer_section import transfer_section

ACCURACIES = "accuracies.csv"  # a file in tables/


def compose(
    title: str,
    summary: Summary,
    curves: TrainingCurves,
    probes: Mapping[str, ProbeResults],
    transfer: TransferResults | None = None,
) -> Report:
    """Write the report on a study.

    Args:
        title: the title of the report.
        summary: the numbers of the study.
        curves: the curves of the trainings, with at least one epoch of each run.
        probes: the probe results by run name; runs that were not probed are missing.
        transfer: the results of `ssmlab transfer`, if it was run.
    """
    blocks = (
        *opening_section(summary),
        *results_section(summary),
        Heading("Figures"),
        *pictures(summary, curves),
        *checks_section(summary),
        *claims_section(summary),
        *intervals_section(summary),
        *transfer_section(summary, transfer),
        *probe_section(summary, probes),
        *settings_tables(summary),
        *limits_section(summary),
        *origin_section(summary),
        *reproduction_section(summary),
    )
    return Report(title, blocks)


def opening_section(summary: Summary) -> Iterator[Block]:
    """What the report is about, how certain its numbers are, and the warnings that a reader must see first."""
    count, data = len(summary.groups), summary.data
    what = "setting" if summary.several_seeds else "run"
    kind = "" if data.provenance == "official" else f" ({data.provenance})"
    text = (
        f"Study `{summary.study}`: {count} {plural(what, count)}{seeds_phrase(summary)} on the data set `{data.name}`"
        f"{kind}, attacked on {number(summary.protocol.data.n)} test images inside the "
        f"{summary.protocol.norm_name} ball of radius eps = {summary.protocol.eps.text}."
    )
    text += f" {seeds_sentence(summary)} {flags_sentence(summary)}"
    if summary.claims:
        text += f" Verdicts on {len(summary.claims)} {plural('claim', len(summary.claims))}: {tally(summary.claims)}."
        text += " The section Claims has their numbers."
    yield Paragraph(text)
    if summary.claims:
        ordered = sorted(summary.claims, key=lambda item: get_args(Verdict).index(item.verdict))
        yield Bullets(tuple(f"{item.verdict.capitalize()}: {item.says.rstrip('.')}." for item in ordered))
    if data.provenance in ("partial", "re-encoded"):
        yield Caution(
            f"The data set `{data.name}` is {PROVENANCES[data.provenance]}. Do not compare these numbers with numbers "
            "on the published data set."
        )
    cut = [f"{run.name} ({run.epochs.text} epochs)" for run in summary.runs if run.epochs and run.epochs.cut_short]
    if cut:
        yield Caution(
            f"{listed(cut)} ended before {'its' if len(cut) == 1 else 'their'} last epoch. The numbers belong to "
            f"{'an unfinished training' if len(cut) == 1 else 'unfinished trainings'}."
        )
    first_runs = ((group.name, summary.members(group)[0]) for group in summary.groups)
    on_test = [name for name, run in first_runs if run.train.selection.split == "test"]
    if on_test:
        yield Caution(
            f"The best checkpoint of {listed(on_test)} was selected on the test split, as in the paper (`selection: "
            "test`). It was chosen for its accuracy on the same images on which that accuracy is reported, so the "
            "reported accuracy is too high."
        )


def results_section(summary: Summary) -> Iterator[Block]:
    """The numbers in the usual table of robustness papers: best, last and their difference."""
    yield Heading("Results")
    yield Paragraph(
        "Accuracy in percent. `best` is the checkpoint with the highest accuracy on the selection split, `last` is "
        "the checkpoint of the final epoch, and `diff` is best - last. Under an attack, `diff` is the robust "
        f"overfitting (RO) gap. Number of images: {listed(counted_images(summary))}. `tables/{ACCURACIES}` holds all "
        "accuracies, one per line."
    )
    if not summary.several_seeds:
        yield paper_table(summary)
        return
    yield Paragraph(
        "Runs that differ only in their seed share a row: the mean over the seeds ± the sample standard deviation "
        f"(n = {seed_counts(summary)} seeds). The standard deviation shows how much one training differs from another. "
        "The intervals of the single runs below show how much other test images could change the numbers."
    )
    yield group_table(summary)
    yield Folded("Every single run", paper_table(summary, "runs"))


def intervals_section(summary: Summary) -> Iterator[Block]:
    """The numbers with their intervals."""
    yield Heading("Intervals")
    sure = level(summary.confidence)
    over = " over the test images, for every single run" if summary.several_seeds else ""
    yield Paragraph(
        f"The results with {sure} intervals{over}: Wilson's interval for accuracies, and Newcombe's paired interval "
        "(1998, method 10) for best - last. The worst case counts the images that are classified correctly under "
        "every measure."
    )
    table = interval_table(summary)
    yield Folded("The intervals of every run", table) if summary.several_seeds else table


def counted_images(summary: Summary) -> Iterator[str]:
    """`clean n = 1,000`, for every measure."""
    for name in summary.measures:
        sizes = sorted({measure.n for measure in summary.every(name)})
        if sizes:
            yield f"{name} n = {listed(map(number, sizes), 'or')}"


def claims_section(summary: Summary) -> Iterator[Block]:
    """Every claim with its verdict."""
    if not summary.claims:
        return
    yield Heading("Claims")
    sure = level(summary.confidence)
    yield Paragraph(
        "A claim is supported if all of its differences, measured on the same images, are above zero (or above its "
        f"margin). It is contradicted if one of them is below. Both verdicts hold with {sure} confidence for all "
        "claims together (Holm 1979). A claim is not settled if neither is certain, if a run was cut short, or if the "
        "robust validation accuracy of a run was still improving at its end. A claim is not testable if a model is at "
        "chance level, if both sides are the same checkpoint, or if it is about robust overfitting and the trainings "
        "could not have overfitted (docs/seeds.md)."
    )
    if summary.several_seeds:
        yield Paragraph(
            "Claims on runs with several seeds use all seeds of both sides. Their interval covers the variation "
            "between seeds and between test images (Welch and Satterthwaite). If only one side has several seeds, a "
            "claim is not settled. A claim on two single runs is judged over images only, so its verdict holds for "
            "these two trainings only."
        )
    for item in summary.claims:
        yield ClaimVerdict(item.says.rstrip("."), item.verdict, item.sentence, verdict_remarks(item, summary))


def verdict_remarks(item: Judgement, summary: Summary) -> tuple[str, ...]:
    """What belongs to a verdict: its p-values, and other differences between the two sides."""
    remarks = [f"Confound: {confound}." for confound in item.confounds]
    if item.p is not None and item.adjusted_p is not None:
        testable = sum(each.verdict != "not testable" for each in summary.claims)  # the correction counts all of them
        alone = f"p = {p_text(item.p)}".replace("= <", "<")
        corrected = f"; {p_text(item.adjusted_p)} after Holm's correction for {testable} testable claims"
        remarks.insert(0, f"{alone}{corrected if testable > 1 else ''}.")
    return tuple(remarks)
