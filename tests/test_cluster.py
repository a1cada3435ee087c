"""Several processes and threads: outputs shared out over workers, searches on a cluster, forks, threads at once."""

import copy
import importlib.util
import os
import pickle
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from joblib import parallel_config
from joblib.externals.loky import get_reusable_executor
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV

from sklearn_gln import GLNClassifier, GLNRegressor, _runtime, _shards
from sklearn_gln._head import LayersHead
from sklearn_gln._state import to_plain
from tests.helpers import (
    INTERPRETED,
    NAMES,
    Recorder,
    assert_same_object,
    attributes,
    blas_threads,
    make_stream,
    make_targets,
    thorough_but,
)

TOLERANCE = {"rtol": 1e-9, "atol": 1e-9}
X, Y, WEIGHTS = make_stream(0, 1500, n_classes=5)
ROWS = 1200 if not INTERPRETED else 600
X, Y, WEIGHTS = X[:ROWS], Y[:ROWS], WEIGHTS[:ROWS]
LABELS = np.stack([Y == 1, Y < 3, Y > 2], axis=1).astype(int)
TARGETS = make_targets(X)
SMALL = {"layer_sizes": (6, 4), "context_dim": 3, "dtype": "float64", "random_state": 0}


def new(params=None, y=Y):
    estimator = GLNRegressor if y is TARGETS else GLNClassifier
    return estimator(**SMALL | (params or {}))


def predicted(model, rows=X):
    if isinstance(model, GLNRegressor):
        return np.stack(model.predict(rows, return_std=True))
    return model.predict_proba(rows)


def assert_same_model(model, expected):
    """The same to 1e-9: predictions, progress, and all that later ones depend on."""
    assert_allclose(predicted(model), predicted(expected), **TOLERANCE)
    assert_allclose(model.progressive_loss_, expected.progressive_loss_, **TOLERANCE)
    assert_allclose(model.loss_curve_, expected.loss_curve_, **TOLERANCE)
    assert model.n_samples_seen_ == expected.n_samples_seen_
    assert_same_plain(to_plain(model._online), to_plain(expected._online))


def assert_same_plain(plain, expected, name=""):
    if isinstance(plain, dict):
        assert list(plain) == list(expected)
        for key in plain:
            assert_same_plain(plain[key], expected[key], f"{name}.{key}")
    elif isinstance(plain, list | tuple):
        assert len(plain) == len(expected), name
        for item, other in zip(plain, expected, strict=True):
            assert_same_plain(item, other, name)
    elif isinstance(plain, np.ndarray):
        cut = np.s_[...]
        if ".layers." in name and plain.ndim > 2:  # slots of no context yet may differ in number
            cut = np.s_[:, :, : min(plain.shape[2], expected.shape[2])]
        scale = np.abs(expected[np.isfinite(expected)]).max(initial=1.0) if expected.dtype.kind == "f" else 1.0
        assert_allclose(plain[cut], expected[cut], rtol=1e-9, atol=1e-9 * scale, err_msg=name)
    else:
        assert plain == expected, name


@pytest.fixture
def sharings(monkeypatch):
    """How many parts were joined in each call that shared outputs out."""
    joined, join = [], _shards.join
    monkeypatch.setattr(_shards, "join", lambda parts: joined.append(len(parts)) or join(parts))
    return joined


@pytest.fixture(scope="module", autouse=True)
def workers_for_these_tests_only():
    yield
    get_reusable_executor().shutdown(wait=True)


# Outputs shared out over processes

CASES = {
    "classes": ({}, Y),
    "classes, own halfspaces, half-life": (
        {"share_halfspaces": False, "context_dim": 8, "half_life": 600.0},
        Y,
    ),
    "classes, plain": ({"learning_rate": "constant", "aggregation": "neuron", "batch_size": 4}, Y),
    "labels": ({}, LABELS),
    "targets": ({}, TARGETS),
    "targets, own halfspaces": ({"share_halfspaces": False, "context_dim": 8}, TARGETS),
    "targets, Gaussian": ({"likelihood": "gaussian"}, TARGETS),
    "classes, categories": ({"categorical_features": [1, 3]}, Y),
    "targets, categories": ({"categorical_features": [1, 3], "max_levels": 9}, TARGETS),
    "classes, wide": ({"max_dense": 3}, Y),
    "targets, wide": ({"max_dense": 3, "half_life": "mixed"}, TARGETS),
}


