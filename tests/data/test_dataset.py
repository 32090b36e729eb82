"""The prepared data set: what is written is read, equal content gives equal bytes, and damage is one clear line."""

from __future__ import annotations

import hashlib
import json
import random
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmlab.core.errors import UserError
from ssmlab.data.dataset import Dataset, Split, load_data, load_dataset, make_dataset, save_dataset
from ssmlab.data.header import SPLITS, description_text, parse_description, read_data_summary
from ssmlab.data.pixels import to_unit


def random_split(n: int, classes: int, generator: torch.Generator, shape: tuple[int, int, int] = (2, 3, 4)) -> Split:
    return Split(
        images=torch.randint(256, (n, *shape), dtype=torch.uint8, generator=generator),
        labels=torch.randint(classes, (n,), generator=generator),
        indices=torch.randperm(10 * n, generator=generator)[:n],
    )


def example(seed: int = 0, sizes: tuple[int, int, int] = (7, 3, 4)) -> Dataset:
    generator = torch.Generator().manual_seed(seed)
    splits = {name: random_split(n, 3, generator) for name, n in zip(SPLITS, sizes, strict=True)}
    names = ("ant", "bée", 'a "cat"\n')
    return make_dataset("toy", 3, splits, class_names=names, source="made up", provenance="partial", seed=5)


def assert_equal(one: Dataset, two: Dataset) -> None:
    assert one.description == two.description
    for split in SPLITS:
        for part in ("images", "labels", "indices"):
            a, b = getattr(getattr(one, split), part), getattr(getattr(two, split), part)
            assert a.dtype == b.dtype
            assert torch.equal(a, b)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 1000), st.tuples(st.integers(1, 9), st.integers(0, 9), st.integers(1, 9)))
def test_a_saved_data_set_is_loaded_unchanged(
    tmp_path_factory: pytest.TempPathFactory, seed: int, sizes: tuple[int, int, int]
) -> None:
    path = tmp_path_factory.mktemp("data") / "toy.safetensors"
    dataset = example(seed, sizes)
    save_dataset(path, dataset)
    loaded = load_dataset(path)
    path.unlink()  # the memory map must not depend on the name
    assert_equal(loaded, dataset)
    assert loaded.image_shape == (2, 3, 4)


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    save_dataset(first, example())
    save_dataset(second, load_dataset(first))
    assert first.read_bytes() == second.read_bytes()


def test_the_fingerprint_is_a_sha256_computed_by_hand() -> None:
    """The same SHA-256 from Python integers alone."""
    dataset = example()
    digest = hashlib.sha256()
    for name in SPLITS:
        split: Split = getattr(dataset, name)
        pixels = split.images.flatten().tolist()
        digest.update(f"{name}.images torch.uint8 {list(split.images.shape)}\n".encode() + bytes(pixels))
        for part in ("labels", "indices"):
            values = getattr(split, part).tolist()
            digest.update(f"{name}.{part} torch.int64 [{len(values)}]\n".encode())
            digest.update(struct.pack(f"<{len(values)}q", *values))
    assert dataset.fingerprint == digest.hexdigest()


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("part", ["images", "labels", "indices"])
def test_every_element_changes_the_fingerprint(split: str, part: str) -> None:
    dataset = example()
    before = dataset.fingerprint
    tensor: torch.Tensor = getattr(getattr(dataset, split), part)
    tensor.view(-1)[-1] += 1
    assert make_dataset("toy", 3, {name: getattr(dataset, name) for name in SPLITS}).fingerprint != before


def test_the_memory_layout_does_not_change_the_fingerprint() -> None:
    dataset = example()
    images = dataset.train.images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    assert not images.is_contiguous()
    splits = {name: getattr(dataset, name) for name in SPLITS}
    splits["train"] = Split(images, dataset.train.labels, dataset.train.indices)
    assert make_dataset("toy", 3, splits).fingerprint == dataset.fingerprint


def test_the_header_is_read_without_torch(tmp_path: Path) -> None:
    path = tmp_path / "toy.safetensors"
    save_dataset(path, example())
    code = (
        "import sys; from pathlib import Path; from ssmlab.data.header import read_data_summary as read;"
        "s = read(Path(sys.argv[1])); assert 'torch' not in sys.modules;"
        "d = s.description; print(d.name, d.classes, s.image_shape, s.train, s.validation, s.test, d.fingerprint)"
    )
    out = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True).stdout
    assert out == f"toy 3 (2, 3, 4) 7 3 4 {example().fingerprint}\n"


