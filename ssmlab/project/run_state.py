"""The state of a run, decided by one function for the CLI, the TUI and the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from ssmlab.artifacts.heartbeat import Heartbeat, Stage, state_of
from ssmlab.artifacts.history import Row
from ssmlab.artifacts.metadata import Metadata
from ssmlab.core.plain_values import value_at
from ssmlab.params import AttackParams, RunParams, TrainParams
from ssmlab.params.written_float import WrittenFloat
from ssmlab.training.selection import out_of_patience

RunState = Literal[
    "waiting",  # nothing is published, nothing is running
    "queued",  # a running pipeline will run it later
    "training",
    "attacking",
    "probing",
    "trained",  # published, but not attacked yet
    "finished",  # published and attacked
    "stopped",  # ended before its last epoch on request
    "failed",  # ended by an error
    "killed",  # its process has ended without saying why
    "stale",  # no heartbeat for a minute
    "changed",  # published, but params, data or code have changed since
]
RUN_STATES: tuple[RunState, ...] = get_args(RunState)
AT_WORK: tuple[RunState, ...] = ("training", "attacking", "probing")
DOING: dict[Stage, RunState] = {"train": "training", "attack": "attacking", "probe": "probing"}


@dataclass(frozen=True)
class Published:
    """What the published files of a run say; all of them may be missing.

    Attributes:
        rows: the rows of models/STUDY/RUN/history.csv.
        checkpoint: the metadata of the best checkpoint; None if it is missing or cannot be read.
        attack: results/STUDY/attack/RUN.json as it is, unchecked; None if it is missing or cannot be read.
        trained_at, attacked_at, probed_at: when history and results were last written, in unix seconds; None without
            them.
        trained_code: the fingerprint of the code that trained it, from its manifest; None if it does not say.
        data_now: the fingerprint of the prepared data set as it is now; None if there is none.
        train_code_now, attack_code_now: the fingerprints of the code of the two stages as it is now.
    """

    rows: Sequence[Row] = ()
    checkpoint: Metadata | None = None
    attack: Mapping[str, Any] | None = None
    trained_at: float | None = None
    attacked_at: float | None = None
    probed_at: float | None = None
    trained_code: str | None = None
    data_now: str | None = None
    train_code_now: str | None = None
    attack_code_now: str | None = None

    def newer_than(self, beat: Heartbeat) -> bool:
        """Whether the outputs of the heartbeat's stage were written after that heartbeat, by DVC or by hand."""
        written = {"train": self.trained_at, "attack": self.attacked_at, "probe": self.probed_at}[beat.stage]
        return written is not None and written > beat.time


@dataclass(frozen=True)
class Decided:
    """A run's state.

    Attributes:
        state: what it is.
        live: whether the live files (runs/) show its progress; otherwise the published ones (models/, results/) do.
        reasons: for a changed run, what has changed, one entry each, such as `train.epochs: 40 (trained with 10)`.
    """

    state: RunState
    live: bool
    reasons: tuple[str, ...] = ()


def decide_state(
    beat: Heartbeat | None,
    published: Published,
    run: RunParams,
    attack: AttackParams,
    now: float,
    *,
    queued: bool = False,
    live_rows: Sequence[Row] = (),
) -> Decided:
    """The state of a run.

    A running stage has the highest priority. Next comes the way in which the last stage broke off, unless its outputs
    are newer. Then the published files decide. A stored "finished" is ignored if there are no published files.

    Args:
        beat: the run's heartbeat; None if there is none.
        published: what its published files say.
        run, attack: the current params.
        now: unix seconds.
        queued: whether a running pipeline will run it later.
        live_rows: the rows of the live history.
    """
    if beat is not None:
        found = state_of(beat, now)
        if found == "running":
            return Decided(DOING[beat.stage], live=beat.stage == "train")
        if found == "stale" or (found != "finished" and not published.newer_than(beat)):
            return Decided(found, live=beat.stage == "train")
    elif live_rows and not published.rows:
        return Decided("stale", live=True)  # a training has left a history but no heartbeat
    if not published.rows:
        return Decided("queued" if queued else "waiting", live=beat is not None and beat.stage == "train")
    reasons = tuple(changes_since(published, run, attack))
    if reasons:
        return Decided("queued" if queued else "changed", live=False, reasons=reasons)
    if cut_short(published.rows, run.train):
        return Decided("stopped", live=False)
    return Decided("trained" if published.attacked_at is None else "finished", live=False)


