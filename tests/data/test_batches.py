"""Batches against plain per-image loops."""

from __future__ import annotations

import hashlib
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmlab.data.batches import augment_images, batches
from ssmlab.data.dataset import Split
from ssmlab.data.pixels import to_unit
from ssmlab.params import AugmentParams

GOLDEN = "d74ba6a6ed667c38 df684b65efcb11ff 9c59fa1e2c5df7a7"


def split_of(n: int, shape: tuple[int, int, int] = (1, 2, 2)) -> Split:
    images = torch.randint(256, (n, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(n))
    return Split(images, torch.arange(n), torch.arange(n))


def test_pixels_become_the_nearest_floats() -> None:
    """Against exact rationals: k / 255 is nearer to no other float32."""
    units = to_unit(torch.arange(256, dtype=torch.uint8))
    assert units.dtype == torch.float32
    assert (units[0].item(), units[255].item()) == (0.0, 1.0)
    for k, unit in enumerate(units.numpy()):
        exact = Fraction(k, 255)
        error = abs(Fraction(float(unit)) - exact)
        for neighbour in (np.nextafter(unit, np.float32(-1)), np.nextafter(unit, np.float32(2))):
            assert error < abs(Fraction(float(neighbour)) - exact)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_pixels_become_the_same_floats_on_cuda() -> None:
    values = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_unit(values.cuda()).cpu(), to_unit(values))


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 30), st.integers(1, 12))
def test_without_shuffling_batches_follow_the_split(n: int, batch_size: int) -> None:
    split = split_of(n)
    got = list(batches(split, batch_size))
    assert [len(y) for _, y in got] == [min(batch_size, n - start) for start in range(0, n, batch_size)]
    assert torch.equal(torch.cat([y for _, y in got]), split.labels)
    assert torch.equal(torch.cat([x for x, _ in got]) * 255, split.images.float())
    assert all(x.dtype == torch.float32 and y.dtype == torch.int64 for x, y in got)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 30), st.integers(1, 12), st.integers(0, 99))
def test_shuffled_sees_every_image_once_with_its_own_label(n: int, batch_size: int, seed: int) -> None:
    split = split_of(n)
    got = list(batches(split, batch_size, shuffle=torch.Generator().manual_seed(seed)))
    labels = torch.cat([y for _, y in got])
    assert sorted(labels.tolist()) == list(range(n))
    assert torch.equal(torch.cat([x for x, _ in got]), to_unit(split.images[labels]))


def test_epochs_differ_and_equal_seeds_repeat() -> None:
    split = split_of(40)
    generator = torch.Generator().manual_seed(1)
    first, second = ([y.tolist() for _, y in batches(split, 8, shuffle=generator)] for _ in range(2))
    again = [y.tolist() for _, y in batches(split, 8, shuffle=torch.Generator().manual_seed(1))]
    assert first == again
    assert first != second


def test_the_global_generator_is_left_alone() -> None:
    state = torch.random.get_rng_state()
    generators = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    augment = AugmentParams(crop=1, flip=True)
    list(batches(split_of(9), 4, shuffle=generators[0], augment=augment, augment_generator=generators[1]))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_augmentation_does_not_touch_the_order() -> None:
    augment = AugmentParams(crop=1, flip=True)
    split = split_of(20)
    plain = batches(split, 6, shuffle=torch.Generator().manual_seed(1))
    changed = batches(
        split,
        6,
        shuffle=torch.Generator().manual_seed(1),
        augment=augment,
        augment_generator=torch.Generator().manual_seed(2),
    )
    assert [y.tolist() for _, y in plain] == [y.tolist() for _, y in changed]


def test_augmentation_without_a_generator_is_refused() -> None:
    with pytest.raises(ValueError, match="generator"):
        next(batches(split_of(3), 2, augment=AugmentParams(crop=1, flip=True)))


