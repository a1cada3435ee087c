"""Every backend against the scalar oracle, and the laws that the kernel contract states."""

import importlib.util
import inspect
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_gln import kernels as registry
from sklearn_gln.kernels import _numpy
from tests import naive
from tests.helpers import TOLERANCE, call, forget_backend, make_case, on_examples, spare_compilers, thorough_but

CONTRACT = [
    name
    for name, value in vars(_numpy).items()
    if inspect.isfunction(value) and value.__module__ == _numpy.__name__ and not name.startswith("_")
]
CONTRACT += "columns_infer", "columns_learn"


@st.composite
def cases(draw, *, rows=(1, 24), outputs=(1, 3), neurons=(1, 3), batch_sizes=(1, 1, 1, 2, 7, 70, 1000)):
    seed = draw(st.integers(0, 2**32 - 1))
    loss = draw(st.sampled_from(["log", "squared"]))
    options = {
        "n": draw(st.integers(*rows)),
        "k": draw(st.integers(*outputs)),
        "j": draw(st.integers(*neurons)),
        "n_slots": draw(st.one_of(st.integers(1, 128), st.sampled_from([1, 2, 16, 64, 65, 128]))),
        "sizes": draw(st.lists(st.integers(1, 4), min_size=1, max_size=2)),
        "shared": draw(st.sets(st.sampled_from(["slots", "base", "rates", "repeats"]))),
        "occupied": draw(st.sampled_from([1, 3, None])),
        "step": draw(st.sampled_from(["gradient", "preconditioned", "any"])),
        "scale": draw(st.sampled_from([1.0, 0.01, 10.0])),
        "loss": loss,
        "damping": draw(st.sampled_from([0.0, 0.5, 8.0])),
        "weighted": draw(st.sampled_from([None, "few", "many"])),
        "limit": draw(st.sampled_from([9.0 if loss == "log" else np.inf, 2.0])),
        "max_weight": draw(st.sampled_from([np.inf, 200.0, 0.6, 0.05])),
        "batch_size": draw(st.sampled_from(batch_sizes)),
    }
    arguments = ", ".join(f"{name}={value!r}" for name, value in options.items())
    return replace(make_case(seed, **options), description=f"make_case({seed}, {arguments})")


def long_cases(**options):
    """More rows than one block of a blocked kernel, of very few neurons."""
    return cases(rows=(65, 200), outputs=(1, 2), neurons=(1, 2), **options)


def assert_all_close(got, wanted, **tolerance):
    for name, left, right in zip(("weights", "accumulator", "logits"), got, wanted, strict=True):
        assert_allclose(left, right, err_msg=name, **(tolerance or TOLERANCE))


# Against the oracle


@on_examples(400, case=cases())
def test_learn_equals_naive(backend, case):
    assert_all_close(case.learn(backend), case.learn(naive))


@on_examples(120, case=long_cases())
def test_learn_equals_naive_across_blocks(backend, case):
    assert_all_close(case.learn(backend), case.learn(naive))


@pytest.mark.parametrize(
    ("loss", "n_slots"),
    thorough_but(
        [("log", 1), ("log", 64), ("log", 65), ("log", 128), ("squared", 1), ("squared", 65)],
        ("log", 65),
        ("squared", 1),
    ),
)
@pytest.mark.parametrize("batch_size", thorough_but([1, 2, 7, 65, 500], 1, 65))
@pytest.mark.parametrize("max_weight", [np.inf, 0.02])
def test_learn_equals_naive_on_a_grid(backend, loss, n_slots, batch_size, max_weight):
    spare_compilers(backend, (loss, n_slots) in (("log", 65), ("squared", 1)) and batch_size in (1, 65))
    case = make_case(
        [n_slots, batch_size],
        n=150,
        n_slots=n_slots,
        sizes=(2, 3),
        occupied=3,
        step="preconditioned",
        loss=loss,
        damping=1.5,
        weighted="few",
        max_weight=max_weight,
        batch_size=batch_size,
    )
    expected = case.learn(naive)
    assert_all_close(case.learn(backend), expected)
    unbounded = replace(case, options=case.options | {"max_weight": np.inf}).learn(naive)
    assert np.array_equal(expected[0], unbounded[0]) == np.isinf(max_weight)  # the clip is met


@on_examples(60, case=cases())
def test_infer_equals_naive(backend, case):
    assert_allclose(case.infer(backend), case.infer(naive), **TOLERANCE)


