"""What training says before its first step."""

from __future__ import annotations

from typing import Any

import pytest

import detbox
from detbox.build import build_data
from detbox.commands.train import warn_of_few_queries

SMALL = ("data.image_size=64", "data.train_images=12", "data.val_images=5")


@pytest.mark.parametrize(("queries", "said"), [(1, True), (100, False)])
def test_images_of_more_objects_than_queries_are_counted(
    queries: int, said: bool, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = detbox.compose(*SMALL, f"model.num_queries={queries}")
    data: Any = build_data(cfg)
    images, most = data.train.fullest(queries)
    warn_of_few_queries(cfg, data)
    assert bool(images) == said
    assert (f"{images} images of 12 with more objects, up to {most}," in caplog.text) == said
    assert (f"give model.num_queries={most} or more" in caplog.text) == said