@pytest.mark.parametrize(
    "case", thorough_but(CASES, "classes", "targets", "targets, Gaussian", "targets, categories", "targets, wide")
)
def test_parts_join_to_the_whole(case):
    params, y = CASES[case]
    model = new(params, y)
    keywords = {"classes": np.arange(5)} if y is Y else {}
    for rows in (slice(0), slice(100), slice(100, 300)):  # nothing; before the last rebuild; rows wait for an event
        model.partial_fit(X[rows], y[rows], **keywords)
        whole = copy.deepcopy(model._online)
        n_outputs = len(whole.output_numbers)
        parts = [_shards.part(whole, slice(a, b)) for a, b in [(0, 1), (1, n_outputs)]]
        assert [len(part.output_numbers) for part in parts] == [1, n_outputs - 1]
        joined = _shards.join(parts)
        assert whole.head.is_by_output == (y is TARGETS or case == "classes, plain")
        if not whole.head.is_by_output:
            assert joined.head == LayersHead(len(joined.settings.layer_sizes))  # it stays with the parent
            joined.head = whole.head
        assert_same_plain(to_plain(joined), to_plain(model._online))


@pytest.mark.thorough
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(("params", "y"), CASES.values(), ids=CASES)
def test_processes_learn_what_one_does(params, y, method, sharings):
    model, alone = new(params | {"n_jobs": 2, "max_iter": 2}, y), new(params | {"max_iter": 2}, y)
    if method == "fit":
        alone.fit(X, y, sample_weight=WEIGHTS)
        with parallel_config("loky"):
            model.fit(X, y, sample_weight=WEIGHTS)
    else:
        keywords = {"classes": np.arange(5)} if y is Y else {}
        for rows in (slice(70), slice(70, 1100), slice(1100, None)):
            chunk = X[rows], y[rows]
            alone.partial_fit(*chunk, sample_weight=WEIGHTS[rows], **keywords)
            with parallel_config("loky"):
                model.partial_fit(*chunk, sample_weight=WEIGHTS[rows], **keywords)
    assert set(sharings) == {2}
    assert_same_model(model, alone)
    if y is not TARGETS and INTERPRETED is False and "numba" in NAMES:
        assert_array_equal(predicted(model), predicted(alone))


@pytest.mark.thorough
def test_processes_predict_before_they_learn(sharings):
    with parallel_config("loky"):
        shared = new({"n_jobs": 2}).progressive_predict_proba(X, Y, np.arange(5), WEIGHTS)
    assert sharings == [2]
    assert_allclose(shared, new().progressive_predict_proba(X, Y, np.arange(5), WEIGHTS), **TOLERANCE)


@pytest.mark.thorough
@pytest.mark.parametrize("y", [Y, TARGETS], ids=["classes", "targets"])
def test_processes_stop_early_and_go_on(y, sharings):
    params = {"early_stopping": True, "n_iter_no_change": 1, "max_iter": 4, "warm_start": True, "verbose": False}
    alone = new(params, y).fit(X[:800], y[:800]).fit(X[800:], y[800:])
    with parallel_config("loky"):
        model = new(params | {"n_jobs": 2}, y).fit(X[:800], y[:800]).fit(X[800:], y[800:])
    assert set(sharings) == {2}
    assert model.n_iter_ == alone.n_iter_
    assert_allclose(model.validation_loss_curve_, alone.validation_loss_curve_, **TOLERANCE)
    assert_same_model(model, alone)


@pytest.mark.thorough
def test_callbacks_between_passes(callbacks, sharings):
    recorders = [Recorder(lambda event, task, _: (event, task) == ("end", ("epoch", 1))) for _ in range(2)]
    alone = new({"max_iter": 4}).set_callbacks(recorders[0]).fit(X, Y)
    with parallel_config("loky"):
        model = new({"max_iter": 4, "n_jobs": 2}).set_callbacks(recorders[1]).fit(X, Y)
    assert recorders[0].events == recorders[1].events
    assert model.n_iter_ == len(sharings) == 2
    assert_same_model(model, alone)


