"""An exported model is the attacked one, and its card says what was measured and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from scipy.stats import binomtest

import ssmlab
from ssmlab.core.errors import UserError
from ssmlab.core.files import sha256_file
from ssmlab.evaluation.results import load_results, save_results
from ssmlab.params import AutoAttackParams, Params
from ssmlab.params.paths import Paths
from ssmlab.report.hub_folder import export_run
from tests.analysis.compare.test_compare import write_checkpoint
from tests.analysis.synthetic import nested_flags, results, with_origin
from tests.stages.manifests import add_manifest


@pytest.fixture
def paths(tmp_path: Path, tiny_params: Params) -> Paths:
    """The run ads, with real weights that were never trained and attack results that were made up."""
    paths = Paths("smoke", tmp_path)
    measures = nested_flags(50, {"clean": 0.9, "fgsm": 0.7, "pgd-2": 0.6}, 0)
    measures["autoattack"] = measures["pgd-2"][:10]
    found = with_origin(results(tiny_params, "ads", measures, measures), 4, 40, "asked to stop")
    hashes = {
        which: write_checkpoint(paths.checkpoint("ads", which), tiny_params, "ads", which) for which in ("best", "last")
    }
    checkpoints = {
        which: each.model_copy(update={"sha256": hashes[which]}) for which, each in found.checkpoints.items()
    }
    save_results(paths.attack("ads"), found.model_copy(update={"checkpoints": checkpoints}))
    add_manifest(paths.model("ads"), "smoke")
    return paths


def front_matter(card: str) -> dict[str, object]:
    assert card.startswith("---\n")
    return dict(YAML(typ="safe").load(card.split("---\n")[1]))


def test_the_weights_are_the_checkpoint_and_load(paths: Paths, tmp_path: Path) -> None:
    files = export_run("ads", paths, tmp_path / "hub", "last")
    assert [file.name for file in files] == ["model.safetensors", "README.md", "robustbench.json", "attack.json"]
    assert sha256_file(files[0]) == sha256_file(paths.checkpoint("ads", "last"))
    _, metadata = ssmlab.load(files[0])
    assert (metadata.run, metadata.which) == ("ads", "last")
    assert load_results(files[3]) == load_results(paths.attack("ads"))


def test_an_onnx_file_is_named_by_the_card_and_never_outlives_its_weights(paths: Paths, tmp_path: Path) -> None:
    files = export_run("ads", paths, tmp_path / "hub", onnx=b"graph")
    assert files[-1] == tmp_path / "hub" / "model.onnx" and files[-1].read_bytes() == b"graph"
    assert "`model.onnx` is the same model" in files[1].read_text()
    with pytest.raises(UserError, match="holds other files"):
        export_run("ads", paths, tmp_path / "hub", "last")
    assert "onnx" not in export_run("ads", paths, tmp_path / "other")[1].read_text()


def test_the_card_has_the_hubs_fields_and_every_accuracy(paths: Paths, tmp_path: Path) -> None:
    export_run("ads", paths, tmp_path / "hub", license="apache-2.0")
    card = (tmp_path / "hub" / "README.md").read_text()
    head = front_matter(card)
    assert (head["license"], head["library_name"], head["pipeline_tag"]) == (
        "apache-2.0",
        "ssmlab",
        "image-classification",
    )
    (result,) = head["model-index"][0]["results"]  # type: ignore[index]
    assert [metric["value"] for metric in result["metrics"]] == [90.0, 70.0, 60.0, 70.0]
    ends = [
        " to ".join(f"{100 * end:.1f}" for end in binomtest(right, 50).proportion_ci(0.95, method="wilson"))
        for right in (45, 35)
    ]
    assert f"| clean | 90.0 | {ends[0]} | 50 |" in card
    assert f"| fgsm: FGSM, one step of eps | 70.0 | {ends[1]} | 50 |" in card
    assert "Threat model: L-inf, eps 0.1" in card and "| additional data | none |" in card
    assert "> **Warning.** Unfinished training: 4 of 40 epochs." in card
    assert "ssmlab attack ads" in card


def test_no_licence_is_invented(paths: Paths, tmp_path: Path) -> None:
    export_run("ads", paths, tmp_path / "hub")
    card = (tmp_path / "hub" / "README.md").read_text()
    assert "license" not in front_matter(card)
    assert "| licence of the weights | none given |" in card


def test_only_the_standard_autoattack_is_given_to_robustbench(paths: Paths, tmp_path: Path) -> None:
    export_run("ads", paths, tmp_path / "hub")
    fields = json.loads((tmp_path / "hub" / "robustbench.json").read_text())
    assert (fields["clean_acc"], fields["eps"], fields["additional_data"]) == ("90.0", "0.1", False)
    assert fields["autoattack_acc"] is None and "no standard AutoAttack" in fields["footnote"]
    found = load_results(paths.attack("ads"))
    spec = found.protocol.attacks["autoattack"]
    assert isinstance(spec, AutoAttackParams)
    standard = spec.model_copy(update={"steps": 100, "queries": 5000})
    protocol = found.protocol.model_copy(update={"attacks": {**found.protocol.attacks, "autoattack": standard}})
    changes = {"protocol": protocol, "protocol_fingerprint": protocol.fingerprint()}
    save_results(paths.attack("ads"), found.model_copy(update=changes))
    export_run("ads", paths, tmp_path / "hub")
    fields = json.loads((tmp_path / "hub" / "robustbench.json").read_text())
    assert (fields["autoattack_acc"], fields["footnote"]) == ("70.0", "clean on 50 images, AutoAttack on 10")


def test_a_checkpoint_that_was_not_attacked_is_refused(paths: Paths, tmp_path: Path, tiny_params: Params) -> None:
    write_checkpoint(paths.checkpoint("ads", "best"), tiny_params, "ads", seed=1)
    add_manifest(paths.model("ads"), "smoke")
    with pytest.raises(UserError, match="is not the one that was attacked"):
        export_run("ads", paths, tmp_path / "hub")
    assert not (tmp_path / "hub").exists()


def test_a_folder_with_other_files_is_left_alone(paths: Paths, tmp_path: Path) -> None:
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "thesis.tex").write_text("mine")
    with pytest.raises(UserError, match="holds other files"):
        export_run("ads", paths, tmp_path / "hub")
    assert [file.name for file in (tmp_path / "hub").iterdir()] == ["thesis.tex"]
