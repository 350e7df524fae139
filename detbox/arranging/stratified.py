"""Parts in which every class has its share: iterative stratification (Sechidis et al., 2011)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csc_array, csr_array


def stratified(table: csr_array, shares: Sequence[float]) -> np.ndarray:
    """The part of every unit, (U,) from 0 on.

    The class with the fewest units left is dealt first (algorithm 1): each of its units, the
    largest first, goes where most of that class is lacking. Beyond the paper, a part wants one
    picture at least of each class that has a unit for every part, and where a class comes to be in
    fewer parts than it could, units are moved for as long as no class loses a part by it.

    Args:
        table: (U, C) pictures of a unit by class, the units in the order in which they are dealt;
            the last column counts all of its pictures.
        shares: of the parts in the pictures; they sum to 1.
    """
    wanted = _wanted(table, np.asarray(shares))
    parts = _dealt(table, wanted)
    while move := next(_moves(table, wanted, parts), None):
        unit, part = move
        parts[unit] = part
    return parts


def _wanted(table: csr_array, shares: np.ndarray) -> np.ndarray:
    """(P, C) pictures of a class for each part, at least one where there are enough units."""
    wanted = np.outer(shares, table.sum(0))
    enough = np.diff(table.tocsc().indptr) >= len(shares)
    raised = np.where(enough, np.maximum(wanted, 1), wanted)
    raised[shares.argmax()] -= raised.sum(0) - wanted.sum(0)
    return raised


def _dealt(table: csr_array, wanted: np.ndarray) -> np.ndarray:
    lacking, columns = wanted.copy(), table.tocsc()
    parts = np.full(table.shape[0], -1)
    sizes = table.tocsc()[:, [-1]].toarray().ravel()
    left = np.diff(columns.indptr)
    while (there := np.flatnonzero(left)).size:
        column = there[left[there].argmin()]
        units = _entries(columns, column)
        units = units[parts[units] < 0]
        for unit in units[np.argsort(-sizes[units], kind="stable")]:
            classes = _entries(table, unit)
            most = lacking[:, [column, -1]].round(9).tolist()
            parts[unit] = most.index(max(most))
            lacking[parts[unit], classes] -= table.data[table.indptr[unit] : table.indptr[unit + 1]]
            left[classes] -= 1
    return parts


def _moves(table: csr_array, wanted: np.ndarray, parts: np.ndarray) -> Iterator[tuple[int, int]]:
    """A unit and another part, such that a class that could be in more parts is in one more."""
    columns = table.tocsc()
    there = np.zeros(wanted.shape, dtype=int)  # units of a class in a part
    np.add.at(there, (np.repeat(parts, np.diff(table.indptr)), table.indices), 1)
    pictures = np.bincount(parts, table @ np.eye(1, table.shape[1], -1)[0], len(wanted))
    emptiest = np.argsort(pictures - wanted[:, -1], kind="stable")
    could = np.minimum(there.sum(0), len(wanted))
    short = np.flatnonzero((there > 0).sum(0) < could)
    for column in short[np.argsort(could[short], kind="stable")]:
        goals = [part for part in emptiest if not there[part, column]]
        for goal, unit in product(goals, _entries(columns, column)):
            classes, part = _entries(table, unit), parts[unit]
            harmless = (there[part, classes] > 1) | (there[goal, classes] == 0)
            if there[part, column] > 1 and harmless.all():
                yield int(unit), int(goal)


def _entries(table: csr_array | csc_array, row: int) -> np.ndarray:
    """Where a row of a CSR array, or a column of a CSC array, is not zero."""
    found: np.ndarray = table.indices[table.indptr[row] : table.indptr[row + 1]]
    return found
