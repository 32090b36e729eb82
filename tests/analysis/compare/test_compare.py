from __future__ import annotations

import dataclasses
import json
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from scipy.stats import binomtest

from ssmlab.analysis.compare.compare import EXPLORATORY, Comparison, ComparisonLine, compare
from ssmlab.analysis.compare.deltas import single_value
from ssmlab.artifacts.checkpoint import save as save_checkpoint
from ssmlab.core.digest import sealed_json
from ssmlab.core.errors import ProtocolMismatch, UserError
from ssmlab.core.files import sha256_file
from ssmlab.evaluation.results import save_results
from ssmlab.nets.build import build
from ssmlab.nets.classifier import Classifier
from ssmlab.params import Params, Which
from ssmlab.params.paths import Paths
from tests.analysis.synthetic import protocol, results, seeded_params, seeded_study
from tests.artifacts.trained_metadata import trained_metadata


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
    save_results(paths.attack(found.run), found)  # type: ignore[attr-defined]


def write_checkpoint(path: Path, params: Params, run: str, which: Which = "best", seed: int = 0) -> str:
    """An untrained checkpoint of `run`; returns its hash."""
    settings = params.run(run)
    changes: dict[str, object] = {"study": params.study, "run": run, "which": which, "epoch": 9}
    metadata = trained_metadata(settings, **changes, data_fingerprint="ab" * 32, params_fingerprint="cd" * 32)
    save_checkpoint(path, build(settings.model, (1, 28, 28), 10, seed), metadata)
    return sha256_file(path)


def trained_numbers(model: Classifier) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def line(comparison: Comparison, measure: str, moment: str) -> ComparisonLine:
    (found,) = (x for x in comparison.lines if (x.measure, x.moment) == (measure, moment))
    return found


def test_two_runs_are_compared_by_their_names(attacked: Paths) -> None:
    found = compare(["ssm", "ads"], attacked)
    assert found.mismatch is None
    assert found.notes == (EXPLORATORY,)
    assert [entry.parameters for entry in found.entries] == [1000, 1900]
    changed = {setting.key: setting.values for setting in found.settings if setting.changed}
    assert changed == {
        "model.enhancement": ("none", "ads"),
        "model.ads.act": (None, "relu"),
        "model.ads.parts": (None, "both"),
    }
    assert "train.epochs" in {setting.key for setting in found.settings}
    robust = line(found, "pgd-2", "best").values
    assert robust[0].word == ""
    assert robust[0].delta is None
    assert (robust[1].value, robust[1].n, robust[1].word) == (0.8, 1000, "better")
    assert robust[1].delta == pytest.approx(0.3)
    assert robust[1].difference is not None
    assert robust[1].difference.low > 0.25


def test_a_comparison_is_shown_in_one_line(attacked: Paths) -> None:
    shown = repr(compare(["ssm", "ads"], attacked))
    assert shown.startswith("Comparison of ssm, ads in ") and len(shown) < 120


def test_deltas_change_sign_with_the_reference_and_a_smaller_gap_is_better(attacked: Paths) -> None:
    there, back = compare(["ssm", "ads"], attacked), compare(["ads", "ssm"], attacked)
    assert line(there, "pgd-2", "last").values[1].word == "better"
    assert line(back, "pgd-2", "last").values[1].word == "worse"
    gap = line(there, "pgd-2", "gap").values
    assert (gap[0].value, gap[1].value) == pytest.approx((0.0, 0.1))
    assert gap[1].word == "worse"
    assert line(back, "pgd-2", "gap").values[1].word == "better"


def test_a_number_of_a_single_training_has_an_interval_at_the_confidence_asked_for() -> None:
    """The clean accuracy has SciPy's Wilson interval; the interval of a gap contains the gap."""
    best, last = "1" * 80 + "0" * 20, "1" * 60 + "0" * 40
    accuracy, gap = single_value({0: (best,)}, 0.99), single_value({0: (best, last)}, 0.99)
    exact = binomtest(80, 100).proportion_ci(0.99, method="wilson")
    assert accuracy.interval == pytest.approx((exact.low, exact.high))
    assert gap.value == pytest.approx(0.2)
    assert gap.interval is not None
    assert 0.0 < gap.interval[0] < 0.2 < gap.interval[1]


