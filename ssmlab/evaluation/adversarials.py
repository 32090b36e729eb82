"""Saves the adversarial images of an evaluation, one file per attack, and checks the model on them again.

FOLDER/ATTACK.safetensors contains four tensors. `x` (N, C, H, W), float32 in [0, 1], has the clean images. `x_adv`, of
the same shape and dtype, has the adversarial images; an image that the attack did not break is equal to that in `x`.
`y` (N,) int64 has the labels and `right` (N,) bool the flags.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load as parse_tensors
from safetensors.torch import save as tensor_bytes
from torch import Tensor, nn

from ssmlab.core.errors import UserError
from ssmlab.core.files import write_atomic
from ssmlab.core.tensors import DamagedTensors, read_tensors_file, sealable_metadata, sealed
from ssmlab.evaluation.ball import Ball
from ssmlab.evaluation.borrowed_models import frozen_if_possible, modules_restored, victim_of
from ssmlab.evaluation.tasks import AttackOutcome
from ssmlab.evaluation.token_attack import patches_changed
from ssmlab.evaluation.victim import no_tick
from ssmlab.params import NAME, TokenParams

ENTRY = "ssmlab"  # the key in the file's metadata
REMEDY = "save them again with --save-adversarials"


@dataclass(frozen=True)
class AdversarialFolder:
    """The folder for the adversarial images of an evaluation.

    Attributes:
        sha256: hash of the attacked checkpoint; empty if the model has no file.
    """

    path: Path
    sha256: str = ""

    def check_names(self, attacks: Iterable[str]) -> None:
        """Raise UserError if the name of an attack cannot be a file name."""
        for name in attacks:
            if not NAME.fullmatch(name):
                raise UserError(f"attacks: '{name}' cannot be a file name for adversarial images; rename the attack")

    def write(
        self, attack: str, x: Tensor, y: Tensor, flags: str, outcomes: Sequence[AttackOutcome], ball: Ball
    ) -> None:
        """Write the images of one attack.

        Args:
            x, y: the clean images (N, C, H, W) and labels (N,) of the evaluation.
            flags: one character per image that the attack saw, "1" for right.

        Raises:
            UserError: the folder cannot be created, or the disk is full.
        """
        n = len(flags)
        x_adv = x[:n].cpu().clone()
        for outcome in outcomes:  # every image is broken in one phase at most, so the order does not matter
            left = set(outcome.right)
            broken = [place for place, row in enumerate(outcome.task.images) if row not in left]
            if broken and outcome.x_adv is not None:
                x_adv[[outcome.task.images[place] for place in broken]] = outcome.x_adv[broken]
        right = torch.tensor([flag == "1" for flag in flags])
        tensors = {"x": x[:n].cpu().contiguous(), "x_adv": x_adv, "y": y[:n].cpu().contiguous(), "right": right}
        about = {"attack": attack, "norm": ball.norm, "eps": ball.eps, "checkpoint": self.sha256}
        if outcomes and isinstance(spec := outcomes[0].task.spec, TokenParams):
            about["patch"] = spec.patch
        content = sealed(tensor_bytes(tensors, {ENTRY: sealable_metadata(about)}))
        file = self.path / f"{attack}.safetensors"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = error.strerror or error
            raise UserError(f"{self.path}: cannot be created ({reason}); name another folder") from None
        write_atomic(file, content)


@dataclass(frozen=True)
class Recheck:
    """The result of checking a model on saved images again.

    Attributes:
        before, now: number of images that were right before, and that are right now.
        changed: number of images whose flag has changed.
    """

    attack: str
    n: int
    before: int
    now: int
    changed: int

    @property
    def warning(self) -> str:
        """The sentence of the flag `unstable`; empty if no flag has changed."""
        if not self.changed:
            return ""
        return f"{self.attack}: unstable: {self.changed} of {self.n} saved images have another flag in other batches"


def recheck_adversarials(model: nn.Module, folder: AdversarialFolder, batch_size: int) -> list[Recheck]:
    """Run a model again on the images of every file in a folder, in batches of another size.

    Raises:
        UserError: there is no such file, a file is damaged or belongs to another checkpoint, or an image is outside its
            ball.
    """
    files = sorted(folder.path.glob("*.safetensors"))
    if not files:
        raise UserError(f"{folder.path}: no adversarial images there; {REMEDY}")
    with modules_restored([model]):
        frozen = frozen_if_possible(model)
        return [recheck_file(frozen, file, folder.sha256, batch_size) for file in files]


def recheck_file(model: nn.Module, file: Path, sha256: str, batch_size: int) -> Recheck:
    """`recheck_adversarials` for one file and a frozen model."""
    try:
        opened = read_tensors_file(file)
        about = opened.metadata_object(ENTRY)
        opened.check_digest(about)
        tensors = parse_tensors(opened.content)
        x, x_adv, y, right = (tensors[name] for name in ("x", "x_adv", "y", "right"))
        attack, ball, made_for = about["attack"], Ball(about["eps"], about["norm"]), about["checkpoint"]
    except (DamagedTensors, KeyError) as error:
        raise UserError(f"{file}: not adversarial images ({error}); {REMEDY}") from None
    if made_for != sha256:
        raise UserError(f"{file}: these images are for another checkpoint, with SHA-256 {made_for[:12]}; name that one")
    if not bool((ball.contains(x_adv, x) & ((x_adv >= 0) & (x_adv <= 1)).flatten(1).all(dim=1)).all()):
        raise UserError(f"{file}: an image is outside the ball of eps {ball.eps:g} or [0, 1]; {REMEDY}")
    if "patch" in about and bool((patches_changed(x_adv, x, about["patch"]) > 1).any()):
        raise UserError(f"{file}: an image differs in more than one patch of side {about['patch']}; {REMEDY}")
    victim = victim_of(model, x[:1], no_tick)
    batches = zip(torch.split(x_adv, batch_size), torch.split(y, batch_size), strict=True)
    now = torch.cat([victim.is_right(some, labels) for some, labels in batches])
    return Recheck(attack, len(y), int(right.sum()), int(now.sum()), int((now != right).sum()))
