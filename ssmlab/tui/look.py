"""The state of a study at one moment, as the TUI shows it. Needs neither Textual nor files nor DVC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ssmlab.params import Params
from ssmlab.params.paths import Paths
from ssmlab.project.launched import Launched
from ssmlab.project.status import RunStatus


@dataclass(frozen=True)
class TestAccuracy:
    """Accuracy of the best checkpoint on test images, in [0, 1], with its 95% Wilson interval over `n` images."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, eq=False)
class RunView:
    """One run, as the TUI shows it. An unchanged run keeps its object, so views can be compared with `is`.

    Attributes:
        status: the status, as `ssmlab runs` prints it.
        regime: a short label of its training.
        group: the name of its group of seeds; its own name if no other run differs from it only in the seed.
        place: its position in params.yaml, which determines its colour and marker.
        group_place: the position of its group among the groups, which does the same for the curve of the group.
        tests: accuracies of the best checkpoint by measure (`clean`, then the attacks); empty until it is attacked.
        warnings: the warnings of the evaluation.
    """

    status: RunStatus
    regime: str
    group: str
    place: int
    group_place: int
    tests: Mapping[str, TestAccuracy] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The run's name."""
        return self.status.name

    @property
    def running(self) -> bool:
        """Whether one of its stages is running."""
        return self.status.at_work

    @property
    def tests_are_current(self) -> bool:
        """Whether the tests belong to the present model; a run that trains again shows the tests of its last model."""
        return self.status.state in ("probing", "finished")


@dataclass(frozen=True, eq=False)
class Look:
    """A study at one moment, read once.

    Attributes:
        params, paths: from the last valid params.yaml; None if there was none yet.
        problem: why params.yaml cannot be read now, as one line; None if it can.
        runs: one view per run, in the order of params.yaml.
        launched: the running launch, if any.
        ended: a launch that was running at the previous look and has ended.
        disk_free, disk_total: bytes of the project's file system; None if they are unknown.
        now: time of the look in unix seconds.
        foreign: whether it is a study in studies/ that is not in params.yaml; it can be viewed but not run.
        loading: whether some runs have not been read yet.
        data_name: the name by which results call the prepared data; None if there is none.
    """

    params: Params | None
    paths: Paths | None
    problem: str | None
    runs: tuple[RunView, ...]
    launched: Launched | None
    ended: Launched | None
    disk_free: int | None
    disk_total: int | None
    now: float
    foreign: bool = False
    loading: bool = False
    data_name: str | None = None

    def run(self, name: str) -> RunView | None:
        """The run with this name; None if there is none."""
        return next((view for view in self.runs if view.name == name), None)