def test_a_difference_within_its_interval_is_noise_and_equal_numbers_are_the_same(
    tiny_params: Params, paths: Paths
) -> None:
    # 20 images each only one of them gets right, 25 only the other: five of a thousand apart, in either direction noise
    save(paths, results(tiny_params, "ads", {"clean": "1" * 525 + "0" * 475}))
    save(paths, results(tiny_params, "ssm", {"clean": "0" * 20 + "1" * 500 + "0" * 480}))
    assert line(compare(["ssm", "ads"], paths), "clean", "best").values[1].word == "better"
    save(paths, results(tiny_params, "ssm", {"clean": "0" * 25 + "1" * 520 + "0" * 455}))
    assert line(compare(["ssm", "ads"], paths), "clean", "best").values[1].word == "within noise"
    twice = compare(["ads", "ads"], paths)
    assert line(twice, "clean", "best").values[1].word == "same"
    assert twice.notes == ("ads and ads are the same checkpoint.", EXPLORATORY)


def test_a_run_of_another_study_is_named_with_its_study(attacked: Paths, tiny_params: Params) -> None:
    other = dataclasses.replace(attacked, study="other")
    save(other, results(tiny_params, "ads", {"clean": flags(500), "pgd-2": flags(400)}, parameters=5))
    found = compare(["ads", "other/ads"], attacked)
    assert found.entries[1].study == "other"
    assert line(found, "clean", "best").values[1].word == "worse"


def test_a_run_that_was_not_attacked_is_compared_without_accuracies(attacked: Paths, tiny_params: Params) -> None:
    write_checkpoint(attacked.checkpoint("attention", "best"), tiny_params, "attention")
    found = compare(["ads", "attention"], attacked)
    assert found.entries[1].parameters == trained_numbers(build(tiny_params.run("attention").model, (1, 28, 28), 10, 0))
    assert found.notes == ("attention: not attacked yet; run `ssmlab attack attention`", EXPLORATORY)
    assert line(found, "clean", "best").values[1].value is None
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
    attacked.attack("ads").write_text(sealed_json(value))
    found = compare([str(best), str(last)], attacked)
    assert found.notes == (EXPLORATORY,)
    cells = line(found, "pgd-2", "best").values
    assert [cell.value for cell in cells] == [0.8, 0.7]
    assert cells[1].word == "worse"
    assert not [x for x in found.lines if x.moment == "gap"]
    write_checkpoint(best, tiny_params, "ads", seed=1)
    changed = compare([str(best), "ads"], attacked)
    assert changed.entries[0].results is None
    assert changed.notes[0].endswith("best.safetensors: not attacked yet; run `ssmlab attack ads`")
    assert "trained again after it was attacked" in changed.notes[1]


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
    cell = line(forced, "pgd-2", "best").values[1]
    assert cell.delta == pytest.approx(0.3)
    assert cell.difference is None


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        (["ads"], "two entries"),
        (["ads", "adz"], "no results of run 'adz' in study smoke (did you mean 'ads'?)"),
        (["ads", "other/ads"], "study other"),
        (["ads", "a/b/c"], "'a/b/c' is not an entry"),
        (["ads", "/ads"], "'/ads' is not an entry"),
        (["ads", "nowhere.safetensors"], "nowhere.safetensors"),
    ],
)
def test_entries_that_do_not_exist_are_refused_in_one_line(attacked: Paths, entries: list[str], says: str) -> None:
    with pytest.raises(UserError) as refused:
        compare(entries, attacked)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
    assert refused.value.code == 1


def test_broken_files_are_refused_in_one_line(attacked: Paths, tmp_path: Path) -> None:
    (tmp_path / "half.safetensors").write_bytes(b"\x10")
    with pytest.raises(UserError, match="half"):
        compare(["ads", str(tmp_path / "half.safetensors")], attacked)
    attacked.attack("ads").write_text("{")
    with pytest.raises(UserError, match=r"ads\.json"):
        compare(["ssm", "ads"], attacked)


@pytest.fixture
def seeded(tiny_params: Params, paths: Paths) -> Paths:
    """A study of two models and two regimes with three seeds each, attacked."""
    for found in seeded_study(seeded_params(tiny_params), n=200):
        save(paths, found)
    return paths


def clean_of(paths: Paths, run: str) -> float:
    value = json.loads(paths.attack(run).read_text())["checkpoints"]["best"]["measures"]["clean"]
    return float(value["correct"] / value["n"])


def test_groups_are_compared_seed_by_seed(seeded: Paths) -> None:
    found = compare(["ssm-pgd", "ads-pgd"], seeded)
    first, second = line(found, "clean", "best").values
    ssm, ads = ([clean_of(seeded, f"{group}-s{seed}") for seed in range(3)] for group in ("ssm-pgd", "ads-pgd"))
    assert (first.value, first.std) == pytest.approx((statistics.fmean(ssm), statistics.stdev(ssm)))
    assert (second.value, second.std) == pytest.approx((statistics.fmean(ads), statistics.stdev(ads)))
    assert (second.n_seeds, second.n, second.interval) == (3, 200, None)
    assert second.delta == pytest.approx(statistics.fmean(ads) - statistics.fmean(ssm))
    assert second.difference is not None
    assert second.difference.seeds == (3, 3)
    assert second.word == "better"
    gap = line(found, "pgd-2", "gap").values[1]
    assert (gap.n_seeds, gap.difference is not None) == (3, True)
    changed = {setting.key for setting in found.settings if setting.changed}
    assert changed == {"model.enhancement", "model.ads.act", "model.ads.parts"}
    assert {s.key: s.values for s in found.settings}["train.seed"] == ([0, 1, 2], [0, 1, 2])
    assert found.notes[1:] == (EXPLORATORY,)
    assert found.notes[0].startswith("±: the standard deviation over seeds.")


