"""What adversarial images of one model do to others, and results/<study>/transfer.json. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ssmlab.artifacts.provenance import Provenance
from ssmlab.core.digest import read_sealed_json, sealed_json
from ssmlab.core.files import write_atomic
from ssmlab.core.validation import as_model
from ssmlab.evaluation.checks.finding import images_finding
from ssmlab.evaluation.protocol import Data, Radius, eps_text
from ssmlab.evaluation.results import Check
from ssmlab.params import AttackSpec, Norm, Strict

LEAST_SHARE = 0.01  # of the images, and two at least: one alone may fall to any attack by chance


class Transfer(Strict):
    """Adversarial images made on the best checkpoint of one run, shown to that of another, or to itself.

    Attributes:
        source, target: the runs; where they are one, the attack is the target's own, with its gradients.
        right: how many images the target has right when clean.
        broken: how many of them it has wrong after the attack on the source.
        flags: one character an image in order, "1" where the target has the adversarial image right.
    """

    source: str
    target: str
    right: int
    broken: int
    flags: Annotated[str, Field(pattern="^[01]*$")]

    @property
    def share(self) -> float | None:
        """The share of the images that the target has right which the attack breaks; None if it has none right."""
        return self.broken / self.right if self.right else None


class TransferResults(Strict):
    """results/<study>/transfer.json. Equal results are equal bytes: it holds no times, hosts or dates.

    Attributes:
        attack, spec, seed: the attack by its name, its settings, its random starts.
        norm, eps: the ball around each image that it searches.
        data: the attacked images.
        checkpoints: the SHA-256 of every run's best checkpoint.
        clean: one character an image, "1" for right, of every run.
        transfers: one of every ordered pair of runs, and of every run with itself.
        withstood: of every run, what its own attack and the stronger ones of the second look left right.
        checks: of every run, whether images made on another run break what it withstands itself.
    """

    format: Literal[1]
    study: str
    attack: str
    spec: AttackSpec
    norm: Norm
    eps: Radius
    batch_size: int
    seed: int
    data: Data
    code_version: str
    checkpoints: dict[str, str]
    clean: dict[str, str]
    transfers: Annotated[tuple[Transfer, ...], Field(strict=False)]
    withstood: dict[str, str]
    checks: dict[str, Check]
    provenance: Provenance | None = None

    @property
    def eps_text(self) -> str:
        """eps as people read it, with its norm where that is not L-inf."""
        return eps_text(self.eps, self.norm)

    @property
    def runs(self) -> tuple[str, ...]:
        """The runs in the order in which they were given."""
        return ordered_runs(self.transfers)

    @model_validator(mode="after")
    def numbers_agree(self) -> Self:
        """Every number follows from the flags, and no pair of runs is missing or there twice."""
        runs = set(self.checkpoints)
        pairs = [(each.source, each.target) for each in self.transfers]
        if set(self.clean) != runs or set(self.withstood) != runs or sorted(pairs) != sorted(product(runs, repeat=2)):
            raise ValueError("clean and transfers are not those of the checkpoints")
        texts = (*self.clean.values(), *self.withstood.values(), *(each.flags for each in self.transfers))
        if any(len(flags) != self.data.n for flags in texts):
            raise ValueError("there are not as many flags as images")
        for each in self.transfers:
            if each != transfer_of(each.source, each.target, self.clean[each.target], each.flags):
                raise ValueError(f"the counts from {each.source} to {each.target} do not agree with the flags")
        if self.checks != transfer_checks(self.withstood, self.transfers, self.attack):
            raise ValueError("the checks do not agree with the flags")
        return self

    def transfer(self, source: str, target: str) -> Transfer:
        """What images made on `source` do to `target`."""
        return next(each for each in self.transfers if (each.source, each.target) == (source, target))


def transfer_of(source: str, target: str, clean: str, flags: str) -> Transfer:
    """The counts of one pair, from the target's flags on clean and on the source's adversarial images."""
    broken = broken_images(clean, flags)
    return Transfer(source=source, target=target, right=clean.count("1"), broken=len(broken), flags=flags)


def ordered_runs(transfers: Sequence[Transfer]) -> tuple[str, ...]:
    """The runs in the order of their transfers; mappings lose theirs in JSON."""
    return tuple(dict.fromkeys(each.source for each in transfers))


def broken_images(clean: str, flags: str) -> set[int]:
    """The images that are right when clean and wrong when attacked."""
    return {row for row, pair in enumerate(zip(clean, flags, strict=True)) if pair == ("1", "0")}


def transfer_checks(withstood: Mapping[str, str], transfers: Sequence[Transfer], attack: str) -> dict[str, Check]:
    """For every run whether images made on another one break what its own attacks of the same eps cannot.

    Gradients of the model itself are the better guide to its errors; where another model's are, its own may be masked
    (Athalye et al. 2018, section 3.1). The worst source counts.

    Args:
        withstood: of every run one character an image, "1" where its own attacks, the second look among them, fail.
    """
    flags = {(each.source, each.target): each.flags for each in transfers}
    checks = {}
    for target in (runs := ordered_runs(transfers)):
        right, others = withstood[target], [source for source in runs if source != target]
        beyond = {source: len(broken_images(right, flags[source, target])) for source in others}
        worst = max(others, key=lambda source: beyond[source])
        sentence = (
            f"{attack} made on {worst} breaks {beyond[worst]} of {len(right)} images that neither {attack} nor "
            f"PGD-50 on {target} itself can: masked gradients are suspected"
        )
        checks[target] = images_finding("transfer beats gradients", beyond[worst], len(right), LEAST_SHARE, sentence)
    return checks


def load_transfer(path: Path) -> TransferResults:
    """Read the transfer results of a study.

    Raises:
        UserError: the file is missing, damaged, or not what this version writes. The message has the remedy.
    """
    what, remedy = "transfer results", "run `ssmlab transfer`"
    return as_model(read_sealed_json(path, what, remedy), path, TransferResults, what, remedy)


def save_transfer(path: Path, results: TransferResults) -> None:
    """Write the transfer results of a study with a digest of their content; raises UserError if the disk is full."""
    write_atomic(path, sealed_json(results.plain()))
