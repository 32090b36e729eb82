"""From outcomes, in whichever order they come, to evaluations; and how far the work has come meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from ssmlab.core.events import Listener, Progress
from ssmlab.evaluation.attacks import AUTOATTACK_PARTS
from ssmlab.evaluation.masking import masking_warnings
from ssmlab.evaluation.results import Evaluation, Measure, worst_case
from ssmlab.evaluation.tasks import Clean, Outcome, Task
from ssmlab.params import AttackSpec, AutoAttackParams


def evaluation(
    clean: Clean, attacks: Mapping[str, AttackSpec], outcomes: Mapping[tuple[str, int], Outcome]
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
        more = {}
        if isinstance(spec, AutoAttackParams):
            left = {part: sum(outcome.after[part] for outcome in found) for part in AUTOATTACK_PARTS}
            more = {"standard": spec.standard, "parts": {part: count / seen for part, count in left.items()}}
        measures[name] = Measure.of(flags, **more)
        escaped = sum(outcome.escaped for outcome in found)
        if escaped:
            warnings.append(f"{name}: {escaped} images came back outside the ball or [0, 1]; they count as not broken")
    warnings += masking_warnings(measures, attacks)
    return Evaluation(measures=measures, worst_case=worst_case(measures), warnings=tuple(warnings))


def flags_of(right: set[int], n: int) -> str:
    """One character for each of the first `n` rows: "1" if it is in `right`."""
    return "".join("1" if row in right else "0" for row in range(n))


class Watch:
    """Tells a listener how far the tasks have come, at most once a second while nothing is finished.

    The time that is left is taken from the passes that are left, each task's own guess of its cost.

    Args:
        clock: seconds, from any origin.
    """

    def __init__(self, listen: Listener, clock: Callable[[], float] = time.monotonic, every: float = 1.0) -> None:
        self.listen, self.clock, self.every = listen, clock, every
        self.images = self.done_images = 0
        self.passes = self.done_passes = 0.0
        self.guess = 0.0
        self.began = self.told = clock()

    def start(self, tasks: Sequence[Task], guess: float) -> None:
        """Begin with `tasks`, which are thought to take `guess` seconds together."""
        self.images, self.passes = sum(len(task.images) for task in tasks), sum(task.passes for task in tasks)
        self.guess = guess
        self.began = self.clock()
        self.tell()

    def done(self, task: Task) -> None:
        """A task is finished."""
        self.done_images += len(task.images)
        self.done_passes += task.passes
        self.tell()

    def tick(self) -> None:
        """Something has happened, or some time has passed."""
        if self.images and self.clock() - self.told >= self.every:
            self.tell()

    def tell(self) -> None:
        """Send the progress."""
        self.told = self.clock()
        elapsed = self.told - self.began
        if self.done_passes:
            whole = elapsed * self.passes / self.done_passes
        else:
            whole = self.guess
        speed = self.done_images / elapsed if self.done_images and elapsed > 0 else None
        self.listen(
            Progress("attacks", self.done_images, self.images, images_per_second=speed, eta=max(whole - elapsed, 0.0))
        )
