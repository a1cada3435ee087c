"""What benchmarks/endurance.py and numerics.py promise, measured by their own functions on few trials and few rows."""

import os
import signal
from importlib.util import find_spec

import pytest

pytestmark = pytest.mark.thorough

BACKENDS = [name for name in ("numpy", "numba") if find_spec(name)]
ON_LINUX = pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="limits of memory are read from /proc")
HAS_TIMERS = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="Ctrl-C is pressed by a timer")


@pytest.fixture
def endurance(load):
    pytest.importorskip("skops")
    return load("endurance")


@pytest.fixture
def found_alone(endurance):
    """Findings of a check for several calls, in one new process: it takes longer to start than a call takes."""

    def find(check, names, **task):
        return endurance.in_new_process(found_in_turn, check, names, task)

    return find


def found_in_turn(check, names, task):
    import endurance

    return [endurance.CHECKS[check][0](call=name, **task) for name in names]


@pytest.fixture
def numerics(load):
    return load("numerics")


# Faults and leaks, in new processes


@HAS_TIMERS
@pytest.mark.parametrize(("backend", "n_jobs"), [("numpy", 1), ("auto", 2)])
def test_ctrl_c_breaks_no_promise(backend, n_jobs, endurance, found_alone):
    for found in found_alone("interrupt", [*endurance.PROMISES], backend=backend, n_jobs=n_jobs, trials=6, seed=0):
        assert found["broken"] == 0, found
        assert found["before"] + found["between"] + found["after"] == 6, found


@pytest.mark.skipif(not hasattr(os, "fork"), reason="what is killed is forked")
def test_kill_breaks_no_promise(found_alone):
    for found in found_alone("kill", ["save", "fit_stream"], trials=10, seed=0):
        assert found["broken"] == 0, found
        assert found["before"] + found["between"] + found["after"] == 10, found


@ON_LINUX
@pytest.mark.parametrize(("call", "backend"), [("fit", "numpy"), ("partial_fit", "auto"), ("save", "numpy")])
def test_lack_of_memory_breaks_no_promise(call, backend, endurance):
    found = endurance.memory(call, backend, trials=2, seed=0)  # each trial in a new process
    assert found["broken"] == 0


@ON_LINUX
def test_leaks_are_bounded(found_alone):
    pytest.importorskip("psutil")
    calls = ["predict, 64 rows", "refused calls", "partial_fit, 64 rows", "partial_fit, 1 row"]
    for call, found in zip(calls, found_alone("leaks", calls, calls=3000, seed=0), strict=True):
        assert found["bytes_per_call"] < 1000, found  # 64 rows that were kept would be 3,000, and one row an object
        waiting = 2048 if call == "partial_fit, 1 row" else 32  # chunks, an object each, that the head keeps
        for grows, allowed in {"threads": 0, "files": 0, "objects": waiting + 10}.items():
            first, last = map(int, found[grows].split(" to "))
            assert last <= first + allowed, (grows, found)  # of one object a call there would be 1,500 more


# Numbers


def run(module, command, tmp_path, rows, *options):
    return module.main([command, "--rows", str(rows), "--out", str(tmp_path), *options])


def test_backends_agree_with_the_oracle_in_both_precisions(numerics, tmp_path):
    for record in run(numerics, "precision", tmp_path, 1000, "--backends", *BACKENDS):
        *runs, oracle = record["runs"]
        assert oracle["largest"] == 0
        for found in runs:
            assert found["largest"] < (1e-13 if "float64" in found["of"] else 1e-5), found
            assert found["other context"] == 0, found
            assert found["loss"] == pytest.approx(oracle["loss"], abs=2e-6), found
            assert found["score"] == pytest.approx(oracle["score"], abs=2e-3), found


def test_offsets_cancel(numerics, tmp_path):
    for record in run(numerics, "cancellation", tmp_path, 1000):
        counts_as_constant = record["spread"] < 5e-12 * record["offset"]
        if record["digits"] > 2 and not counts_as_constant:
            assert record["score with"] == pytest.approx(record["score without"], abs=0.01), record
            assert record["loss with"] == pytest.approx(record["loss without"], abs=0.01), record
            assert max(record["mean error"], record["deviation error"]) < 1e-4, record


def test_preconditioners_stay_positive(numerics, tmp_path):
    for record in run(numerics, "preconditioner", tmp_path, 1000):
        assert record["finite"], record
        assert record["warnings"] == 0, record
        assert record["asymmetry"] < 1e-6, record
        assert record["least eigenvalue"] > 0.02, record
        assert record["condition"] < 100, record
        if record["features"] != "more features than rows":  # which are noise
            by_chance = 0.5 if record["kind"] == "regressor" else 0.06  # of where 12 neurons' two cuts are
            assert record["loss with"] < record["loss without"] + by_chance, record


def test_years_of_stream(numerics, tmp_path):
    pytest.importorskip("numba", reason="years take long without it")
    excess = {}
    for record in run(numerics, "years", tmp_path, 100_000):
        first, *_, last = record["decades"]
        forgets = "half_life" in record["params"]
        assert last["moments"] < 1 if forgets else last["moments"] == 1, record
        assert 0 < last["excess"] < min(0.02, first["excess"] / 2), record
        assert last["largest"] < 5, record
        assert last["moved"] < 2e-4, record
        assert last.get("sd", 0.3) == pytest.approx(0.3, abs=0.03), record
        alike = excess.setdefault((record["kind"], record["rows"], str(record["params"])), last["excess"])
        assert last["excess"] == pytest.approx(alike, abs=1e-5), record  # float32 and float64
