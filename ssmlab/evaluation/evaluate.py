"""Evaluates models under attack, in one process or several, and returns a result for every image."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from ssmlab.core.errors import UserError
from ssmlab.core.events import Listener, silence
from ssmlab.evaluation.adversarials import AdversarialFolder
from ssmlab.evaluation.attack_models import attack_models
from ssmlab.evaluation.attack_names import chosen_attacks
from ssmlab.evaluation.ball import Ball
from ssmlab.evaluation.collect import collect_evaluation
from ssmlab.evaluation.inputs import prepared_images, prepared_labels, prepared_model
from ssmlab.evaluation.journal import OutcomeJournal
from ssmlab.evaluation.plan import check_ball, check_images_asked, check_sides
from ssmlab.evaluation.results import Evaluation
from ssmlab.evaluation.schedule import Plan
from ssmlab.evaluation.shared_models import attacked_names
from ssmlab.evaluation.tasks import AttackInputs
from ssmlab.evaluation.token_attack import searched_ball
from ssmlab.params import AttackSpec, Norm
from ssmlab.params.written_float import WrittenFloat


@torch.inference_mode(False)  # tensors made in inference mode cannot be attacked
def evaluate(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    attacks: Iterable[str] | Mapping[str, AttackSpec] = ("fgsm", "pgd-10", "autoattack"),
    eps: float = 8 / 255,
    *,
    norm: Norm = "linf",
    batch_size: int = 50,
    seed: int = 0,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    workers: int | None = 1,
    binarisation: int = 0,
    save_adversarials: AdversarialFolder | None = None,
    on_event: Listener = silence,
) -> Evaluation:
    """Measure a model's accuracy on clean and on attacked images.

    An image is right under an attack if the model classifies both the clean and the attacked image correctly. Our own
    forward pass decides this, on an image that was checked to be in [0, 1] and in the ball. Results depend on `seed`.
    They do not depend on the number of workers. `batch_size` and the order of the images change only rounding errors.

    Args:
        model: any module or function from images in [0, 1] to logits (N, classes); its state does not change. A model
            with a method `freeze()`, such as ssmlab's models, is attacked in its frozen form.
        x: images (N, C, H, W) in [0, 1], a tensor or array of floats; they are attacked in float32. The images and
            labels are copied first, so no model can change them.
        y: labels (N,), integers.
        attacks: names, or specifications by name, whose `checkpoints` have no effect here. Names: "fgsm"; "pgd-N", N
            steps of 2.5 eps / N from a random start (Madry et al. 2018); "autoattack", the standard ensemble;
            "screened-autoattack", the same with FAB-T and Square on only the 100 survivors with the lowest margin;
            "apgd-ce", "apgd-dlr" and "square" alone; "fmn", the smallest breaking distance of each image; "token-K",
            which may change one patch of K x K pixels to any values; "token-map-K", the same at every position.
        eps: radius of the ball in units of pixels in [0, 1]. A radius above the largest distance between two images (1
            in L-inf, the root of C H W in L2) is an error; above half of it there is a warning.
        norm: "linf" or "l2", the norm of the perturbation. FGSM in L2 is one step of length eps along the gradient.
        batch_size: images per batch.
        seed: seed of all random numbers.
        device: "auto" uses the model's device; for another device the model is copied.
        workers: number of processes on the CPU, each with one thread; None uses all cores if that is faster. With more
            than one, the calling script is imported again, so it needs `if __name__ == "__main__":`.
        binarisation: number of images for the binarisation test; the model must end in a linear layer.
        save_adversarials: the folder for adversarial images, one file per attack; None to save none.
        on_event: receives a `Progress` about once a second, and a `Note` for every warning.

    Returns:
        `measures` by name ("clean" and the attacks), the worst case, the checks and the warnings.

    Raises:
        UserError: an argument is not as described; the message names it.
    """
    check_call((batch_size, seed, binarisation, workers or 1), save_adversarials, on_event)
    model, x, radius = prepared_model(model), prepared_images(x), chosen_eps(eps)
    y = prepared_labels(y, len(x))
    check_ball(radius, norm, x.shape[1:])
    here = next((tensor.device for tensor in (*model.parameters(), *model.buffers())), x.device)
    there = chosen_device(device, here)
    return evaluate_models(
        {"model": model if there == here else copy.deepcopy(model).to(there)},
        x,
        y,
        {"model": chosen_attacks(attacks, radius)},
        radius,
        norm=norm,
        batch_size=batch_size,
        seed=seed,
        device=there,
        workers=workers,
        on_event=on_event,
        binarisation=binarisation,
        save_adversarials={"model": save_adversarials} if save_adversarials else {},
    )["model"]


def evaluate_models(
    models: Mapping[str, nn.Module],
    x: Tensor,
    y: Tensor,
    plan: Plan,
    eps: WrittenFloat,
    *,
    norm: Norm = "linf",
    batch_size: int,
    seed: int,
    device: torch.device,
    workers: int | None = None,
    on_event: Listener = silence,
    journal: OutcomeJournal | None = None,
    binarisation: int = 0,
    save_adversarials: Mapping[str, AdversarialFolder] = MappingProxyType({}),
) -> dict[str, Evaluation]:
    """`evaluate` for several models at once, whose attacks share one set of workers.

    Args:
        models: the models by name, on `device`. A model that has several names is attacked once.
        plan: for each model, its attacks by name.
        binarisation: number of images for the binarisation test (docs/evaluation.md).
        journal: stores outcomes; outcomes that it has from an interrupted evaluation are not computed again.
        save_adversarials: folders for the images, by model; not with a journal, because a journal stores no images.

    Raises:
        UserError: as for `evaluate`, or the journal cannot be written.
    """
    check_settings(plan, len(x), batch_size, workers, binarisation)
    check_ball(eps, norm, x.shape[1:])
    for attacks in plan.values():
        check_sides(attacks, norm, x.shape[1:], "attacks: ")
    chosen, together = attacked_names(models, plan)
    distinct = {name: models[name] for name in together}
    inputs = AttackInputs(distinct, x, y, Ball(float(eps), norm), seed, device, bool(save_adversarials))
    for name, folder in save_adversarials.items():
        folder.check_names(plan[name])
    attacked = attack_models(inputs, together, batch_size, workers, binarisation, journal, on_event)
    found = {}
    for name, first in chosen.items():
        outcomes, checks = attacked.outcomes[first], attacked.checks[first]
        found[name] = collect_evaluation(attacked.clean[first], plan[name], outcomes, checks, eps)
    for name, folder in save_adversarials.items():
        for attack, spec in plan[name].items():
            each, ball = attacked.outcomes[chosen[name]][attack], searched_ball(spec, inputs.ball)
            folder.write(attack, x, y, found[name].measures[attack].flags, each, ball)
    return found


def chosen_eps(eps: float) -> WrittenFloat:
    """The radius as a number with its text; raises UserError if it is no number."""
    try:
        return eps if isinstance(eps, WrittenFloat) else WrittenFloat(eps)
    except ValueError as error:
        raise UserError(f"eps: {error}") from None


def chosen_device(device: str, here: torch.device) -> torch.device:
    """The device to attack on.

    Raises:
        UserError: there is no such device.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise UserError(f"device must be auto, cpu or cuda; it is {device!r}")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device: there is no CUDA device; use cpu or auto")
    return here if device in ("auto", here.type) else torch.device(device)


