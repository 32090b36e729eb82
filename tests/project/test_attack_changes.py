"""Results that were attacked in another norm are no longer those of the study."""

from __future__ import annotations

from ssmlab.params import Params
from ssmlab.project.run_state import attack_changes
from tests.analysis.synthetic import protocol


def test_results_of_another_norm_count_as_changed(tiny_params: Params) -> None:
    linf, l2 = ({"protocol": protocol(tiny_params, norm=norm).plain()} for norm in ("linf", "l2"))
    assert attack_changes(linf, None, tiny_params.attack) == []
    assert attack_changes(l2, None, tiny_params.attack) == ["attack.norm: linf (attacked with l2)"]
