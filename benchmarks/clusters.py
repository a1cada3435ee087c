"""Several processes on one machine, by loopback: what engines cost and save, against one process in the same run.

A grid search with joblib's processes (loky), a local Dask cluster and, where it is installed, Ray::

    python benchmarks/clusters.py search --json

Optuna's Hyperband over `partial_fit`, which gives up on trials early, against learning every trial to its end::

    python benchmarks/clusters.py optuna --json

The network of `many_classes.py`, its outputs shared out over processes, against one process and against threads::

    python benchmarks/clusters.py sharded --json

`--quick` makes each a matter of seconds. What is compared is measured in turn; a first, smaller job, which is thrown
away, has the workers import and compile, and is reported apart as the warm-up. Dask and Ray are started here as
LocalCluster and ray.init would be by hand; their schedulers listen on 127.0.0.1, without dashboards.
"""

import argparse
import os
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from importlib.util import find_spec

import numpy as np
from common import (
    add_command,
    add_options,
    positive_int,
    print_table,
    ratio,
    run_and_record,
    seconds_of,
    time_in_turn,
)
from internals import weight_bytes
from joblib import cpu_count, parallel_config
from many_classes import NETWORK, make_classes
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, train_test_split

from sklearn_gln import GLNClassifier

WARM_UP_ROWS = 2048
ENGINES = ("loky", "dask", "ray")
GRID = {"context_dim": [2, 4, 6], "learning_rate_init": [1.0, 4.0]}


def main(arguments=None):
    options = build_parser().parse_args(arguments)
    if options.quick:
        vars(options).update(options.run.quick)
    return run_and_record(options)


def build_parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    command = add_engine_command(subparsers, search, "a grid search on each engine")
    add_engine_options(command)
    add_options(command, "--rows", rows=1797)
    command = add_engine_command(subparsers, optuna, "Hyperband over partial_fit")
    command.add_argument("--trials", type=positive_int, default=60, metavar="N")
    command.add_argument("--chunks", type=positive_int, default=27, metavar="N", help="calls that a trial takes")
    command = add_engine_command(subparsers, sharded, "outputs shared out over processes")
    add_engine_options(command)
    add_options(command, "--rows", rows=20_000)
    command.add_argument("--classes", type=positive_int, nargs="+", default=[10, 100, 1000], metavar="N")
    command.add_argument("--features", type=positive_int, default=64, metavar="N")
    return parser


def add_engine_command(subparsers, run, summary):
    parser = add_command(subparsers, run, summary, "clusters")
    add_options(parser, "--repeats", repeats=3)
    parser.add_argument("--quick", action="store_true", help="a small form")
    return parser


def add_engine_options(parser):
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=["loky", "dask"])
    parser.add_argument("--n-jobs", type=positive_int, default=max(2, cpu_count()), metavar="N", help="workers")


@contextmanager
def started(engines, n_jobs):
    """Contexts in which each engine is that of joblib, while its workers run."""
    with ExitStack() as running:
        contexts = {"one process": nullcontext}
        for engine in engines:
            if engine == "dask":
                from distributed import Client, LocalCluster

                cluster = LocalCluster(
                    n_workers=n_jobs, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
                )
                running.enter_context(cluster)
                running.enter_context(Client(cluster))
            elif engine == "ray":
                start_ray(n_jobs, running)
            contexts[engine] = partial(parallel_config, engine)
        yield contexts


