"""The stage `probe` on the smoke study, from prepared data and two checkpoints to its results file."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from ssmlab.artifacts.heartbeat import PROBE_PROGRESS, read_heartbeat
from ssmlab.core.errors import UserError
from ssmlab.core.events import Event, Note, Progress
from ssmlab.core.files import sha256_file
from ssmlab.data.dataset import load_dataset
from ssmlab.params import Params
from ssmlab.params.paths import Paths
from ssmlab.probes.probe import PARTS
from ssmlab.probes.results import load_probes
from ssmlab.stages.probe import probe
from tests.stages.test_attack import RUN, paths, study

__all__ = ["paths", "study"]  # fixtures


def test_the_results_file_says_what_was_probed_and_found(tiny_params: Params, paths: Paths) -> None:
    events: list[Event] = []
    probe(tiny_params, RUN, paths, "cpu", events.append)
    results = load_probes(paths.probe(RUN))
    assert (results.study, results.run, results.images) == ("smoke", RUN, {"train": 16, "test": 16})
    assert results.model == tiny_params.runs[RUN].model.plain()
    assert results.data_fingerprint == load_dataset(paths.prepared).fingerprint
    assert results.probe == tiny_params.probe
    assert list(results.checkpoints) == ["best", "last"]
    for which, checkpoint in results.checkpoints.items():
        assert checkpoint.sha256 == sha256_file(paths.checkpoint(RUN, which))
        assert len(checkpoint.ladders) == 4 and len(checkpoint.gains) == 2 and len(checkpoint.growth) == 3
        assert checkpoint.certificate is not None and checkpoint.exact is None
    provenance = results.provenance
    assert provenance is not None and (provenance.stage, provenance.device) == ("probe", "cpu")
    assert provenance.params == {"study": "smoke", "probe": tiny_params.probe.plain()}
    assert [event.text for event in events if isinstance(event, Note)][-1] == f"wrote {paths.probe(RUN)}"


def test_the_heartbeat_of_a_probe_shows_each_part_and_how_it_ended(
    tiny_params: Params, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[Event] = []
    probe(tiny_params, RUN, paths, "cpu", events.append)
    steps = [event for event in events if isinstance(event, Progress)]
    assert [step.done for step in steps] == list(range(2 * PARTS)) and {step.total for step in steps} == {2 * PARTS}
    assert steps[0].task == "best: attack on the train images" and steps[-1].task == "last: growth along the tokens"
    heartbeat = read_heartbeat(paths.live(RUN) / PROBE_PROGRESS)
    assert heartbeat is not None and (heartbeat.stage, heartbeat.state) == ("probe", "finished")
    monkeypatch.setattr("ssmlab.stages.probe.save_probes", full_disk)
    with pytest.raises(UserError):
        probe(tiny_params, RUN, paths, "cpu")
    heartbeat = read_heartbeat(paths.live(RUN) / PROBE_PROGRESS)
    assert heartbeat is not None and (heartbeat.state, heartbeat.message) == ("failed", "no space is left")


def full_disk(*_: object) -> None:
    raise UserError("no space is left")


def test_equal_calls_write_equal_bytes(tiny_params: Params, paths: Paths) -> None:
    probe(tiny_params, RUN, paths, "cpu")
    first = paths.probe(RUN).read_bytes()
    probe(tiny_params, RUN, paths, "cpu")
    assert paths.probe(RUN).read_bytes() == first


def test_the_smoke_study_is_probed_in_seconds(tiny_params: Params, paths: Paths) -> None:
    start = time.process_time()
    probe(tiny_params, RUN, paths, "cpu")
    assert time.process_time() - start < 10


def test_more_images_than_there_are_means_all_of_them(tiny_params: Params, paths: Paths) -> None:
    settings = tiny_params.probe.model_copy(update={"images": 150})
    probe(tiny_params.model_copy(update={"probe": settings}), RUN, paths, "cpu")
    assert load_probes(paths.probe(RUN)).images == {"train": 150, "test": 100}


def test_params_that_change_meanwhile_leave_the_earlier_results(tiny_params: Params, paths: Paths) -> None:
    paths.probe(RUN).parent.mkdir(parents=True)
    paths.probe(RUN).write_text("earlier")
    other = tiny_params.model_copy(update={"probe": tiny_params.probe.model_copy(update={"seed": 1})})
    with pytest.raises(UserError, match=r"params\.yaml has changed"):
        probe(tiny_params, RUN, paths, "cpu", reread=lambda: other)
    assert paths.probe(RUN).read_text() == "earlier"


def test_a_missing_checkpoint_is_named_with_the_command_that_makes_it(tiny_params: Params, paths: Paths) -> None:
    paths.checkpoint(RUN, "last").unlink()
    with pytest.raises(UserError, match=f"last.safetensors.*ssmlab train {RUN}"):
        probe(tiny_params, RUN, paths, "cpu")


def test_results_that_were_edited_are_refused(tiny_params: Params, paths: Paths) -> None:
    probe(tiny_params, RUN, paths, "cpu")
    file: Path = paths.probe(RUN)
    document = json.loads(file.read_text())
    document["checkpoints"]["best"]["robust"] = 1.0
    file.write_text(json.dumps(document))
    with pytest.raises(UserError, match=f"ssmlab probe {RUN}"):
        load_probes(file)