def shifted(image: np.ndarray, down: int, right: int) -> np.ndarray:
    """`image` (C, H, W) moved, with zeros where nothing was: pixel by pixel."""
    out = np.zeros_like(image)
    channels, height, width = image.shape
    for c in range(channels):
        for row in range(height):
            for column in range(width):
                if 0 <= row - down < height and 0 <= column - right < width:
                    out[c, row, column] = image[c, row - down, column - right]
    return out


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 3), st.booleans(), st.integers(1, 3), st.integers(1, 5), st.integers(1, 6), st.integers(0, 99))
def test_augmentation_equals_a_plain_loop(crop: int, flip: bool, c: int, h: int, w: int, seed: int) -> None:
    """The same draws, applied to one image after the other by shifting and mirroring it."""
    images = torch.randint(1, 256, (6, c, h, w), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    got = augment_images(images, AugmentParams(crop=crop, flip=flip), torch.Generator().manual_seed(seed))
    assert got.dtype == torch.uint8
    draws = torch.Generator().manual_seed(seed)
    if not crop and not flip:
        assert torch.equal(got, images)
        return
    top, left = torch.randint(2 * crop + 1, (2, 6), generator=draws).tolist()
    mirrored = torch.randint(2, (6,), generator=draws).tolist() if flip else [0] * 6
    for i in range(6):
        expected = shifted(images[i].numpy(), crop - top[i], crop - left[i])
        if mirrored[i]:
            expected = expected[:, :, ::-1]
        np.testing.assert_array_equal(got[i].numpy(), expected)


def test_every_crop_and_flip_is_equally_likely() -> None:
    """One pixel wanders over the 3 x 3 places of a crop by 1, mirrored or not (chi-squared, p = 1e-6)."""
    images = torch.zeros(9000, 1, 3, 3, dtype=torch.uint8)
    images[:, 0, 1, 1] = 1
    moved = augment_images(images, AugmentParams(crop=1, flip=False), torch.Generator().manual_seed(0))
    counts = moved.view(9000, 9).sum(0).double()
    assert ((counts - 1000) ** 2 / 1000).sum() < 42.7
    images = torch.tensor([1, 0], dtype=torch.uint8).view(1, 1, 1, 2).repeat(9000, 1, 1, 1)
    flipped = augment_images(images, AugmentParams(crop=0, flip=True), torch.Generator().manual_seed(0))
    assert abs(flipped[:, 0, 0, 1].sum().item() - 4500) < 4.9 * (9000 / 4) ** 0.5


def test_an_augmentation_without_effect_uses_no_random_numbers() -> None:
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    images = split_of(4).images
    assert augment_images(images, AugmentParams(crop=0, flip=False), generator) is images
    assert torch.equal(generator.get_state(), before)


def test_batches_are_what_they_always_were() -> None:
    """Goldens: SHA-256 of an epoch of batches, made by the first version of this code. Published results rest on it."""
    images = (torch.arange(37 * 3 * 6 * 5) * 97 % 256).to(torch.uint8).view(37, 3, 6, 5)
    split = Split(images, torch.arange(37) % 4, torch.arange(37))
    digests = []
    for augment in (None, AugmentParams(crop=2, flip=True), AugmentParams(crop=1, flip=False)):
        digest = hashlib.sha256()
        drawn, shuffle = torch.Generator().manual_seed(1), torch.Generator().manual_seed(2)
        for x, y in batches(split, 8, shuffle=shuffle, augment=augment, augment_generator=drawn):
            assert x.is_contiguous()
            digest.update(x.numpy().astype("<f4").tobytes() + y.numpy().astype("<i8").tobytes())
        digests.append(digest.hexdigest()[:16])
    assert " ".join(digests) == GOLDEN


@pytest.mark.parametrize("crop", [0, 2])
def test_writing_into_a_batch_leaves_the_split_unchanged(crop: int) -> None:
    """A training that writes into its batch must not write into the data set."""
    split = split_of(6, (1, 3, 3))
    before = split.images.clone()
    augment = AugmentParams(crop=crop, flip=False)
    for x, _ in batches(split, 3, augment=augment, augment_generator=torch.Generator()):
        x.zero_()
    assert torch.equal(split.images, before)
    assert to_unit(x).data_ptr() != x.data_ptr()