@pytest.mark.thorough
def test_large_arrays_reach_workers_read_only(sharings):
    rng = np.random.default_rng(0)
    rows, classes = rng.normal(size=(1100, 150)), rng.integers(4, size=1100)
    params = {"layer_sizes": (40,), "context_dim": 5, "max_iter": 3}
    alone = new(params).fit(rows, classes)
    with parallel_config("loky"):
        model = new(params | {"n_jobs": 2}).fit(rows, classes)
    assert len(sharings) == 3
    assert min(rows.nbytes, model._online.network.layers[0].weights.nbytes // 2) > 2**20  # joblib maps these
    assert_allclose(model.predict_proba(rows), alone.predict_proba(rows), **TOLERANCE)
    assert_array_equal(model.partial_fit(rows, classes).predict(rows), alone.partial_fit(rows, classes).predict(rows))


class Failing:
    """A learning rate that fails in the middle of a call: when asked for later rows by themselves."""

    def __eq__(self, other):
        return type(other) is type(self)

    __hash__ = None

    def __call__(self, row_numbers):
        if row_numbers[0] > 600:
            raise ZeroDivisionError("as the test wants it")
        return np.full(len(row_numbers), 1e-2)


@pytest.mark.thorough
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_worker_that_fails_changes_nothing(method):
    model = new({"learning_rate": Failing(), "n_jobs": 2})
    model.partial_fit(X[:300], Y[:300], classes=np.arange(5))
    before, probabilities = attributes(copy.deepcopy(model)), model.predict_proba(X)
    with parallel_config("loky"), pytest.raises(ZeroDivisionError, match="as the test wants it"):
        getattr(model, method)(X, Y)
    assert_same_object(attributes(model), before)
    assert_array_equal(model.predict_proba(X), probabilities)


def test_workers_that_are_given_the_memory_itself(monkeypatch):
    """Dask's workers may be threads of this process."""

    def in_this_process(*_, **__):
        return lambda tasks: [function(*args, **options) for function, args, options in tasks]

    monkeypatch.setattr(_shards, "Parallel", in_this_process)
    model = new({"learning_rate": Failing(), "n_jobs": 2}).partial_fit(X[:300], Y[:300], classes=np.arange(5))
    before, alone = attributes(copy.deepcopy(model)), copy.deepcopy(model).partial_fit(X[300:500], Y[300:500])
    with parallel_config("loky"):
        with pytest.raises(ZeroDivisionError):
            model.partial_fit(X, Y)
        assert_same_object(attributes(model), before)
        assert_same_model(model.partial_fit(X[300:500], Y[300:500]), alone)


ALONE = {
    "no engine": (None, {"n_jobs": 2}, Y),
    "an engine of threads": ("threading", {"n_jobs": 2}, Y),
    "n_jobs is None": ("loky", {}, Y),
    "n_jobs is 1": ("loky", {"n_jobs": 1}, Y),
    "one output": ("loky", {"n_jobs": 2}, Y == 1),
}


@pytest.mark.parametrize(("engine", "params", "y"), ALONE.values(), ids=ALONE)
def test_who_learns_in_one_process(engine, params, y, sharings):
    with parallel_config(engine) if engine else parallel_config():
        new({"max_iter": 1} | params).fit(X[:100], y[:100])
    assert sharings == []


def test_few_rows_are_not_worth_a_worker(sharings):
    with parallel_config("loky"):
        new({"n_jobs": 2}).partial_fit(X[:60], Y[:60], classes=np.arange(5)).partial_fit(X[60:61], Y[60:61])
    assert sharings == []


@pytest.mark.parametrize(("n_jobs", "configured", "expected"), [(None, 3, 3), (-1, None, 4), (7, None, 5), (2, 3, 2)])
def test_number_of_workers(n_jobs, configured, expected, monkeypatch):
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "4")
    monkeypatch.setattr("joblib._parallel_backends.cpu_count", lambda: 4)
    model = new({"n_jobs": n_jobs}).partial_fit(X[:9], Y[:9], classes=np.arange(5))
    with parallel_config("loky", n_jobs=configured) if configured else parallel_config("loky"):
        assert model._n_workers(model._online, 100) == expected


# Clusters


