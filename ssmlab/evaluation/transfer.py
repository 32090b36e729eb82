"""Measures transfer: every model is attacked once, and every model classifies the adversarial images of all others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from ssmlab.core.errors import UserError
from ssmlab.core.events import Listener, Progress, silence
from ssmlab.core.progress import ProgressMeter
from ssmlab.core.seeds import seed_of
from ssmlab.evaluation.attacks import attack_defaults, check_confined, forked_generators
from ssmlab.evaluation.ball import pgd_alpha
from ssmlab.evaluation.borrowed_models import modules_restored
from ssmlab.evaluation.kinds import attack_of
from ssmlab.evaluation.tasks import AttackInputs, AttackRunner, one_thread
from ssmlab.evaluation.transfer_results import Transfer, broken_images, transfer_of
from ssmlab.params import ATTACKS, AttackSpec, PgdParams
from ssmlab.params.written_float import WrittenFloat

SECOND_STEPS = 50  # steps of PGD on images that another model's attack breaks, but the model's own attack does not


@dataclass(frozen=True)
class TransferFlags:
    """The results of transfer; flags have one character per image, "1" for right.

    Attributes:
        clean: the flags of every model on clean images.
        transfers: one for every ordered pair of models and for each model with itself, source by source.
        withstood: for every model, "1" for images that are right under its own attack and under the second look.
    """

    clean: dict[str, str]
    transfers: tuple[Transfer, ...]
    withstood: dict[str, str]


def transfers_between(
    inputs: AttackInputs, attack: str, spec: AttackSpec, batch_size: int, on_event: Listener = silence
) -> TransferFlags:
    """Attack every model on all images, even on images that it gets wrong, and classify the results with all models.

    Random starts depend only on the image and the seed, as in `evaluate`, so an attack on its own model gives the same
    result as in `evaluate`. If another model's attack breaks an image and the model's own attack does not, the image is
    attacked again with more steps (`second_look`): a short attack must not look like masked gradients.

    Args:
        inputs: two or more models for the same images and classes.
        attack: the name of the attack.
        spec: its specification, FGSM or PGD.
        on_event: receives a `Progress` about once a second; it counts attacked images.

    Raises:
        UserError: the attack is of another kind, or a model lacks some of the labels' classes.
    """
    require_transferable(attack, spec)
    progress: TransferProgress | None = None

    def tick() -> None:
        if progress:
            progress.tick()

    with modules_restored(inputs.models.values()), one_thread(inputs.device):
        runner = AttackRunner(inputs, tick)
        clean = {name: runner.clean(name, batch_size) for name in inputs.models}
        cost = attack_of(spec).passes(next(iter(clean.values())).classes, phase=0, positions=1)
        progress = TransferProgress(inputs, cost, on_event)
        flags = dict.fromkeys(product(inputs.models, repeat=2), "")
        for source in inputs.models:
            for rows in torch.split(torch.arange(len(inputs.x)), batch_size):
                x_adv = adversarial_images(runner, source, rows, spec, clean[source].classes)  # (B, C, H, W)
                y = runner.y[rows.to(runner.y.device)]  # (B,)
                for target in inputs.models:
                    flags[source, target] += flag_text(runner.victims[target].is_right(x_adv, y))
                progress.advance(len(rows))
        known = {name: flag_text(each.right) for name, each in clean.items()}
        found = tuple(transfer_of(source, target, known[target], text) for (source, target), text in flags.items())
        withstood = {name: withstood_by(runner, name, known[name], found, clean[name].classes) for name in known}
    return TransferFlags(known, found, withstood)


def withstood_by(runner: AttackRunner, target: str, clean: str, found: Sequence[Transfer], classes: int) -> str:
    """Flags: "1" for images that stay right under the target's own attack and under the second look."""
    broken = {each.source: broken_images(clean, each.flags) for each in found if each.target == target}
    beyond = sorted(set().union(*broken.values()) - broken[target])
    fallen = broken[target] | (second_look(runner, target, torch.tensor(beyond), classes) if beyond else set())
    return "".join("0" if row in fallen else flag for row, flag in enumerate(clean))


def second_look(runner: AttackRunner, target: str, rows: Tensor, classes: int) -> set[int]:
    """Which of the images in `rows` (B,) are broken by a stronger attack on the target itself: PGD-50 on two losses."""
    left = rows
    for loss in (None, "margin"):
        spec = PgdParams(
            kind="pgd",
            alpha=WrittenFloat(pgd_alpha(runner.ball.eps, SECOND_STEPS)),
            steps=SECOND_STEPS,
            random_start=True,
            loss=loss,
            images="all",
            checkpoints=("best",),
        )
        if len(left):
            x_adv = adversarial_images(runner, target, left, spec, classes)  # (B, C, H, W)
            right = runner.victims[target].is_right(x_adv, runner.y[left.to(runner.y.device)])  # (B,)
            left = left[right.to(left.device)]
    return set(rows.tolist()) - set(left.tolist())


def require_transferable(attack: str, spec: AttackSpec) -> None:
    """Raise UserError for an attack that returns the clean image if it fails."""
    if not ATTACKS[spec.kind].transferable:
        raise UserError(
            f"attack {attack}: the kind {spec.kind} gives no adversarial image if it fails on its own model; use FGSM "
            "or PGD for transfer, such as pgd-10"
        )


def adversarial_images(runner: AttackRunner, source: str, rows: Tensor, spec: AttackSpec, classes: int) -> Tensor:
    """The images in `rows` (B,) after the attack on one model, checked to be in the ball: (B, C, H, W)."""
    seed = seed_of(runner.seed, "attacks")  # the same seed as in `AttackRunner.attack`
    rows = rows.to(runner.x.device)
    x, y = runner.x[rows], runner.y[rows]  # (B, C, H, W), (B,)
    with forked_generators(), attack_defaults():
        torch.manual_seed(seed)
        (part,) = attack_of(spec).parts(runner.victims[source], runner.ball, classes, seed).values()
        x_adv, _ = check_confined(x, part(x, y), runner.ball)
    return x_adv


def flag_text(right: Tensor) -> str:
    """One character for each value of (B,) bool, "1" for true."""
    return "".join("1" if each else "0" for each in right.tolist())


class TransferProgress:
    """Reports to a listener how many images were attacked and classified; time is estimated from forward passes."""

    def __init__(self, inputs: AttackInputs, attack_passes: float, listener: Listener) -> None:
        self.cost = attack_passes + len(inputs.models)  # forward passes of one image attacked on one model
        self.images = len(inputs.models) * len(inputs.x)
        self.meter = ProgressMeter(self.images * self.cost)
        self.listener = listener

    def advance(self, images: int) -> None:
        self.meter.advance(images * self.cost)
        self.tell()

    def tick(self) -> None:
        """Report if a second has passed since the last report, so that a long attack does not look stuck."""
        if self.meter.is_due(1.0, even_without_change=True):
            self.tell()

    def tell(self) -> None:
        rate = self.meter.rate
        speed = rate / self.cost if rate else None
        done = round(self.meter.done / self.cost)
        self.listener(Progress("transfer", done, self.images, images_per_second=speed, eta=self.meter.eta))
