"""The study's numbers in the formats that DVC shows and compares: metrics.json and folders of CSV files for plots."""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter

from ssmlab.analysis.protocol import longest_pgd
from ssmlab.analysis.summary import Run, Summary
from ssmlab.core.files import to_csv
from ssmlab.evaluation.results import wilson

LEARNING = ("epoch", "val_robust", "val_clean", "train_robust", "train_loss", "lr")  # no times: they always differ
ACCURACY_EPS = ("eps", "accuracy", "low", "high", "attack", "n")
ACCURACY_STEPS = ("steps", *ACCURACY_EPS[1:])
Line = list[float | int | str]


def metrics(summary: Summary) -> dict[str, dict[str, float]]:
    """Run -> measure -> value: accuracies of the best checkpoint in [0, 1], and the RO gap under the main attack."""
    main = summary.main_attack()  # once, since it asks every run
    return {run.name: run_metrics(run, summary, main) for run in summary.runs}


def run_metrics(run: Run, summary: Summary, main: str) -> dict[str, float]:
    found = {
        name.replace(" ", "_"): accuracy.value
        for name in summary.measures
        if (accuracy := run.measure(name, "best")) is not None
    }
    if main in run.gaps:
        found[f"ro_gap:{main}"] = run.gaps[main].value
    return found


def plot_files(summary: Summary, histories: Mapping[str, str]) -> dict[str, str]:
    """The content of every file in plots/: for each run, CSV files of learning, accuracy by eps and by steps.

    Args:
        histories: the content of history.csv by run name.
    """
    found = {f"learning/{run}.csv": learning_csv(history) for run, history in histories.items()}
    found |= {f"accuracy-steps/{run.name}.csv": accuracy_steps_csv(run, summary) for run in summary.runs}
    main = summary.main_attack()
    return found | {f"accuracy-eps/{run.name}.csv": accuracy_eps_csv(run, summary, main) for run in summary.runs}


def learning_csv(history: str) -> str:
    """One line per epoch; a value that the regime does not have is left empty.

    The cells are copied from history.csv as text, because formatting 300,000 numbers again takes five times as long.
    """
    header, *lines = (line.split(",") for line in history.splitlines())
    cells = itemgetter(*map(header.index, LEARNING))
    return "".join(f"{','.join(line)}\n" for line in (LEARNING, *map(cells, lines)))


def accuracy_eps_csv(run: Run, summary: Summary, main: str) -> str:
    """The best checkpoint's accuracy by eps: the whole curve if the FMN attack was run, otherwise two points.

    The two points are: without an attack (eps 0), and under the main attack at the study's eps. They are never mixed
    with FMN's curve, so a line through the points shows only one attack.
    """
    return to_csv(ACCURACY_EPS, fmn_curve(run, summary) or two_radii(run, summary, main))


def accuracy_steps_csv(run: Run, summary: Summary) -> str:
    """The best checkpoint's accuracy by steps of the longest PGD; only the clean accuracy if there is no PGD."""
    name = longest_pgd(summary.protocol.attacks)
    best, clean, attacked = run.checkpoints.get("best"), run.measure("clean", "best"), run.measure(name, "best")
    lines: list[Line] = []
    if best and attacked and best.by_step:
        n = attacked.n
        ends = [wilson(round(accuracy * n), n, summary.confidence) for accuracy in best.by_step]
        lines = [[step, each, *ends[step], name, n] for step, each in enumerate(best.by_step)]
    elif clean:
        lines = [[0, clean.value, *clean.interval, "clean", clean.n]]
    return to_csv(ACCURACY_STEPS, lines)


def fmn_curve(run: Run, summary: Summary) -> list[Line]:
    """The lines of FMN's curve, with intervals at the study's confidence; empty if FMN was not run."""
    best = run.checkpoints.get("best")
    if best is None or not best.by_eps:
        return []
    kinds = {name: spec.kind for name, spec in summary.protocol.attacks.items()}
    name = next(name for name in best.measures if kinds.get(name) == "fmn")
    n = best.measures[name].n
    return [
        [eps, accuracy, *wilson(round(accuracy * n), n, summary.confidence), name, n] for eps, accuracy in best.by_eps
    ]


def two_radii(run: Run, summary: Summary, main: str) -> list[Line]:
    """The best checkpoint's accuracy without an attack and under the main attack, as far as they were measured."""
    radii = ((0.0, "clean"), (summary.protocol.eps.value, main))
    found = [(eps, name, run.measure(name, "best")) for eps, name in radii]
    return [[eps, accuracy.value, *accuracy.interval, name, accuracy.n] for eps, name, accuracy in found if accuracy]
