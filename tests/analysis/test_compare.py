from __future__ import annotations

import dataclasses
import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from ssmlab.analysis.compare import Comparison, Line, compare
from ssmlab.errors import ProtocolMismatch, UserError
from ssmlab.files import canonical_json, readable_json, sha256_file, write_atomic
from ssmlab.metadata import Metadata
from ssmlab.params import Params, Which
from ssmlab.pipeline.paths import Paths
from tests.analysis.synthetic import protocol, results


def flags(right: int, n: int = 1000) -> str:
    return "1" * right + "0" * (n - right)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths("smoke", tmp_path)


@pytest.fixture
def attacked(tiny_params: Params, paths: Paths) -> Paths:
    """A study with two attacked runs: ads is better and falls more."""
    best, last = {"clean": flags(900), "pgd-2": flags(800)}, {"clean": flags(901), "pgd-2": flags(700)}
    save(paths, results(tiny_params, "ads", best, last, parameters=1900))
    best, last = {"clean": flags(895), "pgd-2": flags(500)}, {"clean": flags(895), "pgd-2": flags(500)}
    save(paths, results(tiny_params, "ssm", best, last, parameters=1000))
    return paths


def save(paths: Paths, found: object) -> None:
    write_atomic(paths.attack(found.run), readable_json(found.plain()))  # type: ignore[attr-defined]


def write_checkpoint(
    path: Path, params: Params, run: str, which: Which = "best", sizes: tuple[int, ...] = (3, 4)
) -> str:
    """A checkpoint file made by hand, after the published layout of safetensors; returns its hash."""
    settings = params.run(run)
    metadata = Metadata(
        study=params.study,
        run=run,
        which=which,
        epoch=9,
        model=settings.model,
        train=settings.train,
        image_shape=(1, 28, 28),
        classes=10,
        val_clean=0.5,
        val_robust=0.4,
        selection_split="validation",
        data_name="mnist5k",
        data_fingerprint="ab" * 32,
        params_fingerprint="cd" * 32,
        code_version="0.1.0",
    )
    header: dict[str, object] = {"__metadata__": metadata.header()}
    offset = 0
    for size in sizes:
        header[f"t{offset}"] = {"dtype": "F32", "shape": [size], "data_offsets": [offset, offset + 4 * size]}
        offset += 4 * size
    text = canonical_json(header).encode()
    write_atomic(path, struct.pack("<Q", len(text)) + text + bytes(offset))
    return sha256_file(path)


def line(comparison: Comparison, measure: str, moment: str) -> Line:
    (found,) = (x for x in comparison.lines if (x.measure, x.moment) == (measure, moment))
    return found


def test_two_runs_by_name(attacked: Paths) -> None:
    found = compare(["ssm", "ads"], attacked)
    assert found.mismatch is None
    assert found.notes == ()
    assert [subject.parameters for subject in found.subjects] == [1000, 1900]
    changed = {setting.key: setting.values for setting in found.settings if setting.changed}
    assert changed == {
        "model.enhancement": ("none", "ads"),
        "model.ads.act": (None, "relu"),
        "model.ads.parts": (None, "both"),
    }
    assert "train.epochs" in {setting.key for setting in found.settings}
    robust = line(found, "pgd-2", "best").cells
    assert robust[0].word == ""
    assert robust[0].delta is None
    assert (robust[1].value, robust[1].n, robust[1].word) == (0.8, 1000, "better")
    assert robust[1].delta == pytest.approx(0.3)
    assert robust[1].difference is not None
    assert robust[1].difference.low > 0.25


def test_deltas_turn_with_the_reference_and_less_gap_is_better(attacked: Paths) -> None:
    there, back = compare(["ssm", "ads"], attacked), compare(["ads", "ssm"], attacked)
    assert line(there, "pgd-2", "last").cells[1].word == "better"
    assert line(back, "pgd-2", "last").cells[1].word == "worse"
    gap = line(there, "pgd-2", "gap").cells
    assert (gap[0].value, gap[1].value) == pytest.approx((0.0, 0.1))
    assert gap[1].word == "worse"
    assert line(back, "pgd-2", "gap").cells[1].word == "better"


def test_noise_and_sameness_have_words(tiny_params: Params, paths: Paths) -> None:
    # 20 images each only one of them gets right, 25 only the other: five of a thousand apart, in either direction noise
    save(paths, results(tiny_params, "ads", {"clean": "1" * 525 + "0" * 475}))
    save(paths, results(tiny_params, "ssm", {"clean": "0" * 20 + "1" * 500 + "0" * 480}))
    assert line(compare(["ssm", "ads"], paths), "clean", "best").cells[1].word == "better"
    save(paths, results(tiny_params, "ssm", {"clean": "0" * 25 + "1" * 520 + "0" * 455}))
    assert line(compare(["ssm", "ads"], paths), "clean", "best").cells[1].word == "within noise"
    assert line(compare(["ads", "ads"], paths), "clean", "best").cells[1].word == "same"


