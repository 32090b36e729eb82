"""Growth of an error along the tokens of trained models for docs/findings.md, from the probes of one project.

    python -m benchmarks.growth_results STUDY PROJECT

Its runs are named MODEL-TRAINING-sSEED. It writes studies/results/STUDY/params.yaml and results.json, with the
accuracies of the probed images and with the errors and fits of all layers together (docs/probes.md, "Growth along the
tokens"), and docs/images/findings-STUDY.svg: a column a training, a colour a model, the fitted laws dashed. It prints
the table as Markdown.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.study_results import write_results
from ssmlab.probes.results import GrowthFit, ProbeResults, load_probes
from ssmlab.report.figure_style import LIGHT, MARKERS, PALETTE, figure_files
from ssmlab.report.probe_figures import above_zero, fitted_line


def probed_runs(folder: Path) -> list[ProbeResults]:
    """All probes in a folder; for each model, standard training comes first."""
    found = [load_probes(path) for path in folder.glob("*.json")]
    return sorted(found, key=lambda each: (named(each.run)[0], named(each.run)[1] != "standard", each.run))


def named(run: str) -> tuple[str, str, int]:
    """Model, training and seed of a run MODEL-TRAINING-sSEED."""
    model, training, seed = run.rsplit("-", 2)
    return model, training, int(seed[1:])


def accuracies(found: list[ProbeResults]) -> list[dict[str, Any]]:
    """Accuracies of the best checkpoints on the probed test images, in percent: clean, and under the probes' attack."""
    rows = []
    for each in found:
        model, training, seed = named(each.run)
        best, n = each.checkpoints["best"], each.images["test"]
        about = {"label": "", "group": f"{model}-{training}", "seed": seed, "checkpoint": "best"}
        attack = f"pgd-{each.probe.adversary.steps}"
        for name, share in (("clean", best.clean), (attack, best.robust)):
            rows.append(about | {"attack": name, "n": n, "accuracy": round(100 * share, 2)})
    return rows


def growths(found: list[ProbeResults]) -> list[dict[str, Any]]:
    """Run and growth through all layers of every best checkpoint."""
    return [{"run": each.run, "growth": each.checkpoints["best"].growth[-1].plain()} for each in found]


def fit_cells(fit: GrowthFit | None) -> list[str]:
    """The trend, the rate with its interval, and the residual."""
    if fit is None:
        return ["too few errors", "-", "-"]
    return [fit.trend, f"{fit.rate:.2g} ({fit.low:.2g} to {fit.high:.2g})", f"{fit.residual:.2g}"]


def growth_table(found: list[ProbeResults]) -> str:
    """A Markdown table, one line per run: both fits, the error in the last token from the first, and the verdict."""
    attack = f"pgd-{found[0].probe.adversary.steps}"
    head = ["model", "clean", attack, "after one token", "rate", "residual", "in the last token", "rate", "residual"]
    lines = ["| " + " | ".join([*head, "from first to last", "explodes"]) + " |"]
    lines.append("|---|--:|--:|---|--:|--:|---|--:|--:|--:|---|")
    for each in found:
        model, training, _ = named(each.run)
        best = each.checkpoints["best"]
        growth = best.growth[-1]
        cells = [f"`{model}-{training}`", f"{100 * best.clean:.1f}", f"{100 * best.robust:.1f}"]
        cells += [*fit_cells(growth.after), *fit_cells(growth.over)]
        cells += [f"{growth.end[-1]:.2g}", "yes" if growth.explodes else "no"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def growth_figure(found: list[ProbeResults]) -> Figure:
    """Top: the error in the tokens after a perturbed one; below: in the last token. One column per training."""
    models = list(dict.fromkeys(named(each.run)[0] for each in found))
    trainings = list(dict.fromkeys(named(each.run)[1] for each in found))
    figure = Figure(figsize=(7.0, 5.2), layout="constrained")
    panels = figure.subplots(2, len(trainings), sharey="row", squeeze=False)
    for each in found:
        model, training, _ = named(each.run)
        growth, place = each.checkpoints["best"].growth[-1], models.index(model)
        top, below = panels[:, trainings.index(training)]
        draw_law(top, tuple(range(1, len(growth.profile) + 1)), growth.profile, growth.after, place, model)
        draw_law(below, growth.distances, growth.end, growth.over, place, model)
    for side, training in enumerate(trainings):
        panels[0, side].set(title=f"training: {training}", xlabel="tokens later", yscale="log")
        panels[1, side].set(xlabel="distance in tokens", yscale="log")
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
    found = probed_runs(options.project / "results" / options.study / "probe")
    write_results(options.study, options.project, {"accuracies": accuracies(found), "growth": growths(found)})
    picture = Path("docs") / "images" / f"findings-{options.study}.svg"
    picture.write_bytes(figure_files(lambda _: growth_figure(found), LIGHT, ("svg",))[".svg"])
    print(growth_table(found))


if __name__ == "__main__":
    main()
