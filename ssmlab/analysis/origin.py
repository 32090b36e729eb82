"""How the numbers of a run were produced: epochs done, and the code, versions and device of training and attacks."""

from __future__ import annotations

from ssmlab.artifacts.manifest import Ending, Manifest
from ssmlab.artifacts.provenance import Provenance
from ssmlab.params import Strict


class EpochsDone(Strict):
    """How far a training went: `done` epochs out of `asked`; `ended` is why it ended, None if that is not recorded."""

    done: int
    asked: int
    ended: Ending | None = None

    @classmethod
    def of(cls, manifest: Manifest) -> EpochsDone:
        """Read the epochs from the manifest of a trained run."""
        return cls(done=manifest.epochs_done, asked=manifest.epochs_asked, ended=manifest.ended)

    @property
    def cut_short(self) -> bool:
        """Whether the training ended before its last epoch, for any reason."""
        return self.done < self.asked

    @property
    def text(self) -> str:
        """`10`, or `4 of 40` for a training that ended early."""
        return f"{self.done} of {self.asked}" if self.cut_short else str(self.done)


class Origin(Strict):
    """A stage's provenance (`ssmlab.artifacts.provenance.Provenance`) without the fields that the summary repeats."""

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
        """The origin of an output; None if an older version recorded no provenance."""
        return None if provenance is None else cls(**provenance.model_dump(include=set(cls.model_fields)))
