"""Linear models over the columns of wide rows: against the oracle, and what they promise."""

import copy

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array

from sklearn_gln._likelihood import BERNOULLI, TARGET_LIKELIHOODS
from sklearn_gln._sparse_rows import SparseRows
from sklearn_gln._wide_rows import FIRST_SLOTS, VARIANCES, WideRows
from sklearn_gln.kernels import get_kernels
from tests.helpers import assert_same_object, thorough_but
from tests.naive_wide import N_SKETCHED, NaiveWide

TOLERANCE = {"rtol": 1e-9, "atol": 1e-9}
LIKELIHOODS = {"classes": BERNOULLI, "real": TARGET_LIKELIHOODS["squared"]}
N_COLUMNS = 40
KERNELS = get_kernels("numpy")


def make_rows(seed, n=500):
    """Rows of a few values of 40 columns in units far apart, half of which come late; some are empty, some wild."""
    rng = np.random.default_rng(seed)
    X = np.where(rng.random((n, N_COLUMNS)) < 0.15, rng.normal(size=(n, N_COLUMNS)), 0.0)
    X[:, :5] = np.where(X[:, :5] != 0, 1.0, 0.0)  # words
    X[: n // 2, 20:] = 0.0
    X[rng.choice(n, 20), rng.choice(N_COLUMNS, 20)] = np.nan
    X *= 10.0 ** rng.uniform(-12, 12, N_COLUMNS)
    X[rng.choice(n, 10), rng.choice(20, 10)] *= 1e8
    X[7::50] = 0.0
    X[3, 4], X[n // 2 + 3, 30] = 1e-101, -1e-99
    return X


def make_targets(name, X, seed):
    """Two outputs; the second has no target in half the rows."""
    rng = np.random.default_rng(seed)
    signal = np.sign(np.nan_to_num(X)) @ rng.normal(size=(N_COLUMNS, 2))
    y = signal + rng.normal(size=signal.shape)
    y = (y > 0).astype(float) if name == "classes" else [5.0, -1e5] + y * [1.0, 3000.0]
    y[rng.random(len(X)) < 0.5, 1] = np.nan
    return y, rng.choice([0.0, 0.3, 1.0, 1.0, 3.0], len(X))


def items(row):
    """A row as a dict of what it stores."""
    return {column: value for column, value in enumerate(row.tolist()) if value}


def as_array(evidence):
    """Of rows, as (n, n_outputs, n_evidence)."""
    return np.array([[np.concatenate(of_output) for of_output in row] for row in evidence])


def learned(name, half_life, backend="numpy", *, cuts=(100, 300, 301), scale=1.0):
    """What is known after a stream, and the evidence that its rows met."""
    X = make_rows(0)
    targets, weights = make_targets(name, X, 0)
    X = X * scale
    oracle = NaiveWide(2, half_life, real=name == "real")
    known, met = WideRows.empty(N_COLUMNS, 2, oracle.kept), []
    for first, last in zip([0, *cuts], [*cuts, len(X)], strict=True):
        rows = known.rows(X, np.arange(first, last))
        arguments = targets[first:last], weights[first:last], LIKELIHOODS[name]
        evidence, learn = known.meet(rows, *arguments, get_kernels(backend))
        learn()
        met.append(evidence)
        if last in (100, 300, 301):
            known.forget()
    return known, np.concatenate(met)


CUTS = [1, 2, 3, 60, 100, 250, 260, 300, 301, 480]


@pytest.mark.parametrize("half_life", thorough_but([None, 300.0, "mixed"], "mixed"))
@pytest.mark.parametrize("name", LIKELIHOODS)
@pytest.mark.parametrize("backend_name", ["numpy", "numba"])
def test_evidence_is_that_of_dicts(backend_name, name, half_life):
    X, kernels = make_rows(0), get_kernels(backend_name)
    targets, weights = make_targets(name, X, 0)
    oracle = NaiveWide(2, half_life, real=name == "real")
    known = WideRows.empty(N_COLUMNS, 2, oracle.kept)
    some = np.arange(0, len(X), 9)
    for first, last in zip([0, *CUTS], [*CUTS, len(X)], strict=True):
        before = known.recall(known.rows(X, some), LIKELIHOODS[name], kernels)
        assert_allclose(before, as_array([oracle.evidence(items(X[t])) for t in some]), **TOLERANCE)
        state = copy.deepcopy(known)
        rows = known.rows(X, np.arange(first, last))
        arguments = targets[first:last], weights[first:last], LIKELIHOODS[name]
        met, learn = known.meet(rows, *arguments, kernels)
        assert_same_object(known, state)  # nothing is learned yet
        learn()
        expected = []
        for t in range(first, last):
            expected.append(oracle.evidence(items(X[t])))
            oracle.learn(items(X[t]), targets[t], weights[t])
        assert_allclose(met, as_array(expected), **TOLERANCE)
        if last in (100, 300, 301):
            known.forget()
            oracle.forget()
    columns = sorted(column for column, count in oracle.counts.items() if count)
    assert_array_equal(np.flatnonzero(known.slot_of), columns)
    now = known._known(known.slot_of[columns])
    places = ["constant", *columns]
    for got, by_output in ((now.weights, oracle.weights), (now.precision, oracle.precision)):
        wanted = [[[model[column] for model in models] for models in by_output] for column in places]
        assert_allclose(got, wanted, rtol=1e-9)  # in the units of columns
    assert_allclose(now.squares[1:], [oracle.squares[column] for column in columns], rtol=1e-9)
    assert_allclose(now.counts[1:], [oracle.counts[column] for column in columns], rtol=1e-9)
    assert np.abs(before[:, :, 0]).max() > (1 if name == "classes" else 1000)


def test_one_row_by_hand():
    known = WideRows.empty(3, 1, [1.0])
    rows = csr_array(np.array([[2.0, 0.0, -5.0], [1.0, 0.0, 0.0]]))
    met, learn = known.meet(rows, np.array([[1.0], [0.0]]), np.ones(2), BERNOULLI, KERNELS)
    learn()
    # The first values are as large as is usual: s x^2 is 3, or 0.3, for each, and 1 / 0.25 for the constant.
    u = 4.0 + 2 * np.array(VARIANCES)
    assert_allclose(met[0, 0], [0.0, 0.0, *(1 + u) ** -0.5])
    step = 0.5 / (1 + u / 4)  # of error and bound on the curvature at 0
    w = np.array(VARIANCES) / 4 * 2 * step
    q = 0.25 * 4 / (1 + 0.25 * (u - VARIANCES))
    s = 1 / (4 / np.array(VARIANCES) + q)
    u = 1 / (0.25 + 0.25 / (1 + 0.25 * 2 * np.array(VARIANCES))) + s
    assert_allclose(met[1, 0], [*w, *(1 + u) ** -0.5])
    assert known.n_slots == 3  # column 1 has not come


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_the_first_targets_are_their_constant(name):
    """And an empty row has no shift."""
    known, rows = WideRows.empty(5, 1, [1.0]), csr_array((200, 5))
    y = (np.arange(200) % 4 == 0).astype(float)[:, np.newaxis] if name == "classes" else np.full((200, 1), -3e6)
    met, learn = known.meet(rows, y, np.ones(200), LIKELIHOODS[name], KERNELS)
    learn()
    assert not met[:, :, :2].any()
    expected = np.log(1 / 3) if name == "classes" else -3e6
    assert_allclose(known.weights[0], expected, rtol=0.1 if name == "classes" else 1e-6)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_any_split_is_the_same(name):
    whole, met = learned(name, "mixed")
    parts, met_in_parts = learned(name, "mixed", cuts=[1, 2, 3, 50, *range(90, 120), 300, 301, 302, 499])
    assert_allclose(met_in_parts, met, rtol=1e-12, atol=1e-12)
    columns = np.flatnonzero(whole.slot_of)
    assert_array_equal(np.flatnonzero(parts.slot_of), columns)
    for got, wanted in zip(parts._known(parts.slot_of[columns]), whole._known(whole.slot_of[columns]), strict=True):
        assert_allclose(got, wanted, rtol=1e-12)


@pytest.mark.parametrize("name", LIKELIHOODS)
@pytest.mark.parametrize("backend_name", ["numpy", "numba"])
def test_units_of_columns_change_nothing(backend_name, name):
    scale = np.random.default_rng(1).choice([-1e-9, -0.3, 1.0, 3.0, 1e7], N_COLUMNS)
    scale[[4, 30]] = 1  # of which one value is all but absent
    assert_allclose(learned(name, 300.0, backend_name, scale=scale)[1], learned(name, 300.0)[1], **TOLERANCE)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_outputs_are_independent(name):
    X = make_rows(3)
    targets, weights = make_targets(name, X, 3)
    met = []
    for outputs in ([0, 1], [1], [0]):
        known = WideRows.empty(N_COLUMNS, len(outputs), [1.0])
        rows = known.rows(X, np.arange(len(X)))
        met.append(known.meet(rows, targets[:, outputs], weights, LIKELIHOODS[name], KERNELS)[0])
    assert_array_equal(met[0], np.concatenate([met[2], met[1]], axis=1))


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_evidence_knows_nothing_of_later_rows(name):
    X = make_rows(4)
    targets, weights = make_targets(name, X, 4)
    flipped = targets.copy()
    weights[300] = 1.0
    flipped[300:] = 1 - flipped[300:]
    met = [
        WideRows.empty(N_COLUMNS, 2, [1.0]).meet(csr_array(np.nan_to_num(X)), y, weights, LIKELIHOODS[name], KERNELS)[0]
        for y in (targets, flipped)
    ]
    assert_array_equal(met[0][:301], met[1][:301])
    assert not np.allclose(met[0][301:], met[1][301:])


@pytest.mark.parametrize("name", LIKELIHOODS)
@pytest.mark.parametrize("backend_name", ["numpy", "numba"])
def test_extreme_rows_leave_numbers(backend_name, name):
    rng = np.random.default_rng(5)
    X = rng.choice([0.0, 1.0, -1e32, 1e32, 1e-99, 1e-101, 5e-324], size=(300, 8))
    y = rng.choice([0.0, 1.0], (300, 1)) if name == "classes" else rng.choice([1e30, -1e30, 0.0], (300, 1))
    known, kernels = WideRows.empty(8, 1, [0.7]), get_kernels(backend_name)
    for first in range(0, 300, 50):
        rows = known.rows(X, np.arange(first, first + 50))
        weights = rng.choice([1e-9, 1.0, 1e9], 50)
        met, learn = known.meet(rows, y[first : first + 50], weights, LIKELIHOODS[name], kernels)
        learn()
        known.forget()
        assert np.isfinite(met).all()
    assert all(np.isfinite(array).all() for array in known._known(np.arange(1, known.n_slots)))
    assert (known.precision >= 0).all()


def test_columns_get_slots_as_they_come():
    n_columns = 3 * FIRST_SLOTS
    known = WideRows.empty(n_columns, 1, [1.0])
    order = np.random.default_rng(6).permutation(n_columns)
    for start in range(0, n_columns, 500):
        columns = order[start : start + 500]
        rows = csr_array((np.ones(len(columns)), columns, np.arange(len(columns) + 1)), shape=(len(columns), n_columns))
        _, learn = known.meet(rows, np.ones((len(columns), 1)), np.ones(len(columns)), BERNOULLI, KERNELS)
        learn()
    assert known.n_slots == n_columns + 1
    assert_array_equal(known.slot_of[order], 1 + np.arange(n_columns))
    assert_allclose(known.counts[1 : known.n_slots], 1)


def test_rows_of_weight_zero_give_no_slots():
    X = make_rows(7)
    targets, weights = make_targets("classes", X, 7)
    exists = weights > 0
    states = []
    for of in (np.arange(len(X)), np.flatnonzero(exists)):
        known = WideRows.empty(N_COLUMNS, 2, [1.0])
        known.meet(known.rows(X, of), targets[of], weights[of], BERNOULLI, KERNELS)[1]()
        states.append(known)
    assert_same_object(*states)
    assert states[0].n_slots > 20


@pytest.mark.parametrize("container", [np.asarray, lambda rows: SparseRows(csr_array(rows))])
def test_the_sketch_is_that_of_the_oracle(container):
    X = make_rows(8)
    known, oracle = WideRows.empty(N_COLUMNS, 1, [1.0]), NaiveWide(1, None, real=False)
    rows = known.rows(container(X), np.arange(len(X)))
    sketch = known.expanded(known.compact(rows))
    assert sketch.shape == (len(X), N_SKETCHED)
    assert_allclose(sketch, [oracle.expand(items(row)) for row in X], rtol=1e-12, atol=1e-12)
    assert not sketch[7].any()
    assert np.count_nonzero(sketch.any(axis=0)) > 20  # places


def test_rows_of_the_same_sketch_are_told_apart():
    """As words that share a place are; rows alike are not, wherever they come."""
    words = np.eye(N_COLUMNS, dtype=float)
    X = np.concatenate([words, 2 * words, words[::-1], np.zeros((2, N_COLUMNS))])
    known = WideRows.empty(N_COLUMNS, 1, [1.0])
    kept = known.compact(csr_array(X))
    assert len(np.unique(known.expanded(kept), axis=0)) < 2 * N_COLUMNS
    assert len(np.unique(kept, axis=0)) == 2 * N_COLUMNS + 1
    parts = [known.compact(known.rows(X, np.arange(start, start + 1))) for start in range(len(X))]
    assert_array_equal(np.concatenate(parts), kept)
    assert_array_equal(kept[:N_COLUMNS], kept[2 * N_COLUMNS : 3 * N_COLUMNS][::-1])
