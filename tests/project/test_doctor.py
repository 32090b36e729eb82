"""What `ssmlab doctor` says of threads; tests/cli has the command."""

from __future__ import annotations

import pytest

from ssmlab.project.doctor import threads


@pytest.mark.parametrize(
    ("quota", "asked", "verdict", "text"),
    [
        (None, "", "ok", "8 cores for this process"),
        (2.0, "", "warning", "2 cores for this process"),
        (2.5, "2", "ok", "2.5 cores for this process, OMP_NUM_THREADS=2"),
        (2.0, "2", "ok", "2 cores for this process, OMP_NUM_THREADS=2"),
        (2.0, "8", "warning", "2 cores for this process, OMP_NUM_THREADS=8"),
    ],
)
def test_the_quota_of_a_container_is_pointed_out_where_torch_would_start_more_threads(
    quota: float | None, asked: str, verdict: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ssmlab.project.doctor.processors", lambda: 8)
    monkeypatch.setattr("ssmlab.project.doctor.cpu_quota", lambda: quota)
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    (found,) = threads()
    assert (found.verdict, found.found) == (verdict, text)
