"""A training of three short epochs on toy images, and ways to interrupt it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ssmlab.artifacts.history import Row, read_history
from ssmlab.core.errors import Interrupted
from ssmlab.core.events import Event, Note, Progress
from ssmlab.data.dataset import Dataset, Split, save_dataset
from ssmlab.params import Params
from ssmlab.params.paths import Paths
from ssmlab.stages.train.stage import train

RUN = "ads"
EPOCHS = 3
CHECKPOINTS = ("best.safetensors", "last.safetensors")


def split(images: int, seed: int) -> Split:
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (images,), generator=draw)
    pixels = torch.randint(80, (images, 1, 14, 14), generator=draw, dtype=torch.uint8)
    for image, label in zip(pixels, labels.tolist(), strict=True):
        image[:, 4 * label : 4 * label + 4] += 150
    return Split(pixels, labels, torch.arange(images))


def changed(params: Params, **changes: Any) -> Params:
    run = params.run(RUN)
    settings = run.train.model_copy(update=changes)
    return params.model_copy(update={"runs": {RUN: run.model_copy(update={"train": settings})}})


def new_paths(root: Path, dataset: Dataset, params: Params) -> Paths:
    paths = Paths(params.study, root)
    save_dataset(paths.prepared, dataset)
    return paths


def outcome(paths: Paths) -> dict[str, Any]:
    """The published files, histories without their timings; the live folder agrees with them."""
    model, live = paths.model(RUN), paths.live(RUN)
    assert {path.name for path in model.iterdir()} == {*CHECKPOINTS, "history.csv", "manifest.json"}
    for name in (*CHECKPOINTS, "history.csv"):
        assert (model / name).read_bytes() == (live / name).read_bytes(), name
    rows: list[Row] = [row._replace(seconds=0, images_per_second=0) for row in read_history(model / "history.csv")]
    return {"rows": rows, **{name: (model / name).read_bytes() for name in CHECKPOINTS}}


def at(task: str, act: Callable[[], object]) -> Callable[[Event], None]:
    """A listener that acts once, when the first step of a task is done."""
    seen: list[str] = []

    def listen(event: Event) -> None:
        if isinstance(event, Progress) and event.task == task and task not in seen:
            seen.append(task)
            act()

    return listen


def interrupt() -> None:
    raise KeyboardInterrupt


def notes_of(params: Params, paths: Paths, **rest: Any) -> list[str]:
    seen: list[str] = []
    train(
        params, RUN, paths, on_event=lambda event: seen.append(event.text) if isinstance(event, Note) else None, **rest
    )
    return seen


def break_off(params: Params, paths: Paths, epoch: int = 2) -> None:
    """Leave the state of the epoch before `epoch`."""
    with pytest.raises(Interrupted):
        train(params, RUN, paths, on_event=at(f"epoch {epoch}/{EPOCHS}", interrupt))
