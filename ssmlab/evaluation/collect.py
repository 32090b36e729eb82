"""Combines the outcomes of attacks, which come in any order, into evaluations, and reports progress."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ssmlab.core.events import Listener, Progress
from ssmlab.core.progress import ProgressMeter
from ssmlab.evaluation.checks.attacks_compared import compared_checks
from ssmlab.evaluation.kinds import attack_of
from ssmlab.evaluation.results import Check, Evaluation, Measure, worst_case
from ssmlab.evaluation.schedule import Schedule
from ssmlab.evaluation.tasks import AttackOutcome, Clean
from ssmlab.evaluation.token_map import TokenMap, patch_grid
from ssmlab.params import AttackSpec, AutoAttackParams, ScreenedAutoAttackParams, TokenParams


def collect_evaluation(
    clean: Clean,
    attacks: Mapping[str, AttackSpec],
    outcomes: Mapping[str, Sequence[AttackOutcome]],
    checks: Sequence[Check],
    eps: float,
) -> Evaluation:
    """The evaluation of one model.

    Args:
        clean: the results without an attack.
        attacks: the specifications by name.
        outcomes: all outcomes by attack. Clean images that the model classifies wrongly are in none of them; they count
            as wrong under every attack.
        checks: the checks on the model.
    """
    n = len(clean.right)
    measures = {"clean": Measure.of(flags_of({row for row in range(n) if clean.right[row]}, n))}
    warnings = []
    if clean.not_finite:
        warnings.append(f"clean: on {clean.not_finite} of {n} images the logits are not finite; they count as wrong")
    for name, spec in attacks.items():
        seen = n if spec.images == "all" else spec.images
        measures[name] = attack_measure(spec, measures["clean"].flags[:seen], outcomes[name])
        escaped = sum(outcome.escaped for outcome in outcomes[name])
        if escaped:
            warnings.append(f"{name}: {escaped} images came back outside the ball or [0, 1]; they count as not broken")
        unstable = sum(outcome.unstable for outcome in outcomes[name])
        if unstable:
            warnings.append(f"{name}: unstable: {unstable} broken images are classified correctly in other batches")
    checks = (*checks, *compared_checks(measures, attacks, eps))
    warnings += [check.sentence for check in checks if check.raised]
    return Evaluation(measures=measures, worst_case=worst_case(measures), checks=checks, warnings=tuple(warnings))


def attack_measure(spec: AttackSpec, clean: str, outcomes: Sequence[AttackOutcome]) -> Measure:
    """The accuracy under one attack; `clean` holds the flags without an attack for the images that it saw."""
    broken = {row for outcome in outcomes for row in set(outcome.task.images) - set(outcome.right)}
    flags = "".join("0" if row in broken else flag for row, flag in enumerate(clean))
    found = {**effort(outcomes, len(clean)), **distances(clean, outcomes), **parts_left(spec, clean, outcomes)}
    return Measure.of(flags, **found, **by_position(spec, clean, outcomes))


def effort(outcomes: Sequence[AttackOutcome], n: int) -> dict[str, Any]:
    """Queries per image, mean loss and accuracy by step; the sums do not depend on the order of the outcomes.

    n: the number of images that the attack saw, including those whose clean prediction is wrong.
    """
    images = sum(len(each.task.images) for each in outcomes if each.task.phase == 0)
    if not images:
        return {}
    losses = zip(*(each.losses for each in outcomes), strict=True)
    means = tuple(math.fsum(step) / images for step in losses)
    rights = zip(*(each.rights for each in outcomes), strict=True)
    accuracies = tuple(sum(step) / n for step in rights)
    queries = sum(each.queries for each in outcomes) / images
    return {"queries": queries, "loss_by_step": means or None, "accuracy_by_step": accuracies or None}


def distances(clean: str, outcomes: Sequence[AttackOutcome]) -> dict[str, Any]:
    """The smallest breaking distance of every image, if the attack searched it."""
    found = {
        row: distance
        for each in outcomes
        if each.distances
        for row, distance in zip(each.task.images, each.distances, strict=True)
    }
    if not found:
        return {}
    known = (0.0 if flag == "0" else found[row] for row, flag in enumerate(clean))
    return {"distances": tuple(None if math.isinf(distance) else distance for distance in known)}


def by_position(spec: AttackSpec, clean: str, outcomes: Sequence[AttackOutcome]) -> dict[str, Any]:
    """The patch size of a token attack, and its map of broken images if it tried every position."""
    if not isinstance(spec, TokenParams):
        return {}
    batches = [each.broken_at for each in outcomes if each.broken_at]
    if not batches:
        return {"patch": spec.patch}
    rows, columns = patch_grid(spec.patch, outcomes[0].task.image_shape)
    broken, right = tuple(map(sum, zip(*batches, strict=True))), clean.count("1")
    found = TokenMap(patch=spec.patch, rows=rows, columns=columns, n=len(clean), right=right, broken=broken)
    return {"patch": spec.patch, "token_map": found}


def parts_left(spec: AttackSpec, clean: str, outcomes: Sequence[AttackOutcome]) -> dict[str, Any]:
    """The accuracy after each part of AutoAttack; also whether it was standard, or how many images it screened."""
    if not isinstance(spec, AutoAttackParams | ScreenedAutoAttackParams):
        return {}
    kind, left, parts = attack_of(spec), clean.count("1"), {}
    for phase, names in enumerate(kind.phases):
        found = [outcome for outcome in outcomes if outcome.task.phase == phase]
        for name in names:
            parts[name] = (left - sum(len(each.task.images) - each.after[name] for each in found)) / len(clean)
        left -= sum(len(each.task.images) - len(each.right) for each in found)
    if isinstance(spec, AutoAttackParams):
        return {"parts": parts, "standard": spec.standard}
    screened = [each for each in outcomes if each.task.phase > 0 and kind.screens_after(each.task.phase - 1)]
    return {"parts": parts, "screened": sum(len(each.task.images) for each in screened)}


def flags_of(right: set[int], n: int) -> str:
    """One character for each of the first `n` rows: "1" if it is in `right`."""
    return "".join("1" if row in right else "0" for row in range(n))


class AttackProgress:
    """Reports the progress of the attacks to a listener: counts images, and estimates time from forward passes.

    Attacks need very different numbers of forward passes per image, so the remaining time is computed from the passes.
    """

    def __init__(self, listener: Listener, schedule: Schedule, expected_seconds: float) -> None:
        self.listener, self.schedule = listener, schedule
        self.images = schedule.images_left
        self.passes = ProgressMeter(schedule.passes_left, expected_seconds=expected_seconds)
        self.report()

    @property
    def images_done(self) -> int:
        return self.images - self.schedule.images_left

    def task_done(self) -> None:
        self.passes.advance_to(self.passes.total - self.schedule.passes_left)
        self.report()

    def tick(self) -> None:
        """Report if a second has passed since the last report, so that a long attack does not look stuck."""
        if self.passes.is_due(1.0, even_without_change=True):
            self.send()

    def report(self) -> None:
        self.passes.is_due(0.0, even_without_change=True)  # counts as a report, so `tick` waits a second
        self.send()

    def send(self) -> None:
        elapsed = self.passes.elapsed
        speed = self.images_done / elapsed if self.images_done and elapsed > 0 else None
        self.listener(Progress("attacks", self.images_done, self.images, images_per_second=speed, eta=self.passes.eta))
