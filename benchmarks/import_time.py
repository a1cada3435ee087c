"""What ``from sklearn_gln import GLNClassifier`` costs over ``import sklearn.base``, which every estimator needs.

Each in a fresh interpreter, in turn, after one of each that fills the caches of files, bytecode and kernels::

    python benchmarks/import_time.py --json import_time.json
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
from pathlib import Path

import numpy as np
from common import describe_machine, measure_in_turn, positive_int, print_machine, print_table, summarise, write_json

ENVIRONMENT = os.environ | {"PYTHONDONTWRITEBYTECODE": ""}  # an installed package is compiled once
BASE, PACKAGE = "import sklearn.base", "from sklearn_gln import GLNClassifier, GLNRegressor"
MODEL = f"{PACKAGE}; X, y = load_digits(return_X_y=True); GLNClassifier().fit(X[:200], y[:200])"
CASES = {  # what is done before the clock starts, and what is timed
    "sklearn.base": ("pass", BASE),
    "sklearn_gln": ("pass", PACKAGE),
    "sklearn_gln after sklearn.base": (BASE, PACKAGE),
    "a fitted model": ("pass", f"from sklearn.datasets import load_digits; {MODEL}"),
}
TIMED = "from time import perf_counter; {}; start = perf_counter(); {}; print(1e3 * (perf_counter() - start))"


def milliseconds(before, statement):
    """How long a statement takes in a new interpreter."""
    command = [sys.executable, "-c", TIMED.format(before, statement)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True, env=ENVIRONMENT).stdout)  # noqa: S603


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=positive_int, default=25, metavar="N", help="of each (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write results, versions and machine to FILE")
    options = parser.parse_args(arguments)
    environment = describe_machine()
    print_machine(environment)
    measures = {name: partial(milliseconds, *case) for name, case in CASES.items()}
    measure_in_turn(measures, 1)
    samples = measure_in_turn(measures, options.repeats)
    summaries = {name: summarise(values) for name, values in samples.items()}
    over = float(np.median(np.subtract(samples["sklearn_gln"], samples["sklearn.base"])))
    print("min (median), milliseconds")
    print_table([{"import": name, "milliseconds": summary} for name, summary in summaries.items()], ".0f")
    print(f"sklearn_gln less sklearn.base, median of the pairs: {over:.0f} ms")
    if options.json:
        write_json(options.json, {"environment": environment, "milliseconds": summaries, "over": over})


if __name__ == "__main__":
    main()