def test_another_study(attacked: Paths, tiny_params: Params) -> None:
    other = dataclasses.replace(attacked, study="other")
    save(other, results(tiny_params, "ads", {"clean": flags(500), "pgd-2": flags(400)}, parameters=5))
    found = compare(["ads", "other/ads"], attacked)
    assert found.subjects[1].study == "other"
    assert line(found, "clean", "best").cells[1].word == "worse"


def test_a_run_that_was_not_attacked(attacked: Paths, tiny_params: Params) -> None:
    write_checkpoint(attacked.checkpoint("attention", "best"), tiny_params, "attention", sizes=(3, 4))
    found = compare(["ads", "attention"], attacked)
    assert found.subjects[1].parameters == 7
    assert found.notes == ("attention: not attacked yet: run `ssmlab attack attention`",)
    assert line(found, "clean", "best").cells[1].value is None
    assert {"model.mixer"} <= {setting.key for setting in found.settings if setting.changed}


def test_a_checkpoint_file_finds_its_numbers_by_its_hash(attacked: Paths, tiny_params: Params) -> None:
    best, last = attacked.checkpoint("ads", "best"), attacked.checkpoint("ads", "last")
    hashes = {
        "best": write_checkpoint(best, tiny_params, "ads"),
        "last": write_checkpoint(last, tiny_params, "ads", "last"),
    }
    value = json.loads(attacked.attack("ads").read_text())
    for which, sha in hashes.items():
        value["checkpoints"][which]["sha256"] = sha
    attacked.attack("ads").write_text(json.dumps(value))
    found = compare([str(best), str(last)], attacked)
    assert found.notes == ()
    cells = line(found, "pgd-2", "best").cells
    assert [cell.value for cell in cells] == [0.8, 0.7]
    assert cells[1].word == "worse"
    assert not [x for x in found.lines if x.moment == "gap"]
    write_checkpoint(best, tiny_params, "ads", sizes=(5,))
    changed = compare([str(best), "ads"], attacked)
    assert changed.subjects[0].results is None
    assert changed.notes[0].endswith("best.safetensors: not attacked yet: run `ssmlab attack ads`")
    assert "trained again since it was attacked" in changed.notes[1]


def test_different_protocols_are_refused_unless_forced(attacked: Paths, tiny_params: Params) -> None:
    under = protocol(tiny_params, 1000, eps={"text": "8/255", "value": 8 / 255})
    save(attacked, results(tiny_params, "ads", {"clean": flags(900), "pgd-2": flags(800)}, under=under))
    with pytest.raises(ProtocolMismatch, match=r"ssm and ads .*eps\.text 0\.1 against 8/255.*--force") as refused:
        compare(["ssm", "ads"], attacked)
    assert refused.value.code == 3
    assert "\n" not in str(refused.value)
    forced = compare(["ssm", "ads"], attacked, force=True)
    assert forced.mismatch is not None
    assert "8/255" in forced.mismatch
    cell = line(forced, "pgd-2", "best").cells[1]
    assert cell.delta == pytest.approx(0.3)
    assert cell.difference is None


@pytest.mark.parametrize(
    ("subjects", "says"),
    [
        (["ads"], "two subjects"),
        (["ads", "adz"], "no results of run 'adz' in study smoke (there are: ads, ssm)"),
        (["ads", "other/ads"], "study other"),
        (["ads", "a/b/c"], "'a/b/c' is no subject"),
        (["ads", "/ads"], "'/ads' is no subject"),
        (["ads", "nowhere.safetensors"], "nowhere.safetensors"),
    ],
)
def test_bad_subjects_are_one_line(attacked: Paths, subjects: list[str], says: str) -> None:
    with pytest.raises(UserError) as refused:
        compare(subjects, attacked)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
    assert refused.value.code == 1


def test_broken_files_are_one_line(attacked: Paths, tmp_path: Path) -> None:
    (tmp_path / "half.safetensors").write_bytes(b"\x10")
    with pytest.raises(UserError, match="half"):
        compare(["ads", str(tmp_path / "half.safetensors")], attacked)
    attacked.attack("ads").write_text("{")
    with pytest.raises(UserError, match=r"ads\.json"):
        compare(["ssm", "ads"], attacked)


def test_no_torch_is_loaded() -> None:
    code = "import sys, ssmlab.analysis.compare, ssmlab.report.tables; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
