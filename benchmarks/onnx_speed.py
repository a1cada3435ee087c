"""Rows per second of ONNX graphs in onnxruntime, compared with predict_proba in the same run.

The digits of scikit-learn, whose first 1,000 rows are learned, and MNIST::

    python benchmarks/onnx_speed.py
    python benchmarks/onnx_speed.py --mnist FOLDER

A quick form::

    python benchmarks/onnx_speed.py --repeats 2 --rows 1000

The default model, with `--param` others, predicts rows that it has not seen, repeated up to `--rows`: one a call, 16 a
call, and all in one call, or in calls of as many as have their gathered weight rows in 1 GiB. Graphs are those of
`to_onnx`: "latency" and "throughput", double and float. What is compared is measured in turn, on `--threads` threads;
conversion, loading and a first call are apart. Next to the speed stands how far each graph's probabilities are from
predict_proba of the same rows at most, and the share of labels that are equal.
"""

import argparse
from functools import partial
from itertools import product

import numpy as np
from common import (
    add_json_option,
    add_options,
    load_mnist,
    microseconds_per_row,
    positive_int,
    print_table,
    ratio,
    run_and_record,
    time_in_turn,
)
from internals import layers_of
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sklearn_gln import GLNClassifier

DTYPES = ("float64", "float32")
FEW_ROWS = 16  # a call
CALLS = 200  # of one row, or of few
GATHERED_BYTES = 2**30


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--mnist", nargs="?", const="", metavar="FOLDER", help="MNIST in place of the digits; its four idx files"
    )
    add_options(parser, "--train-rows", "--rows", "--repeats", "--param", rows=10_000)
    parser.add_argument("--threads", type=positive_int, default=1, metavar="N", help="of both (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the model (%(default)s)")
    add_json_option(parser, "onnx_speed")
    parser.set_defaults(run=compare)
    return run_and_record(parser.parse_args(arguments))


def compare(options):
    """The graphs' agreement with predict_proba, and rows per second of each."""
    X, X_test, y, _ = load(options)
    model = GLNClassifier(random_state=options.seed, n_jobs=options.threads, **dict(options.param))
    model.fit(X[: options.train_rows], y[: options.train_rows])
    rows = X_test[np.arange(options.rows) % len(X_test)].astype(float)
    graphs = {
        (optimized, dtype): load_graph(model, optimized, dtype, options.threads)
        for optimized, dtype in product(("latency", "throughput"), DTYPES)
    }
    agreement = [agreement_of(model, session, X_test, *which) for which, (session, _) in graphs.items()]
    print_table(
        [
            {**record, "MB": graph_bytes / 2**20}
            for record, (_, graph_bytes) in zip(agreement, graphs.values(), strict=True)
        ],
        ".2g",
    )
    speed = compare_speed(model, {which: session for which, (session, _) in graphs.items()}, rows, options.repeats)
    megabytes = {" ".join(which): graph_bytes / 2**20 for which, (_, graph_bytes) in graphs.items()}
    data = "digits" if options.mnist is None else "mnist"
    return {"data": data, "megabytes": megabytes, "agreement": agreement}, speed


def load(options):
    """X, X_test, y, y_test."""
    if options.mnist is not None:
        return load_mnist(options.mnist or None)
    return train_test_split(*load_digits(return_X_y=True), train_size=1000, shuffle=False)


def load_graph(model, optimize_for, dtype, threads):
    """A session of onnxruntime that has the model's graph, and the graph's bytes."""
    from onnxruntime import InferenceSession, SessionOptions

    from sklearn_gln.onnx import to_onnx

    graph = to_onnx(model, dtype=dtype, optimize_for=optimize_for).SerializeToString()
    session_options = SessionOptions()
    session_options.intra_op_num_threads = threads
    return InferenceSession(graph, session_options, providers=["CPUExecutionProvider"]), len(graph)


def agreement_of(model, session, X, optimize_for, dtype):
    """How far the graph's predictions are from the model's for the same rows."""
    rows = X.astype(dtype)
    calls = [session.run(None, {"X": part}) for part in in_calls(rows, FEW_ROWS)]
    labels, probabilities = (np.concatenate(parts) for parts in zip(*calls, strict=True))
    return {
        "graph": optimize_for,
        "dtype": dtype,
        "largest difference": float(np.abs(probabilities - model.predict_proba(rows)).max()),
        "equal labels": float(np.mean(labels == model.predict(rows))),
    }


def compare_speed(model, sessions, X, repeats):
    """Print and return the microseconds of a row for one, few and all rows a call."""
    unchecked = partial(model.predict_proba, check_input=False)
    calls = {"predict_proba": (model.predict_proba, X), "predict_proba, check_input=False": (unchecked, X)}
    for (optimized, dtype), session in sessions.items():
        calls[f"onnxruntime, {optimized}, {dtype}"] = partial(run, session), X.astype(dtype)
    measures, parts = {}, {}
    for name, (predict, rows) in calls.items():
        at_once = rows_at_once(model, rows.itemsize) if name.startswith("onnxruntime") else len(rows)
        for asked, per_call in (("one", 1), ("few", FEW_ROWS), ("all", at_once)):
            key = name, asked
            parts[key] = in_calls(rows if asked == "all" else rows[: CALLS * per_call], per_call)
            calls_of_key = [(part,) for part in parts[key]]
            measures[key] = partial(microseconds_per_row, predict, calls_of_key, sum(map(len, parts[key])))
            predict(parts[key][0])  # compiled, and its memory taken
    samples = time_in_turn(measures, repeats)
    records = [
        {
            "call": name,
            "rows a call": len(parts[name, asked][0]),
            "rows/s": 1e6 / summary["min"],
            "microseconds": summary,
            "times predict_proba": ratio(samples["predict_proba", asked], summary),
        }
        for (name, asked), summary in samples.items()
    ]
    print_table(sorted(records, key=lambda record: min(record["rows a call"], FEW_ROWS + 1)), ".3g")
    return records


def rows_at_once(model, itemsize):
    """Rows whose gathered weight rows fit into GATHERED_BYTES, in the layer with most of them."""
    shapes = [layer.weights.shape for layer in layers_of(model)]
    return GATHERED_BYTES // max(np.prod(shape) // shape[2] * itemsize for shape in shapes)


def in_calls(rows, per_call):
    return [rows[start : start + per_call] for start in range(0, len(rows), per_call)]


def run(session, rows):
    return session.run(None, {"X": rows})


if __name__ == "__main__":
    main()
