"""Order, resuming, workers, unreadable files, memory."""

from __future__ import annotations

import multiprocessing
from itertools import chain, islice
from pathlib import Path

import numpy as np
import pytest
import torch
from coco_files import DISPLAY, WriteSplit, augmentation, box, image

from detbox.annotations import Source, Split, read_coco
from detbox.data.loading import Loader, collate
from detbox.data.samples import EvaluationSet, TrainingSet
from detbox.data.sampling import EpochBatches, evaluation_batches, training_batches
from detbox.errors import DataError
from detbox.structures import Batch


@pytest.fixture
def split(write_split: WriteSplit) -> Split:
    """Ten images of two sizes, image i with i mod 3 boxes."""
    sizes = [(48, 64), (64, 48)]
    images = [image(n, *sizes[n % 2]) for n in range(10)]
    owners = [n for n in range(10) for _ in range(n % 3)]
    boxes = [box(n, owner, [4, 4, 20, 20]) for n, owner in enumerate(owners)]
    root = write_split(images=images, annotations=boxes)
    return read_coco(Source(root / "train", root / "annotations" / "instances_train.json"))


def training_loader(split: Split, workers: int = 0) -> Loader:
    varied = augmentation(flip=0.5, crop=True, train_sizes=(32, 40), jitter=0.1)
    sampler = EpochBatches(lambda epoch: training_batches(split.num_images, 2, 7, epoch))
    return Loader(TrainingSet(split, varied, 7), sampler, workers, "train")


def evaluation_loader(split: Split) -> Loader:
    batches = evaluation_batches(split.num_images, 3)
    return Loader(EvaluationSet(split, DISPLAY), EpochBatches(lambda _: batches), 0, "val")


def same(first: Batch, second: Batch) -> bool:
    tensors = zip(
        (*first.images, first.targets.labels, first.targets.boxes, first.sizes),
        (*second.images, second.targets.labels, second.targets.boxes, second.sizes),
        strict=True,
    )
    ids = (first.image_ids, first.targets.counts) == (second.image_ids, second.targets.counts)
    return ids and all(torch.equal(one, other) for one, other in tensors)


def test_batches_are_padded_right_and_below_and_masked_there(split: Split) -> None:
    evaluation = EvaluationSet(split, DISPLAY)
    batch = collate([evaluation[0, 1], evaluation[0, 2]])
    assert batch.images.pixels.dtype == torch.uint8
    assert tuple(batch.images.pixels.shape) == (2, 3, 64, 64)
    assert batch.targets.counts == (1, 2)
    assert batch.image_ids == (1, 2)
    assert batch.sizes.tolist() == [[64, 48], [48, 64]]
    assert (~batch.images.mask).sum((1, 2)).tolist() == [48 * 64, 48 * 64]
    assert not batch.images.mask[0, :, :48].any()
    assert not batch.images.pixels[0, :, :, 48:].any()
    assert torch.equal(batch.images.pixels[1, :, :48], evaluation[0, 2].pixels)


def test_a_batch_without_any_box_is_whole(split: Split) -> None:
    evaluation = EvaluationSet(split, DISPLAY)
    batch = collate([evaluation[0, 0], evaluation[0, 3]])
    assert batch.targets.counts == (0, 0)
    assert tuple(batch.targets.boxes.shape) == (0, 4)
    assert batch.targets.labels.dtype == torch.int64


