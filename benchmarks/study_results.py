"""The numbers and figures of a study for docs/findings.md, from the results of one or several projects.

    python benchmarks/study_results.py STUDY [LABEL=]PROJECT ... --measure ATTACK [--curves]

Each PROJECT is a folder in which the study was run, or a results.json of this script, whose contents are kept. LABEL
tells apart those that differ, for example in label noise or in the machine. With studies/results/STUDY/results.json as
the only PROJECT, the script draws and prints again what is committed.

It writes studies/results/STUDY/params.yaml, that of the first project, and results.json with every accuracy (with
--curves every fifth epoch of every training too) and the verdicts of the projects in which `ssmlab analyze` judged
claims, and docs/images/findings-STUDY.svg. It prints the tables as Markdown.
"""

from __future__ import annotations

import argparse
import json
import re
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

import ssmlab
from ssmlab.analysis.claims import p_text
from ssmlab.report.figure_style import LIGHT, MARKERS, PALETTE, figure_files

if TYPE_CHECKING:
    from pandas import DataFrame

CURVES = ["epoch", "val_robust", "train_eval_robust"]  # the columns of a curve
EVERY = 5  # one epoch in five is kept
SEED = r"-s\d+$"  # the end of a run's name, and of the name of a group of one seed


def labelled(text: str) -> tuple[str, Path]:
    """`LABEL=PROJECT` or `PROJECT` taken apart."""
    label, equals, folder = text.rpartition("=")
    return (label if equals else ""), Path(folder)


def accuracies(study: str, projects: list[tuple[str, Path]]) -> DataFrame:
    """All accuracies of all projects, in percent; the columns label, group, seed, checkpoint, attack, n, accuracy."""
    from pandas import DataFrame, concat

    frames = [
        DataFrame(kept(project, "accuracies", label))
        if project.is_file()
        else measured(project / "results" / study).assign(label=label)
        for label, project in projects
    ]
    frame = concat(frames, ignore_index=True)[["label", "group", "seed", "checkpoint", "attack", "n", "accuracy"]]
    return frame.assign(group=frame["group"].str.replace(SEED, "", regex=True))


def measured(folder: Path) -> DataFrame:
    """The accuracies of a study's results folder, in percent."""
    frame = ssmlab.results(folder)
    frame["accuracy"] = (100 * frame["accuracy"]).round(2)
    return frame[frame["attack"] != "worst case"]


def kept(file: Path, name: str, label: str) -> list[dict[str, Any]]:
    """A list of an earlier results.json, under a new label if there is one; empty if the file does not have it."""
    entries: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8")).get(name, [])
    return [entry | {"label": label or entry["label"]} for entry in entries]


def curves(study: str, projects: list[tuple[str, Path]]) -> list[dict[str, Any]]:
    """Every fifth epoch of every training, in percent: label, run, and lists of epochs and accuracies."""
    found = []
    for label, project in projects:
        found += kept(project, "curves", label) if project.is_file() else trained(project / "results" / study, label)
    return found


def trained(folder: Path, label: str) -> list[dict[str, Any]]:
    """The curves of the trainings of a study's results folder."""
    frame = ssmlab.history(folder)[["run", *CURVES]]
    frame[CURVES[1:]] = (100 * frame[CURVES[1:]]).round(1)
    frame = frame[(frame["epoch"] % EVERY == 0) | (frame["epoch"] == 1)]
    runs = frame.groupby("run", sort=False)
    return [{"label": label, "run": run, **rows.drop(columns="run").to_dict("list")} for run, rows in runs]


def verdicts(study: str, projects: list[tuple[str, Path]]) -> list[dict[str, Any]]:
    """What `ssmlab analyze` says of every claim; the differences in points, each as [value, low, high]."""
    found = []
    for label, project in projects:
        summary = project / "results" / study / "analysis" / "summary.json"
        if project.is_file():
            found += kept(project, "claims", label)
        elif summary.is_file():
            claims = json.loads(summary.read_text(encoding="utf-8"))["claims"]
            found += [{"label": label, **verdict(claim)} for claim in claims]
    return found


def verdict(claim: dict[str, Any]) -> dict[str, Any]:
    """The part of a judgement that is kept."""
    differences = {
        evidence["measure"]: [round(100 * evidence["difference"][end], 1) for end in ("value", "low", "high")]
        for evidence in claim["evidence"]
        if evidence.get("difference")
    }
    optional = {"reasons": claim.get("reasons", []), "adjusted_p": claim.get("adjusted_p")}
    return {key: claim[key] for key in ("says", "run", "than", "verdict")} | optional | {"differences": differences}


def verdict_table(claims: list[dict[str, Any]]) -> str:
    """A Markdown table, one row per claim: the verdict and the differences behind it."""
    measures = list(dict.fromkeys(measure for claim in claims for measure in claim["differences"]))
    columns = ["claim", "verdict", "corrected p", *measures]
    lines = ["| " + " | ".join(columns) + " |", "|---|---|" + "--:|" * (1 + len(measures))]
    for claim in claims:
        says = f"{claim['says']}, {claim['label']}" if claim["label"] else claim["says"]
        p = "-" if claim["adjusted_p"] is None else p_text(claim["adjusted_p"])
        differences = [spoken_difference(claim["differences"].get(measure)) for measure in measures]
        lines.append("| " + " | ".join([says, claim["verdict"], p, *differences]) + " |")
    return "\n".join(lines)


def spoken_difference(points: list[float] | None) -> str:
    """`+31.4 (+25.1 to +37.7)`; a dash if nothing was measured."""
    return "{:+.1f} ({:+.1f} to {:+.1f})".format(*points) if points else "-"


