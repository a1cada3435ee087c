"""Faults at random moments and leaks over many calls: whether estimators keep what they promise.

All checks, which take an hour; some of them; a few trials of each::

    python benchmarks/endurance.py --json
    python benchmarks/endurance.py leaks --calls 100_000
    python benchmarks/endurance.py interrupt kill --quick

Needs skops and psutil (`pip install skops psutil`), and a system with signals and forks.

interrupt presses Ctrl-C at a random moment of a call, many times over, and then compares all that the estimator holds,
bit for bit: after `fit` it is as it was before, or has learned all; after `partial_fit` and `fit_stream` it has learned
the first `n_samples_seen_` rows and no other, and goes on to what an undisturbed one becomes; `save` and `predict`
leave it alone, and a file is the earlier or the new one. Neither threads nor temporary files are left, BLAS has its
threads back, and Ctrl-C its handler.

kill does the same with `kill -9` to a process that saves, or learns a stream with checkpoints: the file loads, and a
process that starts again ends with the model of an undisturbed one.

memory allows a process little more than it has (RLIMIT_AS), at random, and has it call. A call that runs out of memory
raises MemoryError, and leaves what Ctrl-C would leave. After `partial_fit`, rows of the block in which memory ran out
may be learned by some layers, which is counted apart. So are crashes: NumPy itself (2.4) may end in one where it lacks
the last kilobytes. Each call has a new process, so this takes long; a tenth of the trials is enough.

leaks repeats a call and measures the process at each twentieth: memory, threads, open files, objects of Python. What
grows is given per call, by a line through the second half, when the model has its size.

A promise that was not kept counts as broken, and the script fails. With --json, a run that was stopped goes on with
what is left.
"""

import argparse
import gc
import os
import pickle
import resource
import signal
import threading
from collections import Counter
from contextlib import contextmanager, suppress
from copy import deepcopy
from functools import cached_property
from itertools import pairwise, product
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, sleep
from unittest.mock import patch

import joblib
import numpy as np
from common import add_json_option, in_new_process, one_of, positive_int, print_table, run_tasks, seconds_of
from sklearn.base import clone
from threadpoolctl import ThreadpoolController, threadpool_limits

from sklearn_gln import GLNClassifier, GLNRegressor
from sklearn_gln.io import fit_stream, load, save

N_FEATURES, N_ROWS, N_CLASSES = 6, 1100, 3
SMALL = {"layer_sizes": (24, 6), "context_dim": 3, "max_iter": 2, "random_state": 0}  # a layer that threads share
GROWING = {"layer_sizes": (64, 64), "context_dim": 9}
MOST_BYTES = 2**26
RETURNED = {"MALLOC_MMAP_THRESHOLD_": "65536"}  # so that freed arrays go back to the system, and leave no room
ENDINGS = ("done", "no memory", "in part", "broken", "crashed")
BLAS_THREADS = 2  # so that one shows if it stays
LATE = 1.1  # how much longer than a call takes the moments reach
PATIENCE = 10.0  # seconds
POINTS = 20  # at which a leak is looked for
MEGABYTE = 2**20


def main(arguments=None):
    """Run what the arguments ask for; returns the records."""
    options = build_parser().parse_args(arguments)
    trials, calls = (options.trials, options.calls) if not options.quick else (3, 200)
    tasks = [
        {"check": check, **task, **({"calls": calls} if check == "leaks" else {"trials": trials}), "seed": options.seed}
        for check in options.checks or CHECKS
        for task in CHECKS[check][1]
    ]
    records = run_tasks(run_alone, tasks, options.json)
    for check in options.checks or CHECKS:
        print(f"\n{check}")
        print_table(({**record["what"]} for record in records if record["check"] == check), ".3g")
    broken = sum(record["what"].get("broken", 0) for record in records)
    if broken:
        raise SystemExit(f"{broken} promises broken")
    return records


