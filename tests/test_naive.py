"""The oracle itself, against results that are known by hand or by other means."""

import itertools
import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests import naive


def learn(weights, rows, targets, *, rates=0.1, sample_weight=None, accumulator=0.0, **options):
    """Learn rows with one neuron that has one context; the weight row, its accumulator and the logits."""
    n = len(rows)
    block = [np.asarray(rows, dtype=float)[:, None]]
    settings = {"loss": "log", "damping": 0.0, "limit": 9.0, "max_weight": math.inf, "batch_size": 1} | options
    learned, accumulators, logits = naive.linear_learn(
        np.asarray(weights, dtype=float)[None, None, None],
        np.full((1, 1, 1), float(accumulator)),
        np.zeros((n, 1, 1), dtype=np.int32),
        block,
        block,
        np.asarray(targets, dtype=float)[:, None],
        np.full((n, 1), float(rates)),
        None if sample_weight is None else np.asarray(sample_weight, dtype=float)[:, None],
        **settings,
    )
    return learned[0, 0, 0], accumulators[0, 0, 0], logits[:, 0, 0]


def network(rng, *, n_outputs=1, n_features=3, layer_sizes=(3, 2), context_dim=2, **options):
    """A network of the same Gaussian halfspaces at every event."""
    sizes = [*layer_sizes, 1]
    normals = [rng.normal(size=(n_outputs, size, context_dim, n_features)) for size in sizes]

    def draw(pool, layer, output, n_neurons):
        return normals[layer][output], np.zeros((n_neurons, context_dim))

    return naive.NaiveGLN(n_outputs, draw, layer_sizes=layer_sizes, **options)


def test_one_step_by_hand():
    # s = 0.5 * 2 - 0.25 * 1 = 0.75, sigmoid(s) = 0.679179, e = -0.320821, and e^2 = 0.102926
    w, accumulator, s = learn([0.5, -0.25], [[2.0, 1.0]], [1.0], rates=0.1)
    assert_allclose(s, [0.75])
    assert_allclose(w, [0.5 + 0.1 * 0.320821 * 2.0, -0.25 + 0.1 * 0.320821], atol=1e-6)
    assert_allclose(accumulator, 0.102926, atol=1e-6)


def test_damping_divides_the_rate_by_the_energy_before_the_row():
    plain, _, _ = learn([0.0, 0.0], [[2.0, 1.0]], [1.0], rates=0.1)
    damped, accumulator, _ = learn([0.0, 0.0], [[2.0, 1.0]], [1.0], rates=0.1, damping=3.0, accumulator=2.0)
    assert_allclose(damped, plain / 7.0)
    assert_allclose(accumulator, 2.25)


def log_loss(s, y):
    return -math.log(naive.sigmoid(s) if y else 1.0 - naive.sigmoid(s))


def half_squared_loss(s, y):
    return (s - y) ** 2 / 2.0


@pytest.mark.parametrize(
    ("name", "loss", "target"),
    [("log", log_loss, 0.0), ("log", log_loss, 1.0), ("squared", half_squared_loss, -30.0)],
)
def test_the_step_follows_the_gradient_of_the_loss(name, loss, target):
    rng = np.random.default_rng(0)
    w, u = rng.normal(size=4), rng.normal(size=4)
    h = 1e-6
    gradient = [
        (loss(float((w + h * unit) @ u), target) - loss(float((w - h * unit) @ u), target)) / (2 * h)
        for unit in np.eye(4)
    ]
    learned, _, _ = learn(w, [u], [target], rates=0.01, loss=name)
    assert_allclose((w - learned) / 0.01, gradient, rtol=1e-6, atol=1e-9)


def test_repeats_of_the_squared_loss_by_hand():
    # s = 6, y = 1: errors are not clipped, and damping counts the 2 repeats before and those of this row
    w, accumulator, s = learn(
        [3.0], [[2.0]], [1.0], sample_weight=[2.5], rates=0.2, loss="squared", damping=0.5, limit=2.0, accumulator=2.0
    )
    g1 = 0.2 * 5.0 / 2.0
    g2 = 0.2 * (5.0 - 4.0 * g1) / 2.5
    g3 = 0.5 * 0.2 * (5.0 - 4.0 * (g1 + g2)) / 3.0
    assert_allclose(w, [3.0 - 2.0 * (g1 + g2 + g3)])
    assert_allclose(accumulator, 4.5)
    assert_allclose(s, [2.0])


