"""The section `grid`: every model with every regime and every seed, as runs with readable names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from ssmlab.params.base import Seed, Strict

Option = dict[str, Any]
Axis = Annotated[dict[str, Option], Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class GridRun:
    """One run of a grid: its option on each axis; None if the grid has no such axis."""

    model: str | None
    regime: str | None
    seed: int | None

    @property
    def name(self) -> str:
        """MODEL-REGIME-sSEED, without the axes that the grid lacks."""
        seed = None if self.seed is None else f"s{self.seed}"
        return "-".join(part for part in (self.model, self.regime, seed) if part is not None)


class GridParams(Strict):
    """The axes of a grid; every combination of their options is a run. Without an axis, the shared sections apply.

    Attributes:
        models: by name, the changes to the section `model`.
        regimes: by name, the changes to the section `train`.
        seeds: the values of `train.seed`.
    """

    models: Axis | None = None
    regimes: Axis | None = None
    seeds: Annotated[tuple[Seed, ...], Field(strict=False, min_length=1)] | None = None

    @model_validator(mode="after")
    def _has_axes(self) -> Self:
        if self.models is None and self.regimes is None and self.seeds is None:
            raise ValueError("a grid needs `models`, `regimes` or `seeds`")
        if self.seeds is not None and len(set(self.seeds)) != len(self.seeds):
            raise ValueError("`seeds` names a seed twice")
        return self

    def runs(self) -> list[GridRun]:
        """Every combination, the seeds of one model and regime next to each other."""
        return [GridRun(*each) for each in product(self.models or [None], self.regimes or [None], self.seeds or [None])]

    def changes(self, run: GridRun) -> dict[str, Any]:
        """What `run` changes in the shared sections, in the form of a run in params.yaml."""
        model = dict(option(self.models, run.model))
        train = dict(option(self.regimes, run.regime))
        if run.seed is not None:
            train["seed"] = run.seed
        return {name: section for name, section in (("model", model), ("train", train)) if section}


def option(axis: Mapping[str, Option] | None, name: str | None) -> Mapping[str, Any]:
    """The changes of an option of an axis; none without the axis."""
    return {} if axis is None or name is None else axis[name]
