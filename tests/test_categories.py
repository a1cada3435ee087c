"""What is known of categories' levels: evidence as rows met it, slots, indicators, and what it must not give away."""

import copy
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import log_loss

from sklearn_gln import GLNClassifier, GLNRegressor, _network, io
from sklearn_gln._categories import FIRST_SLOTS, MAX_INDICATED, ROOM, Categories, Levels, estimate_memory
from sklearn_gln._likelihood import BERNOULLI, TARGET_LIKELIHOODS
from sklearn_gln.kernels import get_kernels
from tests.helpers import (
    BACKEND,
    Ordered,
    assert_same_object,
    make_stream,
    make_targets,
    thorough_but,
    with_categories,
)
from tests.naive_categories import NaiveCategories

TOLERANCE = {"rtol": 1e-7, "atol": 1e-9}
SMALL = {
    "layer_sizes": (5, 4),
    "context_dim": 3,
    "dtype": "float64",
    "backend": BACKEND,
    "random_state": 0,
    "categorical_features": [1, 3],
}
X, Y, WEIGHTS = make_stream(3, 700)
X = with_categories(X)
TARGETS = make_targets(X)


def classifier(**params):
    return GLNClassifier(**SMALL | params)


def regressor(**params):
    return GLNRegressor(**SMALL | params)


# Evidence

KERNELS = get_kernels("numpy")
LIKELIHOODS = {"classes": BERNOULLI, "real": TARGET_LIKELIHOODS["squared"]}


def random_pieces(rng, n, n_cuts):
    return np.split(np.arange(n), np.sort(rng.integers(n, size=n_cuts)))


@pytest.mark.parametrize("half_life", [None, 300.0, "mixed"])
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_evidence_is_that_of_dicts(name, half_life):
    """Learned in pieces, and forgotten between some of them: here lazily, there at once."""
    rng, n, is_real = np.random.default_rng(0), 400, name == "real"
    rows = np.column_stack([rng.normal(size=n), rng.integers(3, size=n), rng.zipf(1.5, size=n) % 50]).astype(float)
    rows[rng.random(n) < 0.1, 1] = np.nan
    targets = rng.normal(5, 2, size=(n, 2)) if is_real else rng.integers(2, size=(n, 2)).astype(float)
    targets[rng.random(targets.shape) < 0.2] = np.nan
    weights = rng.choice([0.0, 0.5, 1.0, 3.0], size=n)
    oracle = NaiveCategories([1, 2], 2, half_life, real=is_real)
    known = Categories.empty(3, np.array([1, 2]), 2, oracle.kept, 100)
    for piece in random_pieces(rng, n, 20):
        before = known.recall(rows, LIKELIHOODS[name], KERNELS)
        assert_allclose(before, [as_array(oracle.evidence(row)) for row in rows.tolist()], **TOLERANCE)
        met, learn = known.meet(rows[piece], targets[piece], weights[piece], LIKELIHOODS[name], KERNELS)
        assert_array_equal(known.recall(rows, LIKELIHOODS[name], KERNELS), before)  # nothing is learned yet
        n_levels = [len(oracle.levels[column]) for column in (1, 2)]
        assert [levels.n_levels for levels in known.levels] == n_levels
        learn()
        for row, got in zip(piece.tolist(), met, strict=True):
            assert_allclose(got, as_array(oracle.evidence(rows[row].tolist())), **TOLERANCE)
            if weights[row]:
                oracle.learn(rows[row].tolist(), targets[row].tolist(), weights[row])
        if rng.random() < 0.7:
            known.forget()
            oracle.forget()


@pytest.mark.parametrize("weight", [1e-9, 1e9, 1e16, 1e25])
def test_evidence_of_any_weight_is_finite(weight):
    sums, all_sums = np.array([0.0, weight]), np.array([weight, weight])
    shift, sureness = BERNOULLI.evidence(sums, np.full(2, weight), all_sums, np.full(2, 2 * weight))
    assert np.isfinite(shift).all()
    assert shift[0] < 0 < shift[1]
    assert np.all((sureness > 0) & (sureness <= 1))


def as_array(evidence):
    return [[*shifts, *sureness] for shifts, sureness in evidence]


