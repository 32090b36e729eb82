"""The images that an attack flips: those behind the flags of the results, in a file that is checked when it is read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ssmlab.artifacts.checkpoint import load
from ssmlab.core.errors import UserError
from ssmlab.data.dataset import load_dataset
from ssmlab.evaluation.results import load_results
from ssmlab.params import Params
from ssmlab.params.paths import Paths
from ssmlab.stages.attack.stage import attack
from ssmlab.stages.samples.compute import flipped_samples
from ssmlab.stages.samples.sample_file import load_samples, save_samples
from tests.stages.test_attack import RUN, paths, study  # noqa: F401 - fixtures


def test_flipped_images_are_those_whose_flags_the_attack_has_turned(tiny_params: Params, paths: Paths) -> None:  # noqa: F811
    attack(tiny_params, RUN, paths, "cpu")
    for which, measures in (
        (each, found.measures) for each, found in load_results(paths.attack(RUN)).checkpoints.items()
    ):
        for name in measures.keys() - {"clean"}:
            found = flipped_samples(tiny_params, RUN, paths, name, which, count=1000, device="cpu")
            flags = zip(measures["clean"].flags, measures[name].flags, strict=False)
            expected = [row for row, (clean, after) in enumerate(flags) if clean == "1" and after == "0"]
            assert found.rows.tolist() == expected and found.header.flipped == len(expected)
            attacked = measures["clean"].flags[: found.header.attacked]
            assert (len(attacked), attacked.count("1")) == (measures[name].n, found.header.right)


def test_a_sample_is_the_stored_image_its_neighbour_in_the_ball_and_what_the_model_says_of_both(
    tiny_params: Params,
    paths: Paths,  # noqa: F811
) -> None:
    found = flipped_samples(tiny_params, RUN, paths, "pgd-2", count=3, device="cpu")
    assert 0 < len(found) <= 3
    data = load_dataset(paths.prepared).test
    assert np.array_equal(np.rint(255 * found.clean).astype(np.uint8), data.images.numpy()[found.rows])
    assert np.abs(found.adversarial - found.clean).max() <= 0.1 + 1e-6
    assert found.adversarial.min() >= 0 and found.adversarial.max() <= 1
    model, _ = load(paths.checkpoint(RUN, "best"))
    for images, classes, confidence in (
        (found.clean, found.labels, found.clean_confidence),
        (found.adversarial, found.predicted, found.confidence),
    ):
        with torch.no_grad():
            highest, places = model(torch.from_numpy(images)).softmax(dim=1).max(dim=1)
        assert places.tolist() == classes.tolist()
        assert highest.numpy() == pytest.approx(confidence, abs=1e-4)
    assert (found.predicted != found.labels).all() and found.labels.tolist() == data.labels[found.rows].tolist()


def test_a_search_ends_with_the_batch_that_has_enough(tiny_params: Params, paths: Paths) -> None:  # noqa: F811
    found = flipped_samples(tiny_params, RUN, paths, "fgsm", count=1, device="cpu")
    assert len(found) == 1 and found.header.attacked in (25, 50) and found.header.flipped >= 1


def test_samples_are_read_back_as_written_and_any_other_file_is_refused(
    tiny_params: Params,
    paths: Paths,  # noqa: F811
    tmp_path: Path,
) -> None:
    found = flipped_samples(tiny_params, RUN, paths, "fgsm", count=2, device="cpu")
    file = tmp_path / "x" / "samples.npz"
    file.parent.mkdir()
    save_samples(file, found)
    again = load_samples(file)
    assert again.header == found.header and np.array_equal(again.adversarial, found.adversarial)
    whole = file.read_bytes()
    header = json.dumps({"format": 99})
    np.savez(tmp_path / "other.npz", header=np.array(header))
    save_samples(tmp_path / "short.npz", replace(found, labels=found.labels[:-1]))
    for content in (
        b"",
        b"text",
        whole[:-200],
        (tmp_path / "other.npz").read_bytes(),
        (tmp_path / "short.npz").read_bytes(),
    ):
        file.write_bytes(content)
        with pytest.raises(UserError, match="not a file of samples"):
            load_samples(file)


def test_an_unknown_run_or_attack_is_refused_with_the_known_ones(tiny_params: Params, paths: Paths) -> None:  # noqa: F811
    with pytest.raises(UserError, match="did you mean 'pgd-2'"):
        flipped_samples(tiny_params, RUN, paths, "pgd-3")
    with pytest.raises(UserError, match="no run 'x'"):
        flipped_samples(tiny_params, "x", paths, "fgsm")
