from __future__ import annotations

import csv
import dataclasses
import io
import json
from pathlib import Path

import pytest
from rich.console import Console, RenderableType
from rich.measure import Measurement

from ssmlab.analysis.compare.compare import EXPLORATORY, Comparison, compare
from ssmlab.analysis.summarize import summarize
from ssmlab.evaluation.results import save_results
from ssmlab.params import Params
from ssmlab.params.paths import Paths
from ssmlab.project.inputs import StudyInputs
from ssmlab.project.params_file import load_params
from ssmlab.project.status import RunWatcher
from ssmlab.report.terminal.tables import (
    Format,
    comparison_measures,
    comparison_settings,
    headline,
    render,
    status_table,
)
from tests.analysis.synthetic import data_summary, default_study, protocol, results, seeded_params, seeded_study

FORMATS: tuple[Format, ...] = ("table", "json", "csv", "md")


def drawn(renderable: RenderableType, width: int = 140) -> str:
    if isinstance(renderable, str):
        return renderable
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(renderable)
    return console.file.getvalue()  # type: ignore[attr-defined]


@pytest.fixture
def forced(tiny_params: Params, tmp_path: Path) -> Comparison:
    """Two runs of different protocols, compared anyway."""
    paths = Paths("smoke", tmp_path)
    under = protocol(tiny_params, 10, seed=3)
    for found in (
        results(
            tiny_params,
            "ssm",
            {"clean": "1111100000", "pgd-2": "1100000000"},
            {"clean": "1111000000", "pgd-2": "1000000000"},
        ),
        results(tiny_params, "ads", {"clean": "1111111100", "pgd-2": "1111100000"}, under=under, parameters=45_000),
    ):
        save_results(paths.attack(found.run), found)
    return compare(["ssm", "ads"], paths, force=True)


@pytest.fixture
def equal(tiny_params: Params, tmp_path: Path) -> Comparison:
    paths = Paths("smoke", tmp_path)
    for found in (
        results(
            tiny_params,
            "ssm",
            {"clean": "1111100000", "pgd-2": "1100000000"},
            {"clean": "1111000000", "pgd-2": "1000000000"},
        ),
        results(tiny_params, "ads", {"clean": "1111111111", "pgd-2": "1100000000"}, parameters=45_000),
    ):
        save_results(paths.attack(found.run), found)
    return compare(["ssm", "ads"], paths)


def test_a_comparison_in_markdown_has_these_two_tables(equal: Comparison) -> None:
    assert render(equal, "md") == (
        "| parameter | ssm | ads |\n"
        "| :-- | :-- | :-- |\n"
        "| model.ads.act | - | relu |\n"
        "| model.ads.parts | - | both |\n"
        "| model.enhancement | none | ads |\n"
        "\n"
        "| measure | ssm | ads | against ssm |\n"
        "| :-- | --: | --: | :-- |\n"
        "| parameters | 30,000 | 45,000 | 1.50 times |\n"
        "| epoch | best 9, last 10 | best 9 |  |\n"
        "| clean, best | 50.0% | 100.0% | +50.0 within noise |\n"
        "| pgd-2, best | 20.0% | 20.0% | 0.0 same |\n"
        "| clean, last | 40.0% | - |  |\n"
        "| pgd-2, last | 10.0% | - |  |\n"
        "| RO gap pgd-2 | +10.0 | - |  |\n"
        "\n"
        f"{EXPLORATORY}\n"
    )


def test_csv_calls_the_numbers_of_a_last_checkpoint_last(equal: Comparison) -> None:
    first, second = equal.entries
    of_last = dataclasses.replace(equal, entries=(first, dataclasses.replace(second, which="last")))
    rows = list(csv.DictReader(io.StringIO(render(of_last, "csv"))))
    moments = {row["subject"]: row["of"] for row in rows if (row["kind"], row["name"]) == ("accuracy", "clean")}
    assert moments["ads"] == "last"


def test_json_and_csv_hold_the_same_numbers(equal: Comparison) -> None:
    value = json.loads(drawn(render(equal, "json")))
    rows = list(csv.DictReader(io.StringIO(drawn(render(equal, "csv")))))
    assert [subject["name"] for subject in value["subjects"]] == ["ssm", "ads"]
    assert value["settings"]["model.enhancement"] == ["none", "ads"]
    clean = next(line for line in value["measures"] if (line["measure"], line["of"]) == ("clean", "best"))["values"][1]
    row = next(r for r in rows if (r["kind"], r["name"], r["of"], r["subject"]) == ("accuracy", "clean", "best", "ads"))
    assert float(row["value"]) == clean["value"] == 1.0
    assert float(row["delta"]) == clean["delta"] == 0.5
    assert [float(row["delta_low"]), float(row["delta_high"])] == clean["delta_interval"]
    assert row["word"] == clean["word"] == "within noise"
    assert value["mismatch"] is None


