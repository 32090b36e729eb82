"""Results, histories and flags as pandas DataFrames, for scripts and notebooks.

pandas is imported only when a frame is built, because its import would slow down `import ssmlab` and every command.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ssmlab.analysis.summarize import summarize_groups, summarize_run
from ssmlab.artifacts.history import COLUMNS, published_history
from ssmlab.core.errors import UserError
from ssmlab.core.text import hint, printable
from ssmlab.evaluation.results import AttackResults, load_results
from ssmlab.params.paths import Paths
from ssmlab.report.records import AccuracyRecord, accuracy_records

if TYPE_CHECKING:
    from pandas import DataFrame

CONFIDENCE = 0.95  # the level of every interval


def results(study: str | Path) -> DataFrame:
    """Every accuracy of a study, one per row.

    Args:
        study: name of a study in the current folder, path of a folder results/STUDY, or path of a file attack/RUN.json.

    Returns:
        a frame with the columns study, run, group, seed, checkpoint, attack, norm, eps, n, accuracy, low, high,
        epochs_done, epochs_asked; `ssmlab.report.records.AccuracyRecord` explains them. Accuracies are fractions in
        [0, 1]; low and high are the ends of 95% Wilson intervals. Epochs are missing (NA) if they were not recorded.

    Raises:
        UserError: there are no such results, or one of their files is damaged or comes from another version.
    """
    from pandas import DataFrame

    found = list(read_attack_results(study))
    runs = [summarize_run(each, CONFIDENCE, None) for each in found]
    groups = summarize_groups(runs)
    rows = [
        record
        for each, run in zip(found, runs, strict=True)
        for record in accuracy_records(each.study, [run], groups, each.protocol)
    ]
    frame = DataFrame(rows, columns=list(AccuracyRecord._fields))
    return frame.astype({"epochs_done": "Int64", "epochs_asked": "Int64"})


def history(study: str | Path) -> DataFrame:
    """Every epoch of every finished training of a study, one per row.

    Args:
        study: the name of a study in the current folder, or the path of a folder results/STUDY of another project.

    Returns:
        a frame with the columns study, run and those of history.csv (`ssmlab.artifacts.history.Row` explains them).
        Values that an older version did not write are missing (NaN).

    Raises:
        UserError: no run of the study has a history, or a history cannot be read.
    """
    from pandas import DataFrame

    paths = study_paths(study)
    files = sorted(paths.models.glob("*/history.csv"))
    if not files:
        raise UserError(f"{paths.models}: no training history there; run `ssmlab repro`")
    rows = [(paths.study, file.parent.name, *row) for file in files for row in published_history(file.parent)]
    return DataFrame(rows, columns=["study", "run", *COLUMNS])


def flags(study: str | Path) -> DataFrame:
    """Which test images are classified correctly, image by image.

    Args:
        study: as for `results`.

    Returns:
        a frame of nullable booleans (pandas dtype "boolean"): one row per image (0 is the first test image), columns
        (run, checkpoint, attack). Images that an attack did not see are missing (NA).

    Raises:
        UserError: as for `results`.
    """
    from pandas import DataFrame, MultiIndex, Series

    columns = {
        (each.run, which, name): Series([flag == "1" for flag in measure.flags], dtype="boolean")
        for each in read_attack_results(study)
        for which, checkpoint in each.checkpoints.items()
        for name, measure in checkpoint.measures.items()
    }
    frame = DataFrame(columns)
    frame.columns = MultiIndex.from_tuples(columns, names=("run", "checkpoint", "attack"))
    return frame.rename_axis("image")


def read_attack_results(study: str | Path) -> Iterator[AttackResults]:
    """The attack results of a study, sorted by run name, or the results in one file.

    Raises:
        UserError: there are none, or a file cannot be read.
    """
    if Path(study).suffix == ".json":
        yield load_results(Path(study))
        return
    folder = study_paths(study).attacks
    files = sorted(folder.glob("*.json"))
    if not files:
        raise UserError(f"{folder}: no attack results there; run `ssmlab repro`")
    yield from map(load_results, files)


def study_paths(study: str | Path) -> Paths:
    """The paths of a study, found by its name or its folder results/STUDY.

    Raises:
        UserError: there is no such study.
    """
    folder = Path(study)
    if (folder / "attack").is_dir():
        folder = folder.resolve()
        return Paths(folder.name, folder.parent.parent)
    paths = Paths(str(study))
    if "/" not in str(study) and (paths.results.is_dir() or paths.models.is_dir()):
        return paths
    known = sorted(each.name for each in Path("results").glob("*") if each.is_dir())
    there = f" ({hint(str(study), known, 'studies')})" if known else ""
    raise UserError(f"no results of a study '{printable(str(study), 80)}' in {Path('results').resolve()}{there}")