def table(frame: DataFrame) -> str:
    """A Markdown table: mean and deviation over the seeds of every group's measures, of the attacked checkpoints."""
    attacked = frame.loc[frame["attack"] != "clean", "checkpoint"].unique()
    shown = frame[frame["checkpoint"].isin(attacked)]
    shown = shown.assign(measure=shown["attack"] + ", " + shown["checkpoint"])
    measures = list(dict.fromkeys(shown["measure"]))
    lines = ["| model | seeds | " + " | ".join(measures) + " |", "|---|--:|" + "--:|" * len(measures)]
    for (label, group), rows in shown.groupby(["label", "group"], sort=False):
        cells = []
        for measure in measures:
            values = rows.loc[rows["measure"] == measure, "accuracy"]
            spread = f" ± {values.std():.1f}" if len(values) > 1 else ""
            cells.append(f"{values.mean():.1f}{spread}" if len(values) else "-")
        name = f"{group}, {label}" if label else group
        lines.append(f"| `{name}` | {rows['seed'].nunique()} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def best_first(frame: DataFrame, measure: str) -> DataFrame:
    """The rows with the groups in the order of their mean accuracy under one attack, best checkpoint."""
    judged = frame[(frame["attack"] == measure) & (frame["checkpoint"] == "best")]
    mean = judged.groupby(["label", "group"])["accuracy"].mean().rename("mean")
    return frame.join(mean, on=["label", "group"]).sort_values("mean", ascending=False, kind="stable")


def curve_figure(trainings: list[dict[str, Any]]) -> Figure:
    """Robust accuracy over the epochs, mean over seeds: on validation images, and dashed on training images with their
    labels. One panel per label, one colour per group."""
    labels = list(dict.fromkeys(training["label"] for training in trainings))
    groups = list(dict.fromkeys(re.sub(SEED, "", training["run"]) for training in trainings))
    figure = Figure(figsize=(7.0, 3.4), layout="constrained")
    panels = figure.subplots(1, len(labels), sharey=True, squeeze=False)[0]
    for axes, label in zip(panels, labels, strict=True):
        for group, colour in zip(groups, cycle(PALETTE)):
            runs = [each for each in trainings if (each["label"], re.sub(SEED, "", each["run"])) == (label, group)]
            if runs:
                epochs, shown, fitted = (np.mean([each[name] for each in runs], axis=0) for name in CURVES)
                axes.plot(epochs, shown, color=colour, label=group)
                axes.plot(epochs, fitted, color=colour, linestyle="--", linewidth=0.9)
        axes.set(title=label, xlabel="epoch")
    panels[0].set_ylabel("robust accuracy, %")
    fullest = max(panels, key=lambda axes: len(axes.lines))
    panels[-1].legend(*fullest.get_legend_handles_labels(), frameon=False, loc="lower right")
    return figure


def dot_figure(frame: DataFrame, measure: str) -> Figure:
    """The accuracy of every best checkpoint under one attack: one dot per seed, a line at the mean."""
    best = frame[(frame["attack"] == measure) & (frame["checkpoint"] == "best")]
    best = best.assign(name=best["group"] + best["label"].map(lambda label: f", {label}" if label else ""))
    groups = list(dict.fromkeys(best["name"]))
    figure = Figure(figsize=(7.0, 0.6 + 0.32 * len(groups)), layout="constrained")
    axes = figure.subplots()
    for number, group in enumerate(groups):
        values = best.loc[best["name"] == group, "accuracy"]
        row = [len(groups) - 1 - number]
        axes.plot(values, row * len(values), MARKERS[0], color=PALETTE[0], markersize=5, alpha=0.7)
        axes.plot([values.mean()], row, "|", color="black", markersize=12)
    axes.set_yticks(range(len(groups)), reversed(groups))
    axes.set_xlabel(f"accuracy under {measure}, % (dots: seeds; lines: means)")
    return figure


def write_results(study: str, project: Path, found: dict[str, list[dict[str, Any]]]) -> None:
    """Write studies/results/STUDY/params.yaml, that of a project, and results.json: lists by name, an entry a line."""
    folder = Path("studies") / "results" / study
    folder.mkdir(parents=True, exist_ok=True)
    params = project.with_name("params.yaml") if project.is_file() else project / "params.yaml"
    (folder / "params.yaml").write_bytes(params.read_bytes())
    lines = {name: ",\n".join(json.dumps(each) for each in entries) for name, entries in found.items()}
    text = ",\n".join(f'"{name}": [\n{entries}\n]' for name, entries in lines.items())
    (folder / "results.json").write_text("{" + text + "}\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study")
    parser.add_argument("projects", nargs="+", type=labelled)
    parser.add_argument("--measure", required=True)
    parser.add_argument("--curves", action="store_true")
    options = parser.parse_args()

    frame = accuracies(options.study, options.projects)
    trainings = curves(options.study, options.projects) if options.curves else []
    if not trainings:
        frame = best_first(frame, options.measure).drop(columns="mean")
    claims = verdicts(options.study, options.projects)
    found = {"accuracies": frame.to_dict("records"), "curves": trainings, "claims": claims}
    write_results(options.study, options.projects[0][1], {name: entries for name, entries in found.items() if entries})
    picture = Path("docs") / "images" / f"findings-{options.study}.svg"
    draw = partial(curve_figure, trainings) if trainings else partial(dot_figure, frame, options.measure)
    picture.write_bytes(figure_files(lambda _: draw(), LIGHT, ("svg",))[".svg"])
    print(table(frame))
    if claims:
        print(f"\n{verdict_table(claims)}")


if __name__ == "__main__":
    main()
