"""A report is shown in parts: its texts as Markdown, its tables so that no number is cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ssmlab.report.table import Column, TextTable, to_markdown
from ssmlab.tui.report_parts import report_parts
from ssmlab.tui.screens.report import ReportScreen
from tests.tui.conftest import Study, screen_text, until

CELLS = st.text("abc 0.1±%()|-", min_size=1).map(lambda text: " ".join(text.split()) or "x")


def test_texts_and_tables_come_in_their_order() -> None:
    text = "# Title\n\ntext\n\n| run | clean |\n| :-- | --: |\n| [a](a.json) | **7** |\n\n## Next\n\n- an item\n"
    table = TextTable((Column("run", left=True), Column("clean")), (("a", "7"),))
    assert list(report_parts(text)) == ["# Title\n\ntext", table, "## Next\n\n- an item"]
    assert list(report_parts("")) == []


def test_what_looks_like_a_table_in_a_block_of_code_stays_text() -> None:
    text = "```\n| a |\n| --- |\n| 1 |\n```"
    assert list(report_parts(text)) == [text]


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=5))
def test_a_table_is_read_as_it_was_written(rows: list[tuple[str, str, str]]) -> None:
    table = TextTable((Column("run", left=True), Column("clean"), Column("pgd-10")), tuple(rows))
    [read] = report_parts(to_markdown(table, lambda text: text))
    assert read == table


async def test_a_wide_table_is_divided_and_no_number_is_cut(study: Study) -> None:
    from ssmlab.tui.app import StudyApp

    numbers = [f"{10 + each}.{each}25" for each in range(30)]
    columns = tuple(Column(f"epoch {each}") for each in range(30))
    table = TextTable((Column("run", left=True), *columns), (("ads", *numbers),))
    study.paths.report_md.parent.mkdir(parents=True, exist_ok=True)
    study.paths.report_md.write_text("# Title of all\n\n" + to_markdown(table, str) + "\n\nThe end.\n")
    app = StudyApp(study.root)
    async with app.run_test(size=(60, 60)) as pilot:
        await until(pilot, lambda: "ads" in screen_text(app))
        await app.push_screen(ReportScreen())
        await until(pilot, lambda: "The end." in screen_text(app))
        shown = screen_text(app)
        assert [number for number in numbers if number not in shown] == []
        assert "…" not in shown
