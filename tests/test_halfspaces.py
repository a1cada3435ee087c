"""Halfspaces: where they are drawn, and which of them are chosen."""

from itertools import combinations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import kstest

from sklearn_gln import GLNClassifier, GLNRegressor, _halfspaces
from sklearn_gln._halfspaces import MIN_SAMPLES, N_CANDIDATES, SINGLE, Pool, draw_halfspaces
from sklearn_gln._network import contexts_by_layer
from sklearn_gln.kernels import get_kernels
from tests import naive
from tests.helpers import make_settings, thorough_but


def make_side_info(n=40, n_side=5, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, n_side)) * rng.uniform(0.1, 5.0, n_side) + rng.normal(size=n_side)


def make_pool(side_info, y=None, weight=None):
    """All of one class, which cuts cannot tell apart, unless y says otherwise."""
    n = len(side_info)
    y, weight = np.zeros(n, int) if y is None else y, np.ones(n) if weight is None else weight
    return Pool.of(side_info, y, weight, np.arange(y.shape[1] if y.ndim > 1 else 2))


def draw(side_info, y=None, weight=None, n_neurons=30, seed=1, **params):
    settings = make_settings(side_info.shape[1], **params)
    return draw_halfspaces(make_pool(side_info, y, weight), n_neurons, settings, np.random.default_rng(seed))


def directions(side_info):
    """Unit differences of all pairs of rows: (n_pairs, n_side)."""
    differences = np.array([a - b for a, b in combinations(side_info, 2)])
    return differences / np.linalg.norm(differences, axis=1, keepdims=True)


def assert_unit_length(normals):
    assert_allclose(np.linalg.norm(normals, axis=-1), 1.0, rtol=1e-12)


@pytest.fixture
def oblique(monkeypatch):
    monkeypatch.setattr(_halfspaces, "SINGLE", 0.0)


@pytest.mark.parametrize("halfspaces", ["cuts", "gaussian", "raw_gaussian"])
@pytest.mark.parametrize("context_dim", [0, 1, 4])
def test_shapes(halfspaces, context_dim):
    normals, offsets = draw(make_side_info(), n_neurons=6, halfspaces=halfspaces, context_dim=context_dim)
    assert normals.shape == (6, context_dim, 5)
    assert offsets.shape == (6, context_dim)


# Candidates


def test_features_are_cut_by_their_entropy():
    side_info = make_side_info(100)
    side_info[:, 1] = np.arange(100) < 50
    side_info[:, 2] = np.arange(100) < 1
    normals, _ = draw(side_info, n_neurons=400)
    flat = normals.reshape(-1, 5)
    shares = flat[np.count_nonzero(flat, axis=1) == 1].mean(axis=0)
    in_bits = np.array([np.log2(100), 1.0, 0.081, np.log2(100), np.log2(100)])
    assert_allclose(shares, in_bits / in_bits.sum(), atol=0.03)


def test_most_cuts_are_on_one_feature_that_varies():
    side_info = make_side_info()
    side_info[:, [1, 4]] = 0.0, 7.3
    normals, _ = draw(side_info, n_neurons=200)
    assert_unit_length(normals)
    single = normals.reshape(-1, 5)[np.count_nonzero(normals.reshape(-1, 5), axis=1) == 1]
    assert len(single) / (200 * 8) == pytest.approx(SINGLE, abs=0.04)
    assert_array_equal(single.max(axis=1), 1.0)
    assert_allclose(single.mean(axis=0), [1 / 3, 0.0, 1 / 3, 1 / 3, 0.0], atol=0.05)


@pytest.mark.usefixtures("oblique")
def test_oblique_normals_are_unit_differences_of_rows():
    side_info = make_side_info()
    normals, _ = draw(side_info, context_dim=4)
    assert_unit_length(normals)
    cosines = normals.reshape(-1, 5) @ directions(side_info).T
    assert_allclose(np.abs(cosines).max(axis=1), 1.0, rtol=1e-12)
    pairs = np.abs(cosines).argmax(axis=1)
    assert len(np.unique(pairs)) > 0.8 * len(pairs)  # 780 pairs for 120 normals
    signs = np.sign(cosines[np.arange(len(pairs)), pairs])
    assert 0.3 < np.mean(signs > 0) < 0.7


@pytest.mark.usefixtures("oblique")
def test_oblique_normals_of_two_rows_are_their_difference():
    side_info = make_side_info(n=2)
    normals, _ = draw(side_info)
    assert_allclose(np.abs(normals.reshape(-1, 5) @ directions(side_info)[0]), 1.0, rtol=1e-12)