def test_evidence_by_hand():
    known = Categories.empty(1, np.array([0]), 1, [1.0], 10)
    rows, targets = np.array([[7.0], [7.0], [8.0], [7.0]]), np.array([[1.0], [0.0], [1.0], [1.0]])
    met, learn = known.meet(rows, targets, np.array([1.0, 2.0, 1.0, 1.0]), BERNOULLI, KERNELS)
    learn()
    # before row 4 all rows weigh 4, two of them of the class, and those of level 7 weigh 3, one of them of it
    p, r = 2.5 / 5, (1 + 10 * 2.5 / 5) / 13
    assert_allclose(met[3, 0], [np.log(r / (1 - r)) - np.log(p / (1 - p)), 3 / 13])
    assert_allclose(met[[0, 2], 0], np.zeros((2, 2)), atol=1e-12)
    p = 3.5 / 6
    r = (1 + 10 * p) / 11
    assert_allclose(
        known.recall(rows[2:3], BERNOULLI, KERNELS)[0, 0], [np.log(r / (1 - r)) - np.log(p / (1 - p)), 1 / 11]
    )
    assert_array_equal(known.recall(np.array([[9.0]]), BERNOULLI, KERNELS)[0, 0], [0, 0])


@pytest.mark.parametrize("n_levels", [1, 3, 40, 400])
def test_evidence_knows_nothing_of_later_rows(n_levels):
    """Not even in its rounding, whatever comes later."""
    rng = np.random.default_rng(3)
    rows, targets = rng.integers(n_levels, size=(600, 1)).astype(float), rng.normal(size=(600, 1))
    met = []
    for late in (1.0, 1e12):
        known = Categories.empty(1, np.array([0]), 1, [1.0], 1000)
        of_rows = np.where(np.arange(600)[:, np.newaxis] < 450, targets, late * targets)
        met.append(known.meet(rows, of_rows, np.full(600, 0.3), LIKELIHOODS["real"], KERNELS)[0])
    assert_array_equal(met[0][:451], met[1][:451])


def test_outputs_do_not_know_of_each_others_targets():
    gaps = np.random.default_rng(1).random(TARGETS.shape) < [0.3, 0.5, 0.0]
    model, other = (regressor(halfspaces="gaussian") for _ in range(2))
    model.partial_fit(X, np.where(gaps, np.nan, TARGETS), WEIGHTS)
    changed = np.where(gaps, np.nan, TARGETS)
    changed[:, 1] = np.where(gaps[::-1, 1], np.nan, 7.0)
    other.partial_fit(X, changed, WEIGHTS)
    got, expected = (np.stack(each.predict(X, return_std=True)) for each in (model, other))
    assert_allclose(got[..., [0, 2]], expected[..., [0, 2]], **TOLERANCE)
    assert np.abs(got[..., 1] - expected[..., 1]).max() > 0.1


# Levels


@pytest.mark.parametrize("max_levels", [1, 2, 5, 40, 1000])
def test_slots_are_given_in_the_order_of_rows(max_levels):
    rng = np.random.default_rng(2)
    keys, exists = rng.zipf(1.3, size=600) % 60 * 1.0, rng.random(600) < 0.8
    keys[rng.random(600) < 0.05] = np.inf
    by_row, slots = Levels.empty(1, 1, max_levels), {}
    for key, is_real in zip(keys, exists, strict=True):
        slot, new = by_row.assign(np.array([key]), np.array([is_real]))
        by_row.add(new)
        if key not in slots and is_real and len(slots) < max_levels:
            slots[key] = len(slots) + 1
        if key in slots or len(slots) < max_levels:
            assert slot[0] == slots.get(key, 0)
        else:
            assert 1 <= slot[0] <= max_levels
    for n_cuts in (0, 5, 40):
        levels = Levels.empty(1, 1, max_levels)
        for piece in random_pieces(rng, 600, n_cuts):
            assigned, new = levels.assign(keys[piece], exists[piece])
            levels.add(new)
            assert_array_equal(assigned[exists[piece]], by_row.find(keys[piece])[exists[piece]])
        assert_array_equal(levels.keys[1 : levels.n_levels + 1], list(slots))
        assert_array_equal(levels.find(keys), by_row.find(keys))
    assert levels.n_levels == min(max_levels, len(set(keys[exists])))
    assert levels.sums.shape[2] <= max(FIRST_SLOTS, 2 * (max_levels + 1))


