"""A training publishes complete results of the params, data and code that it started with, and records them."""

from __future__ import annotations

import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch

from ssmlab.artifacts.manifest import read_manifest, read_published
from ssmlab.artifacts.metadata import read_metadata
from ssmlab.core.errors import UserError
from ssmlab.core.files import sha256_file
from ssmlab.data.dataset import Dataset, make_dataset, save_dataset
from ssmlab.params import Params
from ssmlab.params.paths import Paths
from ssmlab.project.params_file import load_params
from ssmlab.stages.attack.stage import attack
from ssmlab.stages.train.stage import train
from tests.stages.train.toy_training import (
    CHECKPOINTS,
    EPOCHS,
    RUN,
    at,
    break_off,
    changed,
    new_paths,
    notes_of,
    outcome,
    split,
)
from tests.unreadable import unreadable


def test_interrupted_publishing_is_reported_and_completed_by_the_next_start(
    params: Params, paths: Paths, whole: dict[str, Any]
) -> None:
    in_the_way = paths.model(RUN) / "history.csv"
    put_there = at(f"epoch 2/{EPOCHS}", lambda: in_the_way.mkdir(parents=True))
    with pytest.raises(UserError, match=rf"history\.csv.*published in part; .*continues after epoch {EPOCHS}"):
        train(params, RUN, paths, on_event=put_there)
    in_the_way.rmdir()
    assert not any(note.startswith("epoch ") for note in notes_of(params, paths))  # nothing is left to train
    assert outcome(paths) == whole


def test_a_checkpoint_says_how_many_threads_trained_it(params: Params, paths: Paths) -> None:
    before = torch.get_num_threads()
    train(changed(params, threads=2, epochs=1), RUN, paths)
    assert read_metadata(paths.checkpoint(RUN, "last")).threads == 2
    assert torch.get_num_threads() == before


def test_a_change_of_params_while_a_run_trains_is_not_published(
    params: Params, paths: Paths, whole: dict[str, Any]
) -> None:
    """DVC hashes params.yaml after the stage: it would take the old training for one with the new params."""
    asked = {"now": params}

    def edit() -> None:
        asked["now"] = changed(params, seed=1)

    with pytest.raises(
        UserError, match=r"params\.yaml has changed since the training of ads started, so it is not pub"
    ):
        train(params, RUN, paths, on_event=at(f"epoch 2/{EPOCHS}", edit), reread=lambda: asked["now"])
    assert not paths.model(RUN).exists()
    asked["now"] = params  # put back, what was trained is published, and nothing is trained twice
    assert not any(note.startswith("epoch ") for note in notes_of(params, paths, reread=lambda: asked["now"]))
    assert outcome(paths) == whole


def test_params_that_the_disk_does_not_give_at_the_end_are_not_called_changed_and_nothing_is_trained_again(
    params: Params, paths: Paths, whole: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "params.yaml"
    file.touch()

    def reread() -> Params:
        with unreadable(file):
            load_params(file)
        raise AssertionError("it was read")

    with pytest.raises(UserError, match=r"params\.yaml cannot be read any more \(Input/output error\), so it may have"):
        train(params, RUN, paths, reread=reread)
    assert not any(note.startswith("epoch ") for note in notes_of(params, paths))
    assert outcome(paths) == whole


def test_a_change_of_the_data_while_a_run_trains_is_not_published(params: Params, paths: Paths) -> None:
    other = make_dataset("toy", 3, {"train": split(60, 5), "validation": split(20, 1), "test": split(20, 2)})
    with pytest.raises(UserError, match=r"data/smoke\.safetensors has changed"):
        train(params, RUN, paths, on_event=at(f"epoch 2/{EPOCHS}", lambda: save_dataset(paths.prepared, other)))
    assert not paths.model(RUN).exists()


def test_a_change_of_the_code_while_a_run_trains_is_not_published(
    params: Params, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    def edit() -> None:
        monkeypatch.setattr("ssmlab.artifacts.stage_run.code_fingerprint", lambda stage: "other")

    with pytest.raises(UserError, match="the code of ssmlab has changed"):
        train(params, RUN, paths, on_event=at(f"epoch 2/{EPOCHS}", edit))
    assert not paths.model(RUN).exists()


def test_the_manifest_says_what_was_trained_and_how_far(params: Params, paths: Paths) -> None:
    train(params, RUN, paths)
    manifest = read_manifest(paths.model(RUN))
    assert (manifest.epochs_done, manifest.epochs_asked, manifest.ended) == (EPOCHS, EPOCHS, "all epochs")
    assert manifest.files == {name: sha256_file(paths.model(RUN) / name) for name in (*CHECKPOINTS, "history.csv")}
    provenance = manifest.provenance
    assert provenance.params == {"study": params.study, **params.run(RUN).plain()}
    assert list(provenance.inputs) == ["data/smoke.safetensors"]
    assert provenance.threads == torch.get_num_threads()
    assert provenance.versions["torch"] == version("torch")


def test_the_files_of_a_run_that_were_copied_to_another_name_are_refused(params: Params, paths: Paths) -> None:
    train(params, RUN, paths)
    copy = paths.model(RUN).with_name("copy")
    shutil.copytree(paths.model(RUN), copy)
    with pytest.raises(UserError, match=rf"copy: these are the files of run {RUN}, .*; run `ssmlab train copy`"):
        read_published(copy)
    assert read_published(paths.model(RUN))[0].run == RUN


def test_equal_trainings_give_equal_bytes_of_attack_results(
    tmp_path: Path, dataset: Dataset, params: Params, paths: Paths
) -> None:
    """Also if one was interrupted: the timings, which differ, are in no result."""
    gentle = {"fgsm": params.attack.attacks["fgsm"].model_copy(update={"images": 20})}
    params = params.model_copy(update={"attack": params.attack.model_copy(update={"attacks": gentle})})
    others = new_paths(tmp_path / "in peace", dataset, params)
    break_off(params, paths)
    for each in (paths, others):
        train(params, RUN, each)
        attack(params, RUN, each)
    histories = [(each.model(RUN) / "history.csv").read_bytes() for each in (paths, others)]
    assert histories[0] != histories[1]
    assert paths.attack(RUN).read_bytes() == others.attack(RUN).read_bytes()
