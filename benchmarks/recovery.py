"""How many rows after a sudden change a learner of streams needs until it has most of what it will gain.

The streams of `streams.py` whose concept changes at known rows, 5,000 rows each; needs river::

    python benchmarks/recovery.py --seeds 0 1 2 --json
    python benchmarks/recovery.py --streams led-swap --models GLN --param half_life=None

After each change, the log-loss (means over seeds) begins at a level, the mean of the first 50 rows, and ends at
another, the mean of the last quarter before the next change; what lies between is the gain. Rows are counted from the
change to the end of the first window of 100 rows, of those that begin every 25, whose mean has 90 % of the gain. Where
a model gains less than 0.1, there is too little to tell and nothing is shown. As a model that gains more has further to
go, "to common" counts the rows to one level for all: the highest, of all models, at which one has 90 % of its gain.

With --json, a run that was stopped goes on where it was, and one that is complete only prints its table again.
"""

import argparse
import json

import numpy as np
import pandas as pd
from common import add_json_option, add_options, positive_int, run_tasks, show_frame
from streams import MIN_PROBABILITY, MOA, MODELS, STREAMS, SYNTHETIC_ROWS, learn_timed

BIN_ROWS = 25
LEVEL_BINS = 2  # right after a change
WINDOW_BINS = 4
SHARE = 0.9
MIN_GAIN = 0.1
CHANGING = [name for name, make in STREAMS["drifting"].items() if make(SYNTHETIC_ROWS, 0).changes]


def main(arguments=None):
    """Run what the arguments ask for; returns a record for each stream, model and seed."""
    options = build_parser().parse_args(arguments)
    params = json.loads(json.dumps(dict(options.param)))  # tuples would come back from the file as lists
    tasks = [
        {"stream": stream, "model": model, "seed": seed, "rows": options.rows}
        | ({"params": params} if model == "GLN" else {})
        for stream in options.streams
        for seed in options.seeds
        for model in options.models
    ]
    records = run_tasks(run_once, tasks, options.json, n_jobs=options.jobs)
    print_table(records)
    return records


def build_parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    models = [name for name in MODELS if name not in MOA]
    parser.add_argument("--streams", nargs="+", choices=CHANGING, default=CHANGING, metavar="NAME", help="all")
    parser.add_argument("--models", nargs="+", choices=models, default=["GLN", "ARF"], metavar="NAME", help="GLN ARF")
    parser.add_argument("--rows", type=positive_int, default=SYNTHETIC_ROWS, metavar="N", help="%(default)s")
    add_options(parser, "--seeds", "--param", "--jobs")
    add_json_option(parser, "recovery")
    return parser


def run_once(stream, model, seed, rows, params=None):
    """The losses of one model on a stream, as means of each 25 rows after each change."""
    made = STREAMS["drifting"][stream](rows, seed)
    predictions, _ = learn_timed(MODELS[model], made, seed, params or {})
    losses = -np.log(np.clip(predictions[np.arange(rows), made.y], MIN_PROBABILITY, 1))
    after = [losses[start:stop] for start, stop in zip(made.changes, [*made.changes[1:], rows], strict=True)]
    return {"changes": made.changes, "losses": [means_of_bins(of_part).tolist() for of_part in after]}


def means_of_bins(losses):
    n_bins = len(losses) // BIN_ROWS
    return losses[: n_bins * BIN_ROWS].reshape(n_bins, BIN_ROWS).mean(axis=1)


def levels_of(losses):
    """The losses right after the change and at the end, of means of each 25 rows."""
    return np.mean(losses[:LEVEL_BINS]), np.mean(losses[-(len(losses) // 4) :])


def level_back(first, last):
    """The loss at which 90 % is gained; NaN where too little is to tell."""
    return first - SHARE * (first - last) if first - last >= MIN_GAIN else np.nan


def rows_until(losses, level):
    """The rows from the change until a window is down at a level; None where none is."""
    windows = np.convolve(losses, np.full(WINDOW_BINS, 1 / WINDOW_BINS), mode="valid")
    reached = np.flatnonzero(windows <= level)
    return BIN_ROWS * (reached[0] + WINDOW_BINS) if len(reached) else None


def print_table(records):
    """A line for each change and model: log-loss right after the change and at the end, and rows back."""
    lines = []
    for stream, of_stream in pd.DataFrame(records).groupby("stream", sort=False):
        for number, change in enumerate(of_stream["changes"].iloc[0]):
            losses = {
                model: np.mean([parts[number] for parts in of_model["losses"]], axis=0)
                for model, of_model in of_stream.groupby("model", sort=False)
            }
            back = {model: level_back(*levels_of(of_model)) for model, of_model in losses.items()}
            common = np.nanmax([*back.values(), -np.inf])
            for model, of_model in losses.items():
                rows = rows_until(of_model, back[model]), rows_until(of_model, common)
                lines.append((stream, change, model, *levels_of(of_model), *rows))
    table = pd.DataFrame(lines, columns=["stream", "change", "model", "first", "last", "rows", "to common"])
    print(show_frame(table.astype({"rows": "Int64", "to common": "Int64"}).set_index("stream")))


if __name__ == "__main__":
    main()
