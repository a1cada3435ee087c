"""Schedules by their formulas, and the normalized, preconditioned step."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_gln import GLNClassifier
from sklearn_gln._learning_rate import (
    DEFAULT_RATES,
    MAX_FULL_PRECONDITIONER,
    MAX_GROUP,
    SCHEDULES,
    Preconditioner,
    StepInputs,
    group_shape,
    normalized_rates,
    random_groups,
    scheduled_rates,
    step_inputs,
)
from sklearn_gln.kernels import get_kernels
from tests.helpers import call, make_settings, make_stream
from tests.naive import regularised_inverse

HOST = get_kernels("numpy")

# Schedules


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("constant", lambda t, a: a),
        ("inverse", lambda t, a: min(100 / t, a)),
        ("hyperbolic", lambda t, a: min(a, 1 / (1 + 0.1 * t))),
    ],
)
@pytest.mark.parametrize("initial_rate", [1e-3, 0.02, 0.7])
def test_schedules(name, formula, initial_rate):
    row_numbers = np.array([1, 2, 3, 10, 142, 143, 5000, 5001, 100_000, 10**9])
    rates = scheduled_rates(name, initial_rate, row_numbers)
    assert rates.shape == row_numbers.shape
    assert_allclose(rates, [formula(int(t), initial_rate) for t in row_numbers], rtol=1e-12)


def test_every_schedule_is_tested():
    assert set(SCHEDULES) == {"constant", "inverse", "hyperbolic"}
    assert set(DEFAULT_RATES) == {"normalized", *SCHEDULES}


@pytest.mark.parametrize("schedule", [lambda t: 1 / np.sqrt(t), lambda t: 0.5, lambda t: (1 / t).tolist()])
def test_callable_schedules(schedule):
    row_numbers = np.arange(1, 9)
    rates = scheduled_rates(schedule, 123.0, row_numbers)
    assert rates.shape == row_numbers.shape
    assert rates.dtype == float
    assert_allclose(rates, np.broadcast_to(schedule(row_numbers), 8))


@pytest.mark.parametrize(
    ("learning_rate", "rate"), [("normalized", 4.0), ("constant", 1e-3), ("inverse", 0.01), ("hyperbolic", 3e-3)]
)
def test_initial_rates(learning_rate, rate):
    assert make_settings(learning_rate=learning_rate).learning_rate_init == rate
    assert make_settings(learning_rate=learning_rate, learning_rate_init=0.25).learning_rate_init == 0.25


def test_a_schedule_sees_row_numbers_not_calls():
    X, y, weights = make_stream(0, 60)
    seen = []

    def schedule(row_numbers):
        seen.extend(row_numbers.tolist())
        return np.full(len(row_numbers), 0.1)

    classifier = GLNClassifier((2,), 1, learning_rate=schedule, backend="numpy", random_state=0)
    for row in range(60):
        before = len(seen)
        classifier.partial_fit(X[row : row + 1], y[row : row + 1], [0, 1, 2], weights[row : row + 1])
        number = np.count_nonzero(weights[: row + 1])
        expected = [number] if weights[row] else []  # checked before anything is learned
        expected += [number] if number > 1 and weights[row] else []
        if number in (1, 2, 4, 8, 16, 32) and weights[row]:
            expected += range(1, number + 1)  # the replay
        assert seen[before:] == expected


# The preconditioner


def random_rows(n=30, size=4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, size)) @ rng.normal(size=(size, size)), rng.choice([0.0, 0.5, 1.0, 3.0], size=n)


def preconditioner_of(rows, weights, floor):
    preconditioner = Preconditioner.empty(1, rows.shape[1], floor)
    for part in np.array_split(np.arange(len(rows)), 3):
        preconditioner.update(HOST, rows[part, np.newaxis], weights[part, np.newaxis], weights[part].sum())
    return preconditioner


@pytest.mark.parametrize("floor", [0.0, 1.0, 50.0])
def test_preconditioner_is_the_regularised_inverse(floor):
    rows, weights = random_rows()
    preconditioner = preconditioner_of(rows, weights, floor)
    assert preconditioner.matrix is None
    preconditioner.refresh(HOST, "float64")
    moment = (rows * weights[:, np.newaxis]).T @ rows / weights.sum()
    ridge = max(np.linalg.eigvalsh(moment).mean(), floor)
    assert_allclose(np.linalg.inv(preconditioner.matrix[0]), moment + ridge * np.eye(4), rtol=1e-9)
    assert_allclose(preconditioner.matrix[0], regularised_inverse(rows.tolist(), weights.tolist(), floor), rtol=1e-9)


def test_every_output_has_its_own_matrix():
    rows, _ = random_rows()
    preconditioner = Preconditioner.empty(2, 4, floor=1e-3)
    preconditioner.update(HOST, np.stack([rows, 3 * rows], axis=1), None, 30.0)
    preconditioner.refresh(HOST, "float64")
    assert_allclose(preconditioner.matrix[0], 9 * preconditioner.matrix[1], rtol=1e-9)


def test_a_refresh_keeps_what_was_counted():
    rows, weights = random_rows()
    once, twice = preconditioner_of(rows[:15], weights[:15], 0.0), preconditioner_of(rows, weights, 0.0)
    once.refresh(HOST, "float32")
    assert once.matrix.dtype == np.float32
    once.update(HOST, rows[15:, np.newaxis], weights[15:, np.newaxis], weights[15:].sum())
    for preconditioner in (once, twice):
        preconditioner.refresh(HOST, "float64")
    assert_allclose(once.matrix, twice.matrix, rtol=1e-12)


@pytest.mark.parametrize("floor", [0.0, 1.0])
def test_a_block_that_is_always_zero_has_a_finite_matrix(floor):
    preconditioner = preconditioner_of(np.zeros((30, 4)), np.ones(30), floor)
    preconditioner.refresh(HOST, "float64")
    assert_array_equal(preconditioner.matrix[0], np.eye(4))


def test_the_matrix_undoes_the_units_of_all_features_together():
    rows, weights = random_rows()
    left, right = (preconditioner_of(unit * rows, weights, 0.0) for unit in (1.0, 1e5))
    for preconditioner in (left, right):
        preconditioner.refresh(HOST, "float64")
    assert_allclose(right.matrix * 1e10, left.matrix, rtol=1e-9)


# Base logits in groups


@pytest.mark.parametrize("n_base", [0, 1, 127, 128, 129, 256, 257, 1501, 5001, 100_001])
def test_groups_hold_all_base_logits(n_base):
    assert group_shape(n_base, "full") == (1, n_base)
    n_groups, size = group_shape(n_base, "block")
    assert size <= MAX_GROUP
    assert n_base <= n_groups * size < n_base + n_groups  # at most one zero a group
    assert n_groups == max(1, -(-n_base // MAX_GROUP))


@pytest.mark.parametrize("n_columns", [1, 5, 6, 7, 12])
@pytest.mark.parametrize("n_groups", [1, 2, 3])
def test_groups_hold_each_column_once(n_columns, n_groups):
    places, columns = random_groups(n_columns, n_groups, -(-n_columns // n_groups))
    assert_array_equal(np.sort(places[places < n_columns]), np.arange(n_columns))
    assert np.sum(places == n_columns, axis=1).max() <= 1
    assert_array_equal(places.ravel()[columns], np.arange(n_columns))
    assert_array_equal(places, random_groups(n_columns, *places.shape)[0])


@pytest.mark.parametrize("n_base", [130, 257])
def test_directions_in_groups_are_those_of_the_block_diagonal_inverse(backend, n_base):
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(50, n_base)) @ rng.normal(size=(n_base, n_base))
    rows[:, 4] = 0
    weights = rng.choice([0.5, 1.0, 3.0], size=50)
    preconditioner = Preconditioner.of_base(n_base, "block")
    with backend.scope("cpu"):
        preconditioner.moment = backend.asarray(preconditioner.moment)
        places, columns = preconditioner.groups
        preconditioner.groups = backend.asarray(places), backend.asarray(columns)
        inputs = backend.asarray(rows[:, np.newaxis])
        preconditioner.update(backend, inputs, backend.asarray(weights[:, np.newaxis]), weights.sum())
        preconditioner.refresh(backend, "float64")
        block = step_inputs(backend, inputs, preconditioner, True)

    n_groups, size = group_shape(n_base, "block")
    assert n_groups > 1
    moment = (rows * weights[:, np.newaxis]).T @ rows / weights.sum()
    inverse = np.zeros((n_base, n_base))
    for group in places:
        own = np.ix_(group[group < n_base], group[group < n_base])
        ridge = np.trace(moment[own]) / size
        inverse[own] = np.linalg.inv(moment[own] + ridge * np.eye(len(moment[own])))
    expected = rows @ inverse
    directions = backend.to_numpy(block.directions)
    assert_array_equal(backend.to_numpy(block.inputs)[:, 0], rows)
    assert_allclose(directions[:, 0], expected, rtol=1e-9, atol=1e-12)
    assert_allclose(backend.to_numpy(block.squares), np.sum(rows * expected, axis=1, keepdims=True), rtol=1e-9)
    assert_array_equal(directions[:, 0, 4], 0)  # a column that is always 0 does not step


def test_one_group_is_the_full_preconditioner(backend_name):
    X, y, weights = make_stream(0, 700)
    full, block = (
        GLNClassifier((3,), 2, preconditioner=kind, backend=backend_name, random_state=0).progressive_predict_proba(
            X, y, [0, 1, 2], weights
        )
        for kind in ("full", "block")
    )
    assert_array_equal(block, full)


def test_wide_inputs_are_preconditioned_in_groups():
    for n_features, kind in [(MAX_FULL_PRECONDITIONER, "full"), (MAX_FULL_PRECONDITIONER + 1, "block")]:
        params = {"max_dense": n_features}
        assert make_settings(n_features, **params).preconditioner == kind
        for given in ("full", "block", None):
            assert make_settings(n_features, **params, preconditioner=given).preconditioner == given
        assert make_settings(n_features, **params, learning_rate="constant").preconditioner is None


# The normalized step


def blocks_of(kernels, rows, matrices, normalized=True, initial_rate=8.0):
    """Blocks and rates of NumPy rows and matrices, as NumPy arrays."""
    blocks = []
    with kernels.scope("cpu"):
        for block, matrix in zip(rows, matrices, strict=True):
            preconditioner = None
            if matrix is not None:
                preconditioner = Preconditioner.empty(len(matrix), matrix.shape[1], 0.0)
                preconditioner.matrix = kernels.asarray(matrix)
            blocks.append(step_inputs(kernels, kernels.asarray(block), preconditioner, normalized))
        if not normalized:
            return blocks, None
        rates = kernels.to_numpy(normalized_rates(blocks, initial_rate))
    return [StepInputs(*map(kernels.to_numpy, block)) for block in blocks], rates


def test_normalized_rates(backend):
    rng = np.random.default_rng(1)
    previous, base = rng.normal(size=(9, 3, 2)), rng.normal(size=(9, 1, 4))
    roots = rng.normal(size=(3, 2, 2)), rng.normal(size=(1, 4, 4))
    matrices = [root @ root.transpose(0, 2, 1) for root in roots]
    blocks, rates = blocks_of(backend, [previous, base], matrices)
    assert rates.shape == (9, 3)
    for t, k in np.ndindex(9, 3):
        directions = [matrices[0][k] @ previous[t, k], matrices[1][0] @ base[t, 0]]
        assert_allclose(blocks[0].directions[t, k], directions[0], rtol=1e-9)
        assert_allclose(blocks[1].directions[t, 0], directions[1], rtol=1e-9)
        assert_allclose(rates[t, k], 8.0 / (previous[t, k] @ directions[0] + base[t, 0] @ directions[1]), rtol=1e-9)


def test_without_a_preconditioner_the_direction_is_the_input(backend):
    base = np.random.default_rng(2).normal(size=(9, 1, 4))
    blocks, rates = blocks_of(backend, [base], [None], initial_rate=2.0)
    assert_array_equal(blocks[0].directions, base)
    assert_allclose(rates[:, 0], 2.0 / np.square(base[:, 0]).sum(axis=1))


def test_the_plain_step_is_the_gradient(backend):
    base = np.random.default_rng(2).normal(size=(9, 1, 4))
    (block,), _ = blocks_of(backend, [base], [None], normalized=False)
    assert block.inputs is block.directions
    assert block.squares is None


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_zero_inputs_make_no_step(backend, dtype):
    base = np.zeros((2, 1, 3), dtype)
    base[1] = 0.5
    (block,), rates = blocks_of(backend, [base], [np.eye(3, dtype=dtype)[np.newaxis]])
    assert rates.dtype == dtype
    assert np.isfinite(rates).all()
    weights, accumulator, _ = call(
        backend,
        "linear_learn",
        np.full((1, 1, 1, 3), 0.25, dtype),
        np.zeros((1, 1, 1)),
        np.zeros((1, 1, 1), np.int32),
        (base[:1],),
        (block.directions[:1],),
        np.ones((1, 1), dtype),
        rates[:1],
        loss="log",
        damping=2.0,
        limit=9.0,
        max_weight=np.inf,
        batch_size=1,
    )
    assert_array_equal(weights, 0.25)
    assert_allclose(accumulator, 0.25)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_features_that_say_nothing_leave_no_trace(dtype):
    X, y, _ = make_stream(3, 100, n_classes=2)
    classifier = GLNClassifier((3,), 1, bias=False, dtype=dtype, backend="numpy", random_state=0)
    classifier.fit(np.zeros_like(X), y)
    assert_array_equal(classifier.predict_proba(np.nan_to_num(X)), 0.5)
