"""The tables of all settings of the study and of its runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ssmlab.analysis.format import PROVENANCES, attack_label, number
from ssmlab.analysis.summary import Run, SeedGroup, Summary
from ssmlab.core.text import listed, plural
from ssmlab.report.blocks import Block, Heading, Paragraph
from ssmlab.report.study_tables import epochs_text
from ssmlab.report.table import ABSENT, Column, TextTable


def settings_tables(summary: Summary) -> Iterator[Block]:
    """All settings in two tables: one for the study, one for its runs."""
    protocol, data = summary.protocol, summary.data
    channels, height, width = data.image_shape
    yield Heading("What was run")
    rows = [
        ("data set", f"{data.name}, fingerprint {data.fingerprint[:12]}"),
        ("provenance", f"{data.provenance}: {PROVENANCES[data.provenance]}"),
        ("source", data.description),
        (
            "images",
            f"{number(data.train)} training, {number(data.validation)} validation, "
            f"{number(data.test)} test, drawn with seed {data.seed} (attacked: {number(protocol.data.n)} of the "
            f"{protocol.data.split} split); {channels} x {height} x {width} in {data.classes} classes",
        ),
        ("threat model", f"{protocol.norm_name}, eps {protocol.eps.text}, pixels in [0, 1]"),
        *(("attack", attack_text(summary, name)) for name in summary.attacks),
        ("attack seed, batch size", f"{protocol.seed}, {protocol.batch_size}"),
        ("attacks by", f"torchattacks {protocol.torchattacks}, on {protocol.device}"),
        ("protocol", summary.protocol_fingerprint[:12]),
        ("code", f"ssmlab {listed(sorted({run.code_version for run in summary.runs}))}"),
    ]
    yield TextTable((Column("what", left=True), Column("value", left=True)), tuple(rows))
    yield run_table(summary)
    if any(run.train.free for run in summary.runs):
        yield Paragraph(
            "Free-m trains on every batch m times. Its epochs count these replays, so its cost can be compared with "
            "other regimes. Its best epoch and its learning curve count passes over the images."
        )


def run_table(summary: Summary) -> TextTable:
    """The training settings, one row per run; runs that differ only in their seed share a row."""
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
    rows = tuple(run_row(group, summary.members(group)) for group in summary.groups)
    return TextTable(tuple(Column(name, left=True) for name in columns), rows, name="settings")


def run_row(group: SeedGroup, runs: Sequence[Run]) -> tuple[str, ...]:
    """One row of `run_table`."""
    train = runs[0].train
    best = [run.checkpoints["best"].epoch for run in runs if "best" in run.checkpoints]
    return (
        group.name,
        group.label,
        group.regime,
        str(train.adversary.eps) if train.adversarial else ABSENT,
        f"{train.warmup} {plural('epoch', train.warmup)}" if train.adversarial else ABSENT,
        f"{train.epochs} ({train.passes} passes x {train.replays} replays)" if train.free else epochs_text(runs),
        (", ".join(map(str, best)) + (f" of {train.passes} passes" if train.free else "")) if best else ABSENT,
        train.selection.split,
        f"{train.selection.by} accuracy",
        ", ".join(map(str, group.seeds)),
    )


def attack_text(summary: Summary, name: str) -> str:
    """An attack with its settings and its number of images."""
    sizes = sorted({measure.n for measure in summary.every(name)})
    return f"{attack_label(name, summary.protocol.attacks[name])}; n = {listed(map(number, sizes), 'or')}"
