"""What `ssmlab doctor` says of threads and of DVC's files; tests/cli has the command."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssmlab.project.doctor import threads, version_control


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


def test_what_dvc_lacks_is_named_with_the_command_that_makes_it(tmp_path: Path) -> None:
    def of_dvc() -> list[tuple[str, str]]:
        found = (each for each in version_control(tmp_path) if each.name == "dvc")
        return [(each.found.removeprefix(f"{tmp_path} "), each.fix) for each in found]

    assert of_dvc() == [
        ("has no file dvc.yaml", "change to a project's folder, or copy the file from a new one (`ssmlab new FOLDER`)")
    ]
    (tmp_path / "dvc.yaml").touch()
    assert of_dvc() == [("has no folder .dvc", "make it with `dvc init --no-scm`")]
    (tmp_path / ".git").mkdir()
    assert of_dvc() == [("has no folder .dvc", "make it with `dvc init`")]
    (tmp_path / ".dvc").mkdir()
    assert of_dvc() == []