def test_the_clip_of_the_logit_does_not_stop_the_step():
    w, accumulator, s = learn([20.0], [[1.0]], [0.0], rates=1.0, limit=2.0)
    error = naive.sigmoid(2.0)
    assert_allclose(s, [2.0])
    assert_allclose(w, [20.0 - error])
    assert_allclose(accumulator, error**2)


@pytest.mark.parametrize("loss", ["log", "squared"])
def test_weight_three_is_the_row_three_times(loss):
    rng = np.random.default_rng(1)
    w, rows, targets = rng.normal(size=3), rng.normal(size=(4, 3)), [1.0, 0.0, 0.0, 1.0]
    options = {"rates": 0.5, "damping": 0.7, "loss": loss}
    weighted, accumulator, _ = learn(w, rows, targets, sample_weight=[1.0, 3.0, 0.0, 2.0], **options)
    order = [0, 1, 1, 1, 3, 3]
    repeated, energy_repeated, _ = learn(w, rows[order], [targets[t] for t in order], **options)
    assert_allclose(weighted, repeated)
    assert_allclose(accumulator, energy_repeated)


def test_a_fraction_scales_the_step_and_the_squared_error():
    whole, accumulator, _ = learn([0.3], [[2.0]], [1.0])
    part, energy_part, _ = learn([0.3], [[2.0]], [1.0], sample_weight=[0.25])
    assert_allclose(part - 0.3, 0.25 * (whole - 0.3))
    assert_allclose(energy_part, 0.25 * accumulator)


def test_repeats_by_hand():
    # the row's own logit moves without its clip; whole repeats come first, each sees the squared errors before it
    w, accumulator, s = learn([3.0], [[2.0]], [0.0], sample_weight=[2.5], rates=1.0, damping=4.0, limit=2.0)
    e1 = naive.sigmoid(2.0)
    g1 = e1
    e2 = naive.sigmoid(min(6.0 - 4.0 * g1, 2.0))
    g2 = e2 / (1.0 + 4.0 * e1**2)
    e3 = naive.sigmoid(min(6.0 - 4.0 * (g1 + g2), 2.0))
    g3 = 0.5 * e3 / (1.0 + 4.0 * (e1**2 + e2**2))
    assert_allclose(w, [3.0 - 2.0 * (g1 + g2 + g3)])
    assert_allclose(accumulator, e1**2 + e2**2 + 0.5 * e3**2)
    assert_allclose(s, [2.0])


def test_a_step_of_zero_still_counts_its_error():
    w, accumulator, _ = learn([0.0], [[2.0]], [0.0], rates=0.0)
    assert_array_equal(w, [0.0])
    assert_allclose(accumulator, 0.25)


def test_moments_and_directions_by_hand():
    block, weights = np.array([[[1.0, 2.0]], [[3.0, -1.0]]]), np.array([[2.0], [0.5]])
    assert_allclose(naive.second_moment(block, weights), [[[6.5, 2.5], [2.5, 8.5]]])
    assert_allclose(naive.second_moment(block), [[[10.0, -1.0], [-1.0, 5.0]]])
    directions, squares = naive.precondition(block, np.array([[[1.0, 2.0], [0.0, 3.0]]]))
    assert_allclose(directions, [[[1.0, 8.0]], [[3.0, 3.0]]])
    assert_allclose(squares, [[17.0], [6.0]])
    assert_allclose(naive.precondition(block, None)[1], [[5.0], [10.0]])


