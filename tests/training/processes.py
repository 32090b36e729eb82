"""The trainings of the tests with several processes; run as a program, this file is one of the processes.

    python processes.py RANK SIZE FOLDER

joins the others through a file in FOLDER, makes all trainings, and writes their results to FOLDER/RANK.pt.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist

from ssmlab.data.dataset import Dataset, Split, make_dataset
from ssmlab.nets.build import build
from ssmlab.params import ModelParams, TrainParams
from ssmlab.project.params_file import merged
from ssmlab.training.distributed import Group
from ssmlab.training.events import EpochDone
from ssmlab.training.loop import fit
from ssmlab.training.state import TrainingState

SHAPE, CLASSES = (1, 14, 14), 3
ADVERSARY = {"norm": "linf", "eps": 0.1, "alpha": 0.03, "steps": 2, "random_start": True}
TRAIN = {
    "device": "cpu",
    "regime": "pgd_at",
    "epochs": 2,
    "batch_size": 16,
    "adversary": ADVERSARY,
    "warmup": 0,
    "optimizer": {"lr": 5e-3, "ssm_lr": 1e-3, "weight_decay": 2e-4, "schedule": "cosine"},
    "selection": {"split": "validation", "by": "robust", "adversary": ADVERSARY},
    "augment": {"crop": 1, "flip": True},
    "seed": 0,
}
MODEL = {
    "mixer": "s4",
    "enhancement": "ads",
    "ads": {"act": "relu", "parts": "both"},
    "tokens": "raster",
    "patch": 7,
    "d_model": 8,
    "d_state": 8,
    "layers": 1,
    "pointwise": "gelu",
    "output": "linear",
    "dropout": 0.0,
}
MIXERS: dict[str, dict[str, Any]] = {
    "dss": {"mixer": "dss"},
    "s5": {"mixer": "s5"},
    "mamba": {"mixer": "mamba", "pointwise": "none"},
    "mega": {"mixer": "mega", "pointwise": "none", "mega": {"z": 4, "hidden": 8, "ffn": 8, "ema": 2}},
}
FEW_STEPS = {"steps": 1, "random_start": False}
REGIMES: dict[str, dict[str, Any]] = {
    "standard": {"regime": "standard", "label_smoothing": 0.1},
    "pgd_at": {},
    "pgd_at in L2": {"adversary": {"norm": "l2", "eps": 1.0, "alpha": 0.4}},
    "pgd_at with awp and averaging": {"awp": {"gamma": 0.05}, "averaging": {"decay": 0.9}},
    "trades": {"regime": "trades", "trades": {"beta": 6.0}},
    "trades with awp": {"regime": "trades", "trades": {"beta": 6.0}, "awp": {"gamma": 0.05}},
    "mart": {"regime": "mart", "mart": {"beta": 5.0}},
    "free": {"regime": "free", "free": {"replays": 2}, "epochs": 4, "adversary": FEW_STEPS},
    "yopo": {"regime": "yopo", "yopo": {"propagations": 3}},
    "fgsm": {"regime": "fgsm", "fgsm": {"noise": 1.0, "clip": True}, "adversary": {"steps": 1}},
    "jacobian": {"regime": "jacobian", "jacobian": {"weight": 0.1, "projections": 2}},
}
CASES = {name: (MODEL, section) for name, section in REGIMES.items()}
CASES |= {f"{name}, pgd_at": (MODEL | mixer, {}) for name, mixer in MIXERS.items()}
WITH_DROPOUT = (MODEL | {"dropout": 0.3}, {"epochs": 3})


def split(images: int, seed: int) -> Split:
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (images,), generator=draw)
    pixels = torch.randint(250, (images, *SHAPE), generator=draw, dtype=torch.uint8)
    return Split(pixels, labels, torch.arange(images))


def dataset() -> Dataset:
    """Batches of 16, 16 and 3 images: a second process has none of the last one, and 8 of the 24 held out."""
    return make_dataset("toy", CLASSES, {"train": split(35, 0), "validation": split(24, 1), "test": split(8, 2)})


def epochs_of(
    case: tuple[dict[str, Any], dict[str, Any]], group: Group | None = None, state: TrainingState | None = None
) -> list[EpochDone]:
    """The epochs of one case, in float64, so that no sign depends on the last bit of a sum.

    Dropout draws from the global generator, seeded with 0.
    """
    model, section = case
    settings = TrainParams.model_validate(merged(TRAIN, section))
    net = build(ModelParams.model_validate(model), SHAPE, CLASSES, 0).double()
    torch.manual_seed(0)
    with patch("ssmlab.data.batches.to_unit", lambda images: images.double() / 255):
        events = fit(net, dataset(), settings, torch.device("cpu"), state, group or Group())
        return [event for event in events if isinstance(event, EpochDone)]


def main(rank: int, size: int, folder: Path) -> None:
    """Run as one of the processes."""
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=size)
    group = Group(rank, size)
    found: dict[str, Any] = {name: epochs_of(case, group)[-1].state for name, case in CASES.items()}

    first, *_, last = epochs_of(WITH_DROPOUT, group)
    found["dropout"], found["dropout, gone on"] = last.state, epochs_of(WITH_DROPOUT, group, first.state)[-1].state
    alone = torch.load(folder / "alone.pt", weights_only=False)
    found["alone, gone on"] = epochs_of(CASES["pgd_at with awp and averaging"], group, alone)[-1].state

    found["sum"] = group.sum(rank + 1.0, 10.0)
    found["any"] = [group.any(False), group.any(rank == size - 1)]
    found["first"], found["all"] = group.broadcast(f"of {rank}"), group.all_gather(rank)
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