def cut_short(rows: Sequence[Row], train: TrainParams) -> bool:
    """Whether a training ended before its last epoch, and not because `train.patience` says so."""
    return len(rows) < train.passes and not out_of_patience(rows, train)


def changes_since(published: Published, run: RunParams, attack: AttackParams) -> list[str]:
    """What has changed in params, data and code since the published files were made."""
    found: list[str] = []
    trained = published.checkpoint
    if trained is not None and trained.train is not None:
        before = {"model": trained.model.plain(), "train": trained.train.plain()}
        found += changed_keys(before, run.plain(), "trained with")
    if differ(trained.data_fingerprint if trained is not None else None, published.data_now):
        found.append("data: trained on other images than the prepared ones")
    if differ(published.trained_code, published.train_code_now):
        found.append("code: trained with other code than the current one")
    if published.attack is not None:
        found += attack_changes(published.attack, trained, attack)
        if differ(data_in(published.attack), published.data_now):
            found.append("data: attacked on other images than the prepared ones")
        if differ(code_in(published.attack), published.attack_code_now):
            found.append("code: attacked with other code than the current one")
    return found


def differ(then: str | None, now: str | None) -> bool:
    """Whether two fingerprints are known and not equal."""
    return then is not None and now is not None and then != now


def code_in(document: Any) -> str | None:
    """The fingerprint of the code in the provenance of a manifest or of attack results; None if it has none."""
    return text_at(document, "provenance", "code_sha256")


def data_in(results: Any) -> str | None:
    """The fingerprint of the attacked data in attack results; None if they have none."""
    return text_at(results, "protocol", "data", "fingerprint")


def text_at(document: Any, *keys: str) -> str | None:
    """The text at nested keys of an unchecked document; None if there is none."""
    found = value_at(document, keys)
    return found if isinstance(found, str) else None


def attack_changes(results: Mapping[str, Any], trained: Metadata | None, attack: AttackParams) -> list[str]:
    """What has changed since the attack; the results are not validated, so any part of them may be missing."""
    asked = attack.plain()
    protocol = results.get("protocol")
    if not isinstance(protocol, Mapping):
        return []
    eps = protocol.get("eps")
    before = {key: protocol[key] for key in ("norm", "seed", "batch_size", "attacks") if key in protocol}
    now = {key: asked[key] for key in before}
    found = [f"attack.{line}" for line in changed_keys(before, now, "attacked with")]
    if isinstance(eps, Mapping) and eps.get("value") != float(attack.eps):
        found.append(f"attack.eps: {attack.eps} (attacked with {eps.get('text')})")
    best = results.get("checkpoints", {}).get("best") if isinstance(results.get("checkpoints"), Mapping) else None
    if trained is not None and isinstance(best, Mapping):
        attacked = tuple(best.get(key) for key in ("epoch", "val_clean", "val_robust"))
        if attacked != (trained.epoch, trained.val_clean, trained.val_robust):
            found.append("the results are of an earlier training")
    return found


def changed_keys(before: Mapping[str, Any], now: Mapping[str, Any], verb: str, prefix: str = "") -> list[str]:
    """The keys at which two nested mappings differ, as `key: now (VERB before)`."""
    found: list[str] = []
    for key in dict.fromkeys([*before, *now]):
        old, new, name = before.get(key), now.get(key), f"{prefix}{key}"
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += changed_keys(old, new, verb, f"{name}.")
        elif not same_value(old, new):
            found.append(f"{name}: {'none' if new is None else new} ({verb} {'none' if old is None else old})")
    return found


def same_value(one: Any, other: Any) -> bool:
    """Whether two plain values are equal; `8/255` is the same as `8 / 255` and as the number it stands for."""
    if one == other:
        return True
    try:
        return float(WrittenFloat(one)) == float(WrittenFloat(other))
    except (TypeError, ValueError):
        return False