def start_ray(n_jobs, running):
    if find_spec("ray") is None:
        raise ImportError("--engines ray needs a package that is not installed: `pip install ray`")
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # or it writes a token into the home folder
    import ray
    from ray.util.joblib import register_ray

    ray.init(num_cpus=n_jobs, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
    running.callback(ray.shutdown)
    register_ray()


# Subcommand search


def search(options):
    """Seconds of a grid search; that all engines find the same is checked."""
    X, y = (array[: options.rows] for array in load_digits(return_X_y=True))
    scores = {}

    def run(engine, context, rows):
        n_jobs = None if engine == "one process" else options.n_jobs
        found = GridSearchCV(GLNClassifier(random_state=0), GRID, cv=5, n_jobs=n_jobs)
        with context():
            seconds = seconds_of(found.fit, X[:rows], y[:rows])
        scores[engine] = found.cv_results_["mean_test_score"]
        return seconds

    with started(options.engines, options.n_jobs) as contexts:
        warm_up = {engine: run(engine, context, 300) for engine, context in contexts.items()}
        measures = {engine: partial(run, engine, context, options.rows) for engine, context in contexts.items()}
        seconds = time_in_turn(measures, options.repeats)
    for engine in contexts:
        np.testing.assert_allclose(scores[engine], scores["one process"])
    return {"grid": GRID}, report(seconds, warm_up)


def report(seconds, warm_up):
    runs = [
        {
            "engine": name,
            "seconds": seconds[name],
            "speed_up": ratio(seconds["one process"], seconds[name]),
            "warm_up_seconds": warm_up[name],
        }
        for name in seconds
    ]
    print("min (median)")
    print_table(runs)
    return runs


search.quick = {"rows": 400, "repeats": 1}

# Subcommand optuna


def optuna(options):
    """Rows learned and the best accuracy on held-out rows, with and without pruning, by the same trials."""
    import optuna as package

    package.logging.set_verbosity(package.logging.WARNING)
    X, X_val, y, y_val = train_test_split(*load_digits(return_X_y=True), test_size=0.3, random_state=0)
    chunks = np.array_split(np.arange(len(X)), options.chunks)

    def objective(trial):
        model = GLNClassifier(
            context_dim=trial.suggest_int("context_dim", 0, 8),
            offset_scale=trial.suggest_float("offset_scale", 0, 3),
            learning_rate_init=trial.suggest_float("learning_rate_init", 0.01, 16, log=True),
            random_state=0,
        )
        for step, rows in enumerate(chunks, start=1):
            model.partial_fit(X[rows], y[rows], classes=np.arange(10))
            learned.append(len(rows))
            accuracy = model.score(X_val, y_val)
            trial.report(accuracy, step)
            if trial.should_prune():
                raise package.TrialPruned
        return accuracy

    pruners = {
        "none": package.pruners.NopPruner(),
        "Hyperband": package.pruners.HyperbandPruner(1, options.chunks, reduction_factor=3),
    }
    runs = []
    for seed in range(options.repeats):
        for name, pruner in pruners.items():
            learned = []
            sampler = package.samplers.RandomSampler(seed=seed)
            study = package.create_study(direction="maximize", sampler=sampler, pruner=pruner, study_name=f"{seed}")
            seconds = seconds_of(study.optimize, objective, n_trials=options.trials)
            states = [trial.state.name for trial in study.trials]
            runs.append(
                {
                    "pruner": name,
                    "seed": seed,
                    "best_accuracy": study.best_value,
                    "rows_learned": sum(learned),
                    "pruned": states.count("PRUNED"),
                    "trials": len(states),
                    "seconds": seconds,
                }
            )
    print_table(runs, ".3f")
    return {}, runs


optuna.quick = {"trials": 12, "chunks": 9, "repeats": 1}

# Subcommand sharded


def sharded(options):
    """Seconds of one pass in float64, and how far its predictions are from those of one process."""
    with started(options.engines, options.n_jobs) as contexts:
        contexts = {"one process": nullcontext, f"{options.n_jobs} threads": nullcontext} | contexts
        return {}, [sharded_case(options, contexts, n_classes) for n_classes in options.classes]


def sharded_case(options, contexts, n_classes):
    X, y = make_classes(options.rows, n_classes, options.features)
    logits, n_bytes = {}, {}

    def run(engine, n_rows):
        n_jobs = 1 if engine == "one process" else options.n_jobs
        model = GLNClassifier(**NETWORK, dtype="float64", n_jobs=n_jobs, random_state=0)
        with contexts[engine]():
            seconds = seconds_of(model.partial_fit, X[:n_rows], y[:n_rows], classes=np.arange(n_classes))
        logits[engine] = model.decision_function(X[:1000])
        n_bytes["weights_bytes"] = weight_bytes(model)
        return seconds

    warm_up = {engine: run(engine, WARM_UP_ROWS) for engine in contexts}
    seconds = time_in_turn({engine: partial(run, engine, len(X)) for engine in contexts}, options.repeats)
    differences = {engine: float(abs(found - logits["one process"]).max()) for engine, found in logits.items()}
    print(f"{n_classes} classes: logits differ from those of one process by up to {max(differences.values()):.1e}")
    return {"classes": n_classes, "largest_difference": differences} | n_bytes | {"runs": report(seconds, warm_up)}


sharded.quick = {"rows": 4096, "classes": [10, 100], "repeats": 1}


if __name__ == "__main__":
    main()