@pytest.mark.parametrize("read", [load_dataset, read_data_summary])
def test_a_missing_file_is_one_line(read, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.safetensors.*ssmlab prepare"):
        read(tmp_path / "nowhere.safetensors")


@pytest.mark.parametrize("read", [load_dataset, read_data_summary])
@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_a_truncated_file_is_one_line(read, keep: int, tmp_path: Path) -> None:
    path = tmp_path / "toy.safetensors"
    save_dataset(path, example())
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"toy\.safetensors.*ssmlab prepare") as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_a_folder_is_not_a_data_set(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="ssmlab prepare"):
        load_dataset(tmp_path)


def test_a_flipped_bit_in_the_tensors_is_found(tmp_path: Path) -> None:
    path = tmp_path / "toy.safetensors"
    save_dataset(path, example())
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="fingerprint"):
        load_dataset(path)


def test_every_one_of_400_flipped_bits_is_found(tmp_path: Path) -> None:
    """Anywhere in the file: lengths, header, description, pixels, labels, indices."""
    path, draws = tmp_path / "toy.safetensors", random.Random(0)
    save_dataset(path, example())
    whole = path.read_bytes()
    for bit in draws.sample(range(8 * len(whole)), 400):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"toy\.safetensors: .*`ssmlab prepare` again") as caught:
            load_dataset(path)
        assert "\n" not in str(caught.value)


def test_every_one_of_400_flipped_bits_in_the_header_is_found_without_reading_tensors(tmp_path: Path) -> None:
    path, draws = tmp_path / "toy.safetensors", random.Random(1)
    save_dataset(path, example())
    whole = path.read_bytes()
    (length,) = struct.unpack("<Q", whole[:8])
    for bit in draws.sample(range(8 * (8 + length)), 400):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        with pytest.raises(UserError):
            read_data_summary(path)


@given(st.text(), st.text(), st.lists(st.text(), min_size=1, max_size=3))
def test_any_description_survives_its_text(name: str, source: str, class_names: list[str]) -> None:
    description = example().description.model_copy(
        update={"name": name, "source": source, "class_names": tuple(class_names)}
    )
    assert parse_description(description_text(description)) == description


@pytest.mark.parametrize("text", ["", "[]", "null", "3", "{", "[" * 100_000, '{"digest":NaN}'])
def test_a_text_that_is_not_a_description_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="its description is missing"):
        parse_description(text)


def rewritten(path: Path, changes: dict[str, torch.Tensor | None], description: dict[str, object] | None) -> None:
    """Write the example with tensors replaced or (None) removed, and its description changed or (None) left out."""
    save_dataset(path, example())
    with safetensors.safe_open(path, "pt") as file:
        text = file.metadata()["ssmlab"]
    tensors = safetensors.torch.load(path.read_bytes())
    tensors = {name: changes.get(name, tensor) for name, tensor in tensors.items()}
    if description:
        text = json.dumps(json.loads(text) | description)
    metadata = None if description is None else {"ssmlab": text}
    safetensors.torch.save_file({name: t for name, t in tensors.items() if t is not None}, path, metadata)


@pytest.mark.parametrize("read", [load_dataset, read_data_summary])
@pytest.mark.parametrize(
    ("changes", "description", "says"),
    [
        ({}, None, "description"),
        ({}, {"format": 2}, "another version of ssmlab wrote it"),
        ({}, {"unknown": 1}, "description"),
        ({}, {"seed": "5"}, "description"),
        ({}, {"class_names": []}, "description"),
        ({}, {"provenance": "hearsay"}, "description"),
        ({}, {"name": "another"}, "does not match its digest"),
        ({}, {"digest": "0" * 64}, "does not match its digest"),
        ({"test.labels": None}, {}, r"test\.labels is missing"),
        ({"test.labels": torch.zeros(4, dtype=torch.int32)}, {}, r"test\.labels is I32"),
        ({"train.images": torch.zeros(7, 2, 3, 4)}, {}, r"train\.images is F32"),
        ({"train.images": torch.zeros(7, 24, dtype=torch.uint8)}, {}, r"train\.images is U8 of shape \[7, 24\]"),
        ({"test.labels": torch.zeros(5, dtype=torch.int64)}, {}, "differ in number"),
        ({"test.images": torch.zeros(4, 1, 3, 4, dtype=torch.uint8)}, {}, "differ in image shape"),
    ],
)
def test_another_format_is_refused(read, changes, description, says: str, tmp_path: Path) -> None:
    path = tmp_path / "toy.safetensors"
    rewritten(path, changes, description)
    with pytest.raises(UserError, match=rf"toy\.safetensors.*{says}.*ssmlab prepare"):
        read(path)