@pytest.mark.parametrize(
    "params",
    thorough_but([{}, {"max_levels": 3}, {"half_life": 300}, {"halfspaces": "gaussian"}], {}, {"max_levels": 3}),
    ids=str,
)
@pytest.mark.parametrize("kind", ["classifier", "squared", "gaussian"])
def test_cuts_copies_and_files_change_nothing(kind, params, tmp_path):
    new, y = (classifier, Y) if kind == "classifier" else (regressor, TARGETS)
    params = params if kind == "classifier" else params | {"likelihood": kind}
    first = {"classes": [0, 1, 2]} if kind == "classifier" else {"return_std": True}
    method = "progressive_predict_proba" if kind == "classifier" else "progressive_predict"
    rows = X.copy()
    rows[650:, 1] = np.arange(50) % 7 + 100.0  # levels that come late
    whole, model, parts = new(**params), new(**params), []
    expected = np.array(getattr(whole, method)(rows, y, sample_weight=WEIGHTS, **first))
    copies = [
        copy.deepcopy,
        copy.copy,
        lambda it: pickle.loads(pickle.dumps(it)),
        lambda it: through_a_file(it, tmp_path),
    ]
    for number, piece in enumerate(np.split(np.arange(len(X)), [1, 20, 150, 257, 290, 520, 660])):
        parts.append(getattr(model, method)(rows[piece], y[piece], sample_weight=WEIGHTS[piece], **first))
        model = copies[number % 4](model)
    assert_allclose(np.concatenate(parts, axis=0 if kind == "classifier" else 1), expected, **TOLERANCE)
    assert model.progressive_loss_ == pytest.approx(whole.progressive_loss_)


def through_a_file(model, folder):
    io.save(model, folder / "model.skops")
    return io.load(folder / "model.skops")


def test_a_level_tells_what_no_number_does():
    """A thousand levels in random order, each of which has its own label nine times in ten."""
    rng = np.random.default_rng(4)
    ids = rng.integers(300, size=6000)
    y = np.where(rng.random(6000) < 0.9, ids * 7 % 10 < 5, rng.random(6000) < 0.5)
    rows = np.column_stack([ids, rng.normal(size=6000)])
    params = {"half_life": None}
    hits = {
        name: classifier(categorical_features=columns, **params).progressive_predict_proba(rows, y, classes=[0, 1])
        for name, columns in (("levels", [0]), ("numbers", None))
    }
    accuracy = {name: np.mean((p[3000:, 1] > 0.5) == y[3000:]) for name, p in hits.items()}
    assert accuracy["levels"] > 0.88
    assert accuracy["numbers"] < 0.75


def test_levels_that_have_not_come_are_as_good_as_missing():
    model = classifier().partial_fit(X, Y, classes=[0, 1, 2])
    rows = np.repeat(X[:1], 3, axis=0)
    rows[:, 3] = [1e6, 0.5, -1e15]
    p = model.predict_proba(rows)
    assert_array_equal(p, p[[0, 0, 0]])
    assert np.isfinite(p).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("new", [classifier, regressor])
def test_levels_that_never_come_again(new, dtype):
    """All that is known of them is 0: a preconditioner that divides by that would blow rounding up."""
    rows = np.column_stack([np.random.default_rng(9).normal(size=1500), np.arange(1500)])
    y = (rows[:, 0] > 0).astype(int)
    model = new(categorical_features=[1], dtype=dtype).fit(rows[:1000], y[:1000])
    matrix = model._online.network.evidence_preconditioner.matrix
    assert np.abs(matrix).max() < 100
    assert np.mean((model.predict(rows[1000:]) > 0.5) == y[1000:]) > 0.97
    assert np.all(model._online.categories.recall(rows[1000:1001], BERNOULLI, KERNELS) == 0)


def test_missing_is_a_level():
    rng = np.random.default_rng(5)
    y = rng.random(800) < 0.5
    rows = np.column_stack([rng.normal(size=800), np.where(y, np.nan, rng.integers(2, size=800))])
    p = classifier(categorical_features=[1]).progressive_predict_proba(rows, y, classes=[0, 1])
    assert np.mean((p[100:, 1] > 0.5) == y[100:]) > 0.98


