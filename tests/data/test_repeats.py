"""Pictures of rare classes come more often, in epochs of one length."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from coco_files import WriteSplit, augmentation, box, image
from hypothesis import given
from hypothesis import strategies as st

from detbox.data.module import DataModule
from detbox.data.repeats import Repeats
from detbox.data.samples import TrainingSet
from detbox.data.sampling import training_batches
from detbox.registry import DATA

FACTORS = st.lists(st.floats(1, 20), min_size=1, max_size=60)


def repeats_of(factors: list[float]) -> Repeats:
    return Repeats(np.array(factors), np.ones(1))


def counted(repeats: Repeats, seed: int, epoch: int) -> np.ndarray:
    """(N,) how often each picture comes in an epoch."""
    number = len(repeats.factors)
    return np.bincount(repeats.drawn(seed, epoch) % number, minlength=number)


@given(FACTORS, st.integers(0, 9), st.integers(0, 9))
def test_every_epoch_is_as_long_and_rounds_each_factor(
    factors: list[float], seed: int, epoch: int
) -> None:
    repeats = repeats_of(factors)
    drawn = repeats.drawn(seed, epoch)
    assert len(drawn) == len(set(drawn.tolist())) == repeats.length
    wanted = repeats.factors * repeats.length / repeats.factors.sum()
    counts = counted(repeats, seed, epoch)
    assert (counts >= 1).all()
    assert (abs(counts - wanted) < 1 + 1e-6).all()
    assert set(drawn.tolist()) == {
        i + len(factors) * c for i, n in enumerate(counts) for c in range(n)
    }
    assert np.array_equal(drawn, repeats.drawn(seed, epoch))


def test_factors_are_met_over_the_epochs() -> None:
    repeats = repeats_of([1, 1.25, 2.5, 1, 3.75, 1.5])
    mean = np.mean([counted(repeats, 0, epoch) for epoch in range(4000)], 0)
    assert abs(mean - repeats.factors).max() < 0.03
    epochs = {tuple(counted(repeats, seed, epoch)) for seed in range(3) for epoch in range(9)}
    assert len(epochs) > 3


def test_without_rare_classes_an_epoch_is_each_picture_once() -> None:
    assert repeats_of([1.0] * 7).drawn(3, 5).tolist() == list(range(7))


def test_ranks_share_what_is_drawn() -> None:
    repeats = repeats_of([1, 2.5, 1.75, 3])
    drawn = repeats.drawn(0, 2)
    ranks = [training_batches(repeats.length, 1, 0, 2, rank, 3) for rank in range(3)]
    seen = [int(drawn[batch[0]]) for rank in ranks for batch in rank]
    assert len(set(seen)) == len(seen) == repeats.length // 3 * 3


@pytest.fixture
def root(write_split: WriteSplit) -> Path:
    """Eight pictures with a cat, of which one has two bees and one a dog that is a crowd."""
    boxes = [box(n, n, [4, 4, 20, 20]) for n in range(8)]
    boxes += [box(20 + n, 3, [8 * n, 2, 7, 7], category_id=2) for n in range(2)]
    boxes += [box(30, 5, [4, 4, 9, 9], category_id=3, iscrowd=1)]
    named = [{"id": n, "name": name} for n, name in enumerate(("cat", "bee", "dog", "ant"), 1)]
    images = [image(n) for n in range(8)]
    write_split("train", images=images, annotations=boxes, categories=named)
    return write_split("val", annotations=[box(1, 1, [4, 4, 20, 20])])


def build(root: Path, threshold: float) -> DataModule:
    settings = {"train_sizes": [40], "crop_from": [40], "crop_sizes": [24, 36], "workers": 0}
    where = {"name": "coco", "root": str(root), "repeat_threshold": threshold}
    return DataModule(DATA.build({**settings, **where}), 7)


def test_a_class_counts_by_its_share_of_the_pictures(root: Path) -> None:
    data = build(root, 0.5)
    assert data.repeats is not None
    assert data.repeats.of_classes.tolist() == [1, 2, 1, 1]
    assert data.repeats.factors.tolist() == [1, 1, 1, 2, 1, 1, 1, 1]
    assert (data.epoch_pictures, data.train_batches, len(data.train_dataloader())) == (9, 4, 4)
    told = data.repeats.told(data.train)
    assert told == (
        "an epoch has 9 pictures out of 8, those of rare classes several times: bee x 2"
    )
    nothing = build(root, 0.01).repeats
    assert nothing is not None
    assert "no class is so rare" in nothing.told(data.train)
    assert build(root, 0).repeats is None


def test_a_picture_that_comes_again_is_varied_again(root: Path) -> None:
    split = build(root, 0).train
    varied = augmentation(flip=0.5, crop=True, train_sizes=(32, 40), jitter=0.3)
    dataset = TrainingSet(split, varied, 7)
    first, again = dataset[0, 3], dataset[0, 3 + split.num_images]
    assert first.image_id == again.image_id
    assert not (
        first.pixels.shape == again.pixels.shape and torch.equal(first.pixels, again.pixels)
    )


def test_a_run_goes_on_in_the_middle_of_an_epoch(root: Path) -> None:
    straight, broken, resumed = (build(root, 0.9).train_dataloader() for _ in range(3))
    for loader in (straight, broken):
        loader.sampler.set_epoch(2)
    for _ in islice(broken, 3):
        pass
    resumed.load_state_dict(broken.state_dict())
    rest, whole = list(resumed), list(straight)
    assert len(whole) == len(rest) + 3
    for one, other in zip(rest, whole[3:], strict=True):
        assert one.image_ids == other.image_ids
        assert torch.equal(one.images.pixels, other.images.pixels)
