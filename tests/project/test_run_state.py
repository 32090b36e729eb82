"""One function determines the state of a run; each test is a case in which the state was once wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ssmlab.artifacts.heartbeat import Heartbeat
from ssmlab.artifacts.history import Row
from ssmlab.artifacts.metadata import Metadata
from ssmlab.params import Params, RunParams, TrainParams
from ssmlab.project.run_state import Published, RunState, changed_keys, decide_state
from ssmlab.training.selection import out_of_patience
from tests.artifacts.living_heartbeat import living_heartbeat
from tests.artifacts.trained_metadata import trained_metadata

NOW = 1_000_000.0
BEAT = living_heartbeat(time=NOW - 1)


def rows(count: int) -> list[Row]:
    return [Row(epoch, 10 * epoch, 1e-3, 2.0, 0.1, 0.5, 0.4, 1.5, 700.0) for epoch in range(1, count + 1)]


def checkpoint(run: RunParams, **changes: Any) -> Metadata:
    defaults: dict[str, Any] = {
        "epoch": 1,
        "val_clean": 0.5,
        "val_robust": 0.4,
        "data_fingerprint": "d",
        "code_version": "0.1.0",
    }
    return trained_metadata(run, **(defaults | changes))


@pytest.fixture
def run(tiny_params: Params) -> RunParams:
    return tiny_params.runs["ads"]


@pytest.fixture
def published(run: RunParams) -> Published:
    """A complete training, published and attacked 100 seconds ago."""
    return Published(
        rows=rows(run.train.passes),
        checkpoint=checkpoint(run),
        attack={},
        trained_at=NOW - 200,
        attacked_at=NOW - 100,
        data_now="d",
    )


def state(beat: Heartbeat | None, published: Published, params: Params, **more: Any) -> RunState:
    return decide_state(beat, published, params.runs["ads"], params.attack, NOW, **more).state


def test_a_run_that_is_published_and_attacked_is_finished(tiny_params: Params, published: Published) -> None:
    assert state(None, published, tiny_params) == "finished"
    assert state(replace(BEAT, state="finished"), published, tiny_params) == "finished"
    assert state(None, replace(published, attacked_at=None, attack=None), tiny_params) == "trained"


def test_a_stored_end_without_published_files_is_no_result(tiny_params: Params) -> None:
    assert state(replace(BEAT, state="finished"), Published(), tiny_params, live_rows=rows(2)) == "waiting"


def test_a_training_cut_short_is_stopped_and_not_finished(tiny_params: Params, published: Published) -> None:
    short = replace(published, rows=rows(1))
    assert tiny_params.runs["ads"].train.passes > 1
    assert state(None, short, tiny_params) == "stopped"
    assert state(replace(BEAT, state="finished", stage="attack"), short, tiny_params) == "stopped"


def test_a_training_that_its_patience_ended_is_finished(tiny_params: Params, published: Published) -> None:
    train = tiny_params.runs["ads"].train.model_copy(update={"epochs": 40, "patience": 3, "warmup": 0})
    run = tiny_params.runs["ads"].model_copy(update={"train": train})
    params = tiny_params.model_copy(update={"runs": {**tiny_params.runs, "ads": run}})
    known = replace(published, checkpoint=checkpoint(run))
    assert state(None, replace(known, rows=rows(4)), params) == "finished"
    assert state(None, replace(known, rows=rows(3)), params) == "stopped"


def test_a_training_with_replays_that_its_patience_ended_is_finished(tiny_params: Params, published: Published) -> None:
    train = TrainParams.model_validate(
        tiny_params.runs["ads"].train.plain()
        | {"regime": "free", "free": {"replays": 4}, "epochs": 40, "patience": 3, "warmup": 8}
        | {"adversary": {"eps": "0.1", "alpha": "0.1", "steps": 1, "random_start": False}}
    )
    run = tiny_params.runs["ads"].model_copy(update={"train": train})
    params = tiny_params.model_copy(update={"runs": {**tiny_params.runs, "ads": run}})
    known = replace(published, checkpoint=checkpoint(run))
    assert out_of_patience(rows(5), train) and not out_of_patience(rows(4), train)  # 8 epochs of warm-up are 2 passes
    assert state(None, replace(known, rows=rows(5)), params) == "finished"
    assert state(None, replace(known, rows=rows(4)), params) == "stopped"


@pytest.mark.parametrize("ended", ["stopped", "failed"])
def test_the_last_attempt_tells_the_state_until_something_newer_is_published(
    tiny_params: Params, published: Published, ended: Any
) -> None:
    beat = replace(BEAT, state=ended, time=NOW - 50)
    decided = decide_state(beat, published, tiny_params.runs["ads"], tiny_params.attack, NOW)
    assert (decided.state, decided.live) == (ended, True)
    checked_out = replace(published, trained_at=NOW - 10)  # by `dvc checkout`, after that attempt
    decided = decide_state(beat, checked_out, tiny_params.runs["ads"], tiny_params.attack, NOW)
    assert (decided.state, decided.live) == ("finished", False)


def test_a_running_stage_has_priority_over_published_results(tiny_params: Params, published: Published) -> None:
    assert state(BEAT, published, tiny_params) == "training"
    assert state(replace(BEAT, stage="attack"), published, tiny_params) == "attacking"
    assert state(replace(BEAT, stage="probe"), published, tiny_params) == "probing"
    assert state(replace(BEAT, time=NOW - 3600), published, tiny_params) == "stale"
    assert state(replace(BEAT, pid_start=1.0), published, tiny_params) == "killed"


@pytest.mark.parametrize("probed_at, expected", [(None, "failed"), (NOW - 60, "failed"), (NOW - 10, "finished")])
def test_a_probe_that_failed_is_shown_until_a_later_one_has_published(
    tiny_params: Params, published: Published, probed_at: float | None, expected: str
) -> None:
    beat = replace(BEAT, stage="probe", state="failed", time=NOW - 50)
    assert state(beat, replace(published, probed_at=probed_at), tiny_params) == expected


def test_params_that_differ_from_those_of_the_training_are_a_change(tiny_params: Params, published: Published) -> None:
    run = tiny_params.runs["ads"]
    old = run.model_copy(update={"train": run.train.model_copy(update={"seed": run.train.seed + 1})})
    changed = replace(published, checkpoint=checkpoint(old))
    decided = decide_state(None, changed, run, tiny_params.attack, NOW)
    assert decided.state == "changed"
    assert decided.reasons == (f"train.seed: {run.train.seed} (trained with {run.train.seed + 1})",)
    assert state(None, changed, tiny_params, queued=True) == "queued"


def test_data_that_differ_from_those_of_the_training_are_a_change(tiny_params: Params, published: Published) -> None:
    assert state(None, replace(published, data_now="other"), tiny_params) == "changed"
    assert state(None, replace(published, data_now=None), tiny_params) == "finished"


def test_results_on_other_data_are_a_change(tiny_params: Params, published: Published) -> None:
    for fingerprint, expected in (("d", "finished"), ("other", "changed")):
        results = {"protocol": {"data": {"fingerprint": fingerprint}}}
        assert state(None, replace(published, attack=results), tiny_params) == expected


@pytest.mark.parametrize("stage", ["train", "attack"])
def test_code_that_differs_from_the_present_code_is_a_change_and_unknown_code_is_none(
    tiny_params: Params, published: Published, stage: str
) -> None:
    run = tiny_params.runs["ads"]
    made = replace(published, trained_code="a", attack={"provenance": {"code_sha256": "b"}})
    assert state(None, replace(made, train_code_now="a", attack_code_now="b"), tiny_params) == "finished"
    assert state(None, made, tiny_params) == "finished"
    changed = replace(made, **{f"{stage}_code_now": "c"})
    decided = decide_state(None, changed, run, tiny_params.attack, NOW)
    assert decided.state == "changed"
    assert decided.reasons == (f"code: {stage}ed with other code than the current one".replace("traineded", "trained"),)


def test_other_attack_settings_are_a_change_but_not_another_spelling(tiny_params: Params, published: Published) -> None:
    plain = tiny_params.attack.plain()
    eps = float(tiny_params.attack.eps)
    protocol = {"eps": {"text": f"{eps * 255} / 255", "value": eps}, "attacks": plain["attacks"]}
    assert state(None, replace(published, attack={"protocol": protocol}), tiny_params) == "finished"
    for key, value in {"eps": {"text": "1", "value": 1.0}, "seed": -1, "attacks": {}}.items():
        assert state(None, replace(published, attack={"protocol": {**protocol, key: value}}), tiny_params) == "changed"


def test_results_of_an_earlier_checkpoint_are_a_change(tiny_params: Params, published: Published) -> None:
    best = {"epoch": 1, "val_clean": 0.5, "val_robust": 0.4}
    for epoch, expected in ((1, "finished"), (2, "changed")):
        results = {"protocol": {}, "checkpoints": {"best": {**best, "epoch": epoch}}}
        assert state(None, replace(published, attack=results), tiny_params) == expected


@pytest.mark.parametrize("results", [{"protocol": 1}, {"protocol": {"eps": 1}, "checkpoints": []}, {"checkpoints": 3}])
def test_results_of_any_content_are_no_error(tiny_params: Params, published: Published, results: Any) -> None:
    assert state(None, replace(published, attack=results), tiny_params) == "finished"


def test_a_run_without_files_waits_or_is_queued(tiny_params: Params) -> None:
    assert state(None, Published(), tiny_params) == "waiting"
    assert state(None, Published(), tiny_params, queued=True) == "queued"
    assert state(None, Published(), tiny_params, live_rows=rows(1)) == "stale"


def test_differences_name_every_key_and_both_values() -> None:
    before = {"a": 1, "b": {"c": "8/255", "d": None}, "e": {"f": 1}}
    now = {"a": 1.0, "b": {"c": "8 / 255", "d": 2}, "e": None}
    assert changed_keys(before, now, "was") == ["b.d: 2 (was none)", "e: none (was {'f': 1})"]
