"""The screen of flipped images over synthetic samples; no torch."""

from __future__ import annotations

import os
import re
import time

import numpy as np
import pytest
from PIL import Image
from textual.widget import Widget

from ssmlab.core.errors import UserError
from ssmlab.params import Params
from ssmlab.project.params_file import load_params
from ssmlab.report.terminal.flipped import as_picture, fitted, flipped_pictures, magnification
from ssmlab.stages.samples.sample_file import FlippedSamples, SampleHeader, save_samples
from ssmlab.tui.app import StudyApp
from ssmlab.tui.samples import SampleRequest, compute_samples, kept_samples
from ssmlab.tui.screens.study import StudyScreen
from tests.tui.conftest import Study, line_of, notice_of, screen_text, until


def samples_of(params: Params, run: str, attack: str, count: int = 2, side: int = 8) -> FlippedSamples:
    """Bright squares on black, each shifted by eps where they were black."""
    clean = np.zeros((count, 1, side, side), np.float32)
    clean[:, :, 2:6, 2:6] = 1.0
    eps = float(params.attack.eps)
    labels, predicted = np.arange(count) % 10, (np.arange(count) + 3) % 10
    header = SampleHeader(
        study=params.study,
        run=run,
        checkpoint="best",
        sha256="0" * 64,
        attack=attack,
        attack_params=params.attack.attacks[attack].plain(),
        norm=params.attack.norm,
        eps=eps,
        seed=params.attack.seed,
        attacked=50,
        right=40,
        flipped=7,
        class_names=tuple("0123456789"),
    )
    certain = np.full(count, 0.75, np.float32)
    adversarial = np.clip(clean + eps, 0, 1).astype(np.float32)
    return FlippedSamples(header, np.arange(count) + 11, clean, adversarial, labels, predicted, certain, certain / 2)


@pytest.fixture
def kept(study: Study) -> Study:
    """The study with flipped images of `ssm` under FGSM, newer than its checkpoint."""
    params = load_params(study.root / "params.yaml")
    study.paths.checkpoint("ssm", "best").write_bytes(b"")
    study.paths.live("ssm").mkdir(parents=True, exist_ok=True)
    save_samples(SampleRequest("ssm", "fgsm").path(study.paths), samples_of(params, "ssm", "fgsm"))
    return study


async def test_samples_show_image_classes_and_confidences_and_are_stepped_through(kept: Study) -> None:
    app = StudyApp(kept.root)
    async with app.run_test(size=(110, 32)) as pilot:
        await until(pilot, lambda: line_of(app, "ssm"))
        await pilot.press("i")
        await until(pilot, lambda: "image 1 of 2 (test image 11)" in screen_text(app))
        text = screen_text(app)
        assert "ssm, best checkpoint, fgsm" in text and "of 50 images 40 right when clean, 7 of them flipped" in text
        for captions in (
            ("clean", "perturbation, 5 times", "adversarial"),
            ("0, 75.0% sure", "(grey: 0)", "3, 37.5% sure"),
        ):
            assert re.search(r"^ +" + " +".join(map(re.escape, captions)) + " *$", text, re.M)  # in one line
        assert text.count("▀") > 100
        await pilot.press("right")
        await until(pilot, lambda: "image 2 of 2 (test image 12)" in screen_text(app))
        await pilot.press("right", "left")
        await until(pilot, lambda: "image 2 of 2" in screen_text(app))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, StudyScreen))


async def test_other_attacks_and_checkpoints_are_computed_while_a_message_says_loading(
    kept: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[SampleRequest] = []

    async def compute(request: SampleRequest, paths: object) -> FlippedSamples:
        asked.append(request)
        text.append(screen_text(app))
        if request.which == "last":
            raise UserError("there is no last checkpoint")
        return samples_of(load_params(kept.root / "params.yaml"), "ssm", request.attack, count=0)

    text: list[str] = []
    monkeypatch.setattr("ssmlab.tui.screens.samples.compute_samples", compute)
    app = StudyApp(kept.root)
    async with app.run_test(size=(110, 32)) as pilot:
        await until(pilot, lambda: line_of(app, "ssm"))
        await pilot.press("i")
        await until(pilot, lambda: "image 1 of 2" in screen_text(app))
        await pilot.press("a")
        await until(pilot, lambda: "pgd-2 flips none of the 40 images" in screen_text(app))
        await pilot.press("b")
        await until(pilot, lambda: "there is no last checkpoint" in notice_of(app))
    assert asked == [SampleRequest("ssm", "pgd-2"), SampleRequest("ssm", "pgd-2", "last")]


async def test_a_terminal_that_draws_pixels_gets_real_ones(kept: Study) -> None:
    class Pixels(Widget):
        image: Image.Image | None = None

    app = StudyApp(kept.root)
    app.pixel_widget = Pixels
    async with app.run_test(size=(110, 32)) as pilot:
        await until(pilot, lambda: line_of(app, "ssm"))
        await pilot.press("i")
        await until(pilot, lambda: "image 1 of 2" in screen_text(app))
        images = [widget.image for widget in app.screen.query(Pixels)]
        assert [image.size for image in images if image is not None] == [(448, 448)] * 3
        assert "▀" not in screen_text(app)


def test_kept_samples_serve_until_checkpoint_or_attack_change(kept: Study) -> None:
    params, request = load_params(kept.root / "params.yaml"), SampleRequest("ssm", "fgsm")
    assert kept_samples(request, params, kept.paths) is not None
    other = params.model_copy(update={"attack": params.attack.model_copy(update={"seed": 1})})
    assert kept_samples(request, other, kept.paths) is None
    later = time.time() + 10
    os.utime(kept.paths.checkpoint("ssm", "best"), (later, later))
    assert kept_samples(request, params, kept.paths) is None
    assert kept_samples(SampleRequest("ads", "fgsm"), params, kept.paths) is None


async def test_what_cannot_be_computed_is_one_line_of_the_other_process(study: Study) -> None:
    with pytest.raises(UserError, match=r"data/smoke\.safetensors"):
        await compute_samples(SampleRequest("ssm", "fgsm"), study.paths)


def test_a_perturbation_of_plus_and_minus_eps_is_white_and_black_and_none_is_grey() -> None:
    clean = np.full((1, 1, 4), 0.5, np.float32)
    adversarial = clean + np.array([[[-0.1, -0.05, 0.0, 0.1]]], np.float32)
    _, delta, _ = flipped_pictures(clean, adversarial, 0.1)
    assert delta[0, :, 0].tolist() == [0, 64, 128, 255] and magnification(0.1) == 5.0
    assert flipped_pictures(clean, clean, 0.0)[1][0, 0].tolist() == [128] * 3


def test_pictures_keep_their_shape_grow_by_whole_factors_and_shrink_to_means() -> None:
    picture = as_picture(np.array([[[0.0, 1.0], [0.0, 1.0]]]))
    assert picture.shape == (2, 2, 3)
    assert fitted(picture, 7, 100).shape == (6, 6, 3) and fitted(picture, 7, 100)[0, 2].tolist() == [0, 0, 0]
    assert fitted(picture, 1, 1)[0, 0].tolist() == [128] * 3
    assert as_picture(np.ones((2, 4, 5))).shape == (4, 5, 3)
