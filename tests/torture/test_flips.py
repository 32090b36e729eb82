"""One random bit of any file that is read back is flipped, and every reader notices."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from ssmlab.artifacts.manifest import PUBLISHED, read_manifest, read_published
from ssmlab.artifacts.metadata import read_checkpoint
from ssmlab.core.errors import UserError
from ssmlab.core.tensors import read_tensors_file
from ssmlab.data.dataset import Dataset, Split, load_dataset, make_dataset, save_dataset
from ssmlab.evaluation.results import load_results
from ssmlab.params import Params
from ssmlab.params.paths import Paths
from ssmlab.stages.attack.stage import attack
from ssmlab.stages.train.stage import train
from ssmlab.stages.train.state_file import KEY, Identity, UnusableState, load_state

RUN = "ssm"
FLIPS = 1000


def split(images: int, seed: int) -> Split:
    draw = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (images, 1, 14, 14), generator=draw, dtype=torch.uint8)  # (images, 1, 14, 14)
    return Split(pixels, torch.arange(images) % 3, torch.arange(images))


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return make_dataset("toy", 3, {"train": split(40, 0), "validation": split(10, 1), "test": split(10, 2)})


@pytest.fixture
def paths(tmp_path: Path, tiny_params: Params, dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """A study that is trained and attacked, whose training has left its state."""
    run = tiny_params.run(RUN)
    settings = run.train.model_copy(update={"epochs": 1, "batch_size": 20, "warmup": 0})
    model = run.model.model_copy(update={"layers": 1, "d_model": 8, "d_state": 4})
    gentle = {"fgsm": tiny_params.attack.attacks["fgsm"].model_copy(update={"images": 10})}
    params = tiny_params.model_copy(
        update={
            "runs": {RUN: run.model_copy(update={"train": settings, "model": model})},
            "attack": tiny_params.attack.model_copy(update={"attacks": gentle}),
        }
    )
    paths = Paths(params.study, tmp_path)
    save_dataset(paths.prepared, dataset)
    monkeypatch.setattr("ssmlab.stages.train.live_record.Record.finish", lambda _: None)
    train(params, RUN, paths)
    attack(params, RUN, paths)
    return paths


@dataclass(frozen=True)
class Kind:
    """A file, and what reads it; the reader raises one of `refusals` if the file is damaged."""

    name: str
    path: Path
    read: Callable[[], object]
    refusals: tuple[type[Exception], ...] = (UserError,)


def kinds(paths: Paths) -> Iterator[Kind]:
    folder, state = paths.model(RUN), paths.live(RUN) / "state.safetensors"
    document = read_tensors_file(state).metadata_object(KEY)
    identity = Identity.model_validate(document["identity"])
    yield Kind("checkpoint", folder / "best.safetensors", lambda: read_checkpoint(folder / "best.safetensors"))
    for name in PUBLISHED:
        yield Kind(f"published {name}", folder / name, lambda: read_published(folder))
    yield Kind("manifest", folder / "manifest.json", lambda: read_manifest(folder))
    yield Kind("state", state, lambda: load_state(state, identity), (UnusableState,))
    yield Kind("attack results", paths.attack(RUN), lambda: load_results(paths.attack(RUN)))
    yield Kind("prepared data", paths.prepared, lambda: load_dataset(paths.prepared))


@pytest.mark.slow
def test_every_random_bit_flip_in_a_file_that_is_read_back_is_found(paths: Paths) -> None:
    """A thousand flips, or as many as SSMLAB_TORTURE seconds allow."""
    draw, flips = random.Random(os.environ.get("SSMLAB_TORTURE_SEED", "0")), Counter[str]()
    until = time.monotonic() + float(os.environ.get("SSMLAB_TORTURE", "0"))
    chosen = list(kinds(paths))
    missed = []
    for each in chosen:
        each.read()  # sound before
    while sum(flips.values()) < FLIPS or time.monotonic() < until:
        kind = draw.choice(chosen)
        content = kind.path.read_bytes()
        bit = draw.randrange(8 * len(content))
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        kind.path.write_bytes(flipped)
        try:
            kind.read()
            missed.append((kind.name, bit))
        except kind.refusals as error:
            assert "\n" not in str(error)
        finally:
            kind.path.write_bytes(content)
        flips[kind.name] += 1
    assert missed == [], f"of {dict(flips)}"
    assert len(flips) == len(chosen)
