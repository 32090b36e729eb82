"""How the numbers of a run came about: epochs done, and code, versions and device of its training and its attacks."""

from __future__ import annotations

from ssmlab.artifacts.manifest import Ending, Manifest
from ssmlab.artifacts.provenance import Provenance
from ssmlab.params import Strict


class EpochsDone(Strict):
    """How far a training went: `done` epochs of those `asked` for; `ended` is why, None where that is not recorded."""

    done: int
    asked: int
    ended: Ending | None = None

    @classmethod
    def of(cls, manifest: Manifest) -> EpochsDone:
        """What the manifest of a trained run's folder says."""
        return cls(done=manifest.epochs_done, asked=manifest.epochs_asked, ended=manifest.ended)

    @property
    def cut_short(self) -> bool:
        """Whether the training ended before its last epoch, for whatever reason."""
        return self.done < self.asked

    @property
    def text(self) -> str:
        """`10`; of a training that ended early `4 of 40`."""
        return f"{self.done} of {self.asked}" if self.cut_short else str(self.done)


class Origin(Strict):
    """A stage's provenance (`ssmlab.artifacts.provenance.Provenance`) without what the summary holds elsewhere."""

    command: str | None = None
    params_sha256: str
    code_sha256: str
    git_commit: str | None = None
    git_changes: str | None = None
    versions: dict[str, str]
    device: str | None = None
    threads: int | None = None

    @classmethod
    def of(cls, provenance: Provenance | None) -> Origin | None:
        """The origin of an output; None where older versions recorded none."""
        return None if provenance is None else cls(**provenance.model_dump(include=set(cls.model_fields)))
