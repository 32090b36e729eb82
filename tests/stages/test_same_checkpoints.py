"""A run whose best epoch is its last has one model in two checkpoints, which the stages attack and probe once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ssmlab.artifacts.checkpoint import load, save
from ssmlab.artifacts.metadata import CheckpointFile, read_checkpoint
from ssmlab.core.events import Event, Progress
from ssmlab.core.files import sha256_file
from ssmlab.evaluation.results import load_results
from ssmlab.params import Params
from ssmlab.params.paths import Paths
from ssmlab.probes.probe import PARTS
from ssmlab.probes.results import load_probes
from ssmlab.stages.attack.stage import attack
from ssmlab.stages.probe import probe
from tests.stages.manifests import add_manifest
from tests.stages.test_attack import RUN, paths, study

__all__ = ["paths", "study"]  # fixtures

Stage = Callable[..., None]


@pytest.fixture
def one_model(tiny_params: Params, paths: Paths) -> Paths:
    """A run whose last checkpoint is the model of the best one, two epochs later."""
    model, about = load(paths.checkpoint(RUN, "best"))
    save(paths.checkpoint(RUN, "last"), model, about.model_copy(update={"which": "last", "epoch": 3}))
    add_manifest(paths.model(RUN), tiny_params.study)
    return paths


def separately(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on no two checkpoints count as one model."""
    monkeypatch.setattr(CheckpointFile, "is_same_model", lambda self, other: self is other)


def last_total(stage: Stage, params: Params, where: Paths) -> int:
    """How much work the stage says there was."""
    events: list[Event] = []
    stage(params, RUN, where, "cpu", events.append)
    return [event for event in events if isinstance(event, Progress)][-1].total


def test_one_model_in_two_checkpoints_is_attacked_once_with_the_results_of_both(
    tiny_params: Params, one_model: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = last_total(attack, tiny_params, one_model)
    together = load_results(one_model.attack(RUN)).checkpoints
    separately(monkeypatch)
    twice = last_total(attack, tiny_params, one_model)
    assert together == load_results(one_model.attack(RUN)).checkpoints
    assert once < twice
    assert {which: each.epoch for which, each in together.items()} == {"best": 1, "last": 3}
    assert list(together["last"].measures) == [
        "clean",
        "fgsm",
        "pgd-2",
    ]  # without AutoAttack, which only the best checkpoint gets


def test_one_model_in_two_checkpoints_is_probed_once_with_the_results_of_both(
    tiny_params: Params, one_model: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert last_total(probe, tiny_params, one_model) == PARTS
    together = load_probes(one_model.probe(RUN)).checkpoints
    separately(monkeypatch)
    assert last_total(probe, tiny_params, one_model) == 2 * PARTS
    assert together == load_probes(one_model.probe(RUN)).checkpoints
    for which, each in together.items():
        assert each.sha256 == sha256_file(one_model.checkpoint(RUN, which))
        assert each.epoch == {"best": 1, "last": 3}[which]


def test_two_checkpoints_are_one_model_only_if_every_bit_of_the_weights_and_the_settings_agree(
    one_model: Paths, tmp_path: Path
) -> None:
    best, last = (read_checkpoint(one_model.checkpoint(RUN, which)) for which in ("best", "last"))
    assert best.is_same_model(last)
    model, about = load(one_model.checkpoint(RUN, "best"))
    settings = about.model.model_copy(update={"tokens": "snake"})
    save(tmp_path / "other.safetensors", model, about.model_copy(update={"model": settings}))
    assert not best.is_same_model(read_checkpoint(tmp_path / "other.safetensors"))
    weight = model.head.weight.data
    weight[0, 0] = weight[0, 0].nextafter(weight.new_tensor(9.0))
    save(tmp_path / "moved.safetensors", model, about)
    assert not best.is_same_model(read_checkpoint(tmp_path / "moved.safetensors"))
