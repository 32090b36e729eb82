"""From the outcomes of attacks, in any order, to evaluations; and how far the attacks have come meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ssmlab.core.events import Listener, Progress
from ssmlab.core.progress import ProgressMeter
from ssmlab.evaluation.attacks import AUTOATTACK_PARTS
from ssmlab.evaluation.checks.attacks_compared import compared_checks
from ssmlab.evaluation.results import Check, Evaluation, Measure, worst_case
from ssmlab.evaluation.tasks import AttackOutcome, AttackTask, Clean
from ssmlab.params import AttackSpec, AutoAttackParams


def collect_evaluation(
    clean: Clean,
    attacks: Mapping[str, AttackSpec],
    outcomes: Mapping[tuple[str, int], AttackOutcome],
    checks: Sequence[Check],
    eps: float,
) -> Evaluation:
    """What was found about one model.

    Args:
        outcomes: by attack and batch, all of them. Images that the model has wrong when clean are in none of them and
            count as wrong under every attack.
    """
    n = len(clean.right)
    measures = {"clean": Measure.of(flags_of({row for row in range(n) if clean.right[row]}, n))}
    warnings = []
    if clean.not_finite:
        warnings.append(f"clean: on {clean.not_finite} of {n} images the logits are not finite; they count as wrong")
    for name, spec in attacks.items():
        seen = n if spec.images == "all" else spec.images
        found = [outcome for (attack, _), outcome in outcomes.items() if attack == name]
        flags = flags_of({row for outcome in found for row in outcome.right}, seen)
        details = {}
        if isinstance(spec, AutoAttackParams):
            left = {part: sum(outcome.after[part] for outcome in found) for part in AUTOATTACK_PARTS}
            details = {"standard": spec.standard, "parts": {part: count / seen for part, count in left.items()}}
        measures[name] = Measure.of(flags, **details)
        escaped = sum(outcome.escaped for outcome in found)
        if escaped:
            warnings.append(f"{name}: {escaped} images came back outside the ball or [0, 1]; they count as not broken")
    checks = (*checks, *compared_checks(measures, attacks, eps))
    warnings += [check.sentence for check in checks if check.raised]
    return Evaluation(measures=measures, worst_case=worst_case(measures), checks=checks, warnings=tuple(warnings))


def flags_of(right: set[int], n: int) -> str:
    """One character for each of the first `n` rows: "1" if it is in `right`."""
    return "".join("1" if row in right else "0" for row in range(n))


class AttackProgress:
    """Tells a listener how far the attacks have come: counted in images, timed by forward passes.

    Attacks cost very different numbers of forward passes for an image, so the time that is left follows those.
    """

    def __init__(self, listener: Listener, tasks: Sequence[AttackTask], expected_seconds: float) -> None:
        self.listener = listener
        self.images, self.images_done = sum(len(task.images) for task in tasks), 0
        self.passes = ProgressMeter(sum(task.passes for task in tasks), expected_seconds=expected_seconds)
        self.report()

    def finished(self, task: AttackTask) -> None:
        self.images_done += len(task.images)
        self.passes.advance(task.passes)
        self.report()

    def tick(self) -> None:
        """Report if a second has passed since the last report, so that a long attack shows a sign of life."""
        if self.passes.is_due(1.0, even_without_change=True):
            self.send()

    def report(self) -> None:
        self.passes.is_due(0.0, even_without_change=True)  # counts as a report, so that `tick` waits a second
        self.send()

    def send(self) -> None:
        elapsed = self.passes.elapsed
        speed = self.images_done / elapsed if self.images_done and elapsed > 0 else None
        self.listener(Progress("attacks", self.images_done, self.images, images_per_second=speed, eta=self.passes.eta))
