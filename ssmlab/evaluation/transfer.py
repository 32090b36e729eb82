"""What adversarial images made on one model do to others: every model attacked once, every result shown to all."""

from __future__ import annotations

import torch
from torch import Tensor

from ssmlab.core.errors import UserError
from ssmlab.core.events import Listener, Progress, silence
from ssmlab.core.progress import ProgressMeter
from ssmlab.core.seeds import seed_of
from ssmlab.evaluation.attacks import attack_defaults, check_confined, forked_generators
from ssmlab.evaluation.collect import flags_of
from ssmlab.evaluation.parts import attack_parts, passes
from ssmlab.evaluation.tasks import AttackInputs, AttackRunner, Clean, modules_restored, one_thread
from ssmlab.evaluation.transfer_results import Transfer, transfer_of
from ssmlab.params import AttackSpec, FgsmParams, PgdParams

# Other attacks return the image itself where they do not break it, so that there would be nothing to show to others.
TRANSFERABLE = (FgsmParams, PgdParams)


def transfers_between(
    inputs: AttackInputs, attack: str, spec: AttackSpec, batch_size: int, on_event: Listener = silence
) -> tuple[dict[str, str], tuple[Transfer, ...]]:
    """Attack every model on all images, whether it has them right or not, and ask all models about the outcome.

    Random starts depend on the image and the seed alone, as in `evaluate`: what an attack does to its own model is
    what `evaluate` finds with the same attack and seed.

    Args:
        inputs: at least two models that take the same images and classes.
        attack: the name of `spec`, FGSM or PGD.
        on_event: gets a `Progress` about once a second, counted in images that were attacked.

    Returns:
        The flags of every model on clean images, one character an image; and every ordered pair of models, and each
        model with itself, source by source.

    Raises:
        UserError: the attack is of another kind, or labels do not suit a model.
    """
    require_transferable(attack, spec)
    names, n = list(inputs.models), len(inputs.x)
    meter: ProgressMeter | None = None

    def tick() -> None:
        if meter and meter.is_due(1.0, even_without_change=True):
            tell_progress(meter, inputs, cost, on_event)

    with modules_restored(inputs.models.values()), one_thread(inputs.device):
        runner = AttackRunner(inputs, tick)
        clean = {name: runner.clean(name, batch_size) for name in names}
        cost = passes(spec, clean[names[0]].classes, 0) + len(names)  # forward passes of one image on one source
        meter = ProgressMeter(len(names) * n * cost)
        flags = {(source, target): "" for source in names for target in names}
        for source in names:
            for rows in torch.split(torch.arange(n), batch_size):
                x_adv = adversarial_images(runner, source, rows, spec, clean[source])  # (B, C, H, W)
                y = runner.y[rows.to(runner.y.device)]
                for target in names:
                    right = runner.victims[target].is_right(x_adv, y)  # (B,)
                    flags[source, target] += flags_of(set(right.nonzero().flatten().tolist()), len(rows))
                meter.advance(len(rows) * cost)
                tell_progress(meter, inputs, cost, on_event)
    known = {name: flags_of(set(each.right.nonzero().flatten().tolist()), n) for name, each in clean.items()}
    return known, tuple(transfer_of(*pair, known[pair[1]], text) for pair, text in flags.items())


def require_transferable(attack: str, spec: AttackSpec) -> None:
    """Raises UserError for an attack that leaves an image as it was where it does not break it."""
    if not isinstance(spec, TRANSFERABLE):
        raise UserError(
            f"attack {attack}: of kind {spec.kind}, which gives no adversarial image where it fails on its own model; "
            "transfer takes FGSM and PGD, such as pgd-10"
        )


def adversarial_images(runner: AttackRunner, source: str, rows: Tensor, spec: AttackSpec, clean: Clean) -> Tensor:
    """The images in `rows` (B,) after the attack on one model, checked to lie in the ball: (B, C, H, W)."""
    seed = seed_of(runner.seed, "attacks")  # that of every attack (`AttackRunner.attack`)
    rows = rows.to(runner.x.device)
    x, y = runner.x[rows], runner.y[rows]  # (B, C, H, W), (B,)
    with forked_generators(), attack_defaults():
        torch.manual_seed(seed)
        (part,) = attack_parts(spec, runner.victims[source], runner.ball, clean.classes, seed).values()
        x_adv, _ = check_confined(x, part(x, y), runner.ball)
    return x_adv


def tell_progress(meter: ProgressMeter, inputs: AttackInputs, cost: float, on_event: Listener) -> None:
    """How many images have been attacked and shown to all models, how fast, and how long the rest takes."""
    rate = meter.rate
    images, total = round(meter.done / cost), len(inputs.models) * len(inputs.x)
    speed = rate / cost if rate else None
    on_event(Progress("transfer", images, total, images_per_second=speed, eta=meter.eta))