@on_examples(
    60,
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 20),
    k=st.integers(1, 3),
    j=st.integers(1, 4),
    context_dim=st.integers(1, 7),
    n_side=st.integers(1, 5),
)
def test_contexts_equal_naive(backend, seed, n, k, j, context_dim, n_side):
    rng = np.random.default_rng(seed)
    side_info = rng.normal(size=(n, n_side))
    hyperplanes, offsets = rng.normal(size=(k, j, context_dim, n_side)), rng.normal(size=(k, j, context_dim))
    contexts = call(backend, "select_contexts", side_info, hyperplanes, offsets, "float64")
    assert contexts.shape == (n, k, j)
    assert contexts.dtype == np.int32
    margins = np.abs(np.einsum("ns,kjqs->nkjq", side_info, hyperplanes) - offsets).min(axis=3, initial=np.inf)
    clear = margins > 1e-9
    assert_array_equal(contexts[clear], naive.select_contexts(side_info, hyperplanes, offsets)[clear])


def test_context_dim_0_is_one_context(backend):
    rng = np.random.default_rng(0)
    contexts = call(
        backend, "select_contexts", rng.normal(size=(5, 3)), np.zeros((2, 4, 0, 3)), np.zeros((2, 4, 0)), "float64"
    )
    assert_array_equal(contexts, np.zeros((5, 2, 4), dtype=np.int32))


@on_examples(
    40,
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 80),
    k=st.integers(1, 3),
    b=st.integers(1, 5),
    weighted=st.booleans(),
)
def test_second_moment_equals_naive(backend, seed, n, k, b, weighted):
    rng = np.random.default_rng(seed)
    block = rng.normal(size=(n, k, b))
    sample_weight = rng.choice([0.0, 0.5, 1.0, 3.0], size=(n, 1)) if weighted else None
    before = rng.normal(size=(k, b, b))
    moment = call(backend, "add_second_moment", before, block, sample_weight)
    assert_allclose(moment, before + naive.second_moment(block, sample_weight), **TOLERANCE)


@on_examples(
    40,
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 80),
    k=st.integers(1, 3),
    b=st.integers(1, 5),
    matrix=st.booleans(),
    shared=st.booleans(),
)
def test_precondition_equals_naive(backend, seed, n, k, b, matrix, shared):
    rng = np.random.default_rng(seed)
    block, matrices = rng.normal(size=(n, k, b)), rng.normal(size=(1 if shared else k, b, b)) if matrix else None
    directions, squares = call(backend, "precondition", block, matrices)
    expected = naive.precondition(block, matrices)
    assert_allclose(directions, expected[0], **TOLERANCE)
    assert_allclose(squares, expected[1], **TOLERANCE)


# Against NumPy: the columns of wide rows, on the host for all backends


@on_examples(
    40,
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(0, 30),
    shape=st.tuples(st.integers(1, 12), st.integers(1, 3), st.integers(1, 4)),
    loss=st.sampled_from(["log", "squared"]),
    constant_precision=st.sampled_from([0.25, 1e-9]),
)
def test_columns_equal_numpy(backend, seed, n, shape, loss, constant_precision):
    rng, (n_columns, n_outputs, n_models) = np.random.default_rng(seed), shape
    units = 10.0 ** rng.uniform(-6, 6, 1 + n_columns)
    counts = np.append(0.0, rng.choice([0.0, 0.3, 4.0], n_columns))  # of those that have not come there is nothing
    exists = np.where(counts > 0, 1.0, 0.0)[:, np.newaxis, np.newaxis]
    exists[0] = 1.0
    of_models = 1 + n_columns, n_outputs, n_models
    by_unit = units[:, np.newaxis, np.newaxis]
    known = [
        exists * rng.normal(size=of_models) / by_unit,
        exists * rng.choice([0.0, 1.0, 20.0], of_models) * by_unit**2,
        counts * units**2 * rng.uniform(0.2, 2.0),
        counts,
    ]
    per_row = rng.binomial(n_columns, 0.3, n)
    slots = [1 + np.sort(rng.choice(n_columns, size, replace=False)) for size in per_row]
    slots = np.concatenate([np.zeros(0, int), *slots])
    rows = np.append(0, np.cumsum(per_row)), slots, rng.standard_t(2, len(slots)) * units[slots]
    targets = (rng.random((n, n_outputs)) < 0.4).astype(float) * (1.0 if loss == "log" else 100.0)
    targets[rng.random(targets.shape) < 0.2] = np.nan
    weights = rng.choice([0.0, 0.3, 1.0, 3.0], n)
    options = {"variances": rng.choice([0.1, 1.0, 10.0], n_models), "constant_precision": constant_precision}
    results = []
    for kernels in (backend, registry.get_kernels("numpy")):
        of_backend = [array.copy() for array in known]
        sums = kernels.columns_infer(rows, of_backend, **options)
        for before, after in zip(known, of_backend, strict=True):
            assert_array_equal(after, before)
        learned = kernels.columns_learn(rows, of_backend, targets, weights, **options, loss=loss)
        results.append([*sums, *learned, of_backend[0] * by_unit, of_backend[1] / by_unit**2, *of_backend[2:]])
    for got, expected in zip(*results, strict=True):
        assert_allclose(got, expected, rtol=1e-9, atol=1e-9)
    never = np.setdiff1d(np.arange(1, 1 + n_columns), slots[np.repeat(weights, per_row) > 0])
    for array, before in zip(of_backend, known, strict=True):
        assert_array_equal(array[never], before[never])


