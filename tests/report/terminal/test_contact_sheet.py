"""The contact sheet shows the prepared pixels and no others, and reads only those it shows."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ssmlab.core.errors import UserError
from ssmlab.data.dataset import Dataset, Split, load_dataset, make_dataset, save_dataset
from ssmlab.report.terminal import contact_sheet
from ssmlab.report.terminal.contact_sheet import PER_CLASS, contact_sheet_png, read_contact_sheet


def example(sizes: tuple[int, int, int], shape: tuple[int, int, int], classes: int, seed: int = 0) -> Dataset:
    generator = torch.Generator().manual_seed(seed)

    def split(n: int) -> Split:
        return Split(
            images=torch.randint(256, (n, *shape), dtype=torch.uint8, generator=generator),
            labels=torch.randint(classes, (n,), generator=generator),
            indices=torch.arange(n),
        )

    splits = dict(zip(("train", "validation", "test"), map(split, sizes), strict=True))
    names = [f"class {label}" for label in range(classes)]
    return make_dataset("toy", classes, splits, class_names=names)


def picture(path: Path) -> npt.NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(contact_sheet_png(read_contact_sheet(path)))))


def places(job: npt.NDArray[np.uint8], image: npt.NDArray[np.uint8]) -> list[tuple[int, int]]:
    """Where an image (H, W, 3) lies in a picture, pixel by pixel."""
    height, width, _ = image.shape
    corners = np.argwhere((job[: 1 - height, : 1 - width] == image[0, 0]).all(axis=2)).tolist()
    return [(y, x) for y, x in corners if (job[y : y + height, x : x + width] == image).all()]


@settings(deadline=None, max_examples=10)
@given(
    st.sampled_from([(1, 8, 8), (3, 8, 8), (3, 28, 28), (1, 9, 7), (3, 60, 60)]), st.integers(2, 4), st.integers(1, 60)
)
def test_the_pixels_of_a_contact_sheet_are_those_of_the_data_set(
    tmp_path_factory: pytest.TempPathFactory, shape: tuple[int, int, int], classes: int, n: int
) -> None:
    path = tmp_path_factory.mktemp("data") / "toy.safetensors"
    save_dataset(path, example((n, 1, 1), shape, classes, seed=n))
    train = load_dataset(path).train
    job = picture(path)
    factor = -(-56 // max(shape[1:]))
    below = -1
    for label in range(classes):
        rows = [row for row in range(n) if train.labels[row] == label]
        found = []
        for row in rows[:PER_CLASS]:
            image = train.images[row].expand(3, -1, -1).permute(1, 2, 0).numpy()
            found += places(job, np.kron(image, np.ones((factor, factor, 1), dtype=np.uint8)))
        assert len(found) == len(rows[:PER_CLASS])
        assert len({y for y, _ in found}) <= 1 and [x for _, x in found] == sorted({x for _, x in found})
        for row in rows[PER_CLASS : PER_CLASS + 1]:
            image = train.images[row].expand(3, -1, -1).permute(1, 2, 0).numpy()
            assert not places(job, np.kron(image, np.ones((factor, factor, 1), dtype=np.uint8)))
        if found:
            assert found[0][0] > below
            below = found[0][0]


def test_every_class_of_a_contact_sheet_has_its_name(tmp_path: Path) -> None:
    path = tmp_path / "toy.safetensors"
    save_dataset(path, example((40, 1, 1), (1, 8, 8), 3))
    sheet = read_contact_sheet(path)
    assert [row.name for row in sheet.rows] == ["class 0", "class 1", "class 2"]
    assert (picture(path) == 0).any()  # black letters, though


def test_only_the_images_that_are_shown_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The slices that are asked for are the images that are shown, one by one."""
    path = tmp_path / "toy.safetensors"
    save_dataset(path, example((500, 30, 30), (1, 8, 8), 2))
    asked: list[str] = []
    real = contact_sheet.open_prepared

    class Spy:
        def __init__(self, file: object) -> None:
            self.file = file

        def __getattr__(self, name: str) -> object:
            return getattr(self.file, name)

        def get_tensor(self, name: str) -> object:
            asked.append(name)
            return self.file.get_tensor(name)

    class Opened:
        def __init__(self, *arguments: object) -> None:
            self.manager = real(*arguments)

        def __enter__(self) -> Spy:
            return Spy(self.manager.__enter__())

        def __exit__(self, *problem: object) -> object:
            return self.manager.__exit__(*problem)

    monkeypatch.setattr(contact_sheet, "open_prepared", Opened)
    sheet = read_contact_sheet(path)
    assert asked == ["train.labels"]
    assert [len(row.images) for row in sheet.rows] == [PER_CLASS, PER_CLASS]


def test_a_file_that_is_no_prepared_data_set_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="ssmlab prepare"):
        read_contact_sheet(tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"nonsense")
    with pytest.raises(UserError, match=r"bad\.safetensors"):
        read_contact_sheet(tmp_path / "bad.safetensors")
    save_dataset(tmp_path / "two.safetensors", example((5, 1, 1), (2, 8, 8), 2))
    with pytest.raises(UserError, match="2 channels"):
        read_contact_sheet(tmp_path / "two.safetensors")
