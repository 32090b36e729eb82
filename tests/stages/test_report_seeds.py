"""Stages analyze and report on a made-up study: two models, two regimes, three seeds; and what they say of the data."""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path
from typing import Any

import pytest

from ssmlab.analysis.summary import load_summary
from ssmlab.artifacts.history import Row, append_row
from ssmlab.core.errors import UserError
from ssmlab.data.header import DataProvenance
from ssmlab.evaluation.results import save_results
from ssmlab.params import Params
from ssmlab.params.paths import Paths
from ssmlab.project.params_file import load_params
from ssmlab.report.blocks import Bullets
from ssmlab.report.content import opening_section
from ssmlab.report.limits_section import limits_section
from ssmlab.stages.analyze import analyze
from ssmlab.stages.report import report
from tests.analysis.synthetic import data_summary, seeded_params, seeded_study, write_data

CLAIMS = [
    {"says": "AdS gains", "run": "ads-pgd", "than": "ssm-pgd", "measures": ["clean", "pgd-2"]},
    {"says": "AdS gains more in TRADES", "run": "ads-trades", "than": "ssm-trades-s1", "measures": ["clean"]},
]


@pytest.fixture
def params(tiny_params: Params) -> Params:
    return seeded_params(tiny_params, CLAIMS)


@pytest.fixture
def paths(tmp_path: Path, params: Params) -> Paths:
    """The study of `params`."""
    return made_up(params, tmp_path)


def made_up(params: Params, folder: Path) -> Paths:
    """Every run of `params`, trained and attacked in name only."""
    paths = Paths("smoke", folder)
    for found in seeded_study(params, n=200):
        write_run(paths, found)
    write_data(paths.prepared, data_summary())
    return paths


def write_run(paths: Paths, found: Any) -> None:
    save_results(paths.attack(found.run), found)
    paths.model(found.run).mkdir(parents=True, exist_ok=True)
    file = paths.model(found.run) / "history.csv"
    file.unlink(missing_ok=True)
    for epoch in (1, 2):
        append_row(file, Row(epoch, 12 * epoch, 2e-3, 1.5, 0.3, 0.3 * epoch, 0.4, 1.0, 900.0))


def written(params: Params, paths: Paths) -> str:
    analyze(params, paths)
    report(params, paths)
    return paths.report_md.read_text()


