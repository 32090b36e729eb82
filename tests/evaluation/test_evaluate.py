"""The whole evaluation: in one process and in several, and its side effects."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ssmlab.core.errors import UserError
from ssmlab.core.events import Event, Note, Progress
from ssmlab.evaluation.evaluate import evaluate
from ssmlab.params import PgdParams
from ssmlab.params.written_float import WrittenFloat
from tests.evaluation.material import EVERYTHING, QUICK, evaluate_two, material


def test_parts_and_measures_are_nested() -> None:
    model, x, y = material()
    found = evaluate(model, x, y, QUICK, 0.02, batch_size=4)
    assert list(found.measures) == ["clean", "fgsm", "pgd", "aa"]
    assert [measure.n for measure in found.measures.values()] == [20, 20, 14, 10]
    clean = found.measures["clean"]
    for measure in found.measures.values():
        assert all(flag <= before for flag, before in zip(measure.flags, clean.flags, strict=False))
    parts = found.measures["aa"].parts
    assert parts is not None
    left = [clean.flags[:10].count("1") / 10, *parts.values()]
    assert left == sorted(left, reverse=True)
    assert parts["square"] == found.measures["aa"].accuracy
    assert 0 < found.measures["fgsm"].correct < clean.correct
    worst = found.worst_case
    assert worst.over == ("clean", "fgsm", "pgd", "aa")
    assert worst.correct <= min(measure.flags[:10].count("1") for measure in found.measures.values())


def test_results_do_not_depend_on_workers_or_order() -> None:
    events: list[Event] = []
    alone = evaluate_two(1, ["fgsm", "pgd", "aa"])
    torch.rand(7)  # moves the global generator on
    together = evaluate_two(2, ["aa", "pgd", "fgsm"], events.append)
    assert {name: together[name].measures for name in "ab"} == {name: alone[name].measures for name in "ab"}
    assert not [event for event in events if isinstance(event, Note)]


def test_results_depend_on_the_seed() -> None:
    model, x, y = material()
    start_only = PgdParams(kind="pgd", alpha=WrittenFloat(0.0), steps=1, random_start=True, **EVERYTHING)
    flags = {evaluate(model, x, y, {"noise": start_only}, 0.2, seed=seed).measures["noise"].flags for seed in range(12)}
    assert len(flags) > 1


def test_an_evaluation_leaves_no_change_behind() -> None:
    model, x, y = material()
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(0.5), model)
    model.train()
    model[1].eval()
    model[2][0].weight.requires_grad_(False)
    modes = [module.training for module in model.modules()]
    wants = [parameter.requires_grad for parameter in model.parameters()]
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    generator, threads, x_before = torch.get_rng_state(), torch.get_num_threads(), x.clone()
    evaluate(model, x, y, QUICK, 0.02)
    assert [module.training for module in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()] == wants
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(tensor.equal(state[name]) for name, tensor in model.state_dict().items())
    assert torch.get_rng_state().equal(generator)
    assert torch.get_num_threads() == threads
    assert x.equal(x_before)
    assert not x.requires_grad


def test_the_state_of_the_model_is_restored_after_an_error() -> None:
    model, x, y = material()
    model.train()
    with pytest.raises(UserError, match="y contains label 5, but the model has 5 classes"):
        evaluate(model, x, y + 1, QUICK, 0.02)
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_model_that_can_be_frozen_is_attacked_frozen() -> None:
    model, x, y = material()
    calls: list[str] = []

    class Freezable(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            calls.append("live")
            return model(x)

        def freeze(self) -> nn.Module:
            calls.append("freeze")
            return model

    found, expected = evaluate(Freezable(), x, y, QUICK, 0.02), evaluate(model, x, y, QUICK, 0.02)
    assert found.measures == expected.measures
    assert calls.count("freeze") == 1
    assert calls.count("live") == 2 + len(x)  # the checks, which compare the live form with the frozen one


def test_images_that_are_wrong_when_clean_are_not_attacked() -> None:
    model, x, y = material()
    wrong = evaluate(model, x, (y + 2) % 5, {"aa": QUICK["aa"], "fgsm": QUICK["fgsm"]}, 0.02, batch_size=2)
    right = wrong.measures["clean"].correct
    assert right < 20
    every = evaluate(model, x, (model(x).argmax(dim=1) + 1) % 5, QUICK, 0.02)
    assert {measure.correct for measure in every.measures.values()} == {0}
    assert every.measures["aa"].parts == {"apgd-ce": 0.0, "apgd-t": 0.0, "fab-t": 0.0, "square": 0.0}


def test_a_diverged_model_is_wrong_on_every_image_and_gives_a_warning() -> None:
    model, x, _ = material()
    model[3].bias.data[0] = float("nan")
    found = evaluate(model, x, torch.zeros(20, dtype=torch.int64), QUICK, 0.02)
    assert found.measures["clean"].correct == 0
    assert found.warnings == ("clean: on 20 of 20 images the logits are not finite; they count as wrong",)


def test_progress_is_reported_and_ends_complete() -> None:
    events: list[Event] = []
    evaluate_two(1, ["fgsm", "pgd", "aa"], events.append)
    told = [event for event in events if isinstance(event, Progress)]
    assert len(told) == len(events)
    assert {event.task for event in told} == {"attacks"}
    done = [event.done for event in told]
    assert done[0] == 0
    assert done == sorted(done)
    assert done[-1] == told[-1].total == told[0].total
    assert told[-1].eta == 0.0


@pytest.mark.parametrize("trained", [False, True])
def test_a_model_that_detaches_its_images_is_attacked_and_reported(trained: bool) -> None:
    """Even if its logits have a gradient, namely of weights that the evaluation does not know."""
    weights = torch.randn(4, 3, requires_grad=trained)

    def detached(x: Tensor) -> Tensor:
        return x.detach().flatten(1) @ weights

    x = torch.rand(8, 1, 2, 2)
    y = detached(x).detach().argmax(1)  # right on every image: gradients are only looked at where the model is right
    found = evaluate(detached, x, y, ["fgsm"], 0.1)
    assert found.measures["fgsm"].correct == found.measures["clean"].correct
    assert any("gradient" in warning for warning in found.warnings)