def test_a_batch_sums_its_steps_and_clips_once():
    rows, targets = [[1.0], [1.0], [1.0]], [1.0, 1.0, 0.0]  # steps from 0: +1, +1, -1
    options = {"rates": 2.0, "max_weight": 0.75}
    assert_allclose(learn([0.0], rows, targets, batch_size=2, **options)[0], [0.75 - 2.0 * naive.sigmoid(0.75)])
    assert_allclose(learn([0.0], rows, targets, batch_size=3, **options)[0], [0.75])
    assert_array_equal(learn([0.0], rows, targets, batch_size=3, **options)[2], [0.0, 0.0, 0.0])


def test_contexts_read_the_bits_of_the_halfspaces():
    normals = np.array([[[[1.0, 0.0], [0.0, 1.0]]]])
    offsets = np.array([[[0.0, 1.0]]])
    contexts = naive.select_contexts(
        np.array([[-1.0, 0.0], [1.0, 0.0], [-1.0, 2.0], [1.0, 2.0], [0.0, 1.0]]), normals, offsets
    )
    assert_array_equal(contexts[:, 0, 0], [0, 1, 2, 3, 0])


def test_events_of_the_clock():
    events = [t for t in range(10_000) if naive.is_event(t)]
    assert events == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 6144, 8192]


@pytest.mark.parametrize("base_predictor", ["standard", "global"])
def test_moments_weigh_rows_leave_out_nan_and_silence_constants(base_predictor):
    rows = [[0.0, 5.0, math.nan], [3.0, 5.0, 2.0], [math.nan, 5.0, 4.0]]
    scale = naive.fit_scaler(base_predictor, rows, [2.0, 1.0, 1.0], 1e-4)
    # feature 0: mean 1, variance (2 * 1 + 4) / 3 = 2; feature 2: mean 3, variance 1; feature 1: constant
    deviations = [math.sqrt(2.0), 1.0] if base_predictor == "standard" else [1.0, 1.0]
    x, z = scale([2.0, 5.0, math.nan])
    assert_allclose(x, [1.0 / deviations[0], 0.0, 0.0])
    assert x == z
    assert_allclose(scale([-100.0, 5.0, 4.0])[0], [-4.0, 0.0, 1.0 / deviations[1]])


def test_features_in_any_unit_scale_alike():
    rows = np.random.default_rng(2).normal(size=(9, 2)) + np.array([1e6, 0.0])
    scaled = [
        naive.fit_scaler("standard", (unit * rows).tolist(), [1.0] * 9, 1e-4)((unit * rows[0]).tolist())[0]
        for unit in (1e-7, 1.0, 1e7)
    ]
    assert_allclose(scaled[0], scaled[1], rtol=1e-6)
    assert_allclose(scaled[2], scaled[1], rtol=1e-6)


def test_probabilities_become_logits():
    x, z = naive.fit_scaler("identity", [], [], 0.1)([0.0, 0.5, math.nan])
    assert_allclose(x, [-math.log(9.0), 0.0, 0.0])
    assert z == [0.0, 0.5, 0.0]
    x, z = naive.fit_scaler("minmax", [], [], 0.1)([2.0, 3.0, math.nan, 6.0])
    assert_allclose(x, [-math.log(9.0), -math.log(3.0), 0.0, math.log(9.0)])
    assert z == [2.0, 3.0, 0.0, 6.0]
    assert naive.fit_scaler("minmax", [], [], 0.1)([7.0, 7.0])[0] == [0.0, 0.0]


def test_regularised_inverse():
    # M = diag(2, 1) and m = 1.5; m is floored at 4 in the second
    vectors = [[2.0, 0.0], [0.0, math.sqrt(2.0)]]
    assert_allclose(naive.regularised_inverse(vectors, [1.0, 1.0]), np.diag([1 / 3.5, 1 / 2.5]))
    assert_allclose(naive.regularised_inverse(vectors, [1.0, 1.0], floor=4.0), np.diag([1 / 6, 1 / 5]))
    assert naive.regularised_inverse([[0.0, 0.0]], [1.0]) is None


