"""FGSM training and N-FGSM against other code and PGD of one step."""

from __future__ import annotations

from typing import Any

import torch
import torchattacks

from ssmlab.params import FgsmAtParams, TrainParams
from ssmlab.training.regimes.fgsm_at import single_step
from tests.training.regimes.material import (
    SLACK,
    attack_of,
    data,
    same_weights,
    seeded,
    settings_of,
)
from tests.training.steps import regime_of, run

WONG = FgsmAtParams(noise=1.0, clip=True)
N_FGSM = FgsmAtParams(noise=2.0, clip=False)


def test_fgsm_with_random_start_is_that_of_torchattacks(new_model: Any) -> None:
    model = new_model().eval()
    (x, y), *_ = data()
    generator = seeded(5)
    torch.randn(x.shape, generator=generator)  # torchattacks draws these numbers too, and throws them away
    ours = single_step(model, x, y, attack_of(eps=0.1, alpha=0.125, steps=1), WONG, generator)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        theirs = torchattacks.FFGSM(model, eps=0.1, alpha=0.125)(x, y)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=SLACK)


def test_fgsm_with_noise_of_the_ball_is_pgd_at_with_one_step(new_model: Any, shared: TrainParams) -> None:
    ours, theirs = new_model(), new_model()
    strength = attack_of(alpha=0.125, steps=1)
    seen = run(regime_of(settings_of(shared, "fgsm"), ours), data(), strength)
    assert seen == run(regime_of(settings_of(shared, "pgd_at"), theirs), data(), strength)
    assert same_weights(ours, theirs)


def test_n_fgsm_goes_beyond_the_ball_by_its_noise_and_no_further(new_model: Any) -> None:
    (x, y), *_ = data()
    x_adv = single_step(new_model().freeze(), x, y, attack_of(alpha=0.1, steps=1), N_FGSM, seeded())
    away = (x_adv - x).abs()
    assert away.max() <= 0.3 + SLACK
    assert away.max() > 0.25 and away.mean() > 0.08
    assert x_adv.min() >= 0 and x_adv.max() <= 1