@pytest.mark.parametrize("n_levels", [1, MAX_INDICATED, MAX_INDICATED + 1])
def test_few_levels_have_indicators_and_room_for_more(n_levels):
    rows = np.column_stack([np.zeros(1200), np.arange(1200) % n_levels])
    rows[300:310, 1] = [500, 501] * 5  # before the event of row 512
    model = classifier(categorical_features=[1])
    y = np.arange(1200) % 2
    has_indicators = n_levels <= MAX_INDICATED
    model.partial_fit(rows[:256], y[:256], classes=[0, 1])
    keys = model._online.categories.indicated_keys
    assert_array_equal(keys, [*range(n_levels), *[np.nan] * ROOM] if has_indicators else [])
    model.partial_fit(rows[256:511], y[256:511])
    assert_array_equal(model._online.categories.indicated_keys, keys)
    model.partial_fit(rows[511:512], y[511:512])
    come = [500, 501, *[np.nan] * (ROOM - 2)]
    assert_array_equal(model._online.categories.indicated_keys, [*range(n_levels), *come] if has_indicators else [])
    model.predict_proba(rows)


@pytest.mark.parametrize("base_predictor", ["standard", "global", "minmax", "identity"])
@pytest.mark.parametrize("n_levels", [3, 100])
@pytest.mark.parametrize("new", [classifier, regressor])
def test_tables_of_categories_alone(new, n_levels, base_predictor):
    if new is regressor and base_predictor == "minmax":
        pytest.skip("not for real targets")
    rows = np.random.default_rng(6).integers(n_levels, size=(600, 2)).astype(float)
    y = (rows[:, 0] % 2).astype(int)
    model = new(categorical_features=[0, 1], base_predictor=base_predictor, max_iter=2).fit(rows[:500], y[:500])
    model.partial_fit(rows[500:], y[500:])
    assert np.mean((model.predict(rows) > 0.5) == y) > (0.95 if n_levels == 3 else 0.75)


# Labels must not leak


def make_ids(seed, n_ids=2000, n_rows=3):
    """Random labels of rows that have an id and nothing else, and rows to test by: among them ids that are new."""
    rng = np.random.default_rng(seed)
    ids = rng.permutation(np.repeat(np.arange(n_ids), n_rows))[:, np.newaxis].astype(float)
    new = np.concatenate([rng.choice(n_ids, 3000), n_ids + np.arange(1000)])[:, np.newaxis].astype(float)
    return ids, rng.random(len(ids)) < 0.5, new, rng.random(len(new)) < 0.5


@pytest.mark.parametrize("shuffle", [True, False])
def test_ten_passes_over_random_labels_teach_nothing(shuffle):
    ids, y, new, y_new = make_ids(0)
    model = classifier(categorical_features=[0], max_iter=10, shuffle=shuffle).fit(ids, y)
    assert log_loss(y_new, model.predict_proba(new)) < np.log(2) + 0.02
    assert log_loss(y, model.predict_proba(ids)) > np.log(2) - 0.02  # nor of the rows themselves


@pytest.mark.parametrize("likelihood", ["squared", "gaussian"])
def test_ten_passes_over_random_targets_teach_nothing(likelihood):
    ids, y, new, y_new = make_ids(1)
    y, y_new = (np.random.default_rng(len(labels)).normal(size=len(labels)) for labels in (y, y_new))
    model = regressor(categorical_features=[0], max_iter=10, likelihood=likelihood).fit(ids, y)
    assert np.mean((model.predict(new) - y_new) ** 2) < 1.04 * np.mean(y_new**2)


@pytest.mark.parametrize("params", [{}, {"early_stopping": True}, {"shuffle": False}], ids=str)
def test_in_later_epochs_rows_meet_what_they_met_first(params, monkeypatch):
    rows = np.column_stack([np.arange(len(X)), X])
    met, learn = {}, _network.learn

    def learn_and_see(network, kernels, inputs, targets, samples, *args):
        for row, evidence in zip(samples.X[:, 0].tolist(), samples.evidence, strict=True):
            met.setdefault(row, []).append(evidence)
        return learn(network, kernels, inputs, targets, samples, *args)

    monkeypatch.setattr(_network, "learn", learn_and_see)
    model = Ordered(**SMALL | {"categorical_features": [2, 4], "max_iter": 3} | params)
    model.fit(rows, Y, WEIGHTS)
    for evidence in met.values():
        assert len(evidence) >= 3
        assert_array_equal(evidence, [evidence[0]] * len(evidence))
    assert sum(np.any(evidence[0] != 0) for evidence in met.values()) > 0.9 * len(met)
    assert model._online.categories.met is None


