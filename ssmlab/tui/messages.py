"""The messages between the app, its screens and their widgets."""

from __future__ import annotations

from textual.message import Message

from ssmlab.tui.arrange import TableRow
from ssmlab.tui.look import Look


class StudyLooked(Message):
    """The files have been read."""

    def __init__(self, look: Look) -> None:
        super().__init__()
        self.look = look


class RowHighlighted(Message):
    """The cursor is on another row; None if the table is empty."""

    def __init__(self, row: TableRow | None) -> None:
        super().__init__()
        self.row = row


class RowOpened(Message):
    """Enter was pressed on a row, or the row under the cursor was clicked."""

    def __init__(self, row: TableRow) -> None:
        super().__init__()
        self.row = row


class HeadingClicked(Message):
    """The heading of a column was clicked."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self.key = key
