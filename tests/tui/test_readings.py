"""The table of values below the curves."""

from __future__ import annotations

from ssmlab.tui.readings import CurveReading, readings_table

COLUMNS = ("clean", "robust", "val_loss")
READINGS = [
    CurveReading("●", "#0000ff", "ssm", ("62.5", "12.5", "1.25")),
    CurveReading("▲", "#00ff00", "ads-with-a-long-name-s0", ("100.0", "-", "1.7e+03")),
]


def test_values_stand_right_below_the_heading_of_their_column() -> None:
    heading, *lines = readings_table("epoch 2", COLUMNS, READINGS, 80).plain.splitlines()
    ends = [heading.index(column) + len(column) for column in COLUMNS]
    for line, reading in zip(lines, READINGS, strict=True):
        assert [line[:end].split()[-1] for end in ends] == list(reading.values)
        assert line.startswith(f"{reading.marker} {reading.name[:20]}")


def test_a_narrow_table_has_fewer_columns_and_cuts_no_value() -> None:
    for width in range(20, 60):
        for line in readings_table("latest", COLUMNS, READINGS, width).plain.splitlines():
            assert set(line.split()[2:]) <= {*COLUMNS, "62.5", "12.5", "1.25", "100.0", "-", "1.7e+03"}
    assert "clean" in readings_table("latest", COLUMNS, READINGS[:1], 14).plain