@pytest.fixture
def groups(tiny_params: Params, tmp_path: Path) -> Comparison:
    """A group of three seeds, a group of two and a single run."""
    paths, params = Paths("smoke", tmp_path), seeded_params(tiny_params)
    right = {"ssm-pgd-s0": 500, "ssm-pgd-s1": 520, "ssm-pgd-s2": 540, "ads-pgd-s0": 800, "ads-pgd-s1": 820}
    for run, n in {**right, "ads-trades-s0": 700}.items():
        found = results(params, run, {"clean": "1" * n + "0" * (1000 - n)})
        save_results(paths.attack(run), found)
    return compare(["ssm-pgd", "ads-pgd", "ads-trades-s0"], paths)


def test_a_comparison_of_groups_in_markdown_has_means_deviations_and_notes(groups: Comparison) -> None:
    assert render(groups, "md").split("\n\n")[1:] == [  # type: ignore[union-attr]
        "| measure | ssm-pgd | ads-pgd | against ssm-pgd | ads-trades-s0 | against ssm-pgd |\n"
        "| :-- | --: | --: | :-- | --: | :-- |\n"
        "| parameters | 30,000 | 30,000 | 1.00 times | 30,000 | 1.00 times |\n"
        "| seeds | 3 (0, 1, 2) | 2 (0, 1) |  | 1 (0) |  |\n"
        "| epoch | best 9 | best 9 |  | best 9 |  |\n"
        "| clean, best | 52.0% ± 2.0 | 81.0% ± 1.4 | +29.0 better | 70.0% | +18.0 too few seeds |",
        "±: the standard deviation over seeds. Deltas between groups are judged by 95% intervals over seeds and "
        "images.",
        "ssm-pgd (3 seeds) and ads-trades-s0 (a single training): their deltas are not judged, because a single "
        "training does not show how much seeds vary.",
        f"{EXPLORATORY}\n",
    ]


def test_groups_in_json_and_csv_have_mean_deviation_and_number(groups: Comparison) -> None:
    value = json.loads(drawn(render(groups, "json")))
    rows = list(csv.DictReader(io.StringIO(drawn(render(groups, "csv")))))
    assert [subject["seeds"] for subject in value["subjects"]] == [[0, 1, 2], [0, 1], [0]]
    assert [len(subject["members"]) for subject in value["subjects"]] == [3, 2, 0]
    assert value["notes"] == list(groups.notes)
    cells = next(line for line in value["measures"] if (line["measure"], line["of"]) == ("clean", "best"))["values"]
    by_name = {row["subject"]: row for row in rows if (row["kind"], row["name"]) == ("accuracy", "clean")}
    for subject, cell in zip(value["subjects"], cells, strict=True):
        row = by_name[subject["name"]]
        assert float(row["value"]) == cell["value"]
        assert int(row["n_seeds"]) == cell["n_seeds"] == len(subject["seeds"])
        assert (row["std"] or None) == (None if cell["std"] is None else str(cell["std"]))
        assert row["word"] == (cell["word"] or "")
    assert cells[0]["std"] == pytest.approx(0.02)
    assert "± 2.0" in drawn(render(groups, "table"))


def test_all_parameters_are_listed_only_if_requested(equal: Comparison) -> None:
    for format in FORMATS:
        assert "train.epochs" not in drawn(render(equal, format))
        assert "train.epochs" in drawn(render(equal, format, all_parameters=True))


@pytest.mark.parametrize("format", FORMATS)
def test_a_mismatch_shows_in_every_rendering(forced: Comparison, format: Format) -> None:
    text = drawn(render(forced, format))
    assert "different protocols: seed 0 against 3" in text
    if format == "csv":
        assert all(row["mismatch"] for row in csv.DictReader(io.StringIO(text)))


def test_the_headline_fits_a_terminal_of_80_columns(project: Path) -> None:
    """`make repro` ends with it, and may be piped: then Rich draws 80 columns."""
    params = load_params(project / "studies" / "mnist5k-published.yaml")
    table = headline(summarize(params.study, default_study(params), params.analyze, data_summary()))
    assert Measurement.get(Console(width=200), Console(width=200).options, table).maximum <= 80


def test_the_headline_names_runs_and_numbers(project: Path) -> None:
    params = load_params(project / "studies" / "mnist5k-published.yaml")
    text = drawn(headline(summarize(params.study, default_study(params), params.analyze, data_summary())))
    for word in ("ssm-standard", "51,146", "81.3", "eps 0.1", "RO gap"):
        assert word in text