def test_a_normalised_step_moves_the_logit_by_a_times_the_error():
    rng = np.random.default_rng(3)
    gln = network(rng, layer_sizes=(), base_predictor="identity")
    row = [[0.2, 0.9, 0.4]]
    assert gln.learn(row, [[1.0]]) == [[0.0]]
    assert_allclose(gln.logits(row), [[4.0]])  # 0 - 8 * (1/2 - 1)
    gln.learn(row, [[1.0]], [2.0])
    # the rebuild at t = 2 replays both rows: three steps in all, u has four entries
    s = accumulator = 0.0
    for _ in range(3):
        error = naive.sigmoid(s) - 1.0
        s, accumulator = s - 8.0 / (1.0 + 0.5 * accumulator) * error, accumulator + error**2
    assert_allclose(gln.logits(row), [[s]])


def test_the_mean_of_the_layer_before_passes_through_layers_without_a_step():
    gln = network(np.random.default_rng(4), layer_sizes=(3, 2), base_predictor="identity", learning_rate=lambda t: 0.0)
    gln.learn([[0.2, 0.9, 0.4]], [[1.0]])
    gln.outputs[0][0].weights = [[[1.0, 0.0, 0.0, 0.0]] * 4, [[0.0, 1.0, 0.0, 0.0]] * 4, [[0.0] * 4] * 4]
    mean = (naive.logit(0.2) + naive.logit(0.9)) / 3.0
    for aggregation in ("layers", "last_layer"):
        gln.aggregation = aggregation
        assert_allclose(gln.logits([[0.2, 0.9, 0.4]]), [[mean]])


@pytest.mark.parametrize("aggregation", ["layers", "last_layer", "neuron"])
@pytest.mark.parametrize("skip", [True, False])
def test_flipping_a_label_moves_no_earlier_prediction(aggregation, skip):
    rng = np.random.default_rng(5)
    X, targets = rng.normal(size=(140, 3)), rng.integers(2, size=(140, 2)).astype(float)
    options = {"n_outputs": 2, "aggregation": aggregation, "skip": skip}
    before = np.array(network(np.random.default_rng(6), **options).learn(X, targets))
    flipped = targets.copy()
    flipped[90, 1] = 1.0 - flipped[90, 1]
    after = np.array(network(np.random.default_rng(6), **options).learn(X, flipped))
    assert_array_equal(before[0], [0.0, 0.0])
    assert_array_equal(after[:91], before[:91])
    assert_array_equal(after[:, 0], before[:, 0])  # the other output knows nothing of it
    assert np.mean(after[91:, 1] != before[91:, 1]) > 0.8


def test_rows_of_weight_zero_do_not_exist_but_are_predicted():
    rng = np.random.default_rng(7)
    X, targets = rng.normal(size=(70, 3)), rng.integers(2, size=(70, 1)).astype(float)
    weights = rng.choice([0.0, 1.0, 1.5], size=70)
    weights[0] = 0.0
    seen = weights > 0.0
    gln, other = network(np.random.default_rng(8)), network(np.random.default_rng(8))
    logits = np.array(gln.learn(X, targets, weights))
    assert_array_equal(logits[seen], other.learn(X[seen], targets[seen], weights[seen]))
    assert gln.t == seen.sum()
    last = np.flatnonzero(~seen)[-1]
    again = network(np.random.default_rng(8))
    again.learn(X[:last], targets[:last], weights[:last])
    assert_array_equal(logits[last], again.logits(X[last : last + 1])[0])


def test_any_split_of_a_stream_is_the_same_stream():
    rng = np.random.default_rng(9)
    X, targets = rng.normal(size=(80, 3)), rng.integers(2, size=(80, 1)).astype(float)
    whole, parts = network(np.random.default_rng(10)), network(np.random.default_rng(10))
    logits = whole.learn(X, targets)
    cuts = [0, 1, 2, 3, 17, 64, 65, 80]
    pieces = [parts.learn(X[a:b], targets[a:b]) for a, b in itertools.pairwise(cuts)]
    assert_array_equal(np.concatenate(pieces), logits)
    assert_array_equal(parts.logits(X), whole.logits(X))