@pytest.mark.parametrize("bad", [-1, 3])
def test_labels_out_of_range_are_refused(bad: int, tmp_path: Path) -> None:
    dataset = example()
    dataset.validation.labels[1] = bad
    save_dataset(tmp_path / "toy", dataset)
    with pytest.raises(UserError, match=r"validation\.labels"):
        load_dataset(tmp_path / "toy")


@pytest.mark.parametrize("sizes", [(0, 3, 4), (7, 3, 0)])
def test_only_validation_may_be_empty(sizes: tuple[int, int, int], tmp_path: Path) -> None:
    save_dataset(tmp_path / "toy", example(sizes=sizes))
    with pytest.raises(UserError, match=r"(train|test)\.labels"):
        load_dataset(tmp_path / "toy")


def test_a_file_of_the_first_format_says_to_prepare_again(tmp_path: Path) -> None:
    path = tmp_path / "toy.safetensors"
    rewritten(path, {}, {})
    tensors = safetensors.torch.load(path.read_bytes())
    old = {"format": 1, "name": "toy", "classes": 3, "source": "made up", "seed": 5, "fingerprint": "0"}
    safetensors.torch.save_file(tensors, path, {"ssmlab": json.dumps(old)})
    with pytest.raises(UserError, match=r"another version of ssmlab wrote it.*run `ssmlab prepare` again"):
        load_dataset(path)


def test_a_failed_write_leaves_the_old_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "toy.safetensors"
    save_dataset(path, example(1))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match="No space left"):
        save_dataset(path, example(2))
    assert load_dataset(path).fingerprint == example(1).fingerprint
    assert list(tmp_path.iterdir()) == [path]


def test_the_indices_hash_is_a_sha256_of_the_first_rows() -> None:
    split = example().train
    first = split.indices[:5].tolist()
    assert split.indices_hash(5) == hashlib.sha256(struct.pack("<5q", *first)).hexdigest()
    assert len({split.indices_hash(n) for n in range(8)}) == 8
    with pytest.raises(UserError, match=r"8 images.*has 7"):
        split.indices_hash(8)


def test_moving_a_split_copies_only_if_it_must() -> None:
    split = example().train
    same = split.to("cpu")
    assert same.images.data_ptr() == split.images.data_ptr()
    moved = split.to("meta")
    assert {moved.images.device.type, moved.labels.device.type, moved.indices.device.type} == {"meta"}
    assert len(split) == 7


def test_load_data_takes_a_path_or_a_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_dataset(tmp_path / "data" / "toy.safetensors", example())
    monkeypatch.chdir(tmp_path)
    for given_as in ("toy", "data/toy.safetensors", tmp_path / "data" / "toy.safetensors"):
        assert load_data(given_as).fingerprint == example().fingerprint
    with pytest.raises(
        UserError, match=r"data/nope\.safetensors: there is no .* \(data/ has toy\); `ssmlab use STUDY`"
    ):
        load_data("nope")
    with pytest.raises(UserError, match=r"nope\.safetensors: there is no prepared data set"):
        load_data(Path("nope.safetensors"))


def test_a_data_set_and_its_splits_are_shown_in_one_line_without_pixels() -> None:
    assert repr(example()) == ("Dataset(toy: 7 training, 3 validation, 4 test images of (2, 3, 4) in 3 classes)")
    assert repr(example().test) == "Split(4 images of (2, 3, 4))"


def test_tensors_are_what_models_take() -> None:
    split = example().test
    x, y = split.tensors(3)
    assert (x.dtype, x.shape, y.dtype) == (torch.float32, (3, 2, 3, 4), torch.int64)
    assert torch.equal(x, to_unit(split.images[:3])) and torch.equal(y, split.labels[:3])
    x_all, y_all = split.tensors()
    assert len(x_all) == len(y_all) == len(split)
    y_all.zero_()
    assert not torch.equal(y_all, split.labels)  # writing into the answer leaves the split alone
    with pytest.raises(UserError, match=r"5 images.*has 4"):
        split.tensors(5)
