"""Synthetic attack results in the format of results/<study>/attack/<run>.json, made without a trained model."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from ssmlab.artifacts.manifest import Ending, Manifest
from ssmlab.artifacts.provenance import Provenance
from ssmlab.core.files import sha256_text
from ssmlab.core.stage_code import StageName
from ssmlab.data.header import METADATA_KEY, DataProvenance, DataSummary, Description, description_text
from ssmlab.evaluation.protocol import Protocol, radius
from ssmlab.evaluation.results import AttackResults, CheckpointResults, Measure, worst_case
from ssmlab.params import Params, Which
from ssmlab.params.written_float import WrittenFloat


def flags(n: int, accuracy: float, seed: int) -> str:
    """`n` flags of which the share `accuracy` is right, in a random order."""
    right = round(n * accuracy)
    order = list("1" * right + "0" * (n - right))
    random.Random(seed).shuffle(order)
    return "".join(order)


def nested_flags(n: int, accuracies: dict[str, float], seed: int) -> dict[str, str]:
    """Flags of several measures on one order of images from easy to hard, as attacks on one model produce them.

    An image's difficulty is a random number, mostly shared between seeds, so models are right on similar images.
    """
    common, own = random.Random(0), random.Random(seed + 1)
    difficulty = [0.7 * common.random() + 0.3 * own.random() for _ in range(n)]
    ranked = sorted(difficulty)
    cuts = {name: ranked[min(round(n * accuracy), n - 1)] for name, accuracy in accuracies.items()}
    return {name: "".join("1" if d < cut else "0" for d in difficulty) for name, cut in cuts.items()}


def protocol(params: Params, n: int = 1000, **changes: Any) -> Protocol:
    """The protocol of a study's attack section on `n` test images."""
    value = {
        "data": {
            "name": "mnist5k",
            "fingerprint": "ab" * 32,
            "split": "test",
            "n": n,
            "indices_hash": "cd" * 32,
            "train": 3500,
            "validation": 500,
        },
        "norm": "linf",
        "eps": radius(WrittenFloat(params.attack.eps)).plain(),
        "batch_size": params.attack.batch_size,
        "seed": params.attack.seed,
        "attacks": {name: spec.plain() for name, spec in params.attack.attacks.items()},
        "torchattacks": "3.5.1",
        "device": "cpu",
    }
    return Protocol.model_validate(value | changes)


def data_summary(provenance: DataProvenance = "official", name: str = "mnist5k", **changes: Any) -> DataSummary:
    """The prepared data set of `protocol`."""
    description = {
        "name": name,
        "source": "MNIST, 5,000 images",
        "provenance": provenance,
        "class_names": tuple("0123456789"),
        "seed": 0,
        "fingerprint": "ab" * 32,
    }
    return DataSummary(
        Description.model_validate(description | changes), (1, 28, 28), train=3500, validation=500, test=1000
    )


def write_data(path: Path, summary: DataSummary) -> None:
    """Write a prepared data set with the description and the split sizes of `summary`."""
    sizes = {"train": summary.train, "validation": summary.validation, "test": summary.test}
    tensors = {}
    for split, n in sizes.items():
        tensors[f"{split}.images"] = np.zeros((n, *summary.image_shape), np.uint8)
        tensors[f"{split}.labels"] = tensors[f"{split}.indices"] = np.zeros(n, np.int64)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, {METADATA_KEY: description_text(summary.description)})


def seeded_params(params: Params, claims: Sequence[dict[str, Any]] = (), seeds: Sequence[int] = (0, 1, 2)) -> Params:
    """Two models in two regimes, with several seeds each, on the other settings of a study."""
    raw = params.plain()
    ssm, ads = raw["runs"]["ssm"], raw["runs"]["ads"]
    trades = {"regime": "trades", "trades": {"beta": 6.0}}
    raw["runs"] = {
        f"{model}-{regime}-s{seed}": {"model": run["model"], "train": {**run["train"], **changes, "seed": seed}}
        for model, run in (("ssm", ssm), ("ads", ads))
        for regime, changes in (("pgd", {}), ("trades", trades))
        for seed in seeds
    }
    raw["analyze"]["claims"] = list(claims)
    return Params.model_validate(raw)