def test_a_refresh_keeps_halfspaces_and_weights():
    rng = np.random.default_rng(11)
    X, targets = rng.normal(size=(513, 2)), rng.integers(2, size=(513, 1)).astype(float)
    X[400:] *= 3.0
    gln = network(np.random.default_rng(12), n_features=2, layer_sizes=(2, 1))
    gln.learn(X[:511], targets[:511])
    layers = gln.outputs[0]
    gln.learn(X[511:512], targets[511:512])
    assert gln.outputs[0] is layers
    scaled = np.clip((X[:512] - X[:256].mean(axis=0)) / X[:256].std(axis=0), -4.0, 4.0)  # as the last rebuild did
    assert_allclose(gln.scale(X[0].tolist())[0][:2], scaled[0])

    x = np.column_stack([scaled, np.ones(512)])
    moment = x.T @ x / 512
    assert_allclose(np.linalg.inv(gln.base_matrix), moment + np.eye(3) * np.trace(moment) / 3)

    p = np.array(layers[1].below)
    moment = p.T @ p / 512
    assert_allclose(np.linalg.inv(layers[1].matrix), moment + np.eye(2) * max(np.trace(moment) / 2, 1.0))


@pytest.mark.parametrize("t", [63, 64])
def test_matrices_are_the_identity_before_row_64(t):
    rng = np.random.default_rng(13)
    gln = network(np.random.default_rng(14))
    gln.learn(rng.normal(size=(t, 3)), rng.integers(2, size=(t, 1)))
    matrices = [gln.base_matrix, gln.outputs[0][1].matrix]
    assert all((matrix is None) == (t < 64) for matrix in matrices)
    assert gln.outputs[0][0].matrix is None


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("batch_size", [1, 5])
def test_a_rebuild_learns_as_one_layer_after_the_other(skip, batch_size):
    rng = np.random.default_rng(15)
    X, targets, weights = rng.normal(size=(64, 2)), rng.integers(2, size=(64, 2)), rng.choice([0.5, 1.0, 2.0], size=64)
    options = {"n_outputs": 2, "n_features": 2, "skip": skip, "batch_size": batch_size, "max_weight": 1.0}
    gln = network(np.random.default_rng(16), layer_sizes=(3, 2), aggregation="neuron", **options)
    gln.learn(X, targets, weights)

    mean = np.average(X, axis=0, weights=weights)
    z = np.clip((X - mean) / np.sqrt(np.average((X - mean) ** 2, axis=0, weights=weights)), -4.0, 4.0)
    x = np.column_stack([z, np.ones(64)])[:, None]
    moment = naive.second_moment(x, weights[:, None]) / weights.sum()
    base_matrices = np.linalg.inv(moment + np.trace(moment[0]) / 3.0 * np.eye(3))
    p = np.zeros((64, 2, 0))
    for level in range(3):
        layers = [layers[level] for layers in gln.outputs]
        normals, offsets = (np.array([getattr(layer, name) for layer in layers]) for name in ("normals", "offsets"))
        constant_only = level > 0 and not skip
        inputs = [p, x[..., 2:] if constant_only else x]
        directions, squares = zip(
            naive.precondition(p, None),
            naive.precondition(inputs[1], None if constant_only else base_matrices),
            strict=True,
        )
        n_inputs = p.shape[2] + inputs[1].shape[2]
        initial = np.zeros((2, normals.shape[1], 4, n_inputs))
        if level > 0:
            initial[..., : p.shape[2]] = 1.0 / p.shape[2]
        learned, accumulator, p = naive.linear_learn(
            initial,
            np.zeros(initial.shape[:3]),
            naive.select_contexts(z, normals, offsets),
            inputs,
            directions,
            targets,
            8.0 / sum(squares),
            weights[:, None],
            loss="log",
            damping=n_inputs**-0.5,
            limit=math.log(9999.0),
            max_weight=1.0,
            batch_size=batch_size,
        )
        assert_allclose([layer.weights for layer in layers], learned, rtol=1e-9, atol=1e-9)
        assert_allclose([layer.accumulator for layer in layers], accumulator, rtol=1e-9, atol=1e-9)
        if level > 0:
            below = np.array([layer.below for layer in layers])
            assert_allclose(below, inputs[0].swapaxes(0, 1), rtol=1e-9, atol=1e-9)
