"""Other classes, same detector: rows of classes of the same name move, the rest stays fresh."""

from __future__ import annotations

import io

import pytest
import torch
from odd_names import ODD_CLASSES
from rich.console import Console
from torch import Tensor, nn

from detbox.messages import printable
from detbox.structures import LabelSpace
from detbox.transplant import class_tensors, transplant

WIDTH = 4


class Toy(nn.Module):
    """A head with a row for "no object", one without, and a part that knows no class."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.body = nn.Linear(WIDTH, WIDTH)
        self.softmax = nn.Linear(WIDTH, num_classes + 1)
        self.sigmoid = nn.Linear(WIDTH, num_classes)


def space(*names: str) -> LabelSpace:
    return LabelSpace(names, tuple(range(1, len(names) + 1)))


def numbered(num_classes: int) -> dict[str, Tensor]:
    """A state dict in which no two rows are equal."""
    state = Toy(num_classes).state_dict()
    return {
        name: torch.arange(float(each.numel())).reshape(each.shape) for name, each in state.items()
    }


def test_tensors_by_class_are_found_with_their_rows_beyond() -> None:
    expected = {"softmax.weight": 1, "softmax.bias": 1, "sigmoid.weight": 0, "sigmoid.bias": 0}
    assert class_tensors(Toy, 5) == expected


def test_rows_follow_the_names() -> None:
    detector, stored = Toy(3), numbered(2)
    fresh = {name: each.clone() for name, each in detector.state_dict().items()}
    names = space("dog", "wolf", "cat")
    done = transplant(detector, names, stored, space("cat", "dog"), class_tensors(Toy, 3))
    state = detector.state_dict()
    for name in ("softmax.weight", "softmax.bias", "sigmoid.weight", "sigmoid.bias"):
        assert torch.equal(state[name][0], stored[name][1])  # dog
        assert torch.equal(state[name][2], stored[name][0])  # cat
        assert torch.equal(state[name][1], fresh[name][1])  # wolf
    assert torch.equal(state["softmax.weight"][3], stored["softmax.weight"][2])  # no object
    assert torch.equal(state["body.weight"], stored["body.weight"])
    assert (done.copied, done.fresh, done.left) == (("dog", "cat"), ("wolf",), ())


def test_equal_counts_in_another_order_are_no_reason_to_copy_whole_tensors() -> None:
    detector, stored = Toy(2), numbered(2)
    transplant(detector, space("b", "a"), stored, space("a", "b"), class_tensors(Toy, 2))
    assert torch.equal(detector.sigmoid.bias, stored["sigmoid.bias"].flip(0))


def test_without_a_common_class_everything_else_is_still_taken_over() -> None:
    detector, stored = Toy(2), numbered(3)
    before = detector.sigmoid.weight.clone()
    classes = space("car", "bus", "van")
    done = transplant(detector, space("x", "y"), stored, classes, class_tensors(Toy, 2))
    assert torch.equal(detector.body.weight, stored["body.weight"])
    assert torch.equal(detector.sigmoid.weight, before)
    assert (done.copied, done.left) == ((), ("car", "bus", "van"))


def test_a_tensor_by_class_that_the_checkpoint_lacks_starts_fresh_and_a_spare_one_is_named() -> (
    None
):
    detector, stored = Toy(2), {**numbered(2), "spare": torch.zeros(1)}
    del stored["sigmoid.bias"]
    before = detector.sigmoid.bias.clone()
    names = space("a", "b")
    done = transplant(detector, names, stored, names, class_tensors(Toy, 2))
    assert torch.equal(detector.sigmoid.bias, before)
    assert done.unused == ("spare",)
    assert done.table().row_count == 5


@pytest.mark.parametrize("fault", ["missing", "reshaped"])
def test_another_detector_is_refused(fault: str) -> None:
    stored = numbered(2)
    if fault == "missing":
        del stored["body.weight"]
    else:
        stored["sigmoid.weight"] = torch.zeros(2, WIDTH + 1)
    with pytest.raises(ValueError, match=r"of another detector: .*(body|sigmoid)\.weight"):
        transplant(Toy(2), space("a", "b"), stored, space("a", "b"), class_tensors(Toy, 2))


@pytest.mark.parametrize("name", ODD_CLASSES)
def test_the_report_shows_class_names_as_they_are(name: str) -> None:
    done = transplant(Toy(1), space(name), numbered(1), space(name), class_tensors(Toy, 1))
    file = io.StringIO()
    Console(file=file, width=700).print(done.table())
    assert printable(name).strip() in file.getvalue()