def test_seeds_that_disagree_make_a_difference_noise(tiny_params: Params, paths: Paths) -> None:
    params = seeded_params(tiny_params)
    for seed, right in enumerate((700, 420, 690)):
        save(paths, results(params, f"ads-pgd-s{seed}", {"clean": flags(right)}))
        save(paths, results(params, f"ssm-pgd-s{seed}", {"clean": flags(500)}))
    assert line(compare(["ssm-pgd", "ads-pgd"], paths), "clean", "best").values[1].word == "within noise"
    assert line(compare(["ssm-pgd-s0", "ads-pgd-s0"], paths), "clean", "best").values[1].word == "better"


def test_a_group_compared_with_a_single_run_is_not_judged_and_says_so(seeded: Paths) -> None:
    found = compare(["ads-pgd", "ssm-pgd-s0", "ssm-trades"], seeded)
    group, single, other = line(found, "clean", "best").values
    assert single.delta == pytest.approx(clean_of(seeded, "ssm-pgd-s0") - (group.value or 0))
    assert (single.n_seeds, single.std, single.difference, single.word) == (1, None, None, "too few seeds")
    assert single.interval is not None
    assert other.word == "worse"
    note = "ads-pgd (3 seeds) and ssm-pgd-s0 (a single training): their deltas are not judged, because a single"
    assert any(each.startswith(note) for each in found.notes)


def test_groups_of_different_sizes_are_compared_over_all_their_seeds(seeded: Paths, tiny_params: Params) -> None:
    seeded.attack("ads-pgd-s0").unlink()
    found = compare(["ssm-pgd", "ads-pgd"], seeded)
    cell = line(found, "clean", "best").values[1]
    ssm = [clean_of(seeded, f"ssm-pgd-s{seed}") for seed in (0, 1, 2)]
    ads = [clean_of(seeded, f"ads-pgd-s{seed}") for seed in (1, 2)]
    assert cell.delta == pytest.approx(statistics.fmean(ads) - statistics.fmean(ssm))
    assert (cell.n_seeds, cell.difference and cell.difference.seeds) == (2, (2, 3))
    write_checkpoint(seeded.checkpoint("ads-pgd-s0", "best"), seeded_params(tiny_params), "ads-pgd-s0")
    waiting = compare(["ssm-pgd", "ads-pgd"], seeded)
    assert "ads-pgd-s0: not attacked yet; run `ssmlab attack ads-pgd-s0`" in waiting.notes
    assert len(waiting.entries[1].members) == 3
    assert line(waiting, "clean", "best").values[1].n_seeds == 2


def test_groups_of_another_study_and_unknown_ones(seeded: Paths) -> None:
    there = dataclasses.replace(seeded, study="other")
    found = compare(["smoke/ssm-pgd-s0", "smoke/ads-pgd"], there)
    assert (found.entries[1].name, found.entries[1].study) == ("smoke/ads-pgd", "smoke")
    with pytest.raises(UserError, match=r"no results of run 'ads' in study smoke \(did you mean 'ads-pgd'\?\)"):
        compare(["ssm-pgd", "ads"], seeded)


def test_a_group_of_different_protocols_is_refused(seeded: Paths, tiny_params: Params) -> None:
    params = seeded_params(tiny_params)
    save(seeded, results(params, "ads-pgd-s1", {"clean": flags(150, 200)}, under=protocol(params, 200, seed=9)))
    with pytest.raises(ProtocolMismatch, match=r"ssm-pgd-s0 and ads-pgd-s1 .*seed 0 against 9"):
        compare(["ssm-pgd", "ads-pgd"], seeded)
    forced = compare(["ssm-pgd", "ads-pgd"], seeded, force=True)
    assert line(forced, "clean", "best").values[1].difference is None


def test_neither_torch_nor_numpy_is_loaded() -> None:
    """`ssmlab compare` answers at once."""
    slow = "{'torch', 'numpy', 'scipy'} & set(sys.modules)"
    code = f"import sys, ssmlab.analysis.compare.compare, ssmlab.report.terminal.tables; sys.exit(bool({slow}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
