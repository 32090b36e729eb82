"""The attack on one patch, by two routes: against closed forms and every value there is, and on planted models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor, nn

from ssmlab.core.errors import UserError
from ssmlab.evaluation.adversarials import AdversarialFolder, recheck_adversarials
from ssmlab.evaluation.attacks import run_attack
from ssmlab.evaluation.ball import Ball
from ssmlab.evaluation.evaluate import evaluate
from ssmlab.evaluation.losses import margins
from ssmlab.evaluation.token_attack import TokenAttack, patch_masks, patches_changed
from ssmlab.evaluation.token_map import TokenMap
from ssmlab.evaluation.victim import Victim
from ssmlab.params import AttackParams, TokenParams
from ssmlab.params.written_float import WrittenFloat

CPU = torch.device("cpu")


def spec(**changes: Any) -> TokenParams:
    fields = {"kind": "token", "patch": 2, "positions": "all", "steps": 10, "images": "all", "checkpoints": ("best",)}
    return TokenParams(**(fields | changes))


def images(n: int, side: int = 6, seed: int = 5) -> Tensor:
    return torch.rand(n, 1, side, side, generator=torch.Generator().manual_seed(seed))


def network(side: int = 6, seed: int = 0) -> nn.Sequential:
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(side * side, 12), nn.GELU(), nn.Linear(12, 4))
    for parameter in model.parameters():
        parameter.data = 0.6 * torch.randn(parameter.shape, generator=generator)
    return model.requires_grad_(False)


def map_of(model: nn.Module, x: Tensor, y: Tensor, token: TokenParams, eps: float = 0.1) -> TokenMap:
    found = evaluate(model, x, y, {"token": token}, eps).measures["token"].token_map
    assert found is not None
    return found


@pytest.mark.parametrize("eps", [None, WrittenFloat(0.3)])
def test_a_linear_model_is_broken_where_the_closed_form_says(eps: WrittenFloat | None) -> None:
    generator = torch.Generator().manual_seed(2)
    layer = nn.Linear(36, 2)
    layer.weight.data, layer.bias.data = torch.randn(2, 36, generator=generator), torch.zeros(2)
    model, x = nn.Sequential(nn.Flatten(), layer).requires_grad_(False), images(30)
    logits = model(x)
    y = logits.argmax(dim=1)
    margin = (logits[:, 0] - logits[:, 1]).abs()  # (N,)
    slope = (layer.weight[0] - layer.weight[1]) * (1 - 2 * y)[:, None]  # (N, 36), of the margin
    room = x.flatten(1) if eps is None else x.flatten(1).clamp(max=eps)
    above = 1 - x.flatten(1) if eps is None else (1 - x.flatten(1)).clamp(max=eps)
    fall = torch.where(slope > 0, slope * room, -slope * above).view(-1, 3, 2, 3, 2).sum(dim=(2, 4))  # (N, 3, 3)
    expected = margin[:, None] < fall.flatten(1)  # (N, 9)
    measure = evaluate(model, x, y, {"token": spec(eps=eps)}, 0.1).measures["token"]
    assert measure.token_map is not None
    assert measure.token_map.broken == tuple(expected.sum(dim=0).tolist())
    assert measure.flags == "".join("0" if broken else "1" for broken in expected.any(dim=1))
    assert 0 < measure.correct < 30


def test_one_pixel_of_a_network_is_broken_wherever_some_value_of_it_breaks_it() -> None:
    """The other route tries 101 values at every pixel of every image."""
    model, x = network(), images(20)
    y = model(x).argmax(dim=1)
    levels = torch.linspace(0, 1, 101)
    by_force = torch.zeros(20, 36, dtype=torch.bool)
    for pixel in range(36):
        tried = x.flatten(1)[:, None].repeat(1, 101, 1)  # (N, 101, 36)
        tried[:, :, pixel] = levels
        by_force[:, pixel] = (model(tried.view(-1, 1, 6, 6)).argmax(dim=1).view(20, 101) != y[:, None]).any(dim=1)
    found = map_of(model, x, y, spec(patch=1))
    assert 20 < int(by_force.sum()) < 600
    assert sum(abs(a - int(b)) for a, b in zip(found.broken, by_force.sum(dim=0), strict=True)) <= 1


@pytest.mark.parametrize("position", [0, 4, 5])
def test_a_model_that_looks_at_one_patch_is_broken_there_and_nowhere_else(position: int) -> None:
    row, column = 2 * (position // 3), 2 * (position % 3)

    def looks_there(x: Tensor) -> Tensor:
        brightness = x[:, 0, row : row + 2, column : column + 2].mean(dim=(1, 2)) - 0.5
        return torch.stack([-brightness, brightness], dim=1)

    x = images(11)
    y = looks_there(x).argmax(dim=1)
    for eps in (None, WrittenFloat(0.6)):
        found = map_of(looks_there, x, y, spec(eps=eps))  # type: ignore[arg-type]
        assert found.broken == tuple(11 if place == position else 0 for place in range(9))
    one = evaluate(looks_there, x, y, {"token": spec(positions=1)}, 0.1).measures["token"]  # type: ignore[arg-type]
    assert (one.correct, one.token_map) == (0, None)


@given(eps=st.floats(0.0, 1.0), patch=st.sampled_from([1, 2, 3, 6]), l2=st.booleans(), seed=st.integers(0, 50))
@settings(deadline=None, max_examples=15)
def test_only_one_patch_changes_and_its_values_stay_in_the_ball_and_in_0_to_1(
    eps: float, patch: int, l2: bool, seed: int
) -> None:
    model, x = network(seed=seed), images(4, seed=seed).round(decimals=1)
    ball = Ball(eps, "l2" if l2 else "linf")
    attack = TokenAttack(Victim(model, CPU), seed, ball=ball, patch=patch, positions="all", steps=2)
    y = model(x).argmax(dim=1)
    x_adv = attack(x, y)
    assert (patches_changed(x_adv, x, patch) == (model(x_adv).argmax(dim=1) != y)).all()
    assert 0.0 <= float(x_adv.min()) <= float(x_adv.max()) <= 1.0
    assert ball.contains(x_adv, x).all()


@given(pixels=st.sets(st.integers(0, 35), max_size=5), patch=st.sampled_from([1, 2, 3, 6]))
def test_changed_patches_are_counted_as_the_pixels_that_lie_in_different_ones(pixels: set[int], patch: int) -> None:
    x = images(1)
    x_adv = x.clone()
    for pixel in pixels:
        x_adv[0, 0, pixel // 6, pixel % 6] += 0.5
    expected = {(pixel // 6 // patch, pixel % 6 // patch) for pixel in pixels}
    assert patches_changed(x_adv, x, patch).tolist() == [len(expected)]


@pytest.mark.parametrize("mark", [7, 20, 33])
def test_of_all_positions_the_one_with_the_lowest_margin_after_a_step_is_attacked(mark: int) -> None:
    """No step to the edge of [0, 1] breaks an image, but a value of one pixel near 0.8 does."""

    def breaks_near_four_fifths(x: Tensor) -> Tensor:
        margin = (x.flatten(1)[:, mark] - 0.8) ** 2 - 0.02 + 0.0 * x.flatten(1).sum(dim=1)  # at the edge: above 0.02
        return torch.stack([margin, torch.zeros_like(margin)], dim=1)

    x, y = 0.4 * images(10), torch.zeros(10, dtype=torch.int64)
    found = evaluate(breaks_near_four_fifths, x, y, {"token": spec(patch=1, positions=1)}, 0.1)  # type: ignore[arg-type]
    assert (found.measures["clean"].correct, found.measures["token"].correct) == (10, 0)


def test_the_screen_finds_the_lower_margin_of_both_ends_of_every_pixel() -> None:
    """The other route sets every pixel of every image to 0 and to 1."""
    model, x = network(seed=3), images(12)
    y = model(x).argmax(dim=1)
    expected = torch.full((12, 36), torch.inf)
    for pixel in range(36):
        for end in (0.0, 1.0):
            changed = x.clone()
            changed[:, 0, pixel // 6, pixel % 6] = end
            expected[:, pixel] = torch.minimum(expected[:, pixel], margins(model(changed), y))
    attack = TokenAttack(Victim(model, CPU), 0, ball=Ball(1.0), patch=1, positions=1, steps=1)
    fallen = torch.zeros(12, 36, dtype=torch.bool)
    found = attack.screen(x, y, patch_masks(1, x.shape[1:]), x.clone(), fallen)
    torch.testing.assert_close(found, expected)
    assert fallen.equal(expected < 0)


def test_an_image_changed_in_two_patches_does_not_count_as_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = network(), images(4)
    y = model(x).argmax(dim=1)
    for patches in (1, 2):
        changed = x.clone()
        changed[:, :, :2, : 2 * patches] = 0.0
        monkeypatch.setattr(TokenAttack, "__call__", lambda self, x, y, changed=changed: changed)
        found = run_attack(spec(), Victim(model, CPU), x, (y + 1) % 4, Ball(0.1), 4, seed=0)
        assert found.escaped == (0 if patches == 1 else 4)
        assert found.right.all() == (patches == 2)


def test_more_positions_never_leave_more_images_right_and_all_are_those_of_the_map() -> None:
    model, x = network(), images(60)
    y = model(x).argmax(dim=1)
    counts: tuple[Any, ...] = (1, 3, 9, 20, "all")
    specs = {str(count): spec(positions=count, steps=5, eps=WrittenFloat(0.5)) for count in counts}
    found = {name: each.flags for name, each in evaluate(model, x, y, specs, 0.1).measures.items()}
    for fewer, more in (("1", "3"), ("3", "9")):
        assert all(flag <= before for flag, before in zip(found[more], found[fewer], strict=True))
    assert found["9"] == found["20"] == found["all"]
    assert 0 < found["9"].count("1") < 60


def test_the_batch_size_and_the_order_of_the_images_change_nothing() -> None:
    model, x = network(), images(13)
    y = model(x).argmax(dim=1)
    y[:2] = (y[:2] + 1) % 4  # wrong when clean, hence not attacked
    attacks = {"map": spec(), "some": spec(positions=2)}
    whole = evaluate(model, x, y, attacks, 0.1)
    assert evaluate(model, x, y, attacks, 0.1, batch_size=4).measures == whole.measures
    turned = evaluate(model, x.flip(0), y.flip(0), attacks, 0.1)
    assert turned.measures["map"].token_map == whole.measures["map"].token_map
    assert turned.measures["some"].flags == whole.measures["some"].flags[::-1]
    found = whole.measures["map"].token_map
    assert found is not None
    assert (found.n, found.right) == (13, 11)


def test_what_leaves_the_ball_of_the_study_is_not_in_the_worst_case(tmp_path: Path) -> None:
    model, x = network(), images(9)
    y = model(x).argmax(dim=1)
    kept = AdversarialFolder(tmp_path)
    found = evaluate(model, x, y, ["fgsm", "token-2", "token-map-3"], 0.01, save_adversarials=kept)
    assert found.worst_case.over == ("clean", "fgsm")
    assert found.measures["token-2"].correct < found.worst_case.correct
    assert (found.measures["token-map-3"].patch, found.measures["fgsm"].patch) == (3, None)
    again = {each.attack: each for each in recheck_adversarials(model, kept, 4)}  # in the ball of radius 1
    assert all(again[name].now == found.measures[name].correct for name in again) and len(again) == 3


def test_invalid_settings_are_refused_with_a_message(tmp_path: Path) -> None:
    model, x = network(), images(3)
    y = model(x).argmax(dim=1)
    with pytest.raises(UserError, match=r"token.patch: patches of 4 x 4 pixels do not tile images of 6 x 6; choose"):
        evaluate(model, x, y, {"token": spec(patch=4)}, 0.1)
    with pytest.raises(UserError, match=r"token.eps must be in \[0, 6\], the largest L2 distance"):
        evaluate(model, x, y, {"token": spec(eps=WrittenFloat(7))}, 0.1, norm="l2")
    with pytest.raises(ValidationError, match="must be a number of positions, at least 1, or all"):
        spec(positions=0)
    common = {"device": "cpu", "eps": 0.1, "batch_size": 5, "seed": 0, "attacks": {"token": spec(eps=2).plain()}}
    with pytest.raises(ValidationError, match="must be at most 1, because pixels are in"):
        AttackParams.model_validate(common)
    with pytest.raises(ValidationError, match="broken does not agree"):
        TokenMap(patch=1, rows=2, columns=2, n=4, right=3, broken=(0, 1, 2))
