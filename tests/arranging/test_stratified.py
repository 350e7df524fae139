"""Random label tables are divided such that every class has its share on every side."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.sparse import csr_array

from detbox.arranging.stratified import stratified

SHARES = st.one_of(
    st.sampled_from([0.1, 0.2, 0.25, 0.5]).map(lambda share: [1 - share, share]),
    st.integers(2, 6).map(lambda folds: [1 / folds] * folds),
)


@st.composite
def tables(draw: st.DrawFn) -> np.ndarray:
    """(U, C) pictures of units by class; the last column counts all of them."""
    units, classes = draw(st.integers(2, 60)), draw(st.integers(1, 6))
    rates = draw(hnp.arrays(float, classes, elements=st.floats(0, 1)))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    sizes = draw(hnp.arrays(int, units, elements=st.integers(1, 4)))
    own = random.binomial(sizes[:, None], rates, (units, classes))
    return np.column_stack((own, sizes))


@settings(deadline=None)
@given(tables(), SHARES)
def test_every_class_has_its_share_and_every_side_its_size(
    table: np.ndarray, shares: list[float]
) -> None:
    parts = stratified(csr_array(table), shares)
    assert set(parts.tolist()) <= set(range(len(shares)))
    wanted = np.outer(shares, table.sum(0))
    given_ = np.stack([table[parts == part].sum(0) for part in range(len(shares))])
    slack = table.max(0) + 2 + 0.1 * table.sum(0)  # what chance leaves is up to four times that
    assert (np.abs(given_ - wanted) <= slack).all()


@settings(deadline=None)
@given(tables(), SHARES)
def test_a_class_is_in_as_many_parts_as_one_move_can_bring_it(
    table: np.ndarray, shares: list[float]
) -> None:
    parts = stratified(csr_array(table), shares)

    def spread(parts: np.ndarray) -> np.ndarray:
        return np.array([len(set(parts[column > 0].tolist())) for column in table.T])

    could = np.minimum((table > 0).sum(0), len(shares))
    now = spread(parts)
    assert now[-1] == could[-1], "no part is empty"
    for column in np.flatnonzero(now < could):
        for unit in np.flatnonzero(table[:, column]):
            for part in range(len(shares)):
                moved = parts.copy()
                moved[unit] = part
                after = spread(moved)
                assert after[column] <= now[column] or (after < now).any()


def test_classes_of_two_pictures_have_one_on_each_side() -> None:
    table = np.column_stack((np.repeat(np.eye(7, dtype=int), 2, 0), np.ones(14, int)))
    parts = stratified(csr_array(table), [0.8, 0.2])
    assert (np.stack([table[parts == side, :7].sum(0) for side in (0, 1)]) == 1).all()


def test_a_class_of_one_picture_is_trained_on() -> None:
    table = np.column_stack((np.eye(10, dtype=int), np.ones(10, int)))
    parts = stratified(csr_array(np.vstack((table, [[0] * 10 + [1]] * 5))), [0.8, 0.2])
    assert (parts[:10] == 0).sum() >= 9