def test_the_headline_of_seeds_has_their_means(project: Path) -> None:
    params = seeded_params(load_params(project / "studies" / "mnist5k-published.yaml"))
    table = headline(summarize(params.study, seeded_study(params), params.analyze, data_summary()))
    assert Measurement.get(Console(width=200), Console(width=200).options, table).maximum <= 80
    assert len(table.table.rows) == 4
    assert "means over seeds" in drawn(table)
    assert " on " not in drawn(table)
    marked = summarize(params.study, seeded_study(params), params.analyze, data_summary("re-encoded", "x-jpeg"))
    assert "mnist5k-published on x-jpeg (re-encoded): accuracy" in drawn(headline(marked))


def test_the_headline_has_the_mean_of_the_gaps_under_the_main_attack(project: Path) -> None:
    params = seeded_params(load_params(project / "studies" / "mnist5k-published.yaml"))
    study = seeded_study(params)
    table = headline(summarize(params.study, study, params.analyze, data_summary())).table
    gaps = {}
    for found in study:
        best, last = (found.checkpoints[which].measures["autoattack"].flags for which in ("best", "last"))
        gaps.setdefault(found.run.rpartition("-")[0], []).append((best.count("1") - last.count("1")) / len(best))
    shown = {row[0]: float(row[-1]) for row in table.rows}
    assert shown == {name: pytest.approx(100 * sum(each) / 3, abs=0.0501) for name, each in gaps.items()}


def test_the_status_table_shows_what_is_known(tiny_params: Params, tmp_path: Path) -> None:
    paths = Paths("smoke", tmp_path)
    waiting = [RunWatcher(name, tiny_params, paths, StudyInputs(paths)).poll(0.0) for name in ("ssm", "attention")]
    known = dataclasses.replace(waiting[1], state="training", epoch=1, epochs=2, clean=0.5, best_robust=0.25)
    drawn_lines = drawn(status_table([waiting[0], known])).splitlines()
    lines = {line.split()[0]: line for line in drawn_lines if line.strip()}
    assert waiting[0].words in lines["ssm"]
    assert "50.0" not in lines["ssm"]
    assert all(text in lines["attention"] for text in ("1/2", "50.0", "25.0"))
    assert drawn_lines[0].startswith("accuracy in percent on the selection split: ")


def test_the_status_table_of_a_study_that_has_not_begun_says_how_to_start(tiny_params: Params, tmp_path: Path) -> None:
    paths = Paths("smoke", tmp_path)
    waiting = RunWatcher("ssm", tiny_params, paths, StudyInputs(paths)).poll(0.0)
    assert drawn(status_table([waiting])).startswith("nothing has run yet; `ssmlab repro` runs everything\n")


@pytest.mark.parametrize(
    ("names", "titles"),
    [
        (("models/smoke/ssm/best.safetensors", "models/smoke/ads/best.safetensors"), ["ssm/best", "ads/best"]),
        (("ads", "other/ads"), ["ads", "other/ads"]),
        (("a/ads/best.safetensors", "b/ads/best.safetensors"), ["a/ads/best.safetensors", "b/ads/best.safetensors"]),
    ],
)
def test_checkpoint_files_have_headings_that_can_be_told_apart(
    names: tuple[str, str], titles: list[str], equal: Comparison
) -> None:
    entries = tuple(dataclasses.replace(e, name=name) for e, name in zip(equal.entries, names, strict=True))
    renamed = dataclasses.replace(equal, entries=entries)
    assert [column.name for column in comparison_settings(renamed, False).columns] == ["parameter", *titles]
    assert [column.name for column in comparison_measures(renamed).columns][1:3] == titles


def test_the_number_of_a_last_checkpoint_is_never_called_best(equal: Comparison) -> None:
    """In a comparison of checkpoint files, numbers are in the line `best`, even for a run's last checkpoint."""
    last = dataclasses.replace(equal.entries[0], which="last")
    mixed = dataclasses.replace(equal, entries=(last, equal.entries[1]))
    rows = [row for row in csv.DictReader(io.StringIO(drawn(render(mixed, "csv")))) if row["kind"] == "accuracy"]
    assert {row["of"] for row in rows if row["subject"] == "ssm"} == {"last"}
    assert {row["of"] for row in rows if row["subject"] == "ads" and row["value"]} == {"best"}
    values = json.loads(drawn(render(mixed, "json")))["measures"][0]["values"]
    assert [value["checkpoint"] for value in values] == ["last", "best"]


def test_json_has_null_for_a_value_that_is_not_finite(equal: Comparison) -> None:
    setting = dataclasses.replace(equal.settings[0], values=(float("nan"), [float("inf"), 1.0]))
    text = drawn(render(dataclasses.replace(equal, settings=(setting,)), "json"))
    assert json.loads(text, parse_constant=pytest.fail)["settings"] == {setting.key: [None, [None, 1.0]]}