def test_rows_to_validate_and_rows_held_out_meet_what_learned_rows_said():
    """An id tells the label of half of the rows; of the others, which only validate, nothing is known."""
    rows = np.column_stack([np.zeros(800), np.arange(800) // 2])
    y = np.random.default_rng(7).random(400)[np.arange(800) // 2] < 0.5
    model = classifier(categorical_features=[1], max_iter=3)
    model.fit(rows[:400], y[:400], X_val=rows[400:], y_val=y[400:])
    assert model.validation_loss_curve_[-1] > np.log(2) - 0.05
    levels = model._online.categories.levels[0]
    assert set(levels.keys[1 : levels.n_levels + 1]) == set(range(200))
    assert levels.recall(levels.find(np.arange(200.0)), np.ones(1), 0).weight.sum() == 400


# Memory


def test_max_levels_bounds_memory():
    rng = np.random.default_rng(8)
    rows = np.column_stack([rng.normal(size=5000), np.arange(5000) % 4000])
    y = rng.random(5000) < 0.5
    bounded = classifier(categorical_features=[1], max_levels=50).partial_fit(rows, y, classes=[0, 1])
    free = classifier(categorical_features=[1]).partial_fit(rows, y, classes=[0, 1])
    for model, n_levels in ((bounded, 50), (free, 4000)):
        levels = model._online.categories.levels[0]
        assert levels.n_levels == n_levels
        arrays = levels.keys, levels.table, levels.sums, levels.weight, levels.n_forgotten
        estimated = estimate_memory(1, 1, len(rows), model._online.settings)
        assert n_levels * 8 * 7 <= sum(array.nbytes for array in arrays) <= estimated
    assert len(pickle.dumps(bounded)) < len(pickle.dumps(free)) - 100_000


def test_estimates_count_categories():
    sizes = [classifier(max_levels=n).estimate_memory(5, n_categorical=2, n_samples=10**6) for n in (10**5, 10**6)]
    assert sizes[1] - sizes[0] == 2 * 2 * 900_000 * 8 * (2 * 2 + 3)
    assert regressor().estimate_memory(5, n_categorical=2) > regressor().estimate_memory(5)


# Precision, and what holds for rows


def test_single_precision_agrees_to_its_rounding():
    doubles, singles = (classifier(dtype=dtype) for dtype in ("float64", "float32"))
    p = [each.progressive_predict_proba(X, Y, [0, 1, 2], WEIGHTS) for each in (doubles, singles)]
    assert np.quantile(np.abs(p[1] - p[0]), 0.99) < 1e-3
    assert singles.progressive_loss_ == pytest.approx(doubles.progressive_loss_, abs=1e-3)


def test_rows_of_weight_zero_leave_no_level():
    weights = np.where(X[:, 1] == 1, 0.0, WEIGHTS)
    model = classifier().partial_fit(X, Y, [0, 1, 2], weights)
    without = classifier().partial_fit(X[weights > 0], Y[weights > 0], [0, 1, 2], weights[weights > 0])
    assert 1 not in model._online.categories.levels[0].keys
    assert_same_object(model._online.categories, without._online.categories)
    assert_allclose(model.predict_proba(X), without.predict_proba(X), **TOLERANCE)


def test_the_signs_of_zeros_are_one_level():
    rows = np.where(X == 0, -0.0, X)
    got, expected = (classifier().partial_fit(each, Y, [0, 1, 2]) for each in (rows, X))
    assert_array_equal(got.predict_proba(X), expected.predict_proba(rows))


def test_heavy_rows_of_one_level_are_many():
    """Weights are counts: two levels, each of which has its own label."""
    rows, y = np.array([[0.0, 1.0], [0.0, 2.0]] * 20), np.array([0, 1] * 20)
    for model in (classifier(max_iter=3), classifier(new_classes="add")):
        model.set_params(categorical_features=[1])
        learn = model.fit if model.max_iter == 3 else model.partial_fit
        learn(rows, y, sample_weight=np.full(40, 50.0))
        assert np.all(model.predict_proba(rows)[np.arange(40), y] > 0.99)