@pytest.mark.parametrize(("length", "batch", "world"), [(10, 2, 1), (23, 2, 3), (3, 4, 2)])
def test_training_gives_every_rank_as_many_full_batches(
    length: int, batch: int, world: int
) -> None:
    ranks = [training_batches(length, batch, 0, 5, rank, world) for rank in range(world)]
    assert {len(rank) for rank in ranks} == {max(1, length // (batch * world))}
    assert {len(own) for own in chain(*ranks)} == {batch}
    seen = np.concatenate(list(chain(*ranks)))
    assert len(set(seen.tolist())) == min(length, len(seen))


def test_a_step_holds_the_same_images_on_any_number_of_ranks() -> None:
    alone = training_batches(64, 8, 0, 1)
    four = [training_batches(64, 2, 0, 1, rank, 4) for rank in range(4)]
    for step, batch in enumerate(alone):
        assert set(batch.tolist()) == set(np.concatenate([rank[step] for rank in four]).tolist())


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return np.concatenate(training_batches(50, 5, seed, epoch)).tolist()

    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


@pytest.mark.parametrize(("length", "world"), [(10, 1), (10, 2), (11, 4), (2, 3)])
def test_evaluation_counts_every_image_once_on_any_number_of_ranks(length: int, world: int) -> None:
    ranks = [evaluation_batches(length, 2, rank, world) for rank in range(world)]
    seen = [index for batch in chain(*ranks) for index in batch.tolist()]
    assert set(seen) == set(range(length))
    assert len(seen) < length + world
    assert len({len(batches) for batches in ranks}) == 1


def test_two_ranks_cover_every_training_image_once() -> None:
    trained = [training_batches(12, 3, 0, 4, rank, 2) for rank in range(2)]
    assert sorted(np.concatenate(list(chain(*trained)))) == list(range(12))


def test_pictures_do_not_depend_on_workers(split: Split) -> None:
    loaders = [training_loader(split, workers) for workers in (0, 2)]
    for epoch in range(2):
        for loader in loaders:
            loader.sampler.set_epoch(epoch)
        first, second = (list(loader) for loader in loaders)
        assert len(first) == 5
        assert all(map(same, first, second))


def test_epochs_show_other_pictures(split: Split) -> None:
    dataset = training_loader(split)._loader.dataset
    shown = [dataset[epoch, 1] for epoch in range(8)]
    assert len({sample.pixels.float().mean().item() for sample in shown}) > 4


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stop", [1, 3, 5, 8])
def test_a_restored_loader_goes_on_with_the_next_batch(
    split: Split, workers: int, stop: int
) -> None:
    def epochs(loader: Loader, first: int) -> list[Batch]:
        batches: list[Batch] = []
        for epoch in range(first, 3):
            loader.sampler.set_epoch(epoch)
            batches.extend(loader)
        return batches

    straight = epochs(training_loader(split), 0)
    broken = training_loader(split, workers)
    for epoch in range(stop // 5 + 1):
        broken.sampler.set_epoch(epoch)
        for _ in islice(broken, stop - 5 * epoch):
            pass
    resumed = training_loader(split, workers)
    resumed.load_state_dict(broken.state_dict())
    rest = epochs(resumed, stop // 5)
    assert len(rest) == len(straight) - stop
    assert all(map(same, rest, straight[stop:]))


def test_a_position_is_converted_for_another_number_of_steps(split: Split) -> None:
    loader = training_loader(split)
    loader.load_state_dict({"epoch": 2, "yielded": 4, "length": 10})
    assert loader.state_dict() == {"epoch": 2, "yielded": 2, "length": 5}


def break_files(split: Split) -> None:
    split.path(2).unlink()
    split.path(4).write_bytes(b"no picture")
    data = split.path(6).read_bytes()
    split.path(6).write_bytes(data[: len(data) * 3 // 4])


@pytest.mark.parametrize("workers", [0, 2])
def test_training_replaces_unreadable_files_and_names_them(
    split: Split, workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    break_files(split)
    loader = training_loader(split, workers)
    batches = list(loader)
    seen = [number for batch in batches for number in batch.image_ids]
    assert len(seen) == 10
    assert not {2, 4} & set(seen)
    for claim in ("0002.png: missing", "0004.png: undecodable", "0006.png: truncated"):
        assert claim in caplog.text
    caplog.clear()
    assert all(map(same, batches, loader))
    assert not caplog.records


def test_evaluation_still_counts_unreadable_files(
    split: Split, caplog: pytest.LogCaptureFixture
) -> None:
    break_files(split)
    batches = list(evaluation_loader(split))
    assert [number for batch in batches for number in batch.image_ids] == list(range(10))
    assert batches[0].images.pixels[2, :, :48, :64].unique().tolist() == [128]
    assert "val: 0002.png: missing" in caplog.text


def test_a_missing_file_costs_what_would_be_shown_of_it(split: Split) -> None:
    split.sizes[2] = 10**6, 2 * 10**6
    split.path(2).unlink()
    sample = EvaluationSet(split, DISPLAY)[0, 2]
    assert tuple(sample.pixels.shape) == (3, 48, 96)
    assert sample.size == (10**6, 2 * 10**6)


def test_files_of_a_kind_are_counted_at_the_end_of_the_pass(
    split: Split, caplog: pytest.LogCaptureFixture
) -> None:
    for index in (1, 5, 7):
        split.path(index).unlink()
    list(evaluation_loader(split))
    named, counted = (record.message for record in caplog.records)
    assert "0001.png" in named
    assert "3 files: missing" in counted
    assert "0001.png, 0005.png, 0007.png" in counted


def test_a_folder_without_one_readable_file_ends_with_a_sentence(split: Split) -> None:
    for index in range(10):
        split.path(index).unlink()
    with pytest.raises(DataError, match="images in a row are unreadable"):
        next(iter(training_loader(split)))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads memory from /proc")
def test_memory_does_not_grow_over_epochs(split: Split) -> None:
    def resident_pages() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1])

    loader = training_loader(split)
    sizes = []
    for epoch in range(30):
        loader.sampler.set_epoch(epoch)
        for _ in loader:
            pass
        sizes.append(resident_pages())
    assert (sizes[-1] - sizes[9]) * 4096 < 4e6


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="reads memory from /proc")
def test_memory_of_workers_does_not_grow_over_epochs(split: Split) -> None:
    def own() -> int:
        """Bytes that the workers alone hold, shared pages by their share."""
        rollups = (
            Path(f"/proc/{each.pid}/smaps_rollup") for each in multiprocessing.active_children()
        )
        lines = chain.from_iterable(rollup.read_text().splitlines() for rollup in rollups)
        return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))

    many = split.of_images(np.resize(np.arange(split.num_images), 50_000).tolist())
    sampler = EpochBatches(lambda epoch: training_batches(many.num_images, 2, 7, epoch)[:250])
    varied = augmentation(flip=0.5, crop=True, train_sizes=(32, 40), jitter=0.1)
    loader = Loader(TrainingSet(many, varied, 7), sampler, 2, "train")
    sizes = []
    for epoch in range(5):
        sampler.set_epoch(epoch)
        assert sum(1 for _ in loader) == 250
        sizes.append(own())
    assert sizes[0] > 0
    assert sizes[-1] - sizes[1] < 3e6, sizes