def check_call(whole: Iterable[object], save_adversarials: object, on_event: object) -> None:
    """Raise UserError for numbers that are no integers, and for a folder or a listener of another type.

    Args:
        whole: batch_size, seed, binarisation and workers.
    """
    for name, value in zip(("batch_size", "seed", "binarisation", "workers"), whole, strict=True):
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
            raise UserError(f"{name} must be an integer; it is {type(value).__name__}")
    if not (save_adversarials is None or isinstance(save_adversarials, AdversarialFolder)):
        raise UserError(f"save_adversarials must be an AdversarialFolder; it is {type(save_adversarials).__name__}")
    if not callable(on_event):
        raise UserError(f"on_event must be a function of one event; it is {type(on_event).__name__}")


def check_settings(plan: Plan, n: int, batch_size: int, workers: int | None, binarisation: int) -> None:
    """Raise UserError for invalid settings for `n` images."""
    if binarisation < 0:
        raise UserError(f"binarisation must be 0 or larger; it is {binarisation}")
    if batch_size < 1 or (workers is not None and workers < 1):
        raise UserError(f"batch_size and workers must be at least 1; they are {batch_size} and {workers}")
    for name, spec in ((name, spec) for attacks in plan.values() for name, spec in attacks.items()):
        if name == "clean":
            raise UserError("attacks: an attack cannot be named 'clean', the name of the accuracy without an attack")
        check_images_asked(name, spec, n, "attacks: ")