def row_of(text: str, name: str) -> list[str]:
    """The cells of the first table row that begins with `name`."""
    unlinked = re.sub(r"\| \[([^]]*)\]\([^)]*\)", r"| \1", text)
    row = next(line for line in unlinked.splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in row.strip("|").split("|")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """The study with its report, written once for the tests that only read it."""
    params = seeded_params(load_params(Path(__file__).parents[2] / "studies" / "smoke.yaml"), CLAIMS)
    paths = made_up(params, tmp_path_factory.mktemp("seeds"))
    written(params, paths)
    return paths


def test_the_main_table_has_means_and_deviations(whole: Paths) -> None:
    text, paths = whole.report_md.read_text(), whole
    assert "Study `smoke`: 4 settings in 12 runs on the data set `mnist5k`," in text
    assert "Every setting was trained with 3 seeds (0, 1 and 2)." in text
    assert "the mean over the seeds ± the sample standard deviation (n = 3 seeds)" in text
    cells = row_of(text, "ads-pgd")
    shares = []
    for seed in range(3):
        clean = json.loads(paths.attack(f"ads-pgd-s{seed}").read_text())["checkpoints"]["best"]["measures"]["clean"]
        shares.append(100 * clean["correct"] / clean["n"])
    assert cells[:7] == [
        "ads-pgd",
        "S4 + AdS (relu)",
        "PGD-2 AT",
        "3",
        "2",
        "51,146",
        f"{statistics.fmean(shares):.1f} ± {statistics.stdev(shares):.1f}",
    ]
    assert re.fullmatch(r"[+-]?\d+\.\d ± \d+\.\d", cells[8])
    assert text.index("| [ads-pgd](") < text.index("**Every single run**") < text.index("| [ads-pgd-s2](")
    assert "Thin lines are single seeds, thick lines are their means." in text
    assert "error bars are ± one standard deviation over seeds." in text
    assert "intervals over the test images, for every single run: Wilson's interval for accuracies" in text
    assert "ssmlab compare ssm-pgd ssm-trades ads-pgd ads-trades" in text
    assert row_of(text[text.index("## What was run") :], "ads-pgd")[-1] == "0, 1, 2"
    assert "Free-m" not in text


def test_single_runs_are_folded_in_the_page(whole: Paths) -> None:
    page = whole.report_html.read_text()
    folded = re.findall(r"<details>\n<summary>(.*?)</summary>\n(.*?)</details>", page, re.DOTALL)
    assert [title for title, _ in folded] == ["Every single run", "The intervals of every run"]
    assert all("ads-trades-s2" in table for _, table in folded)
    before = page[: page.index("<details>")]
    assert ">ads-trades<" in before
    assert "ads-trades-s2" not in before


def test_claims_on_groups_say_seeds_and_images(whole: Paths) -> None:
    text = whole.report_md.read_text()
    assert re.search(
        r"\*\*AdS gains\.\*\* Supported, over the seeds 0, 1 and 2: clean .*n = 3 seeds x 200 images", text
    )
    assert "**AdS gains more in TRADES.** Not settled: clean" in text
    assert "covers the variation between seeds and between test images" in text


def test_a_claim_that_is_not_settled_counts_in_the_correction_that_the_report_names(whole: Paths) -> None:
    supported, unsettled = json.loads(whole.analysis.read_text())["claims"]
    assert unsettled["verdict"] == "not settled" and "adjusted_p" not in unsettled
    assert supported["adjusted_p"] == pytest.approx(2 * supported["p"])
    assert "after Holm's correction for 2 testable claims." in whole.report_md.read_text()


def test_the_verdicts_stand_at_the_top_and_supported_claims_come_first(whole: Paths) -> None:
    summary = load_summary(whole.analysis)
    reversed_claims = summary.model_copy(update={"claims": summary.claims[::-1]})
    (verdicts,) = (block for block in opening_section(reversed_claims) if isinstance(block, Bullets))
    assert verdicts.items == ("Supported: AdS gains.", "Not settled: AdS gains more in TRADES.")


def test_several_numbers_of_epochs_are_one_list(whole: Paths) -> None:
    summary = load_summary(whole.analysis)
    epochs = iter((10, 16, 24))
    runs = tuple(
        run.model_copy(update={"train": run.train.model_copy(update={"epochs": next(epochs, 24)})})
        for run in summary.runs
    )
    (limits,) = (
        block for block in limits_section(summary.model_copy(update={"runs": runs})) if isinstance(block, Bullets)
    )
    assert any("after 10, 16 or 24 epochs:" in item for item in limits.items)


def test_a_run_without_seeds_beside_groups_is_named(params: Params, paths: Paths) -> None:
    runs = {name: run for name, run in params.runs.items() if name not in ("ads-trades-s1", "ads-trades-s2")}
    claims = params.analyze.model_copy(update={"claims": ()})
    text = written(params.model_copy(update={"runs": runs, "analyze": claims}), paths)
    assert "Study `smoke`: 4 settings in 10 runs on the data set `mnist5k`" in text
    assert re.fullmatch(r"\d+\.\d", row_of(text, "ads-trades-s0")[6])
    assert "do not cover other seeds. ads-trades-s0 was trained once." in text
    assert "; for single runs, 95% intervals over images." in text


def test_settings_with_other_seeds_but_as_many_have_one_number_of_seeds(params: Params, paths: Paths) -> None:
    left = [name for name in params.runs if name.endswith(("-s0", "-s1" if "ads" in name else "-s2"))]
    runs = {name: params.runs[name] for name in left}
    claims = params.analyze.model_copy(update={"claims": ()})
    text = written(params.model_copy(update={"runs": runs, "analyze": claims}), paths)
    assert "Every setting was trained with 2 seeds." in text


def test_a_report_without_several_seeds_does_not_mention_seeds(params: Params, paths: Paths) -> None:
    runs = {name: run for name, run in params.runs.items() if name.endswith("-s1")}
    claims = params.analyze.model_copy(update={"claims": ()})
    text = written(params.model_copy(update={"runs": runs, "analyze": claims}), paths)
    assert "±" not in text
    assert "deviation" not in text
    assert "<details>" not in paths.report_html.read_text()
    assert "Study `smoke`: 4 runs on the data set `mnist5k`, attacked on 200 test images" in text
    assert "Every run was trained once (seed 1)." in text


@pytest.mark.parametrize(("provenance", "marked"), [("own", False), ("partial", True), ("re-encoded", True)])
def test_a_report_names_its_data_as_the_prepared_file_does(
    params: Params, paths: Paths, provenance: DataProvenance, marked: bool
) -> None:
    about = data_summary(provenance, "cifar10-jpeg", source="60,000 images, JPEG of quality 95")
    write_data(paths.prepared, about)
    text = written(params, paths)
    page = paths.report_html.read_text()
    opening = text[: text.index("## Results")]
    assert ("on the data set `cifar10-jpeg`" in opening) and ("`mnist5k`" not in text)
    assert f"`cifar10-jpeg` ({provenance})" in opening
    caution = "Do not compare these numbers with numbers"
    assert (caution in opening) == (caution in page) == marked
    table = text[text.index("## What was run") :]
    assert row_of(table, "data set")[1] == "cifar10-jpeg, fingerprint abababababab"
    assert row_of(table, "provenance")[1].startswith(f"{provenance}: ")
    assert row_of(table, "source")[1] == "60,000 images, JPEG of quality 95"
    assert "3,500 training, 500 validation, 1,000 test, drawn with seed 0" in row_of(table, "images")[1]
    assert "CIFAR" not in text + page
    assert json.loads(paths.analysis.read_text())["data"]["provenance"] == provenance


def test_data_that_were_not_attacked_are_refused(params: Params, paths: Paths) -> None:
    analyze(params, paths)
    before = paths.analysis.read_bytes()
    write_data(paths.prepared, data_summary(fingerprint="ef" * 32))
    with pytest.raises(UserError, match="is not the one that was attacked"):
        analyze(params, paths)
    paths.prepared.unlink()
    with pytest.raises(UserError, match="no prepared data set; run `ssmlab prepare`"):
        analyze(params, paths)
    assert paths.analysis.read_bytes() == before


def test_free_counts_replays_and_passes_apart(params: Params, paths: Paths) -> None:
    raw = params.plain()
    raw["analyze"]["claims"] = []
    free = {"regime": "free", "free": {"replays": 2}, "epochs": 20}
    for name in list(raw["runs"]):
        train = raw["runs"][name]["train"]
        if "trades" in name:
            del train["trades"]
            train |= free
            train["adversary"] |= {"steps": 1, "random_start": False}
    changed = Params.model_validate(raw)
    for found in seeded_study(changed, n=200):
        write_run(paths, found)
    text = written(changed, paths)
    table = text[text.index("## What was run") :]
    assert row_of(table, "ads-trades")[5:7] == ["20 (10 passes x 2 replays)", "9, 9, 9 of 10 passes"]
    assert row_of(table, "ads-pgd")[5:7] == ["2", "9, 9, 9"]
    assert "Free-m trains on every batch m times." in text