def build_parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checks", nargs="*", metavar="CHECK", type=one_of(CHECKS), help=f"{', '.join(CHECKS)} (all)")
    parser.add_argument("--trials", type=positive_int, default=100, metavar="N", help="of each kind (%(default)s)")
    parser.add_argument("--calls", type=positive_int, default=100_000, metavar="N", help="for leaks (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="3 trials, 200 calls")
    parser.add_argument("--seed", type=int, default=0, help="of data, models and moments (%(default)s)")
    add_json_option(parser, "endurance")
    return parser


def run_alone(check, **task):
    """The findings of a check, in a new process."""
    return {"what": in_new_process(CHECKS[check][0], **task)}


def make_data(seed, n_rows=N_ROWS):
    """Rows X (n_rows, N_FEATURES) and classes y (n_rows,)."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_rows, N_FEATURES))
    return X, (X[:, 0] * X[:, 1] + 0.3 * rng.normal(size=n_rows) > 0).astype(int) + (X[:, 2] > 1)


def digest(model):
    """A number for all that an estimator holds."""
    return joblib.hash(model.__getstate__())


def how_far(n_rows_seen):
    return {0: "before", N_ROWS: "after"}.get(n_rows_seen, "between")


# Ctrl-C


class Promise:
    """A call, and the conditions that hold after an attempt at it; `outcome` names how far it came, or is None."""

    ends = 0, N_ROWS  # of what is learned at a time

    def __init__(self, model, X, y, folder):
        self.model, self.X, self.y, self.path = model, X, y, Path(folder, "model.skops")
        self.classes = np.arange(N_CLASSES)
        self._digests = {}
        self.prepare()

    def prepare(self):
        self.tried = deepcopy(self.model)

    def digest_of_rows(self, n):
        """Of a model that has learned the first rows."""
        if n not in self._digests:
            self._digests[n] = digest(self.learn_rows(deepcopy(self.model), 0, n))
        return self._digests[n]

    def learn_rows(self, model, start, stop):
        for first, last in pairwise(np.clip(self.ends, start, stop)):
            if first < last:
                model.partial_fit(self.X[first:last], self.y[first:last], self.classes)
        return model

    def outcome_of_rows(self):
        """How far a stream came; None if it does not go on from there as if nothing had been."""
        n = getattr(self.tried, "n_samples_seen_", 0)
        if n and digest(self.tried) != self.digest_of_rows(n):
            return None
        self.learn_rows(self.tried, n, N_ROWS)
        return how_far(n) if digest(self.tried) == self.digest_of_rows(N_ROWS) else None


class Fit(Promise):
    def __init__(self, model, X, y, folder):
        super().__init__(model.fit(X[:, ::-1], y), X, y, folder)

    def call(self):
        self.tried.fit(self.X, self.y)

    @cached_property
    def states(self):
        return {digest(self.model): "before", digest(deepcopy(self.model).fit(self.X, self.y)): "after"}

    def outcome(self):
        return self.states.get(digest(self.tried))


class PartialFit(Promise):
    def call(self):
        self.tried.partial_fit(self.X, self.y, self.classes)

    def outcome(self):
        return self.outcome_of_rows()


class Stream(Promise):
    ends = 0, 1, 90, 300, 650, 1001, N_ROWS

    def prepare(self):
        super().prepare()
        self.path.unlink(missing_ok=True)

    def call(self):
        self.learn(self.tried)

    def learn(self, model):
        fit_stream(model, self.chunks, classes=self.classes, checkpoint=self.path, every=0)

    def chunks(self, start):
        for rows in pairwise(self.ends[start:]):
            yield self.X[slice(*rows)], self.y[slice(*rows)]

    def outcome(self):
        resumed = deepcopy(self.model)
        self.learn(resumed)
        if digest(resumed) != self.digest_of_rows(len(self.X)) or digest(load(self.path)) != digest(resumed):
            return None
        return self.outcome_of_rows()


class Save(Promise):
    def __init__(self, model, X, y, folder):
        super().__init__(model.fit(X, y), X, y, folder)

    def prepare(self):
        super().prepare()
        save(self.earlier, self.path)

    @cached_property
    def earlier(self):
        return clone(self.model).fit(self.X[:300], self.y[:300])

    def call(self):
        save(self.tried, self.path)

    @cached_property
    def states(self):
        return {digest(self.earlier): "before", digest(self.model): "after"}

    def outcome(self):
        return self.states.get(digest(load(self.path))) if digest(self.tried) == digest(self.model) else None


class Predict(Promise):
    def __init__(self, model, X, y, folder):
        super().__init__(model.fit(X, y), X, y, folder)
        self.expected = model.predict_proba(X)

    def prepare(self):
        super().prepare()
        self.done = False

    def call(self):
        self.tried.predict_proba(self.X)
        self.done = True

    def outcome(self):
        same = digest(self.tried) == digest(self.model)
        same = same and np.array_equal(self.tried.predict_proba(self.X), self.expected)
        return ("after" if self.done else "before") if same else None


PROMISES = {"fit": Fit, "partial_fit": PartialFit, "fit_stream": Stream, "save": Save, "predict": Predict}


def interrupt(call, backend, n_jobs, trials, seed):
    """Counts of the outcomes of a call when Ctrl-C came at random moments."""
    rng, counts = np.random.default_rng(seed), Counter(before=0, between=0, after=0, broken=0)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells turn it off in what they run in the background
    with threadpool_limits(BLAS_THREADS, user_api="blas"), TemporaryDirectory() as folder:
        promise = PROMISES[call](GLNClassifier(**SMALL, backend=backend, n_jobs=n_jobs), *make_data(seed), folder)
        promise.call()  # compiles
        surroundings, threads = look_around(folder), set(threading.enumerate())
        seconds = min(seconds_to_call(promise) for _ in range(3))
        for moment in LATE * seconds * rng.random(trials):
            promise.prepare()
            with suppress(KeyboardInterrupt), pressed_after(moment):
                promise.call()
            kept = settled(surroundings, threads, folder)
            counts[promise.outcome() if kept else "broken"] += 1
    counts["broken"] += counts.pop(None, 0)
    return {"call": call, "backend": backend, "n_jobs": n_jobs, "milliseconds": 1e3 * seconds, **counts}


@contextmanager
def pressed_after(seconds):
    """Press Ctrl-C after this time, unless the block has ended."""
    signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def look_around(folder):
    """The things that a call leaves as it found them: BLAS libraries' threads, Ctrl-C's handler, files half written."""
    libraries = ThreadpoolController().select(user_api="blas").lib_controllers
    blas = {library.filepath: library.num_threads for library in libraries}
    return blas, signal.getsignal(signal.SIGINT), list(Path(folder).glob("*.part"))


def settled(surroundings, threads, folder):
    """Whether all is as it was, and threads started since have ended; some may be about to.

    Threads that were there before are others': they may end at any time.
    """
    deadline = perf_counter() + PATIENCE
    while look_around(folder) != surroundings or set(threading.enumerate()) - threads:
        if perf_counter() > deadline:
            return False
        sleep(0.001)
    return True


def seconds_to_call(promise):
    promise.prepare()
    return seconds_of(promise.call)


# kill -9


def kill(call, trials, seed):
    """As `interrupt`, of a process that is killed; it is forked from one that has all it needs."""
    context = get_context("fork")
    rng, counts = np.random.default_rng(seed), Counter(before=0, between=0, after=0, broken=0)
    with TemporaryDirectory() as folder:
        promise = PROMISES[call](GLNClassifier(**SMALL), *make_data(seed), folder)
        promise.call()
        seconds = min(seconds_to_call(promise) for _ in range(3))
        for moment in LATE * seconds * rng.random(trials):
            promise.prepare()
            child = context.Process(target=promise.call)
            child.start()
            child.join(moment)
            child.kill()
            child.join()
            reached = load(promise.path) if promise.path.exists() else None
            outcome = promise.outcome()
            if call == "fit_stream" and outcome:  # what the parent learns, where nothing was killed, says nothing
                n = 0 if reached is None else reached.n_samples_seen_
                known = reached is None or digest(reached) == promise.digest_of_rows(n)
                outcome = how_far(n) if known else None
            counts[outcome or "broken"] += 1
            for part in Path(folder).glob("*.part"):  # which `save` says may be left
                part.unlink()
    return {"call": call, "milliseconds": 1e3 * seconds, **counts}


# Memory


def memory(call, backend, trials, seed):
    """Counts of how a call ended when memory was limited, each time in a new process."""
    rng, context = np.random.default_rng(seed), get_context("spawn")  # forks were found to escape the limit
    counts = dict.fromkeys(ENDINGS, 0)
    with patch.dict(os.environ, RETURNED):
        for n_bytes in MOST_BYTES * rng.random(trials):
            child = context.Process(target=attempt, args=(call, backend, int(n_bytes), seed))
            child.start()
            child.join()
            counts[ENDINGS[max(child.exitcode, -1)]] += 1
    return {"call": call, "backend": backend, **counts}


def attempt(call, backend, n_bytes, seed):
    """Make a call with this much more memory, and end the process with the number of its ending."""
    ending = "broken"
    with suppress(Exception), TemporaryDirectory() as folder:
        promise = PROMISES[call](GLNClassifier(**SMALL | GROWING, backend=backend), *make_data(seed), folder)
        promise.call()
        ending = end_of(promise, n_bytes)
    os._exit(ENDINGS.index(ending))


def end_of(promise, n_bytes):
    promise.prepare()
    ending = "done"
    try:
        with at_most(n_bytes):
            promise.call()
    except Exception as error:  # zipfile's, where it cleans up after the first
        if not any(isinstance(cause, MemoryError) for cause in causes(error)):
            raise
        ending = "no memory"
    n = getattr(promise.tried, "n_samples_seen_", 0)
    if ending == "done" or not n or not isinstance(promise, PartialFit):
        return ending if promise.outcome() else "broken"
    deepcopy(promise.tried)  # which checks that what was learned fits together
    expected = promise.learn_rows(deepcopy(promise.model), 0, n)
    same = np.array_equal(promise.tried.predict_proba(promise.X), expected.predict_proba(promise.X))
    promise.learn_rows(promise.tried, n, N_ROWS)
    whole = promise.tried.n_samples_seen_ == N_ROWS and np.isfinite(promise.tried.predict_proba(promise.X)).all()
    return "broken" if not whole else ending if same else "in part"


def causes(error):
    while error is not None:
        yield error
        error = error.__context__


@contextmanager
def at_most(n_bytes):
    """Have this process take no more memory than it has now and this many bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + n_bytes, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


# Leaks


def one_row(X, y):
    model = GLNClassifier(**SMALL)
    return lambda i: model.partial_fit(X[i : i + 1], y[i : i + 1], range(N_CLASSES))


def chunk(X, y, **params):
    model = GLNClassifier(**SMALL | params)
    return lambda i: model.partial_fit(*rows_from(i, X, y), range(N_CLASSES))


def chunk_of_targets(X, y):
    model = GLNRegressor(**SMALL)
    return lambda i: model.partial_fit(*rows_from(i, X, X[:, 0] + y))


def predict(X, y, **params):
    model = GLNClassifier(**SMALL | params).fit(X, y)
    return lambda i: model.predict_proba(rows_from(i, X, y)[0])


def whole_life(X, y):
    """Clone, fit, pickle, copy."""
    model = GLNClassifier(**SMALL, warm_start=True)

    def live(i):
        fitted = clone(model).fit(*rows_from(i, X, y))
        pickle.loads(pickle.dumps(deepcopy(fitted).fit(*rows_from(i, X, y))))  # noqa: S301 (its own)

    return live


def refused(X, y):
    """Calls that fail: once for a label, once for the number of features."""
    model = GLNClassifier(**SMALL).partial_fit(X, y, range(N_CLASSES))

    def fail(i):
        rows, labels = rows_from(i, X, y)
        with suppress(ValueError):
            model.partial_fit(rows, labels + N_CLASSES)
        with suppress(ValueError):
            model.predict(rows[:, 1:])

    return fail


def files(X, y):
    folder = TemporaryDirectory()
    model, path = GLNClassifier(**SMALL).fit(X, y), Path(folder.name, "model.skops")

    def there_and_back(_):
        save(model, path)
        load(path)
        return folder  # kept as long as this is called

    return there_and_back


def rows_from(i, X, y, n_rows=64):
    start = i * n_rows % (len(X) - n_rows)
    return X[start : start + n_rows], y[start : start + n_rows]


LEAKS = {  # the function that makes the call, and its share of the calls asked for
    "partial_fit, 1 row": (one_row, 1),
    "partial_fit, 64 rows": (chunk, 1),
    "partial_fit, 64 rows, numpy": (lambda X, y: chunk(X, y, backend="numpy"), 0.1),
    "partial_fit, 64 rows, n_jobs=2": (lambda X, y: chunk(X, y, n_jobs=2), 0.1),
    "partial_fit, 64 targets": (chunk_of_targets, 0.1),
    "predict, 64 rows": (predict, 1),
    "predict, 64 rows, n_jobs=2": (lambda X, y: predict(X, y, n_jobs=2), 0.1),
    "clone, fit, copy, pickle": (whole_life, 0.01),
    "refused calls": (refused, 0.1),
    "save, load": (files, 0.01),
}


def leaks(call, calls, seed):
    """Growth of the process while a call is repeated."""
    import psutil

    process, (make, share) = psutil.Process(), LEAKS[call]
    n_calls = max(POINTS, int(share * calls))
    X, y = make_data(seed, N_ROWS if share < 1 or call != "partial_fit, 1 row" else n_calls)
    repeat, points, start = make(X, y), [], perf_counter()
    for i in range(n_calls):
        repeat(i)
        if (i + 1) * POINTS // n_calls > i * POINTS // n_calls:
            gc.collect()
            points.append(
                (i + 1, process.memory_info().rss, process.num_threads(), process.num_fds(), len(gc.get_objects()))
            )
    seconds = perf_counter() - start
    at, memory, threads, handles, objects = np.array(points[POINTS // 2 - 1 :]).T
    return {
        "call": call,
        "calls": n_calls,
        "seconds": seconds,
        "MB": memory[-1] / MEGABYTE,
        "bytes_per_call": float(np.polyfit(at, memory, 1)[0]),
        "threads": f"{threads[0]} to {threads[-1]}",
        "files": f"{handles[0]} to {handles[-1]}",
        "objects": f"{objects[0]} to {objects[-1]}",
        "MB_at_points": [round(point[1] / MEGABYTE, 2) for point in points],
    }


CHECKS = {
    "interrupt": (
        interrupt,
        [
            {"call": call, "backend": backend, "n_jobs": n_jobs}
            for call, backend, n_jobs in product(PROMISES, ("numba", "numpy"), (1, 2))
        ],
    ),
    "kill": (kill, [{"call": call} for call in ("save", "fit_stream")]),
    "memory": (
        memory,
        [
            {"call": call, "backend": backend}
            for call, backend in product(("fit", "partial_fit", "save"), ("numba", "numpy"))
        ],
    ),
    "leaks": (leaks, [{"call": call} for call in LEAKS]),
}

if __name__ == "__main__":
    main()
