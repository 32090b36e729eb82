"""Stages analyze and report on synthetic results: their files, texts and errors."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from ssmlab.artifacts.history import Row, append_row
from ssmlab.core.digest import sealed_json
from ssmlab.core.errors import ProtocolMismatch, UserError
from ssmlab.core.events import Event, Note
from ssmlab.evaluation.results import save_results
from ssmlab.params import Params
from ssmlab.params.paths import Paths
from ssmlab.project.params_file import load_params
from ssmlab.report import frames
from ssmlab.stages.analyze import analyze
from ssmlab.stages.report import report
from tests.analysis.synthetic import data_summary, nested_flags, protocol, results, write_data

VOID = {"meta", "img", "link", "br", "source"}
CLEAN = {"ssm": 0.5, "attention": 0.7, "ads": 0.8}


@pytest.fixture
def paths(tmp_path: Path, tiny_params: Params) -> Paths:
    return made_up(tiny_params, tmp_path)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """The study with its report, written once for the tests that only read it."""
    params = load_params(Path(__file__).parents[2] / "studies" / "smoke.yaml")
    paths = made_up(params, tmp_path_factory.mktemp("written"))
    analyze(params, paths)
    report(params, paths)
    return paths


def made_up(tiny_params: Params, folder: Path) -> Paths:
    """The smoke study, attacked and trained in name only."""
    paths = Paths("smoke", folder)
    write_data(paths.prepared, data_summary())
    for seed, (run, clean) in enumerate(CLEAN.items()):
        sets = [
            nested_flags(50, {"clean": clean, "fgsm": clean - 0.2, "pgd-2": clean - 0.3}, seed + shift)
            for shift in (0, 9)
        ]
        sets[0]["autoattack"] = sets[0]["pgd-2"][:10]
        found = results(tiny_params, run, *sets, parameters=1000 + 500 * seed, under=protocol(tiny_params, 100))
        save_results(paths.attack(run), found)
        paths.model(run).mkdir(parents=True)
        history = paths.model(run) / "history.csv"
        for epoch in (1, 2):
            append_row(
                history, Row(epoch, 12 * epoch, 2e-3, 1.5, 0.3, clean * epoch / 2, clean / 2, 1.0, 900.0, 1.2, 0.9)
            )
    return paths


@pytest.fixture
def rewritten(paths: Paths, tiny_params: Params) -> Paths:
    """The study with its report, for tests that change its files."""
    analyze(tiny_params, paths)
    report(tiny_params, paths)
    return paths


class Page(HTMLParser):
    """Checks that elements nest, and keeps what the tests ask for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.tags: set[str] = set()
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "img":
            self.images.append(dict(attrs))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def plain(text: str) -> str:
    """The letters and digits of a text, without any markup."""
    return re.sub(r"[^a-zA-Z0-9.%]+", " ", text)


