"""`ssmlab attack FILE --eps ... --attacks ...`: the accuracies of one checkpoint, printed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from ssmlab.cli.base import stage, study
from ssmlab.cli.options import DeviceChoice, NormChoice
from ssmlab.cli.records import ListFormat, records_text
from ssmlab.core.errors import UserError
from ssmlab.params import Norm

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ssmlab.evaluation.results import Measure
    from ssmlab.evaluation.token_map import TokenMap

COLUMNS = ("attack", "norm", "eps", "n", "correct", "accuracy", "low", "high")


def attack_checkpoint(
    path: Path,
    eps: str,
    attacks: str | None,
    images: int | None,
    data: str | None,
    norm: NormChoice | None,
    save_to: Path | None,
    device: DeviceChoice | None,
    form: ListFormat,
) -> None:
    """Attack a checkpoint file and print its accuracies; raises UserError if an option is wrong.

    Args:
        eps: as papers write it, such as `8/255`.
        attacks: names with commas between them, such as `pgd-50,autoattack`; None for PGD with 10 steps.
        data: a prepared data set, or the name of a study whose data set is prepared; None for the study of the folder.
        norm, device: None for L-inf and for `auto`.
    """
    from ssmlab.params.written_float import WrittenFloat

    try:
        radius = WrittenFloat(eps)
    except ValueError as error:
        raise UserError(f"--eps {eps}: {error}") from None
    if data is None and not Path("params.yaml").exists():
        raise UserError(f"--eps {eps}: there is no params.yaml here; name a prepared data set with --data")
    norm_name: Norm = norm.value if norm else "linf"
    device_name: Literal["auto", "cpu", "cuda"] = device.value if device else "auto"
    with stage(notes_on_stderr=True) as on_event:
        from ssmlab.stages.checkpoint_attack import evaluate_checkpoint

        names = [name.strip() for name in (attacks or "pgd-10").split(",")]
        source = data or str(study()[1].prepared)
        found = evaluate_checkpoint(path, source, radius, names, images, norm_name, save_to, device_name, on_event)
    print_accuracies(found.measures, norm_name, str(radius), form)


def print_accuracies(measures: Mapping[str, Measure], norm: Norm, eps: str, form: ListFormat) -> None:
    """Print the accuracy under every attack, as one line each for people, or as rows for scripts."""
    rows = [
        {"attack": name, **ball_text(name, each, norm, eps)}
        | {"n": each.n, "correct": each.correct}
        | {"accuracy": each.accuracy, "low": each.interval[0], "high": each.interval[1]}
        for name, each in measures.items()
    ]
    if form is not ListFormat.table:
        typer.echo(records_text("attack", COLUMNS, rows, form), nl=False)
        return
    for name, each in measures.items():
        low, high = each.interval
        typer.echo(f"{name:<16} {each.accuracy:6.1%}  ({low:.1%} to {high:.1%}, n = {each.n})")
        if each.token_map:
            typer.echo(map_text(each.token_map))


def ball_text(name: str, measure: Measure, norm: Norm, eps: str) -> dict[str, str]:
    """The norm and the radius of an attack's ball, as the columns of a row."""
    if name == "clean":
        return {"norm": "", "eps": ""}
    return {"norm": norm, "eps": eps} if measure.patch is None else {"norm": "linf", "eps": "1"}


def map_text(found: TokenMap) -> str:
    """The accuracy in percent with one changed patch, one number for each position of the patch."""
    percents = [f"{100 * accuracy:4.0f}" for accuracy in found.accuracies]
    rows = ("".join(percents[start : start + found.columns]) for start in range(0, len(percents), found.columns))
    return "\n".join(rows)


def recheck_saved(run: str, path: Path | None, folder: Path) -> None:
    """Test a checkpoint file, or the checkpoints of a run if `path` is None, again on saved adversarial images.

    Prints the counts; exit code 1 if a flag differs.
    """
    from ssmlab.stages.checkpoint_attack import recheck_checkpoint, recheck_run

    with stage():
        if path is None:
            params, paths = study()
            params.run(run)
            found = recheck_run(run, paths, folder)
        else:
            found = recheck_checkpoint(path, folder)
    for each in found:
        typer.echo(f"{each.attack:<16} {each.now} of {each.n} right, {each.before} when saved")
    if warnings := [each.warning for each in found if each.changed]:
        raise UserError("; ".join(warnings))
