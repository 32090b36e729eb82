"""What the report on a study says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ssmlab.analysis.claims import tally
from ssmlab.analysis.summary import Accuracy, Summary
from ssmlab.analysis.words import attack_label, level, listed, number, percent, plural
from ssmlab.history import Row
from ssmlab.params import AutoAttackParams
from ssmlab.report.blocks import Block, Bullets, Commands, Heading, Paragraph, Picture, Report, Verdict, Warning
from ssmlab.report.figures import learning_curves, measure_bars, tradeoff
from ssmlab.report.grid import ABSENT, Column, Grid
from ssmlab.report.study_grids import interval_grid, paper_grid


def compose(title: str, summary: Summary, histories: Mapping[str, Sequence[Row]]) -> Report:
    """The report on a study.

    Args:
        histories: the rows of history.csv by run name, at least one row a run.
    """
    blocks = (
        *opening(summary),
        *results(summary),
        *figures(summary, histories),
        *claims(summary),
        *intervals(summary),
        *setting(summary),
        *warnings(summary),
        *limits(summary),
        *again(summary),
    )
    return Report(title, blocks)


def opening(summary: Summary) -> Iterator[Block]:
    """What the report is about, in two sentences, and whether its protocol is marked."""
    count, data = len(summary.runs), summary.protocol.data
    text = (
        f"Study `{summary.study}`: {count} {plural('model', count)} on the data set `{data.name}`, attacked on "
        f"{number(data.n)} test images inside the L-inf ball of radius eps = {summary.protocol.eps.text}."
    )
    if summary.claims:
        text += f" Of {len(summary.claims)} {plural('claim', len(summary.claims))}: {tally(summary.claims)}."
    yield Paragraph(text)
    on_test = [run.name for run in summary.runs if run.train.selection.split == "test"]
    if on_test:
        yield Warning(
            f"The best checkpoint of {listed(on_test)} was selected on the test split, as the paper does (`selection: "
            "test`). Its accuracies were maximised on the images that they are reported on, and are too high."
        )


def results(summary: Summary) -> Iterator[Block]:
    """The numbers as the papers' table."""
    yield Heading("Results")
    yield Paragraph(
        "Accuracy in percent. `best` is the checkpoint that did best on the selection split, `last` that of the "
        "final epoch, `diff` is "
        "best - last: under an attack, the robust overfitting (RO) gap. "
        f"Images: {listed(counted_images(summary))}."
    )
    yield paper_grid(summary)


def intervals(summary: Summary) -> Iterator[Block]:
    """The numbers again, with how sure they are."""
    yield Heading("Intervals")
    yield Paragraph(
        f"The results with {level(summary.confidence)} intervals: Wilson's for accuracies, Newcombe's paired interval "
        "(1998, method 10) for best - last. The worst case counts the images that are right under every measure."
    )
    yield interval_grid(summary)


def counted_images(summary: Summary) -> Iterator[str]:
    """`clean n = 1000`, for every measure."""
    for name in summary.measures:
        sizes = sorted({measure.n for measure in summary.every(name)})
        if sizes:
            yield f"{name} n = {' or '.join(map(str, sizes))}"


def claims(summary: Summary) -> Iterator[Block]:
    """Every claim with its verdict."""
    if not summary.claims:
        return
    yield Heading("Claims")
    yield Paragraph(
        "A claim is supported if every one of its differences, taken on the same images, has a "
        f"{level(summary.confidence)} interval above zero; contradicted if one lies below zero; else not settled."
    )
    for item in summary.claims:
        yield Verdict(item.says.rstrip("."), item.verdict, item.sentence, item.confounds)


def figures(summary: Summary, histories: Mapping[str, Sequence[Row]]) -> Iterator[Block]:
    """The pictures with captions that give n and eps, and descriptions that give their numbers."""
    main, eps = summary.main_attack(), summary.protocol.eps.text
    sure = level(summary.confidence)
    yield Heading("Figures")
    ends = (
        f"{name} {percent(rows[-1].val_clean)} and {percent(rows[-1].val_robust)}" for name, rows in histories.items()
    )
    yield Picture(
        "curves.png",
        learning_curves(summary, histories),
        f"Two line charts of accuracy against epoch, one line a run. Clean and attacked at the end: {listed(ends)}.",
        "Learning curves on the split that selects the best checkpoint: left clean images, right images attacked by "
        f"the selection's adversary ({listed(selection_adversaries(summary))}). The ring is the epoch kept as best.",
    )
    yield Picture(
        "tradeoff.png",
        tradeoff(summary),
        f"Scatter of clean accuracy against accuracy under {main}, one point a run: {listed(points(summary, main))}.",
        f"Clean accuracy (n = {images(summary, 'clean')}) against accuracy under {main} (eps {eps}, n = "
        f"{images(summary, main)}) of the best checkpoints, with {sure} intervals. A marker's area grows with the "
        "number of parameters.",
    )
    yield Picture(
        "measures.png",
        measure_bars(summary),
        f"Bar charts of every run's accuracy under {listed(summary.measures)}; the numbers are in the tables.",
        f"Accuracy in percent under every measure (eps {eps}; n above each panel), best and last checkpoint, with "
        f"{sure} intervals.",
    )


def selection_adversaries(summary: Summary) -> list[str]:
    """`PGD, 10 steps, eps 0.1`: the attacks that selected checkpoints, each once."""
    found = [run.train.selection.adversary for run in summary.runs]
    return list(dict.fromkeys(f"PGD, {a.steps} {plural('step', a.steps)}, eps {a.eps}" for a in found))


