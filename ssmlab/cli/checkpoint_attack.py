"""`ssmlab attack FILE --eps ... --attacks ...`: one checkpoint under attacks that no params.yaml names."""

from __future__ import annotations

from pathlib import Path

import typer

from ssmlab.cli.base import stage
from ssmlab.cli.records import ListFormat, records_text
from ssmlab.core.errors import UserError

COLUMNS = ("attack", "eps", "n", "correct", "accuracy", "low", "high")


def attack_checkpoint(
    path: Path, eps: str, attacks: str, images: int | None, data: str, device: str, form: ListFormat
) -> None:
    """Attack a checkpoint file and print its accuracies; nothing is written.

    Args:
        eps: as papers write it, such as `8/255`. attacks: names with commas between them, such as `pgd-50,autoattack`.
        images: how many test images, from the first one on; None for all.
        data: a prepared data set, or the name of a study whose data set is prepared.

    Raises:
        UserError: the file, the data or an option is not as described, or the images do not suit the model.
    """
    with stage() as on_event:
        from ssmlab.artifacts.checkpoint import load
        from ssmlab.data.dataset import load_data
        from ssmlab.evaluation.evaluate import evaluate
        from ssmlab.params.written_float import WrittenFloat

        try:
            radius = WrittenFloat(eps)
        except ValueError as error:
            raise UserError(f"--eps {eps}: {error}") from None
        model, metadata = load(path)
        dataset = load_data(data)
        if tuple(dataset.image_shape) != tuple(metadata.image_shape):
            shapes = f"it takes images of {metadata.image_shape}, and those of {data} are {dataset.image_shape}"
            raise UserError(f"{path}: {shapes}; name other data with --data")
        x, y = dataset.test.tensors(images)
        names = [name.strip() for name in attacks.split(",")]
        found = evaluate(model, x, y, attacks=names, eps=radius, device=device, on_event=on_event)  # type: ignore[arg-type]
    rows = [
        {"attack": name, "eps": "" if name == "clean" else str(radius), "n": each.n, "correct": each.correct}
        | {"accuracy": each.accuracy, "low": each.interval[0], "high": each.interval[1]}
        for name, each in found.measures.items()
    ]
    if form is ListFormat.table:
        for row in rows:
            interval = f"{row['low']:.1%} to {row['high']:.1%}"
            typer.echo(f"{row['attack']:<16} {row['accuracy']:6.1%}  ({interval}, n = {row['n']})")
    else:
        typer.echo(records_text("attack", COLUMNS, rows, form), nl=False)
