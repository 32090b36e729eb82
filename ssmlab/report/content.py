"""What the report on a study says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ssmlab.analysis.claims import Judgement, p_text, tally
from ssmlab.analysis.format import PROVENANCES, level, number, plural
from ssmlab.analysis.summary import Summary
from ssmlab.artifacts.history import Row
from ssmlab.core.text import listed
from ssmlab.evaluation.transfer_results import TransferResults
from ssmlab.probes.results import ProbeResults
from ssmlab.report.blocks import Block, Caution, ClaimVerdict, Folded, Heading, Paragraph, Report
from ssmlab.report.checks import checks_section, flags_sentence
from ssmlab.report.limits_section import limits_section
from ssmlab.report.pictures import pictures
from ssmlab.report.probe_section import probe_section
from ssmlab.report.reproduction import origin_section, reproduction_section
from ssmlab.report.seed_sentences import seed_counts, seeds_phrase, seeds_sentence
from ssmlab.report.settings_tables import settings_tables
from ssmlab.report.study_tables import group_table, interval_table, paper_table
from ssmlab.report.transfer_section import transfer_section

ACCURACIES = "accuracies.csv"  # in tables/


def compose(
    title: str,
    summary: Summary,
    histories: Mapping[str, Sequence[Row]],
    probes: Mapping[str, ProbeResults],
    transfer: TransferResults | None = None,
) -> Report:
    """The report on a study.

    Args:
        histories: the rows of history.csv by run name, at least one row a run.
        probes: the probe results by run name, of the runs that have some.
        transfer: what `ssmlab transfer` found, if it was called.
    """
    blocks = (
        *opening_section(summary),
        *results_section(summary),
        Heading("Figures"),
        *pictures(summary, histories),
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
    """What the report is about, how sure it can be, and what speaks against taking its numbers at face value."""
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
        text += f" Of {len(summary.claims)} {plural('claim', len(summary.claims))}: {tally(summary.claims)}."
    yield Paragraph(text)
    if data.provenance in ("partial", "re-encoded"):
        yield Caution(
            f"The data set `{data.name}` is {PROVENANCES[data.provenance]}. Whatever the title says, its numbers must "
            "not be put beside numbers on what was published."
        )
    cut = [f"{run.name} ({run.epochs.text} epochs)" for run in summary.runs if run.epochs and run.epochs.cut_short]
    if cut:
        yield Caution(
            f"{listed(cut)} ended before {'its' if len(cut) == 1 else 'their'} last epoch. The numbers are those of "
            f"{'an unfinished training' if len(cut) == 1 else 'unfinished trainings'}."
        )
    first_runs = ((group.name, summary.members(group)[0]) for group in summary.groups)
    on_test = [name for name, run in first_runs if run.train.selection.split == "test"]
    if on_test:
        yield Caution(
            f"The best checkpoint of {listed(on_test)} was selected on the test split, as the paper does (`selection: "
            "test`). Its accuracies were maximised on the images that they are reported on, and are too high."
        )


def results_section(summary: Summary) -> Iterator[Block]:
    """The numbers as the papers' table."""
    yield Heading("Results")
    yield Paragraph(
        "Accuracy in percent. `best` is the checkpoint that did best on the selection split, `last` that of the "
        "final epoch, `diff` is "
        "best - last: under an attack, the robust overfitting (RO) gap. "
        f"Images: {listed(counted_images(summary))}. All accuracies, one a line, are in `tables/{ACCURACIES}`."
    )
    if not summary.several_seeds:
        yield paper_table(summary)
        return
    yield Paragraph(
        "Runs that differ in their seed alone are one row: the mean over the seeds ± their sample standard deviation "
        f"(n = {seed_counts(summary)} seeds). It says how much one training differs from the next. How much other test "
        "images could change is said by the intervals of the single runs, below."
    )
    yield group_table(summary)
    yield Folded("Every run by itself", paper_table(summary, "runs"))


def intervals_section(summary: Summary) -> Iterator[Block]:
    """The numbers with their intervals."""
    yield Heading("Intervals")
    sure = level(summary.confidence)
    over = " over the test images, every training by itself" if summary.several_seeds else ""
    yield Paragraph(
        f"The results with {sure} intervals{over}: Wilson's for accuracies, Newcombe's paired interval (1998, method "
        "10) for best - last. The worst case counts the images that are right under every measure."
    )
    table = interval_table(summary)
    yield Folded("The intervals of every run", table) if summary.several_seeds else table


def counted_images(summary: Summary) -> Iterator[str]:
    """`clean n = 1000`, for every measure."""
    for name in summary.measures:
        sizes = sorted({measure.n for measure in summary.every(name)})
        if sizes:
            yield f"{name} n = {' or '.join(map(str, sizes))}"


def claims_section(summary: Summary) -> Iterator[Block]:
    """Every claim with its verdict."""
    if not summary.claims:
        return
    yield Heading("Claims")
    sure = level(summary.confidence)
    yield Paragraph(
        "A claim is supported if every one of its differences, taken on the same images, lies above zero (or above its "
        f"margin), and contradicted if one lies below, at a level of {sure} for all claims together (Holm 1979). It is "
        "not settled if neither can be said, if a run was cut short, or if its robust validation accuracy still "
        "rose. It is not testable on a model at chance, on one and the same checkpoint, or, about robust overfitting, "
        "on trainings that could not have overfitted (docs/seeds.md)."
    )
    if summary.several_seeds:
        yield Paragraph(
            "Claims on runs with several seeds are judged over the seeds that both sides have: the interval allows for "
            "other seeds and for other test images (Welch and Satterthwaite). With fewer than two common seeds a claim "
            "is not settled. A claim on two single runs is judged over images alone and says something of these two "
            "trainings only."
        )
    for item in summary.claims:
        yield ClaimVerdict(item.says.rstrip("."), item.verdict, item.sentence, verdict_remarks(item, summary))


def verdict_remarks(item: Judgement, summary: Summary) -> tuple[str, ...]:
    """What must be read with a verdict: its p-values, and what else differs between the two sides."""
    remarks = [f"Confound: {confound}." for confound in item.confounds]
    if item.p is not None and item.adjusted_p is not None:
        tested = sum(each.adjusted_p is not None for each in summary.claims)
        alone = f"p = {p_text(item.p)}".replace("= <", "<")
        corrected = (
            f"; {p_text(item.adjusted_p)} after Holm's correction for {tested} tested claims" if tested > 1 else ""
        )
        remarks.insert(0, f"{alone}{corrected}.")
    return tuple(remarks)