def test_the_markdown_report_has_these_lines(written: Paths) -> None:
    text = written.report_md.read_text()
    start = text.index("## Results")
    assert text[:start] == (
        "# Smoke test\n\n"
        "Study `smoke`: 3 runs on the data set `mnist5k`, attacked on 100 test images inside the L-inf ball of "
        "radius eps = 0.1. Every run was trained once (seed 0). The models were not checked for masked gradients. "
        "Verdicts on 1 claim: 1 supported. The section Claims has their numbers.\n\n"
        "- Supported: Adaptive scaling gives higher clean and robust accuracy than the pure SSM.\n\n"
    )
    assert (
        "| run | model | training | epochs | parameters | clean best | clean last | clean diff | fgsm best | "
        "fgsm last | fgsm diff | pgd-2 best | pgd-2 last | pgd-2 diff | autoattack best | autoattack last | "
        "autoattack diff |\n"
    ) in text
    row = next(line for line in text.splitlines() if line.startswith("| [ads](attack/ads.json) |"))
    assert row.startswith(
        "| [ads](attack/ads.json) | S4 + AdS (relu) | PGD-2 AT | 2 | 2,000 | 80.0 | 80.0 | 0.0 | "
        "60.0 | 60.0 | 0.0 | 50.0 | 50.0 | 0.0 | "
    )
    assert row.endswith(" | - | - |")
    assert (
        "- **Adaptive scaling gives higher clean and robust accuracy than the pure SSM.** Supported, for "
        "these two trainings only: clean 80.0% "
        "against 50.0%, +30.0 points (95% interval "
    ) in text
    assert "  - Confound: ads has 2.0 times the parameters of ssm (2,000 against 1,000)." in text
    assert "autoattack is not the standard AutoAttack" in text
    assert "```sh\nmake install\n. .venv/bin/activate\ncp results/smoke/study.yaml params.yaml\nssmlab repro\n" in text
    for name in ("curves", "overfitting", "tradeoff", "gaps", "measures"):
        assert f"](figures/{name}.png)" in text
        assert (written.figures / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_page_is_valid_and_needs_no_other_file(written: Paths) -> None:
    text = written.report_html.read_text()
    page = Page(text)
    assert page.open == []
    assert {"h1", "h2", "table", "figure", "figcaption"} <= page.tags
    assert not {"script", "link", "iframe"} & page.tags
    assert not re.search(r"https?://|url\(|@import", text)
    assert len(page.images) == 5
    for image in page.images:
        assert (image["src"] or "").startswith("data:image/svg+xml;base64,")
        assert len(image["alt"] or "") > 40
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text
    assert len(text) < 2_000_000


def test_the_page_and_the_markdown_say_the_same(written: Paths) -> None:
    page = plain(" ".join(Page(written.report_html.read_text()).words))
    markdown = written.report_md.read_text()
    for line in markdown.splitlines():
        if line.startswith(("- ", "  - ", "*")) or (line and line[0].isalpha() and not line.startswith("ssmlab")):
            assert plain(line.replace("*", "").replace("\\", "")).strip() in page, line
    numbers = re.findall(r"\d+\.\d", "".join(line for line in markdown.splitlines() if line.startswith("|")))
    assert len(numbers) > 50
    assert set(numbers) <= set(re.findall(r"\d+\.\d", page))


def test_equal_results_give_equal_bytes(rewritten: Paths, tiny_params: Params) -> None:
    def everything() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in sorted(rewritten.results.rglob("*")) if path.is_file()}

    first = everything()
    analyze(tiny_params, rewritten)
    report(tiny_params, rewritten)
    assert everything() == first
    assert len(first) == 3 + 1 + 3 + 5 * 6 + 3 * 2 + 1 + (1 + 3 * 3)  # the last: metrics.json, plots/


def test_every_link_of_the_report_leads_to_a_file(written: Paths) -> None:
    links = re.findall(r' (?:href|src)="([^"]*)"', written.report_html.read_text())
    links += re.findall(r"\]\(([^)]*)\)", written.report_md.read_text())
    files = {link for link in links if not link.startswith("data:")}
    assert {"attack/ssm.json", "tables/results.csv", "tables/results.tex", "figures/curves.pdf"} <= files
    assert [link for link in files if not (written.results / unquote(link)).is_file()] == []


def test_every_number_of_a_table_of_runs_is_a_link_to_its_results(written: Paths) -> None:
    page = written.report_html.read_text()
    row = re.findall(r'<th scope="row" class="left">ads</th>(.*?)</tr>', page, re.DOTALL)[0]
    numbers = re.findall(r"<td>(.*?)</td>", row)
    assert len(numbers) == 14
    assert all(cell == "-" or cell.startswith('<a href="attack/ads.json">') for cell in numbers)


def test_the_csv_of_accuracies_has_one_accuracy_per_line(written: Paths) -> None:
    rows = list(csv.DictReader((written.tables / "accuracies.csv").read_text().splitlines()))
    ads = next(row for row in rows if row["run"] == "ads" and row["attack"] == "fgsm" and row["checkpoint"] == "last")
    assert (ads["study"], ads["group"], ads["norm"], ads["eps"], ads["n"]) == ("smoke", "ads", "linf", "0.1", "50")
    assert float(ads["low"]) < float(ads["accuracy"]) == 0.6 < float(ads["high"])
    assert len(rows) == 3 * (5 + 4)


def test_a_table_is_the_same_in_csv_and_in_the_report(written: Paths) -> None:
    rows = list(csv.reader((written.tables / "results.csv").read_text().splitlines()))
    lines = [line for line in written.report_md.read_text().splitlines() if line.startswith("| ")]
    head = next(place for place, line in enumerate(lines) if line.startswith("| run | model | training | epochs |"))
    shown = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in lines[head + 2 : head + 2 + len(rows) - 1]
    ]
    names = [re.sub(r"\[(.*)\]\(.*", r"\1", row[0]) for row in shown]
    assert [row[0] for row in rows[1:]] == names
    assert [[cell or "-" for cell in row[1:]] for row in rows[1:]] == [row[1:] for row in shown]


