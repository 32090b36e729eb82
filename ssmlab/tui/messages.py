"""The messages that the parts of the laboratory send each other."""

from __future__ import annotations

from textual.message import Message

from ssmlab.tui.arrange import Row
from ssmlab.tui.follower import Look


class StudyLooked(Message):
    """The files have been read. `problem`: what went wrong with the launch that has ended, if one has."""

    def __init__(self, look: Look, problem: str | None = None) -> None:
        super().__init__()
        self.look, self.problem = look, problem


class RowHighlighted(Message):
    """Another row is under the table's cursor; None where the table is empty."""

    def __init__(self, row: Row | None) -> None:
        super().__init__()
        self.row = row


class RowOpened(Message):
    """Enter was pressed on a row, or the row under the cursor was clicked."""

    def __init__(self, row: Row) -> None:
        super().__init__()
        self.row = row


class HeadingClicked(Message):
    """The heading of a column was clicked."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self.key = key