# Against NumPy: what prepares the rows


def rows_with_gaps(n, dtype, low=-3.0, high=3.0):
    """Rows with missing values, a row of one value, a row without any, a feature without any."""
    rng = np.random.default_rng(n)
    rows = rng.uniform(low, high, size=(n, 5))
    rows[rng.random(rows.shape) < 0.1] = np.nan
    rows[0], rows[-1], rows[:, 4] = (low + high) / 2, np.nan, np.nan
    return rows.astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [3, 2048])  # compilers have other code for many rows
def test_rows_are_prepared_as_by_numpy(backend, n, dtype):
    reference = registry.get_kernels("numpy")
    rows, probabilities = rows_with_gaps(n, dtype), rows_with_gaps(n, dtype, 0.0, 1.0)
    probabilities[1, :2] = 0.0, 1.0
    rng = np.random.default_rng(1)
    mean, inverse_deviation = rng.normal(size=5), np.append(rng.uniform(0.5, 2.0, size=4), 0.0)
    weights, numbers = rng.choice([0.0, 0.5, 1.0, 3.0], size=n), rng.integers(n, size=7)
    for name, arrays, options in [
        ("standardize", (rows, mean, inverse_deviation), {"limit": 1.5}),
        ("logit", (probabilities,), {"max_logit": 4.0}),
        ("minmax_logit", (rows,), {"max_logit": 4.0}),
        ("fill_missing", (rows,), {}),
        ("column_moments", (rows, weights), {}),
        ("input_block", ([rows[:, :0]], "float64", True), {}),  # as of wide rows
        ("input_block", ([rows[:, :4]], "float32", True), {}),
        ("input_block", ([rows[:, :4], rows[:, 1:3]], "float64", False), {}),
        ("input_block", ([rows[:, :1], rows[:, :4], rows[:, 2:4]], "float64", True), {}),
        ("input_block", ([rows[:, :0]], "float64", True), {}),
    ]:
        got, wanted = call(backend, name, *arrays, **options), call(reference, name, *arrays, **options)
        rounding = 1e-5 if dtype == np.float32 else 1e-9
        for left, right in zip(*(it if isinstance(it, tuple) else (it,) for it in (got, wanted)), strict=True):
            assert left.dtype == right.dtype, name
            assert_allclose(left, right, rtol=rounding, atol=rounding, err_msg=name)
    with backend.scope("cpu"):
        taken = backend.take(backend.asarray(rows), numbers)
        assert backend.owns(taken)
        assert_array_equal(backend.to_numpy(taken), rows[numbers])
        columns = np.array([3, 0, 0, 4, 1])
        assert_array_equal(backend.to_numpy(backend.take(backend.asarray(rows), columns, axis=1)), rows[:, columns])
        assert backend.extremes(backend.asarray(rows)) == reference.extremes(rows)
        assert backend.extremes(backend.asarray(rows[:0])) == (0.0, 0.0)
        infinite = np.where(rows == rows[0, 0], dtype(-np.inf), rows)
        assert backend.extremes(backend.asarray(infinite))[0] == -np.inf


def test_rows_of_all_scales_have_logits(backend):
    rows = np.array([[-1e30, 1e-30, 2e-30, np.nan]], np.float32)  # the odds of the second overflow
    assert_array_equal(call(backend, "minmax_logit", rows, max_logit=4.0), [[-4, 4, 4, 0]])


