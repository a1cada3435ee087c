"""The cost of ``from sklearn_gln import GLNClassifier`` over ``import sklearn.base``, which every estimator needs.

Each in a fresh interpreter, in turn, after one of each that fills the caches of files, bytecode and kernels::

    python benchmarks/import_time.py --json
    python -X importtime -c "import sklearn.base, sklearn_gln"      # module by module

Milliseconds, minimum and median: of each from the start; of the package where sklearn.base is imported already, which
is what it adds; and to a fitted model: import, Numba's kernels from its cache, 200 digits learned. The difference of
the first two is reported, too. Where pandas and pyarrow are installed it is not the package's alone: scikit-learn
imports them, which takes tens of milliseconds more or less with how deep in the call stack it happens.
"""

import argparse
import os
import subprocess
import sys
from functools import partial

import numpy as np
from common import add_json_option, add_options, measure_in_turn, print_table, run_and_record, time_in_turn

ENVIRONMENT = os.environ | {"PYTHONDONTWRITEBYTECODE": ""}  # an installed package is compiled once
BASE, PACKAGE = "import sklearn.base", "from sklearn_gln import GLNClassifier, GLNRegressor"
MODEL = f"{PACKAGE}; X, y = load_digits(return_X_y=True); GLNClassifier().fit(X[:200], y[:200])"
CASES = {  # the statements before the clock starts, and those that are timed
    "sklearn.base": ("pass", BASE),
    "sklearn_gln": ("pass", PACKAGE),
    "sklearn_gln after sklearn.base": (BASE, PACKAGE),
    "a fitted model": ("pass", f"from sklearn.datasets import load_digits; {MODEL}"),
}
TIMED = "from time import perf_counter; {}; start = perf_counter(); {}; print(1e3 * (perf_counter() - start))"


def milliseconds(before, statement):
    """Milliseconds that a statement takes in a new interpreter."""
    command = [sys.executable, "-c", TIMED.format(before, statement)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True, env=ENVIRONMENT).stdout)  # noqa: S603


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.set_defaults(run=measure)
    add_options(parser, "--repeats", repeats=25)
    add_json_option(parser, "import_time")
    return run_and_record(parser.parse_args(arguments))


def measure(options):
    """Milliseconds of each statement, and how many the package takes over what it imports."""
    measures = {name: partial(milliseconds, *case) for name, case in CASES.items()}
    measure_in_turn(measures, 1)
    summaries = time_in_turn(measures, options.repeats)
    over = float(np.median(np.subtract(summaries["sklearn_gln"]["all"], summaries["sklearn.base"]["all"])))
    records = [{"import": name, "milliseconds": summary} for name, summary in summaries.items()]
    print("min (median), milliseconds")
    print_table(records, ".0f")
    print(f"sklearn_gln less sklearn.base, median of the pairs: {over:.0f} ms")
    return {"over": over}, records


if __name__ == "__main__":
    main()
