"""A model under several names is attacked once, and every name gets the results that it would get alone."""

from __future__ import annotations

import copy
from collections.abc import Mapping

from torch import Tensor, nn

from ssmlab.evaluation.evaluate import evaluate_models
from ssmlab.evaluation.results import Evaluation
from ssmlab.params import AttackSpec, FgsmParams
from ssmlab.params.written_float import WrittenFloat
from tests.evaluation.material import CPU, QUICK, material

PLAN = {"a": {name: QUICK[name] for name in ("fgsm", "aa")}, "b": {name: QUICK[name] for name in ("pgd", "fgsm")}}


class Counting(nn.Module):
    """A model that counts the images that it sees."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.images = model, 0

    def forward(self, x: Tensor) -> Tensor:
        self.images += len(x)
        logits: Tensor = self.model(x)
        return logits


def both(a: nn.Module, b: nn.Module, plan: Mapping[str, Mapping[str, AttackSpec]]) -> dict[str, Evaluation]:
    _, x, y = material()
    return evaluate_models(
        {"a": a, "b": b}, x, y, plan, WrittenFloat(0.02), batch_size=4, seed=11, device=CPU, workers=1
    )


def test_one_model_under_two_names_gives_the_results_of_two_equal_models_at_less_cost() -> None:
    one, two, other = Counting(material()[0]), Counting(material()[0]), Counting(material()[0])
    shared, apart = both(one, one, PLAN), both(two, other, PLAN)
    assert shared == apart
    assert list(shared["b"].measures) == ["clean", "pgd", "fgsm"]  # each name has its own attacks
    assert one.images < two.images + other.images
    alone = Counting(material()[0])
    both(alone, copy.deepcopy(alone), {"a": PLAN["a"] | PLAN["b"], "b": {}})
    assert one.images == alone.images


def test_names_that_call_different_attacks_by_one_name_are_attacked_apart() -> None:
    fewer = {"fgsm": FgsmParams(kind="fgsm", images=7, checkpoints=("best",))}
    model, x, _ = material()
    found = both(model, model, {"a": PLAN["a"], "b": fewer})
    assert (found["a"].measures["fgsm"].n, found["b"].measures["fgsm"].n) == (len(x), 7)