@pytest.mark.parametrize("zeros", [[0.0, -0.0], [-0.0, 0.0]])
def test_zeros_of_either_sign_are_one_value(backend, zeros):
    rows = np.array([[-1.0, *zeros], [1.0, *zeros], [np.nan, *zeros]])
    assert_array_equal(call(backend, "minmax_logit", rows, max_logit=4.0), [[-4, 4, 4], [4, -4, -4], [0, 0, 0]])


@pytest.mark.parametrize("shared", [True, False])
def test_expand_and_damped_inverse_as_by_numpy(backend, shared):
    reference = registry.get_kernels("numpy")
    rng = np.random.default_rng(2)
    weights, accumulator = rng.normal(size=(2, 3, 4, 5)), rng.normal(size=(2, 3, 4))
    slot_of = rng.integers(4, size=(1 if shared else 2, 3, 8)).astype(np.int32)
    roots = rng.normal(size=(2, 9, 4))
    moment = np.concatenate([roots.mT @ roots, np.zeros((1, 4, 4))])
    for name, arguments in [
        ("expand", (weights, slot_of)),
        ("expand", (accumulator, slot_of)),
        ("damped_inverse", (moment, 9.0, 0.0, "float64")),
        ("damped_inverse", (moment, 9.0, 50.0, "float64")),
        ("damped_inverse", (moment, 9.0, 0.0, "float64", 0.3)),
    ]:
        assert_allclose(call(backend, name, *arguments), call(reference, name, *arguments), rtol=1e-9, atol=1e-12)
    assert call(backend, "damped_inverse", moment, 9.0, 0.0, "float32").dtype == np.float32