@pytest.fixture(scope="module")
def cluster():
    """Dask on two local processes, as the active engine of joblib."""
    distributed = pytest.importorskip("distributed")
    local = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address="127.0.0.1:0"
    )
    with local, distributed.Client(local):
        yield


@pytest.mark.thorough
def test_dask_shares_outputs_out(cluster, sharings):
    alone = new({"max_iter": 2, "share_halfspaces": False}).fit(X, Y, sample_weight=WEIGHTS)
    with parallel_config("dask"):
        model = new({"max_iter": 2, "share_halfspaces": False, "n_jobs": 2}).fit(X, Y, sample_weight=WEIGHTS)
    assert sharings == [2, 2]
    assert_same_model(model, alone)


@pytest.mark.thorough
def test_dask_shares_out_networks_too_large_for_its_graphs(cluster, sharings):
    rng = np.random.default_rng(0)
    rows, classes = rng.normal(size=(600, 200)), rng.integers(10, size=600)
    params = {"layer_sizes": (30,), "context_dim": 6, "max_iter": 2}
    alone = new(params).fit(rows, classes)
    with parallel_config("dask"), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter(
            "always"
        )  # as an error in Dask's own thread it would go unheard, and its result never come
        model = new(params | {"n_jobs": 2}).fit(rows, classes)
    assert model._online.network.layers[0].weights.nbytes > 3e7
    assert [warning.message for warning in caught if "large graph" in str(warning.message)] == []
    assert_allclose(model.predict_proba(rows), alone.predict_proba(rows), **TOLERANCE)


@pytest.mark.thorough
@pytest.mark.parametrize("n_jobs", [None, 2], ids="n_jobs of the estimator: {}".format)
@pytest.mark.parametrize("engine", ["loky", "dask"])
def test_grid_searches(engine, n_jobs, request):
    if engine == "dask":
        request.getfixturevalue("cluster")
    grid = {"context_dim": [1, 3], "learning_rate_init": [1.0, 4.0]}
    rows, params = slice(400), {"max_iter": 1, "n_jobs": n_jobs}
    alone = GridSearchCV(new(params), grid, cv=2, scoring="neg_log_loss").fit(X[rows], Y[rows])
    with parallel_config(engine):
        search = GridSearchCV(new(params), grid, cv=2, scoring="neg_log_loss", n_jobs=2).fit(X[rows], Y[rows])
    assert search.best_params_ == alone.best_params_
    assert_allclose(search.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"], **TOLERANCE)
    assert_allclose(search.predict_proba(X), alone.predict_proba(X), **TOLERANCE)


@pytest.mark.thorough
def test_optuna_prunes_over_partial_fit():
    optuna = pytest.importorskip("optuna")
    digits, classes = load_digits(return_X_y=True)
    chunks, held_out = np.array_split(np.arange(900), 9), np.arange(900, 1200)

    def learn(params):
        model = GLNClassifier(layer_sizes=(5,), context_dim=2, random_state=0, **params)
        for rows in chunks:
            model.partial_fit(digits[rows], classes[rows], classes=np.arange(10))
            yield model.score(digits[held_out], classes[held_out])

    def objective(trial):
        params = {"learning_rate_init": trial.suggest_float("learning_rate_init", 1e-3, 10, log=True)}
        for step, score in enumerate(learn(params), start=1):
            trial.report(score, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return score

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.RandomSampler(seed=0),
        pruner=optuna.pruners.HyperbandPruner(min_resource=1, max_resource=9, reduction_factor=3),
        study_name="fixed",  # by its name trials are shared out to brackets
    )
    study.optimize(objective, n_trials=12)
    states = [trial.state.name for trial in study.trials]
    assert set(states) == {"COMPLETE", "PRUNED"}
    *_, score = learn(study.best_params)
    assert study.best_value == score > 0.9


# Forks

FORK = """
import os, signal, sys, warnings
warnings.simplefilter("ignore")  # of JAX and Python, that a fork of a process with threads may not go well
import numpy as np
from sklearn_gln import GLNClassifier

X = np.random.default_rng(0).normal(size=(300, 4))
y = (X[:, 0] > 0) + (X[:, 1] > 0)
model = GLNClassifier((4,), context_dim=3, aggregation="layers", max_iter=1, n_jobs=2, random_state=0).fit(X, y)
model.set_params(backend=sys.argv[1]).partial_fit(X, y)
expected = model.predict_proba(X)
for backend in ("numpy", "numba"):
    if backend in sys.argv[2]:
        model.set_params(backend=backend)
        worker = os.fork()
        if worker == 0:
            signal.alarm(300)
            failed = 1
            try:
                failed = int(abs(model.predict_proba(X) - expected).max() > 1e-4)
                model.partial_fit(X, y)
            finally:
                os._exit(failed)
        _, status = os.waitpid(worker, 0)
        print(backend, status)
"""
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@pytest.mark.thorough
@needs_fork
@pytest.mark.parametrize("used", NAMES)
def test_forked_workers_predict_and_learn(used):
    hosts = [name for name in ("numpy", "numba") if importlib.util.find_spec(name)]
    command = [sys.executable, "-c", FORK, used, ",".join(hosts)]
    root = Path(__file__).parents[1]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=600, check=False)
    assert run.stdout.splitlines() == [f"{host} 0" for host in hosts], run.stderr


