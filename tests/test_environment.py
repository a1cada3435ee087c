"""What surrounds a call does not change it: NumPy's error state, Numba's cache on disk, errors of users' functions."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sklearn_gln import GLNClassifier, GLNRegressor
from tests.helpers import thorough_but

RNG = np.random.default_rng(0)
N = 700
X = RNG.normal(size=(N, 4))
LABELS = RNG.integers(3, size=N)
TARGETS = np.sin(X[:, 0]) + X[:, 1] + 0.1 * RNG.normal(size=N)
SMALL = {"layer_sizes": (6, 6), "context_dim": 3, "random_state": 0}


def everything():
    """All that learning and prediction give."""
    answers = []
    for likelihood in ("squared", "gaussian"):
        model = GLNRegressor(**SMALL, likelihood=likelihood).fit(X, TARGETS)
        answers += [*model.predict(X, return_std=True), model.predict_interval(X), *model.staged_predict(X)]
        model = GLNRegressor(**SMALL, likelihood=likelihood, dtype="float64", max_iter=1)
        answers.append(model.fit(1e-200 * X, TARGETS, sample_weight=np.full(N, 1e-200)).predict(X))
        model = GLNRegressor(**SMALL, likelihood=likelihood, half_life=100)
        answers += model.progressive_predict(X, np.where(np.arange(N) < 300, 0.0, TARGETS), return_std=True)
    model = GLNClassifier(**SMALL, eps=1e-300).fit(X, LABELS)
    answers += [model.predict_proba(100 * X), model.predict_log_proba(X), model.decision_function(X), model.predict(X)]
    answers += [*model.staged_predict_proba(X), *model.staged_predict(X)]
    model = GLNClassifier(**SMALL, half_life="mixed")
    answers.append(model.progressive_predict_proba(X, LABELS, classes=[0, 1, 2]))
    return answers


@pytest.fixture(scope="module")
def expected():
    return everything()


@pytest.mark.parametrize("reaction", thorough_but(["raise", "warn", "print", "ignore"], "raise"))
def test_numpys_error_state_does_not_matter(reaction, expected, capfd):
    with np.errstate(all=reaction):
        before = np.geterr()
        for got, known in zip(everything(), expected, strict=True):
            assert_array_equal(got, known)
        assert np.geterr() == before
    assert not capfd.readouterr().out


# StopIteration of users' functions must not end a loop of ours, or of theirs, without a word.


def stop(*_):
    raise StopIteration


@pytest.mark.parametrize("parameter", ["base_predictor", "learning_rate"])
@pytest.mark.parametrize(("kind", "y"), [(GLNClassifier, LABELS), (GLNRegressor, TARGETS)])
@pytest.mark.parametrize("call", ["fit", "partial_fit"])
def test_stop_iteration_of_a_callable_becomes_an_error(kind, y, parameter, call):
    model = kind(**SMALL, **{parameter: stop})
    options = {"classes": [0, 1, 2]} if kind is GLNClassifier and call == "partial_fit" else {}
    with pytest.raises(ValueError, match=f"{parameter}.*raised StopIteration"):
        getattr(model, call)(X, y, **options)
    assert not hasattr(model, "n_features_in_")


def test_stop_iteration_late_or_in_prediction():
    calls = []

    def stop_later(rows):
        calls.append(len(rows))
        return rows if len(calls) < 3 else stop()

    model = GLNRegressor(**SMALL, base_predictor=stop_later).partial_fit(X, TARGETS).partial_fit(X, TARGETS)
    for call in (
        lambda: model.predict(X),
        lambda: model.partial_fit(X, TARGETS),
        lambda: list(model.staged_predict(X)),
    ):
        with pytest.raises(ValueError, match="StopIteration"):
            call()
    assert model.n_samples_seen_ == 2 * N


def test_other_errors_of_a_callable_pass():
    with pytest.raises(ZeroDivisionError):
        GLNRegressor(**SMALL, base_predictor=lambda rows: 1 // 0).fit(X, TARGETS)
    with pytest.raises(RuntimeError, match="as it is"):
        GLNRegressor(**SMALL, base_predictor=lambda rows: (_ for _ in ()).throw(RuntimeError("as it is"))).fit(
            X, TARGETS
        )


# Numba's cache

numba = pytest.importorskip("numba", reason="Numba compiles the kernels")
compiled = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """Make a compiled function with a cache in a folder of its own, as a new process would."""
    from sklearn_gln.kernels import _jit

    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(_jit._Cache, "warned", False)
    return lambda: _jit._jit()(_double)


def _double(x):
    return x + x


def files(tmp_path, kind):
    return list((tmp_path / "cache").glob(f"*/*.{kind}"))


@compiled
def test_kernels_are_kept(kernel, tmp_path):
    assert kernel()(2.0) == 4.0
    assert len(files(tmp_path, "nbi")) == len(files(tmp_path, "nbc")) == 1
    again = kernel()
    assert again(2.0) == 4.0
    assert sum(again.stats.cache_hits.values()) == 1


DAMAGE = {
    "empty": lambda data: b"",
    "truncated": lambda data: data[: len(data) // 2],
    "garbage": lambda data: np.random.default_rng(0).bytes(200),
    "another pickle": lambda data: b"\x80\x04K\x01.",
}


@compiled
@pytest.mark.parametrize("kind", ["nbi", "nbc"])
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_cache_costs_time_only(kernel, tmp_path, kind, damage):
    kernel()(2.0)
    (file,) = files(tmp_path, kind)
    file.write_bytes(damage(file.read_bytes()))
    model = kernel()
    if kind == "nbi" and damage(b"") == b"\x80\x04K\x01.":  # the index of another version is an old one
        assert model(2.0) == 4.0
        return
    with pytest.warns(RuntimeWarning, match=f"cache.*compiled again.*Delete the folder {file.parent}") as warned:
        assert model(2.0) == 4.0
    assert model(3) == 6  # compiled too, and in silence
    assert kernel()(2.0) == 4.0
    assert len(warned) == 1


@compiled
@pytest.mark.parametrize("method", ["_save_index", "_save_data"])
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT])
def test_a_full_disk_costs_time_only(kernel, monkeypatch, method, error):
    def fail(*_):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr("numba.core.caching.IndexDataCacheFile." + method, fail)
    with pytest.warns(RuntimeWarning, match="cache cannot be used|cache of compiled kernels.*free space"):
        assert kernel()(2.0) == 4.0


@compiled
def test_a_folder_that_vanishes_or_is_a_file(kernel, tmp_path):
    model = kernel()
    (folder,) = (tmp_path / "cache").iterdir()
    folder.rmdir()
    assert model(2.0) == 4.0  # it was made again
    assert files(tmp_path, "nbc")
    for file in folder.iterdir():
        file.unlink()
    model = kernel()
    folder.rmdir()
    folder.write_bytes(b"")
    with pytest.warns(RuntimeWarning, match="Delete the folder"):
        assert model(2.0) == 4.0


@compiled
@pytest.mark.thorough  # a process compiles all kernels: 20 s
def test_a_process_with_a_damaged_cache_fits(tmp_path):
    code = (
        "import numpy as np; from sklearn_gln import GLNClassifier; X = np.random.default_rng(0).normal(size=(90, 3));"
        "print(GLNClassifier(backend='numba', random_state=0).fit(X, X[:, 0] > 0).predict_proba(X)[0, 0])"
    )

    def run():
        variables = os.environ | {
            "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
            "PYTHONPATH": str(Path(__file__).parents[1]),
        }
        return subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True)

    first = run()
    assert not first.stderr
    for file in [*files(tmp_path, "nbi"), *files(tmp_path, "nbc")]:
        file.write_bytes(file.read_bytes()[:-20])
    second = run()
    assert second.stdout == first.stdout
    assert second.stderr.count("RuntimeWarning") == 1