def seeded_study(params: Params, n: int = 1000) -> list[AttackResults]:
    """Results of `seeded_params`, in which AdS is better and the seeds differ by a point or two."""
    found = []
    for place, run in enumerate(params.runs):
        luck = random.Random(run)
        clean = 0.75 + 0.12 * run.startswith("ads") - 0.03 * ("trades" in run) + luck.uniform(-0.015, 0.015)
        sets = []
        for which in (0, 50):
            falls = [0.07 * rank + luck.uniform(0.0, 0.02) for rank, _ in enumerate(attacks(params))]
            shares = {name: clean - fall for name, fall in zip(attacks(params), falls, strict=True)}
            sets.append(nested_flags(n, shares, place + which))
        found.append(results(params, run, *sets, parameters=51_146 if run.startswith("ads") else 34_506))
    return found


def attacks(params: Params) -> list[str]:
    """`clean`, and the attacks of a study."""
    return ["clean", *params.attack.attacks]


def checkpoint(
    measures: dict[str, str], epoch: int, which: Which, split: str = "validation", run: str = ""
) -> CheckpointResults:
    """A checkpoint of `run` whose measures have these flags."""
    counted = {name: Measure.of(text) for name, text in measures.items()}
    return CheckpointResults(
        measures=counted,
        worst_case=worst_case(counted),
        warnings=(),
        sha256=sha256_text(f"{run} {which}"),
        epoch=epoch,
        val_clean=0.75,
        val_robust=0.5,
        selection_split=split,  # type: ignore[arg-type]
    )


def results(
    params: Params,
    run: str,
    best: dict[str, str],
    last: dict[str, str] | None = None,
    parameters: int = 30_000,
    under: Protocol | None = None,
) -> AttackResults:
    """The attack results of one run of a study, from flags by measure."""
    under = under or protocol(params, len(best["clean"]))
    checkpoints = {"best": checkpoint(best, 9, "best", run=run)}
    if last is not None:
        checkpoints["last"] = checkpoint(last, 10, "last", run=run)
    return AttackResults(
        format=2,
        study=params.study,
        run=run,
        parameters=parameters,
        model=params.run(run).model.plain(),
        train=params.run(run).train.plain(),
        code_version="0.1.0",
        protocol=under,
        protocol_fingerprint=under.fingerprint(),
        checkpoints=checkpoints,  # type: ignore[arg-type]
    )


ACCURACIES = {  # clean, fgsm, pgd-10, autoattack of best; how much lower the robust ones are at last; parameters
    "ssm": (0.774, 0.622, 0.563, 0.53, 0.004, 34_506),
    "ssm-gelu": (0.871, 0.747, 0.692, 0.66, 0.006, 34_506),
    "attention": (0.912, 0.801, 0.741, 0.70, 0.021, 46_922),
    "ads": (0.938, 0.858, 0.813, 0.77, 0.003, 51_146),
    "ssm-standard": (0.926, 0.141, 0.018, 0.0, -0.004, 34_506),
}


def default_study(params: Params) -> list[AttackResults]:
    """Results of the default study as they might come out."""
    found = []
    for seed, run in enumerate(params.runs):
        clean, fgsm, pgd, auto, fall, parameters = ACCURACIES[run]
        sets = []
        for drop, shift in ((0.0, 0), (fall, 50)):
            robust = {"fgsm": fgsm - drop, "pgd-10": pgd - drop, "autoattack": auto - drop}
            measures = nested_flags(1000, {"clean": clean + drop / 4, **robust}, seed + shift)
            measures["autoattack"] = measures["autoattack"][:100]
            sets.append(measures)
        found.append(results(params, run, *sets, parameters=parameters))
    return found


def with_origin(
    found: AttackResults,
    done: int = 10,
    asked: int = 10,
    ended: Ending = "all epochs",
    **changes: Any,
) -> AttackResults:
    """The results with provenance; `changes` replace fields of both provenances."""

    def provenance(stage: StageName) -> Provenance:
        value = {
            "stage": stage,
            "command": f"ssmlab {stage} {found.run}",
            "params": {"attack": {"eps": 0.1}} if stage == "attack" else {},
            "params_sha256": sha256_text(f"{stage} {found.run}"),
            "code_sha256": sha256_text(stage),
            "inputs": {},
            "git_commit": "c0ffee" * 6 + "c0ff",
            "versions": {"ssmlab": "0.1.0", "torch": "2.13.0"},
            "device": "cpu",
            "threads": 1,
        }
        return Provenance.model_validate(value | changes)

    manifest = Manifest(
        study=found.study,
        run=found.run,
        files={},
        epochs_done=done,
        epochs_asked=asked,
        ended=ended,
        provenance=provenance("train"),
    )
    return found.model_copy(update={"manifest": manifest, "provenance": provenance("attack")})