def points(summary: Summary, main: str) -> Iterator[str]:
    """The points of the scatter in words."""
    for run in summary.runs:
        clean, robust = run.measure("clean", "best"), run.measure(main, "best")
        if clean and robust:
            yield f"{run.name} {percent(clean.value)} and {percent(robust.value)}, {number(run.parameters)} parameters"


def images(summary: Summary, name: str) -> int:
    """The most images that a measure was taken on."""
    return max(measure.n for measure in summary.every(name))


def setting(summary: Summary) -> Iterator[Block]:
    """Everything that was set, in two tables: of the study, and of each run."""
    protocol = summary.protocol
    yield Heading("What was run")
    rows = [
        ("data set", f"{protocol.data.name}, fingerprint {protocol.data.fingerprint[:12]}"),
        (
            "images",
            f"{number(protocol.data.train)} training, {number(protocol.data.validation)} validation, "
            f"{number(protocol.data.n)} test (attacked: the {protocol.data.split} split)",
        ),
        ("threat model", f"L-inf, eps {protocol.eps.text}, pixels in [0, 1]"),
        *(("attack", attack_text(summary, name)) for name in summary.attacks),
        ("attack seed, batch size", f"{protocol.seed}, {protocol.batch_size}"),
        ("attacks by", f"torchattacks {protocol.torchattacks}, on {protocol.device}"),
        ("protocol", summary.protocol_fingerprint[:12]),
        ("code", f"ssmlab {listed(sorted({run.code_version for run in summary.runs}))}"),
    ]
    yield Grid((Column("what", left=True), Column("value", left=True)), tuple(rows))
    columns = (
        "run",
        "model",
        "training",
        "training eps",
        "warm-up",
        "epochs",
        "best epoch",
        "selected on",
        "selected by",
        "seed",
    )
    yield Grid(
        tuple(Column(name, left=True) for name in columns),
        tuple(
            (
                run.name,
                run.label,
                run.regime,
                str(run.train.adversary.eps) if run.train.adversarial else ABSENT,
                f"{run.train.warmup} {plural('epoch', run.train.warmup)}" if run.train.adversarial else ABSENT,
                str(run.train.epochs),
                str(run.checkpoints["best"].epoch) if "best" in run.checkpoints else ABSENT,
                run.train.selection.split,
                f"{run.train.selection.by} accuracy",
                str(run.train.seed),
            )
            for run in summary.runs
        ),
    )


def attack_text(summary: Summary, name: str) -> str:
    """An attack with its settings and its number of images."""
    sizes = sorted({measure.n for measure in summary.every(name)})
    return f"{attack_label(name, summary.protocol.attacks[name])}; n = {' or '.join(map(str, sizes))}"


def warnings(summary: Summary) -> Iterator[Block]:
    """What the evaluation itself warns of; nothing where it does not."""
    found = [
        f"{run.name}, {which}: {warning}"
        for run in summary.runs
        for which, checkpoint in run.checkpoints.items()
        for warning in checkpoint.warnings
    ]
    if found:
        yield Heading("Warnings of the evaluation")
        yield Bullets(tuple(found))


def limits(summary: Summary) -> Iterator[Block]:
    """What must not be read into the numbers."""
    sure = level(summary.confidence)
    seeds = sorted({run.train.seed for run in summary.runs})
    smallest = min((name for name in summary.attacks if summary.every(name)), key=lambda name: images(summary, name))
    widest = max(summary.every(smallest), key=half_width)
    epochs = sorted({run.train.epochs for run in summary.runs})
    items = [
        f"Every run was trained once ({plural('seed', len(seeds))} {listed(map(str, seeds))}). The {sure} intervals "
        "say what another draw of test images could change, not what another seed could: differences of a few points "
        "may be luck of the training.",
        f"{smallest} was run on {widest.n} images: its accuracies are known to within about "
        f"{100 * half_width(widest):.0f} points only.",
        f"The data set is `{summary.protocol.data.name}` with {number(summary.protocol.data.n)} test images; nothing "
        "here speaks for larger data or models.",
        "Robust accuracy is an upper bound: a stronger attack can only lower it.",
        f"RO gaps are those of {' or '.join(map(str, epochs))} {plural('epoch', epochs[-1])}: robust overfitting shows "
        "late in long trainings, so that a small gap here does not rule it out.",
    ]
    for name, spec in summary.protocol.attacks.items():
        if isinstance(spec, AutoAttackParams) and not spec.standard:
            items.append(f"{name} is not the standard AutoAttack: its steps or queries differ from the published ones.")
    if len(summary.claims) > 1:
        items.append(f"The {len(summary.claims)} claims were judged one by one, without a correction for their number.")
    yield Heading("What these numbers do not show")
    yield Bullets(tuple(items))


def half_width(measure: Accuracy) -> float:
    """Half the width of an accuracy's interval."""
    low, high = measure.interval
    return (high - low) / 2


def again(summary: Summary) -> Iterator[Block]:
    """The commands that make these numbers again."""
    names = [run.name for run in summary.runs]
    lines = ["make install", ". .venv/bin/activate", f"ssmlab use {summary.study}", "ssmlab repro"]
    if len(names) > 1:
        lines.append(f"ssmlab compare {' '.join(names)}")
    yield Heading("How to reproduce")
    yield Paragraph("In a checkout of the code version above; `ssmlab repro` runs only what is out of date.")
    yield Commands("\n".join(lines))
