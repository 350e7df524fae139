"""Rules of picture files: missing, broken, misnamed, of another size, turned, alike."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from detbox.annotations.findings import ABSENT
from detbox.checking.faults import (
    met,
    other_shape,
    other_size,
    right_suffix,
    shown_size,
    surely_upright,
    truncated,
    turned,
    unreadable,
)
from detbox.checking.places import images_where, them
from detbox.checking.rules import Found, rule
from detbox.checking.subject import Part, Subject
from detbox.data.images import FLAT, OTHER_SIZE, TRUNCATED

GREY = "left out of training, grey in evaluation, so its objects count as missed"
RESTORE = "restore the files; fix=NEW leaves them out"


@rule("error", GREY, RESTORE, (ABSENT,))
def missing_files(subject: Subject) -> Iterator[Found]:
    """There is no file of that name."""
    for part in subject.parts:
        hit = np.array([file.missing for file in part.files], dtype=bool)
        yield from images_where(part, hit, them("picture", "missing"))


@rule("error", GREY, RESTORE)
def unreadable_files(subject: Subject) -> Iterator[Found]:
    """No picture, or one that cannot be decoded."""
    for part in subject.parts:
        hit = unreadable(part) & ~np.array([file.missing for file in part.files], dtype=bool)
        note = partial(_troubles_of, part)
        yield from images_where(part, hit, them("picture", "that cannot be read"), note)


@rule("error", "what is missing is blank, and its objects are learnt all the same", RESTORE)
def truncated_files(subject: Subject) -> Iterator[Found]:
    """The file ends before its picture does."""
    for part in subject.parts:
        yield from images_where(part, truncated(part), them("picture", "cut off"))


@rule(
    "error",
    "boxes are taken as shares of the annotated size, so they lie beside their objects",
    "restore the pictures that were annotated; fix=NEW leaves these out",
)
def files_of_another_shape(subject: Subject) -> Iterator[Found]:
    """Width to height is not as annotated: another picture, or one that was cropped."""
    for part in subject.parts:
        note = partial(_sizes_of, part)
        yield from images_where(part, other_shape(part), them("picture", "of another shape"), note)


@rule(
    "warning",
    "boxes are taken as shares of the annotated size, which is right for a picture that was scaled",
    "write the sizes of the files into the annotations, as fix=NEW does",
)
def files_of_another_size(subject: Subject) -> Iterator[Found]:
    """Larger or smaller than annotated, but of the same shape."""
    for part in subject.parts:
        rest = "larger or smaller than annotated"
        note = partial(_sizes_of, part)
        yield from images_where(part, other_size(part), them("picture", rest), note)


@rule(
    "warning",
    "read by what they hold; other tools may refuse them",
    "give them the suffix of what they hold, as fix=NEW does",
)
def misnamed_files(subject: Subject) -> Iterator[Found]:
    """The suffix says one format, the bytes another."""
    for part in subject.parts:
        hit = np.array([right_suffix(part, image) is not None for image in _all(part)], dtype=bool)
        note = partial(_kind_of, part)
        yield from images_where(part, hit, them("picture", "with the suffix of another"), note)


@rule(
    "warning",
    "boxes were drawn before turning, or nobody can tell: what is not as detbox takes it is "
    "learnt beside its object",
    "look at the boxes in report.html; fix=NEW turns the pictures as they are taken",
)
def turned_by_exif(subject: Subject) -> Iterator[Found]:
    """EXIF says that the camera was held otherwise; a note where boxes fit the upright picture."""
    for part in subject.parts:
        upright = surely_upright(part)
        note = partial(_turn_of, part)
        told = "turned by EXIF, whose boxes do not tell that they are upright"
        yield from images_where(part, turned(part) & ~upright, them("picture", told), note)
        told = "turned by EXIF, with the boxes of the upright picture"
        yield from images_where(part, turned(part) & upright, them("picture", told), note, "note")


@rule("warning", "there is nothing to see in them", "look at them, and try data.pixel_range")
def flat_files(subject: Subject) -> Iterator[Found]:
    """One colour all over, of those that were decoded."""
    for part in subject.parts:
        hit = met(part, FLAT)
        yield from images_where(part, hit, them("picture", "of one colour"))


@rule("note", "their scale is guessed, or stored with the run", "give data.pixel_range")
def odd_files(subject: Subject) -> Iterator[Found]:
    """Whatever else decoding has met."""
    for part in subject.parts:
        known = {FLAT, TRUNCATED, OTHER_SIZE}
        others = {
            image: [each for each in told if each not in known]
            for image, told in part.troubles.items()
        }
        hit = np.zeros(len(part.files), dtype=bool)
        hit[[image for image, told in others.items() if told]] = True
        hit &= ~unreadable(part)
        note = partial(_troubles_of, part)
        yield from images_where(part, hit, them("picture", "that decoding has a word on"), note)


def _all(part: Part) -> range:
    return range(part.split.num_images)


def _troubles_of(part: Part, image: int) -> str:
    return ", ".join(part.troubles.get(image, ()))


def _sizes_of(part: Part, image: int) -> str:
    (height, width), (own_height, own_width) = shown_size(part, image), part.split.size(image)
    return f"{width} x {height}, annotated {own_width} x {own_height}"


def _kind_of(part: Part, image: int) -> str:
    return f"holds {part.files[image].kind}"


def _turn_of(part: Part, image: int) -> str:
    return f"orientation {part.files[image].orientation}"