def test_files_of_an_earlier_report_that_this_one_lacks_are_removed(rewritten: Paths, tiny_params: Params) -> None:
    for file in (rewritten.tables / "runs.csv", rewritten.figures / "overfitting-old.png"):
        file.write_text("of an earlier report")
    report(tiny_params, rewritten)
    assert not (rewritten.tables / "runs.csv").exists()
    assert not (rewritten.figures / "overfitting-old.png").exists()
    assert (rewritten.tables / "results.csv").exists()


def test_selection_on_the_test_split_is_marked(paths: Paths, tiny_params: Params) -> None:
    run = tiny_params.run("ads")
    selection = run.train.selection.model_copy(update={"split": "test"})
    marked = run.model_copy(update={"train": run.train.model_copy(update={"selection": selection})})
    params = tiny_params.model_copy(update={"runs": {**tiny_params.runs, "ads": marked}})
    flags = nested_flags(50, {"clean": 0.8, "fgsm": 0.6, "pgd-2": 0.5}, 0)
    found = results(params, "ads", flags, under=protocol(params, 100))
    save_results(paths.attack("ads"), found)
    analyze(params, paths)
    report(params, paths)
    assert "> **Warning.** The best checkpoint of ads was selected on the test split" in paths.report_md.read_text()
    assert "selected on the test split" in paths.report_html.read_text()


def test_warnings_of_the_evaluation_are_passed_on(paths: Paths, tiny_params: Params) -> None:
    value = json.loads(paths.attack("ssm").read_text())
    value["checkpoints"]["best"]["warnings"] = ["fgsm <beats> pgd"]
    paths.attack("ssm").write_text(sealed_json(value))
    analyze(tiny_params, paths)
    report(tiny_params, paths)
    assert "ssm, best: fgsm \\<beats\\> pgd" in paths.report_md.read_text()
    assert "ssm, best: fgsm &lt;beats&gt; pgd" in paths.report_html.read_text()


def test_a_report_explains_every_raised_check_and_gives_the_largest_value_of_all_checks(
    paths: Paths, tiny_params: Params
) -> None:
    value = json.loads(paths.attack("ssm").read_text())
    best, last = value["checkpoints"]["best"], value["checkpoints"]["last"]
    best["checks"] = [
        {"name": "random", "value": 0.25, "threshold": 0.0001, "raised": True, "sentence": "it is random"}
    ]
    best["warnings"] = ["it is random"]
    last["checks"] = [{"name": "random", "value": 0.0, "threshold": 0.0001, "raised": False}]
    paths.attack("ssm").write_text(sealed_json(value))
    analyze(tiny_params, paths)
    report(tiny_params, paths)
    text = paths.report_md.read_text()
    assert "| [ssm](attack/ssm.json) | best | random | 0.25 | 0.0001 | it is random |" in text
    assert "| random | 2 | 1 | 0.25 | 0.0001 | ssm, best |" in text
    assert (
        "Every model went through 1 check for masked gradients and other faults. "
        "1 raised a flag (random) on 1 run: ssm."
    ) in text
    assert "Other warnings" not in text


def test_results_of_a_run_that_was_removed_are_left_out_by_name(paths: Paths, tiny_params: Params) -> None:
    runs = {name: run for name, run in tiny_params.runs.items() if name != "attention"}
    params = tiny_params.model_copy(update={"runs": runs})
    analyze(params, paths)
    report(params, paths)
    text = paths.report_md.read_text()
    assert "results/smoke/attack also holds results of attention. The study no longer has this run" in text
    assert "| attention |" not in text and "[attention]" not in text


def test_a_verdict_has_its_p_value_and_the_corrected_one(paths: Paths, tiny_params: Params) -> None:
    claim = tiny_params.analyze.claims[0]
    other = claim.model_copy(update={"says": "Attention is better than AdS", "run": "attention", "than": "ads"})

    def remarks(*claims: object) -> list[str]:
        judged = tiny_params.analyze.model_copy(update={"claims": claims})
        params = tiny_params.model_copy(update={"analyze": judged})
        analyze(params, paths)
        report(params, paths)
        return [line for line in paths.report_md.read_text().splitlines() if line.startswith("  - p ")]

    (alone,) = remarks(claim)
    assert re.fullmatch(r"  - p (= 0\.\d{3}|\\< 0\.001)\.", alone)
    both = remarks(claim, other)
    assert len(both) == 2
    assert all(line.endswith("after Holm's correction for 2 testable claims.") for line in both)