@pytest.mark.parametrize("n", [40, 256])
def test_offsets_without_noise_are_medians(n):
    side_info = make_side_info(n)
    normals, offsets = draw(side_info, offset_scale=0.0)
    projections = side_info @ normals.reshape(-1, 5).T
    assert_allclose(offsets.ravel(), np.median(projections, axis=0), atol=1e-5 * np.abs(projections).max() * 1.01)
    assert_allclose(np.sum(projections > offsets.ravel(), axis=0), n // 2, atol=1)


@pytest.mark.parametrize(("offset_scale", "spread"), [(None, 1.5), (0.2, 0.2), (3.0, 3.0)])
def test_offsets_spread_around_the_median(offset_scale, spread):
    side_info = make_side_info()
    normals, offsets = draw(side_info, n_neurons=800, offset_scale=offset_scale)
    projections = side_info @ normals.reshape(-1, 5).T
    noise = (offsets.ravel() - np.median(projections, axis=0)) / projections.std(axis=0)
    assert kstest(noise / spread, "norm").pvalue > 0.01


@pytest.mark.usefixtures("oblique")
@pytest.mark.parametrize("spread", [0.0, 1e-8])
def test_coincident_rows_give_gaussian_normals(spread):
    rng = np.random.default_rng(2)
    side_info = np.repeat(make_side_info(n=2), 20, axis=0)
    side_info += spread * rng.normal(size=side_info.shape)
    normals, offsets = draw(side_info, n_neurons=200)
    assert_unit_length(normals)
    assert np.isfinite(offsets).all()
    of_pair = np.abs(normals.reshape(-1, 5) @ directions(side_info[[0, -1]])[0]) > 1 - 1e-6
    assert 0.4 < of_pair.mean() < 0.6  # 20 of a row's 39 partners are the other row
    others = normals.reshape(-1, 5)[~of_pair]
    assert_allclose(np.cov(others.T, bias=True), np.eye(5) / 5, atol=0.05)  # of all directions alike


@pytest.mark.parametrize("side_info", [np.zeros((6, 3)), np.full((6, 3), 7.3), np.array([[1.0, -2.0, 0.5]])])
def test_rows_without_directions(side_info):
    normals, offsets = draw(side_info, n_neurons=300, context_dim=2)
    assert_unit_length(normals)
    assert_allclose(np.cov(normals.reshape(-1, 3).T, bias=True), np.eye(3) / 3, atol=0.05)
    assert_allclose(offsets, normals @ side_info[0], rtol=1e-4, atol=1e-4)


def test_cuts_keep_off_the_rows():
    """Discrete features put many rows exactly at the median: rounding must not decide their side."""
    side_info = np.random.default_rng(0).integers(0, 2, (101, 12)).astype(float)
    normals, offsets = draw(side_info, n_neurons=20, offset_scale=0.0)
    distances = np.abs(np.einsum("jqs,ns->njq", normals, side_info) - offsets)
    assert distances.min() > 1e-7


# The choice among candidates


def choice_of(side_info, y, weight, monkeypatch, n_neurons=30):
    """The candidates of all cuts (n_cuts, N_CANDIDATES, n_side), (n_cuts, N_CANDIDATES), and the places of the best."""
    normals, offsets = (array.reshape(n_neurons * 8, -1) for array in draw(side_info, y, weight, n_neurons))
    with monkeypatch.context() as patch:
        patch.setattr(_halfspaces, "N_CANDIDATES", 1)
        candidates, thresholds = draw(side_info, y, weight, n_neurons * N_CANDIDATES)
    candidates, thresholds = candidates.reshape(len(normals), N_CANDIDATES, -1), thresholds.reshape(len(normals), -1)
    chosen = (thresholds == offsets) & (candidates == normals[:, np.newaxis]).all(axis=2)
    assert_array_equal(chosen.sum(axis=1), 1)
    return candidates, thresholds, chosen.argmax(axis=1)


@pytest.mark.parametrize("kind", thorough_but(["classes", "labels", "numbers"], "classes"))
def test_the_best_of_the_candidates_is_chosen(kind, monkeypatch):
    rng = np.random.default_rng(4)
    side_info, weight = make_side_info(60), rng.integers(1, 4, 60).astype(float)
    y = {
        "classes": rng.integers(0, 3, 60),
        "labels": rng.random((60, 2)) < 0.3,
        "numbers": side_info[:, :2] ** 2 + rng.normal(size=(60, 2)),
    }[kind]
    columns = [y == label for label in range(3)] if kind == "classes" else y.T
    candidates, thresholds, chosen = choice_of(side_info, y, weight, monkeypatch)
    for of_cut, offsets, place in zip(candidates, thresholds, chosen, strict=True):
        gains = [naive.gain(side_info, columns, weight, *cut) for cut in zip(of_cut, offsets, strict=True)]
        assert gains[place] == pytest.approx(max(gains), abs=1e-8)
    assert len(np.unique(chosen)) == N_CANDIDATES


@pytest.mark.parametrize("n", [MIN_SAMPLES - 1, MIN_SAMPLES])
def test_few_labels_choose_nothing(n):
    side_info = make_side_info(n)
    some, others = (draw(side_info, y)[0] for y in (np.arange(n) % 2, np.arange(n) // 5))
    assert np.array_equal(some, others) == (n < MIN_SAMPLES)


def test_names_of_classes_do_not_matter():
    rng = np.random.default_rng(5)
    side_info, y = make_side_info(200), rng.integers(0, 7, 200)
    expected = draw(side_info, y)
    for _ in range(5):
        for got, same in zip(draw(side_info, rng.permutation(7)[y]), expected, strict=True):
            assert_array_equal(got, same)


def test_weights_count_as_rows_do():
    rng = np.random.default_rng(6)
    side_info, y, weight = make_side_info(50), rng.integers(0, 3, 50), rng.integers(1, 6, 50)
    is_positive = side_info[:, :1] > rng.normal(size=(1, 30))
    once = _halfspaces._gains(is_positive, make_pool(side_info, y, weight.astype(float)))
    pool = make_pool(np.repeat(side_info, weight, axis=0), np.repeat(y, weight))
    repeated = _halfspaces._gains(np.repeat(is_positive, weight, axis=0), pool)
    assert_allclose(once, repeated, rtol=1e-7)


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e5])
def test_neither_unit_nor_wild_targets_choose(scale):
    rng = np.random.default_rng(7)
    side_info = make_side_info(200)
    y = (side_info[:, :1] + 0.1 * rng.normal(size=(200, 1))) * scale
    expected, _ = draw(side_info, y)
    wild = y.copy()
    wild[17] = 1e9 * scale
    got, _ = draw(side_info, wild)
    same = (np.abs(got) == np.abs(expected)).all(axis=2)
    assert same.mean() > 0.75
    by_chance = np.mean(draw(side_info)[0][..., 0] == 1)
    for normals in (expected, got):
        assert np.mean(normals[..., 0] == 1) > 2 * by_chance  # on what y depends on


# Gaussian halfspaces


def test_gaussian_halfspaces_look_at_no_data():
    side_info = make_side_info()
    normals, offsets = draw(side_info, n_neurons=500, halfspaces="gaussian")
    assert_unit_length(normals)
    assert_array_equal(offsets, 0.0)
    assert_allclose(np.cov(normals.reshape(-1, 5).T, bias=True), np.eye(5) / 5, atol=0.02)
    assert_array_equal(draw(1e3 + side_info[:1], n_neurons=500, halfspaces="gaussian")[0], normals)


def test_offsets_of_gaussian_halfspaces():
    _, offsets = draw(make_side_info(), n_neurons=800, halfspaces="gaussian", offset_scale=0.3)
    assert kstest(offsets.ravel() / 0.3, "norm").pvalue > 0.01


def test_raw_normals_are_not_normalised():
    raw, offsets = draw(make_side_info(), n_neurons=800, halfspaces="raw_gaussian")
    unit, _ = draw(make_side_info(), n_neurons=800, halfspaces="gaussian")
    assert kstest(raw.ravel(), "norm").pvalue > 0.01
    assert_allclose(raw / np.linalg.norm(raw, axis=-1, keepdims=True), unit, rtol=1e-12)
    assert_array_equal(offsets, 0.0)


# In the estimators


def contexts_of(model, X):
    online, kernels = model._online, get_kernels("numpy")
    side_info = online.predictor.transform(X, kernels).side_info
    return np.concatenate(contexts_by_layer(online.ensure_network(kernels), kernels, side_info, "float64"), axis=2)


@pytest.mark.parametrize("estimator", [GLNClassifier, GLNRegressor])
def test_no_row_moves_to_another_context(estimator):
    """However features go on: integers, binary ones, and one whose tail grows."""
    rng = np.random.default_rng(8)
    n = 6000
    X = np.stack([rng.poisson(3, n), rng.random(n) < 0.1, rng.lognormal(0, 1, n), rng.normal(size=n)], axis=1)
    X[1000:, [0, 2]] *= 2
    y = rng.integers(0, 2, n)
    model = estimator(random_state=0, backend="numpy", layer_sizes=(10, 10))
    model.partial_fit(X[:300], y[:300], **({"classes": [0, 1]} if estimator is GLNClassifier else {}))
    before = contexts_of(model, X[:500])
    model.partial_fit(X[300:], y[300:])
    assert_array_equal(contexts_of(model, X[:500]), before)
    assert len(np.unique(before)) > 20
