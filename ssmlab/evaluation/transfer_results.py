"""The results of transfer between models, and the file results/<study>/transfer.json. Nothing here imports torch."""

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

LEAST_SHARE = 0.01  # share of the images, but two or more: any attack may break a single image by chance


class Transfer(Strict):
    """Adversarial images made on the best checkpoint of `source` and classified by the best checkpoint of `target`.

    Attributes:
        source, target: names of the runs; if they are equal, it is the target's own attack.
        right: number of clean images that the target classifies correctly.
        broken: number of these that the target classifies wrongly after the attack on the source.
        flags: one character per image, in order: "1" if the target classifies the adversarial image correctly.
    """

    source: str
    target: str
    right: int
    broken: int
    flags: Annotated[str, Field(pattern="^[01]*$")]

    @property
    def share(self) -> float | None:
        """The share of the target's correct images that the attack breaks; None if the target has none correct."""
        return self.broken / self.right if self.right else None


class TransferResults(Strict):
    """results/<study>/transfer.json. It holds no times, hosts or dates, so equal results are equal bytes.

    Attributes:
        attack, spec, seed: name of the attack, its settings, and the seed of its random starts.
        norm, eps: the ball of allowed perturbations.
        data: the attacked images.
        checkpoints: the SHA-256 of every run's best checkpoint.
        clean: for every run, one character per clean image, "1" for right.
        transfers: one for every ordered pair of runs, and for every run with itself.
        withstood: for every run, "1" for images that are right under its own attack and under the second look.
        checks: for every run, whether images made on another run break images that it withstood.
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
        """eps for readers, with its norm if that is not L-inf."""
        return eps_text(self.eps, self.norm)

    @property
    def runs(self) -> tuple[str, ...]:
        """The runs in their given order."""
        return ordered_runs(self.transfers)

    @model_validator(mode="after")
    def numbers_agree(self) -> Self:
        """Check that every number follows from the flags, and that every pair of runs is there exactly once."""
        runs = set(self.checkpoints)
        pairs = [(each.source, each.target) for each in self.transfers]
        if set(self.clean) != runs or set(self.withstood) != runs or sorted(pairs) != sorted(product(runs, repeat=2)):
            raise ValueError("clean and transfers do not name the same runs as the checkpoints")
        texts = (*self.clean.values(), *self.withstood.values(), *(each.flags for each in self.transfers))
        if any(len(flags) != self.data.n for flags in texts):
            raise ValueError("the number of flags differs from the number of images")
        for each in self.transfers:
            if each != transfer_of(each.source, each.target, self.clean[each.target], each.flags):
                raise ValueError(f"the counts from {each.source} to {each.target} do not agree with the flags")
        if self.checks != transfer_checks(self.withstood, self.transfers, self.attack):
            raise ValueError("the checks do not agree with the flags")
        return self

    def transfer(self, source: str, target: str) -> Transfer:
        """The transfer from `source` to `target`."""
        return next(each for each in self.transfers if (each.source, each.target) == (source, target))


def transfer_of(source: str, target: str, clean: str, flags: str) -> Transfer:
    """The counts of one pair, from the target's flags on clean images and on the source's adversarial images."""
    broken = broken_images(clean, flags)
    return Transfer(source=source, target=target, right=clean.count("1"), broken=len(broken), flags=flags)


def ordered_runs(transfers: Sequence[Transfer]) -> tuple[str, ...]:
    """The runs in the order of their transfers; mappings lose their order in JSON."""
    return tuple(dict.fromkeys(each.source for each in transfers))


def broken_images(clean: str, flags: str) -> set[int]:
    """The images that are right without the attack and wrong after it."""
    return {row for row, pair in enumerate(zip(clean, flags, strict=True)) if pair == ("1", "0")}


def transfer_checks(withstood: Mapping[str, str], transfers: Sequence[Transfer], attack: str) -> dict[str, Check]:
    """For every run, whether images made on another run break images that its own attacks with the same eps do not.

    A model's own gradients should give the stronger attack. If another model's gradients do, its own gradients may be
    masked (Athalye et al. 2018, section 3.1). The source that breaks most counts.

    Args:
        withstood: for every run, one character per image: "1" if its own attacks, including the second look, fail.
    """
    flags = {(each.source, each.target): each.flags for each in transfers}
    checks = {}
    for target in (runs := ordered_runs(transfers)):
        right, others = withstood[target], [source for source in runs if source != target]
        beyond = {source: len(broken_images(right, flags[source, target])) for source in others}
        worst = max(others, key=lambda source: beyond[source])
        sentence = (
            f"{attack} on {worst} breaks {beyond[worst]} of {len(right)} images for {target} that neither {attack} nor "
            f"PGD-50 on {target} itself breaks: its gradients may be masked"
        )
        checks[target] = images_finding("transfer beats gradients", beyond[worst], len(right), LEAST_SHARE, sentence)
    return checks


def load_transfer(path: Path) -> TransferResults:
    """Read the transfer results of a study.

    Raises:
        UserError: the file is missing, damaged, or comes from another version. The message names the remedy.
    """
    what, remedy = "transfer results", "run `ssmlab transfer`"
    return as_model(read_sealed_json(path, what, remedy), path, TransferResults, what, remedy)


def save_transfer(path: Path, results: TransferResults) -> None:
    """Write the transfer results of a study with a digest of their content.

    Raises:
        UserError: the disk is full, or the file cannot be written.
    """
    write_atomic(path, sealed_json(results.plain()))