@pytest.mark.thorough
@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning", "ignore:.*fork:RuntimeWarning")
def test_a_fork_amid_a_prediction():
    model = new({"backend": "numpy"}).fit(X[:300], Y[:300])
    with _runtime.one_blas_thread._lock:  # as if another thread were at it
        worker = os.fork()
        if worker == 0:
            import signal

            signal.alarm(300)
            try:
                model.predict_proba(X)
                os._exit(0)
            finally:
                os._exit(1)
    assert os.waitpid(worker, 0)[1] == 0


# Threads


def in_threads(function, n_threads=6, timeout=600):
    """What `function` returns in each thread, all begun at once; raises what it raises."""
    barrier = threading.Barrier(n_threads)

    def run(number):
        barrier.wait(timeout)
        return function(number)

    with ThreadPoolExecutor(n_threads) as executor:
        return [future.result(timeout) for future in [executor.submit(run, number) for number in range(n_threads)]]


@pytest.fixture
def frequent_switches():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.parametrize("backend", NAMES)
def test_threads_predict_while_one_learns_a_copy(backend, frequent_switches):
    params = {"layer_sizes": (6,), "aggregation": "layers", "max_iter": 1, "n_jobs": 2}
    model = new(params | {"backend": "numpy"}).fit(X[:300], Y[:300]).set_params(backend=backend)
    expected = model.predict_proba(X)
    learned = copy.copy(model).partial_fit(X[300:600], Y[300:600]).predict_proba(X)

    def work(number):
        if number == 0:
            return copy.copy(model).partial_fit(X[300:600], Y[300:600]).predict_proba(X)
        return [model.predict_proba(X) for _ in range(4)]

    mine, *others = in_threads(work)
    assert_allclose(mine, learned, **TOLERANCE)
    for probabilities in np.concatenate(others):
        assert_allclose(probabilities, expected, **TOLERANCE)
    assert_allclose(model.predict_proba(X), expected, **TOLERANCE)


@pytest.mark.parametrize("backend", thorough_but(NAMES, NAMES[-1]))
def test_the_first_predictions_in_threads(backend, frequent_switches):
    saved = pickle.dumps(new({"layer_sizes": (20, 10, 10, 10), "context_dim": 6, "max_iter": 1}).fit(X, Y))
    rows = X[:50]
    expected = pickle.loads(saved).set_params(backend=backend).predict_proba(rows)
    for _ in range(10):
        model = pickle.loads(saved).set_params(backend=backend)  # whose weights go to the backend when it predicts
        for probabilities in in_threads(lambda _: model.predict_proba(rows), 8):  # noqa: B023
            assert_allclose(probabilities, expected, **TOLERANCE)


def test_blas_keeps_its_threads():
    before = blas_threads()
    one, other = new()._kernels(10), new()._kernels(10)
    with one:
        other.__enter__()
    assert set(blas_threads()) <= {1}  # one has left, the other has not
    other.__exit__(None, None, None)
    assert blas_threads() == before
    in_threads(lambda _: new({"max_iter": 1}).fit(X[:100], Y[:100]))
    assert blas_threads() == before