@pytest.mark.parametrize("n_weights", [1, 2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_moments_of_each_output(backend, dtype, n_weights):
    rng = np.random.default_rng(5)
    x, y = rng.normal(scale=2, size=(7, 6)).astype(dtype), rng.normal(size=(7, 2)).astype(dtype)
    weights = rng.integers(3, size=(7, n_weights)).astype(dtype)
    block = call(backend, "input_block", [x], np.dtype(dtype).name, True)
    moment = rng.normal(size=(2, 7))
    got = call(backend, "add_cross_moment", moment, block, y, weights)
    assert got.dtype == float
    weights = np.broadcast_to(weights, y.shape)
    assert_allclose(got, moment + np.einsum("nk,nb,nk->kb", y, block[:, 0], weights), rtol=1e-5, atol=1e-5)
    squares = call(backend, "add_second_moment", np.ones((2, 7, 7)), block, weights.copy())
    assert squares.dtype == float
    of_output = np.einsum("nb,nc,nk->kbc", block[:, 0], block[:, 0], weights)
    assert_allclose(squares, 1 + of_output, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_of_tables(backend, shared, dtype):
    rng = np.random.default_rng(4)
    table = rng.normal(size=(2, 3, 4))
    rows = rng.integers(4, size=(16, 1 if shared else 2, 3)).astype(np.int32)
    values = rng.normal(size=(16, 2, 3)).astype(dtype)
    expected, added = np.empty(values.shape), table.copy()
    for t, k, j in np.ndindex(values.shape):  # 16 rows meet 4 places
        row = rows[t, 0 if shared else k, j]
        expected[t, k, j] = table[k, j, row]
        added[k, j, row] += values[t, k, j]
    got = call(backend, "at_slots", table, rows)
    assert_array_equal(got, expected, strict=True)
    got = call(backend, "add_at_slots", table, rows, values)
    assert_allclose(got, added, rtol=1e-12, strict=True)
    assert_array_equal(call(backend, "add_at_slots", table, rows, 0 * values), table)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_limits_means_and_variances_of_neurons(backend, dtype):
    x = (1e6 + np.random.default_rng(5).normal(size=(16, 2, 3))).astype(dtype)  # squares would lose the variance
    limits = np.array([[1e6], [np.inf]], dtype)
    for sign in (1, -1):
        clipped = call(backend, "clip", sign * x, -limits, limits)
        assert_array_equal(clipped[:, 0], sign * np.minimum(x[:, 0], limits[0]), strict=True)
        assert_array_equal(clipped[:, 1], sign * x[:, 1])
        assert_array_equal(call(backend, "clip", sign * x, -np.inf, 1e6), np.minimum(sign * x, dtype(1e6)), strict=True)
    assert_array_equal(call(backend, "minimum", x, x[:, :1]), np.minimum(x, x[:, :1]), strict=True)
    mean, variance = call(backend, "neuron_moments", x)
    assert_array_equal(mean, call(backend, "neuron_mean", x), strict=True)
    assert_allclose(mean, x.astype(float).mean(axis=2), rtol=1e-9, strict=True)
    assert_allclose(variance, x.astype(float).var(axis=2), rtol=1e-9, strict=True)
    assert_array_equal(call(backend, "neuron_moments", x[:, :, :1])[1], 0)


# Laws


@pytest.mark.parametrize("loss", ["log", "squared"])
def test_a_row_of_weight_q_is_q_rows(backend, loss):
    n = 16
    case = make_case(7, n=n, k=2, j=3, sizes=(2, 3), step="preconditioned", loss=loss, damping=0.5, limit=np.inf)
    counts = np.arange(n) % 4
    weighted = replace(case, repeats=counts[:, np.newaxis].astype(float)).learn(backend)
    repeated = case.rows(np.repeat(np.arange(n), counts)).learn(backend)
    first = np.cumsum(counts)[counts > 0] - counts[counts > 0]
    assert_all_close((*weighted[:2], weighted[2][counts > 0]), (*repeated[:2], repeated[2][first]))


def test_a_step_of_rate_one_projects_onto_the_row(backend):
    case = make_case(8, n=16, k=2, j=3, sizes=(2, 3), loss="squared", limit=np.inf)
    case.inputs[1][:] += 1.0  # no row of zeros
    rates = 1.0 / sum((block * block).sum(axis=2) for block in case.inputs)
    twice = replace(case, rates=rates).rows(np.repeat(np.arange(16), 2))
    logits = twice.learn(backend)[2]
    assert_allclose(logits[1::2], np.broadcast_to(case.targets[:, :, np.newaxis], logits[1::2].shape), **TOLERANCE)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_the_clip_holds_steps_that_would_overflow_without_it(backend, batch_size):
    options = {"loss": "squared", "max_weight": 0.5, "limit": np.inf, "batch_size": batch_size}
    case = make_case(9, n=150, n_slots=1, sizes=(2, 3), **options)
    case.rates[:] *= 1e40
    weights, accumulator, logits = case.learn(backend)
    assert np.abs(weights).max() == 0.5
    assert_all_close((weights, accumulator, logits), case.learn(naive))


@on_examples(60, case=long_cases(batch_sizes=(1,)), data=st.data())
def test_any_split_of_the_rows_learns_the_same(backend, case, data):
    n = len(case.targets)
    cuts = sorted(data.draw(st.sets(st.integers(1, n - 1), max_size=4)))
    weights, accumulator, logits = case.weights, case.accumulator, []
    for first, last in zip([0, *cuts], [*cuts, n], strict=True):
        part = replace(case.rows(slice(first, last)), weights=weights, accumulator=accumulator)
        weights, accumulator, before = part.learn(backend)
        logits.append(before)
    assert_all_close((weights, accumulator, np.concatenate(logits)), case.learn(backend))


@on_examples(60, case=cases(outputs=(2, 3)))
def test_outputs_are_independent(backend, case):
    weights, accumulator, logits = case.learn(backend)
    for k in range(len(weights)):
        alone = case.output(k).learn(backend)
        assert_all_close((weights[k : k + 1], accumulator[k : k + 1], logits[:, k : k + 1]), alone)


@on_examples(40, case=cases(neurons=(2, 5)), data=st.data())
def test_tasks_write_their_part_in_place(backend, case, data):
    if backend.TASK_SIZE is None:
        pytest.skip("a call of this backend is never split")
    n_outputs, n_neurons = case.weights.shape[:2]
    cut = data.draw(st.integers(1, n_neurons - 1))
    weights, accumulator, logits = (
        case.weights.copy(),
        case.accumulator.copy(),
        np.zeros((len(case.targets), n_outputs, n_neurons)),
    )
    for k in range(n_outputs):
        alone = case.output(k)
        for part in (slice(0, cut), slice(cut, n_neurons)):
            arrays = (alone.inputs, alone.directions, alone.targets, alone.rates, alone.repeats)
            logits[:, k : k + 1, part] = backend.linear_learn(
                weights[k : k + 1, part], accumulator[k : k + 1, part], alone.slots[:, :, part], *arrays, **case.options
            )[2]
    assert_all_close((weights, accumulator, logits), case.learn(backend))
    weights, accumulator = case.weights.copy(), case.accumulator.copy()
    if not backend.OUTPUTS_TOGETHER or case.slots.shape[1] > 1:
        return
    arrays = (case.inputs, case.directions, case.targets, case.rates, case.repeats)
    for part in (slice(0, cut), slice(cut, n_neurons)):
        logits[:, :, part] = backend.linear_learn(
            weights[:, part], accumulator[:, part], case.slots[:, :, part], *arrays, **case.options
        )[2]
    assert_all_close((weights, accumulator, logits), case.learn(backend))


@on_examples(60, case=cases(rows=(1, 150)), data=st.data())
def test_infer_of_some_rows_is_bitwise_that_part_of_all(backend, case, data):
    n = len(case.targets)
    rows = data.draw(st.lists(st.integers(0, n - 1), max_size=12))
    assert_array_equal(case.rows(rows).infer(backend), case.infer(backend)[rows])


@on_examples(30, case=cases())
def test_float32_stays_float32(backend, case):
    single = case.astype(np.float32)
    learned = single.learn(backend)
    assert [array.dtype for array in learned] == [np.float32, np.float64, np.float32]
    assert single.infer(backend).dtype == np.float32
    expected = case.learn(backend)
    largest = max(1.0, np.abs(expected[2]).max())  # what passed through a weight before leaves its rounding there
    assert_all_close(learned, expected, rtol=1e-4, atol=1e-4 * largest)


def test_moments_and_directions_keep_their_dtype(backend):
    block = np.random.default_rng(1).normal(size=(9, 2, 3)).astype(np.float32)
    moment = call(backend, "add_second_moment", np.zeros((2, 3, 3)), block, np.ones((9, 1), dtype=np.float32))
    assert moment.dtype == np.float64
    directions, squares = call(backend, "precondition", block, moment.astype(np.float32))
    assert directions.dtype == squares.dtype == np.float32
    assert_allclose(moment, naive.second_moment(block), rtol=1e-4)
    assert_allclose(squares, naive.precondition(block, moment)[1], rtol=1e-4)


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("n_slots", [4, 128])
@pytest.mark.parametrize("weighted", [None, "few"])
def test_no_rows_change_nothing(backend, batch_size, n_slots, weighted):
    case = make_case(
        2,
        n=0,
        k=2,
        j=3,
        n_slots=n_slots,
        sizes=(3, 2),
        weighted=weighted,
        batch_size=batch_size,
    )
    weights, accumulator, logits = case.learn(backend)
    assert_array_equal(weights, case.weights)
    assert_array_equal(accumulator, case.accumulator)
    assert logits.shape == (0, 2, 3)


def test_no_rows_have_empty_results(backend):
    case = make_case(3, n=0, k=2, j=3)
    assert case.infer(backend).shape == (0, 2, 3)
    contexts = call(backend, "select_contexts", np.zeros((0, 3)), np.ones((2, 4, 2, 3)), np.zeros((2, 4, 2)), "float64")
    assert contexts.shape == (0, 2, 4)
    assert_array_equal(call(backend, "add_second_moment", np.ones((2, 3, 3)), np.zeros((0, 2, 3))), np.ones((2, 3, 3)))
    directions, squares = call(backend, "precondition", np.zeros((0, 2, 3)), np.ones((2, 3, 3)))
    assert directions.shape == (0, 2, 3)
    assert squares.shape == (0, 2)


# The registry


def test_signatures_equal_those_of_numpy(backend):
    reference = registry.get_kernels("numpy")
    for function in CONTRACT:
        parameters = inspect.signature(getattr(reference, function)).parameters
        assert list(inspect.signature(getattr(backend, function)).parameters) == list(parameters)
        if function in ("select_contexts", "linear_infer", "linear_learn", "precondition"):
            of_oracle = list(inspect.signature(getattr(naive, function)).parameters)
            assert of_oracle == list(parameters)[: len(of_oracle)]  # which knows one precision only
    assert backend.TASK_SIZE is None or backend.TASK_SIZE > 0


def test_unknown_backend():
    with pytest.raises(ValueError, match="backend='nunpy' is unknown; choose .*'numpy'"):
        registry.get_kernels("nunpy")


def test_missing_package(monkeypatch):
    forget_backend(monkeypatch, "numba")
    with pytest.raises(ImportError, match="backend='numba' needs a package that is not installed.*pip install"):
        registry.get_kernels("numba")


def test_auto_is_numba_where_it_is_installed(monkeypatch):
    if importlib.util.find_spec("numba") is not None:
        assert registry.get_kernels("auto") is registry.get_kernels("numba")
    monkeypatch.setitem(sys.modules, "numba", None)
    assert registry.get_kernels("auto") is registry.get_kernels() is registry.get_kernels("numpy")
