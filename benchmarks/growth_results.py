"""Growth of an error along the tokens of trained models for docs/findings.md, from the probes of one project.

    python -m benchmarks.growth_results STUDY PROJECT

Its runs are named MODEL-TRAINING-sSEED. It writes studies/results/STUDY/params.yaml and results.json, with every
accuracy and with the errors and fits of all layers together (docs/probes.md, "Growth along the tokens"), and
docs/images/findings-STUDY.svg: a column a training, a colour a model, the fitted laws dashed. It prints the table as
Markdown.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.study_results import accuracies, write_results
from ssmlab.probes.results import Growth, GrowthFit, load_probes
from ssmlab.report.figure_style import MARKERS, PALETTE
from ssmlab.report.probe_figures import above_zero, fitted_line


def growths(folder: Path) -> list[dict[str, Any]]:
    """Model, training, seed and growth through all layers of the best checkpoint of every probed run in a folder."""
    found = []
    for path in sorted(folder.glob("*.json")):
        model, training, seed = path.stem.rsplit("-", 2)
        growth = load_probes(path).checkpoints["best"].growth[-1]
        found.append({"model": model, "training": training, "seed": int(seed[1:]), "growth": growth.plain()})
    return found


def fit_cells(fit: GrowthFit | None) -> list[str]:
    """The trend, the rate with its interval, and the residual."""
    if fit is None:
        return ["too few errors", "-", "-"]
    return [fit.trend, f"{fit.rate:.2g} ({fit.low:.2g} to {fit.high:.2g})", f"{fit.residual:.2g}"]


def growth_table(found: list[dict[str, Any]]) -> str:
    """A Markdown table: a line a run with both fits, the error in the last token from the first, and the verdict."""
    head = ["model", "training", "after one token", "rate", "residual", "in the last token", "rate", "residual"]
    lines = ["| " + " | ".join([*head, "error at the end", "explodes"]) + " |"]
    lines.append("|---|---|---|--:|--:|---|--:|--:|--:|---|")
    for each in found:
        growth = Growth.model_validate(each["growth"])
        cells = [f"`{each['model']}`", each["training"], *fit_cells(growth.after), *fit_cells(growth.over)]
        cells += [f"{growth.end[-1]:.2g}", "yes" if growth.explodes else "no"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def growth_figure(found: list[dict[str, Any]]) -> Figure:
    """Top: the error in the tokens after a perturbed one; below: in the last token. A column a training."""
    trainings = list(dict.fromkeys(each["training"] for each in found))
    models = list(dict.fromkeys(each["model"] for each in found))
    figure = Figure(figsize=(7.0, 5.2), layout="constrained")
    panels = figure.subplots(2, len(trainings), sharey="row", squeeze=False)
    for each in found:
        growth, place = Growth.model_validate(each["growth"]), models.index(each["model"])
        column = panels[:, trainings.index(each["training"])]
        draw_law(
            column[0], tuple(range(1, len(growth.profile) + 1)), growth.profile, growth.after, place, each["model"]
        )
        draw_law(column[1], growth.distances, growth.end, growth.over, place, each["model"])
    for side, training in enumerate(trainings):
        panels[0, side].set(title=f"training: {training}", xlabel="tokens later", yscale="log")
        panels[1, side].set(xlabel="tokens between the last and the perturbed one", yscale="log")
    panels[0, 0].set_ylabel("error after one token")
    panels[1, 0].set_ylabel("error in the last token")
    panels[0, 0].legend(frameon=False, ncols=2)
    for axes in panels.flat:
        axes.grid(alpha=0.3)
    return figure


def draw_law(
    axes: Axes, at: tuple[int, ...], errors: tuple[float, ...], fit: GrowthFit | None, place: int, name: str
) -> None:
    """Draw the errors at some distances, and their fitted law dashed."""
    colour = PALETTE[place]
    axes.plot(at, above_zero(errors), marker=MARKERS[place], markersize=3, color=colour, linewidth=1.2, label=name)
    law = fitted_line(at, errors, fit)
    axes.plot(at[: len(law)], law, color=colour, linestyle="--", linewidth=0.9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study")
    parser.add_argument("project", type=Path)
    options = parser.parse_args()
    found = growths(options.project / "results" / options.study / "probe")
    order = {"standard": 0}
    found.sort(key=lambda each: (each["model"], order.get(each["training"], 1), each["seed"]))
    frame = accuracies(options.study, [("", options.project)])
    write_results(options.study, options.project, {"accuracies": frame.to_dict("records"), "growth": found})
    picture = Path("docs") / "images" / f"findings-{options.study}.svg"
    growth_figure(found).savefig(picture, format="svg", metadata={"Date": None, "Creator": None})
    print(growth_table(found))


if __name__ == "__main__":
    main()
