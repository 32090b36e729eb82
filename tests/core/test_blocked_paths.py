"""Something in the way of a file: the error says what it is and what to do, and a stage finds it before it computes."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ssmlab.core.blocked_paths import cannot, check_place, require_all, way_out
from ssmlab.core.errors import UserError
from ssmlab.core.files import read_json, write_atomic


def link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


WAYS: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "a folder at the file": ("models/best", Path.mkdir, "move this folder away"),
    "a pipe at the file": ("models/best", os.mkfifo, "move it away"),
    "a file at the folder": ("models", Path.touch, "models is not a folder, move it away"),
    "a pipe at the folder": ("models", os.mkfifo, "models is not a folder, move it away"),
    "a loop of links at the folder": ("models", link_to_itself, "models is not a folder, move it away"),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_an_error_says_what_is_in_the_way_and_that_it_must_be_moved(
    way: tuple[str, Callable[[Path], object], str], tmp_path: Path
) -> None:
    name, put, says = way
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    put(tmp_path / name)
    target = tmp_path / "models" / "best"
    with pytest.raises(UserError) as caught:
        check_place(target)
    assert says in str(caught.value) and str(caught.value).startswith(str(target))
    with pytest.raises(UserError) as caught:
        read_json(target, "a result", "run `ssmlab train`")
    assert says in str(caught.value)
    assert str(caught.value).endswith("; run `ssmlab train`")
    if name == "models" or target.is_dir():  # a pipe at the file is replaced
        with pytest.raises(UserError) as caught:
            write_atomic(target, "x")
        assert says in str(caught.value)
        assert str(caught.value).endswith("any earlier file is unchanged")


def test_a_place_that_can_be_written_is_not_refused_and_not_touched(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("x")
    check_place(tmp_path / "there", tmp_path / "new" / "folders" / "file", Path("relative"))
    assert [each.name for each in tmp_path.iterdir()] == ["there"]


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (errno.ENOSPC, "make room on its drive"),
        (errno.EROFS, "drive that can be written"),
        (errno.ELOOP, "remove this loop of links"),
        (errno.EIO, ""),
    ],
)
def test_the_way_out_fits_the_error_of_the_system(code: int, says: str, tmp_path: Path) -> None:
    error = OSError(code, os.strerror(code))
    assert says in way_out(tmp_path / "file", error)
    assert cannot(tmp_path / "file", "read", error).startswith(
        f"{tmp_path / 'file'}: cannot be read ({os.strerror(code)})"
    )


def test_several_missing_files_are_named_together_and_one_is_left_to_its_reader(tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    require_all(tmp_path / "there", tmp_path / "a", remedy="make them")
    with pytest.raises(UserError, match=r"/a and .*/b: not there yet; make them"):
        require_all(tmp_path / "a", tmp_path / "there", tmp_path / "b", remedy="make them")


def test_files_that_cannot_be_looked_at_are_not_called_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "lstat", refuse)
    require_all(Path("a"), Path("b"), remedy="make them")


def test_missing_rights_name_the_owner_of_what_cannot_be_used(tmp_path: Path) -> None:
    error = PermissionError(errno.EACCES, "Permission denied")
    assert f"{tmp_path} belongs to user " in cannot(tmp_path, "used", error)
    said = cannot(tmp_path / "no" / "such" / "file", "written", error)
    assert f"{tmp_path} belongs to user " in said
    assert "change its permissions" in said


def test_a_folder_without_rights_is_refused_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "ssmlab.core.blocked_paths.os.access", lambda path, mode: False
    )  # as for a user who is not root
    with pytest.raises(UserError, match=r"x\.json: could not be written; .* belongs to user .*permissions"):
        check_place(tmp_path / "results" / "x.json")
