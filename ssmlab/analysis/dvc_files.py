"""The study's numbers in the forms that DVC shows and compares: metrics.json, and folders of CSV files for plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ssmlab.analysis.summary import Run, Summary
from ssmlab.artifacts.history import Row
from ssmlab.core.files import to_csv

LEARNING = ("epoch", "val_robust", "val_clean", "train_robust", "train_loss", "lr")  # no times: they never repeat
ACCURACY_EPS = ("eps", "accuracy", "low", "high", "attack", "n")


def metrics(summary: Summary) -> dict[str, dict[str, float]]:
    """Run -> measure -> number in [0, 1]: accuracies of the best checkpoint, and the RO gap of the main attack."""
    return {run.name: run_metrics(run, summary) for run in summary.runs}


def run_metrics(run: Run, summary: Summary) -> dict[str, float]:
    found = {
        name.replace(" ", "_"): accuracy.value
        for name in summary.measures
        if (accuracy := run.measure(name, "best")) is not None
    }
    main = summary.main_attack()
    if main in run.gaps:
        found[f"ro_gap:{main}"] = run.gaps[main].value
    return found


def plot_files(summary: Summary, histories: Mapping[str, Sequence[Row]]) -> dict[str, str]:
    """The content of every file in plots/: a CSV file a run, of its learning curves and of its accuracy over eps."""
    found = {f"learning/{run}.csv": learning_csv(rows) for run, rows in histories.items()}
    return found | {f"accuracy-eps/{run.name}.csv": accuracy_eps_csv(run, summary) for run in summary.runs}


def learning_csv(rows: Sequence[Row]) -> str:
    """One line an epoch; a number that the regime does not have is left empty."""
    return to_csv(LEARNING, [[getattr(row, name) for name in LEARNING] for row in rows])


def accuracy_eps_csv(run: Run, summary: Summary) -> str:
    """The best checkpoint's accuracy without an attack (eps 0), and under the main attack at the study's eps."""
    lines = []
    for eps, name in ((0.0, "clean"), (summary.protocol.eps.value, summary.main_attack())):
        accuracy = run.measure(name, "best")
        if accuracy is not None:
            lines.append([eps, accuracy.value, *accuracy.interval, name, accuracy.n])
    return to_csv(ACCURACY_EPS, lines)