def test_analyze_prints_the_verdicts(paths: Paths, tiny_params: Params) -> None:
    told: list[Event] = []
    analyze(tiny_params, paths, told.append)
    assert any(
        isinstance(event, Note) and "Supported, for these two trainings only: clean" in event.text for event in told
    )


def test_a_missing_file_is_an_error_of_one_line_and_nothing_is_overwritten(
    rewritten: Paths, tiny_params: Params
) -> None:
    before = rewritten.report_md.read_bytes(), rewritten.analysis.read_bytes()
    (rewritten.model("ads") / "history.csv").unlink()
    refuse(lambda: report(tiny_params, rewritten), "history.csv")
    rewritten.attack("ads").rename(rewritten.attack("moved"))
    refuse(lambda: analyze(tiny_params, rewritten), "`ssmlab attack ads`")
    rewritten.attack("ads").write_text(rewritten.attack("ssm").read_text())
    refuse(lambda: analyze(tiny_params, rewritten), "results of smoke/ssm")
    assert (rewritten.report_md.read_bytes(), rewritten.analysis.read_bytes()) == before
    rewritten.analysis.unlink()
    refuse(lambda: report(tiny_params, rewritten), "`ssmlab analyze`")


def refuse(stage: object, says: str) -> None:
    with pytest.raises(UserError) as refused:
        stage()  # type: ignore[operator]
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_empty_history_is_refused(paths: Paths, tiny_params: Params) -> None:
    analyze(tiny_params, paths)
    file = paths.model("ssm") / "history.csv"
    file.write_text(file.read_text().splitlines()[0] + "\n")
    refuse(lambda: report(tiny_params, paths), "no epoch")


def test_unequal_protocols_are_refused(paths: Paths, tiny_params: Params) -> None:
    flags = nested_flags(50, {"clean": 0.8, "fgsm": 0.6, "pgd-2": 0.5}, 0)
    other = results(tiny_params, "ads", flags, under=protocol(tiny_params, 100, batch_size=3))
    save_results(paths.attack("ads"), other)
    with pytest.raises(ProtocolMismatch, match="batch_size"):
        analyze(tiny_params, paths)


def test_results_in_l2_and_linf_are_not_compared(paths: Paths, tiny_params: Params) -> None:
    flags = nested_flags(50, {"clean": 0.8, "fgsm": 0.6, "pgd-2": 0.5}, 0)
    save_results(paths.attack("ads"), results(tiny_params, "ads", flags, under=protocol(tiny_params, 100, norm="l2")))
    with pytest.raises(ProtocolMismatch, match="norm l2 against linf"):
        analyze(tiny_params, paths)


def test_a_report_on_attacks_in_l2_says_so_and_so_do_its_tables_and_frames(paths: Paths, tiny_params: Params) -> None:
    for run in tiny_params.runs:
        flags = nested_flags(50, {"clean": 0.8, "fgsm": 0.6, "pgd-2": 0.5}, 0)
        save_results(paths.attack(run), results(tiny_params, run, flags, under=protocol(tiny_params, 100, norm="l2")))
    analyze(tiny_params, paths)
    report(tiny_params, paths)
    text = paths.report_md.read_text()
    assert "inside the L2 ball of radius eps = 0.1" in text
    assert "L2, eps 0.1, pixels in" in text
    assert "(eps 0.1 (L2)" in text
    assert "L-inf" not in text.replace("adversary", "")
    assert set(frames.results(paths.results).norm) == {"l2"}
    header, *lines = (paths.results / "tables" / "accuracies.csv").read_text().splitlines()
    assert {line.split(",")[header.split(",").index("norm")] for line in lines} == {"l2"}


def test_a_report_removes_the_figures_of_an_earlier_one(written: Paths, tiny_params: Params) -> None:
    """DVC takes the folder as it is: a figure of a run that was removed would stay in the results for ever."""
    names = {path.name for path in written.figures.iterdir()}
    for name in ("epochs-removed.png", ".report.md.abc.tmp"):
        (written.figures / name).write_bytes(b"old")
    report(tiny_params, written)
    assert {path.name for path in written.figures.iterdir()} == names
