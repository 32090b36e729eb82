"""The transfer matrix of a study: `ssmlab transfer`, from the trained runs to results/STUDY/transfer.json."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ssmlab.cli.app import app
from ssmlab.core.errors import UserError
from ssmlab.core.events import Event, Note
from ssmlab.core.files import sha256_file
from ssmlab.evaluation.results import load_results
from ssmlab.evaluation.transfer_results import load_transfer
from ssmlab.params import Params
from ssmlab.params.paths import Paths
from ssmlab.stages.attack.stage import attack
from ssmlab.stages.transfer import transfer
from tests.stages.manifests import add_manifest
from tests.stages.test_attack import RUN, checkpoint, paths, study  # noqa: F401 - fixtures

OTHER = "ssm"


@pytest.fixture
def trained(tiny_params: Params, paths: Paths) -> Paths:  # noqa: F811
    """Two trained runs of the three."""
    for epoch, which in ((1, "best"), (2, "last")):
        checkpoint(tiny_params, paths, which, epoch, OTHER)
    add_manifest(paths.model(OTHER), tiny_params.study)
    return paths


def test_the_matrix_has_every_pair_and_the_own_attack_is_that_of_the_results(
    tiny_params: Params, trained: Paths
) -> None:
    events: list[Event] = []
    found = transfer(tiny_params, [], trained, "pgd-2", 40, "cpu", events.append)
    assert load_transfer(trained.transfer) == found
    assert found.checkpoints == {run: sha256_file(trained.checkpoint(run, "best")) for run in (OTHER, RUN)}
    assert [(each.source, each.target) for each in found.transfers] == [
        (source, target) for source in (OTHER, RUN) for target in (OTHER, RUN)
    ]
    assert any("left out: attention" in event.text for event in events if isinstance(event, Note))

    attack(tiny_params, RUN, trained, "cpu")
    measures = load_results(trained.attack(RUN)).checkpoints["best"].measures
    assert found.clean[RUN] == measures["clean"].flags[:40]
    own = zip(found.clean[RUN], found.transfer(RUN, RUN).flags, strict=True)
    assert "".join(str(int(clean == after == "1")) for clean, after in own) == measures["pgd-2"].flags[:40]


def test_a_test_set_of_fewer_than_200_images_is_used_whole(tiny_params: Params, trained: Paths) -> None:
    found = transfer(tiny_params, [], trained, "fgsm", device="cpu")
    assert {len(flags) for flags in found.clean.values()} == {100}


@pytest.mark.parametrize(
    ("names", "attack_name", "images", "problem"),
    [
        (["nobody"], "pgd-2", 4, "no run or group 'nobody'"),
        ([RUN], "pgd-2", 4, "needs at least two trained runs"),
        ([], "autoattack", 4, "use FGSM or PGD for transfer"),
        ([], "pgd-2", 10**6, "1000000 images are requested, but there are 100"),
        (["attention", RUN], "pgd-2", 4, "attention"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line_before_anything_is_written(
    tiny_params: Params, trained: Paths, names: list[str], attack_name: str, images: int, problem: str
) -> None:
    with pytest.raises(UserError, match=problem) as caught:
        transfer(tiny_params, names, trained, attack_name, images, "cpu")
    assert "\n" not in str(caught.value)
    assert not trained.transfer.exists()


def test_the_command_prints_the_matrix_for_people_and_a_row_a_pair_for_scripts(
    tiny_params: Params, trained: Paths, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (trained.root / "dvc.yaml").symlink_to(project / "dvc.yaml")
    monkeypatch.chdir(trained.root)
    monkeypatch.setattr("ssmlab.cli.transfer.study", lambda: (tiny_params, Paths(tiny_params.study)))
    monkeypatch.setattr("ssmlab.cli.transfer.reread_params", lambda: tiny_params)
    asked = ["transfer", "--attack", "fgsm", "--images", "20", "--device", "cpu"]
    table = CliRunner().invoke(app, asked)
    assert table.exit_code == 0 and "made on" in table.stdout and RUN in table.stdout
    listed = CliRunner().invoke(app, [*asked, "--format", "json"])
    rows = json.loads(listed.stdout)["rows"]
    assert [(row["source"], row["target"]) for row in rows] == [
        (OTHER, OTHER),
        (OTHER, RUN),
        (RUN, OTHER),
        (RUN, RUN),
    ]
    assert all(row["n"] == 20 and row["broken"] <= row["right"] for row in rows)
