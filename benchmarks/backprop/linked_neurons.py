"""Linked activations alongside plain ones, batch normalisation and SELU, in networks trained by backpropagation; a GLN.

Measures again what Linked Neurons (2017) and a deep-learning tutorial (2018) showed::

    python benchmarks/backprop/linked_neurons.py EXPERIMENT

==============  =====================================================================
``depth``       50 layers of width 4
``width``       one hidden layer of 50 or 400 units
``parameters``  ten layers; plain ones of the same width, or with as many parameters
``shift``       three layers of 64; inputs on other scales and far from zero
``convnet``     convolutions of 32 and 64 channels, 128 units, 10 classes
``dead``        20 layers of 32: units that no image activates, layer by layer
``digits``      scikit-learn's 8x8 digits; pictures of what units learned
``compare``     a GLN in one pass, and backpropagation in one and in ten passes
``seconds``     seconds per epoch, measured in turn
==============  =====================================================================

With ``--quick`` each takes a minute or less and leaves the recorded results alone. Images are MNIST's, deskewed only in
``compare``; ``--data cifar10`` takes those of keras.datasets, downloaded, for ``depth``, ``width`` and ``parameters``.
The article's AllCNN and ResNet50 on CIFAR-10 would take days on a GPU and are left out.

Training uses Adam and batches of 128 rows (32 in ``digits`` and ``compare``). The learning rate is Keras' default,
0.001, in ``convnet``, ``dead`` and ``compare``. In the other experiments each model gets the one of four rates that has
the lowest loss, with the first seed, on a sixth of the training rows that it did not learn; it then learns all training
rows once per seed and is scored on the test rows once. Weights start from He's distribution, with SELU from LeCun's, as
its authors ask, and with sigmoid from Glorot's. Unless KERAS_BACKEND is set, Keras runs on TensorFlow in ``convnet``
and ``seconds`` and on JAX elsewhere, whichever is faster on a CPU. Recorded runs are not repeated.
"""

import argparse
import json
import os
import sys
import tempfile
from functools import partial
from itertools import count
from pathlib import Path
from time import perf_counter

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sklearn_gln import GLNClassifier

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for common.py, which all benchmarks share
from common import (
    ONE_PASS,
    STYLES,
    append_lines,
    describe_machine,
    draw_band,
    load_mnist,
    measure_in_turn,
    positive_int,
    print_table,
    ratio,
    run_tasks,
    seconds_of,
    summarise,
)

RESULTS = Path(__file__).resolve().parent / "results"
RATES = (3e-4, 1e-3, 3e-3, 1e-2)
QUICK = {"rows": 2000, "test_rows": 1000, "seeds": [0], "repeats": 2, "out": RESULTS / "quick"}
SELU = {"kernel_initializer": "lecun_normal"}
MODELS = {  # arguments of `mlp`, with layers by name
    "ReLU": {"activation": "relu"},
    "PReLU": {"activation": "PReLU"},
    "Swish": {"activation": "silu"},
    "SELU": {"activation": "selu", **SELU},
    "batch norm, ReLU": {"activation": "relu", "batch_norm": True},
    "LK-ReLU": {"activation": "LKReLU"},
    "LK-PReLU": {"activation": "LKPReLU"},
    "LK-Swish": {"activation": "LKSwish"},
    "LK-SELU": {"activation": "LKSELU", **SELU},
    "batch norm, LK-ReLU": {"activation": "LKReLU", "batch_norm": True},
}
SHIFTS = {  # of pixels in [0, 1]: factor and offset
    "pixels as they are": (1, 0),
    "times 255": (255, 0),
    "plus 10": (1, 10),
    "standardised": (1 / 0.3081, -0.1307 / 0.3081),  # by mean and deviation of MNIST's training pixels
}
MORE_STYLES = (*STYLES, {"color": "#000000", "marker": "x", "linestyle": (0, (1, 1))})


# Experiments: what each compares, as tasks without a rate or a seed


def settings(names, hidden_sizes, **more):
    return [
        {"label": label, "params": {**MODELS[label], "hidden_sizes": hidden_sizes}, "epochs": 5, **more}
        for label in names
    ]


def depth():
    names = [name for name in MODELS if name != "batch norm, LK-ReLU"]
    return settings(names, [4] * 50)


def width():
    names = ("ReLU", "SELU", "batch norm, ReLU", "LK-ReLU", "LK-PReLU", "LK-SELU")
    return [setting for units in (50, 400) for setting in settings(names, [units], group=f"{units} units")]


def parameters():
    tasks = []
    for units in (16, 64):
        wanted = count_parameters(units, 2 * units)
        equal = next(size for size in count(units) if count_parameters(size, size) >= wanted)
        for name, size in (("ReLU", units), ("ReLU", equal), ("SELU", equal), ("LK-ReLU", units), ("LK-SELU", units)):
            (setting,) = settings([name], [size] * 10, group=f"10 layers, {units} linked units")
            tasks.append({**setting, "label": f"{name}, {size} units"})
    return tasks


def count_parameters(units, outputs):
    """Parameters of ten layers between 784 pixels and ten classes, each of so many units with so many outputs."""
    return 785 * units + 9 * (outputs + 1) * units + 10 * (outputs + 1)


def shift():
    names = ("ReLU", "SELU", "batch norm, ReLU", "LK-ReLU", "LK-SELU", "batch norm, LK-ReLU")
    return [setting for scale in SHIFTS for setting in settings(names, [64] * 3, group=scale, epochs=8)]


def convnet():
    names = ("ReLU", "SELU", "batch norm, ReLU", "LK-ReLU", "LK-PReLU")
    return [{"label": name, "params": MODELS[name], "epochs": 4, "network": "convnet"} for name in names]


def dead():
    names = ("ReLU", "batch norm, ReLU", "LK-ReLU")
    return settings(names, [32] * 20, count_dead=True)


def digits():
    networks = {
        "linear softmax": {"hidden_sizes": []},
        "64-30-10, sigmoid": {"activation": "sigmoid", "kernel_initializer": "glorot_uniform", "hidden_sizes": [30]},
        **{f"64-30-10, {name}": {**MODELS[name], "hidden_sizes": [30]} for name in ("ReLU", "LK-ReLU")},
        **{f"8 layers of 30, {name}": {**MODELS[name], "hidden_sizes": [30] * 8} for name in ("ReLU", "LK-ReLU")},
    }
    glns = {"GLN, one pass": {"max_iter": 1}, "GLN, default settings": {}}
    return [
        *({"label": label, "params": params, "epochs": 50, "batch_size": 32} for label, params in networks.items()),
        *({"label": label, "params": params, "epochs": 0, "network": "GLN"} for label, params in glns.items()),
    ]


def compare():
    gln = {"label": "GLN, one pass", "params": {**ONE_PASS, "max_iter": 1}, "epochs": 0, "network": "GLN"}
    tasks = []
    for rows in (1000, 10_000, 60_000):
        tasks.append({**gln, "learned": rows})
        for passes in (1, 10):
            for setting in settings(("ReLU", "LK-ReLU"), [256, 256], learned=rows, batch_size=32):
                label = f"{setting['label']}, {passes} pass{'es' * (passes > 1)}"
                tasks.append({**setting, "label": label, "epochs": passes})
    return tasks


EXPERIMENTS = {form.__name__: form for form in (depth, width, parameters, shift, convnet, dead, digits, compare)}
FIXED_RATE = {"convnet", "dead", "compare"}
DEFAULT_ROWS = {"depth": 30_000, "width": 30_000, "parameters": 30_000, "shift": 12_000, "dead": 30_000}


def main(arguments=None):
    options = parse(arguments)
    backend = "tensorflow" if options.experiment in ("convnet", "seconds") else "jax"
    os.environ.setdefault("KERAS_BACKEND", backend)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if options.experiment == "seconds":
        return time_epochs(options)
    with tempfile.TemporaryDirectory() as folder:  # networks of the same form are compiled only once
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", folder)
        os.environ.setdefault("JAX_PERSISTENT_COMPILATION_CACHE_MIN_COMPILE_TIME_SECS", "0")
        return run(options)


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", choices=(*EXPERIMENTS, "seconds"))
    parser.add_argument("--mnist", metavar="FOLDER", help="folder with MNIST's four idx files")
    parser.add_argument("--data", choices=("mnist", "cifar10"), default="mnist", help="(%(default)s)")
    parser.add_argument("--rows", type=positive_int, metavar="N", help="training rows (12,000, 30,000 or all)")
    parser.add_argument("--test-rows", type=positive_int, metavar="N", help="test rows (all)")
    parser.add_argument("--seeds", type=int, nargs="+", metavar="SEED", help="(0 1 2)")
    parser.add_argument("--repeats", type=positive_int, default=5, metavar="N", help="for seconds (%(default)s)")
    parser.add_argument(
        "--out", type=Path, default=RESULTS, metavar="FOLDER", help="for results (benchmarks/backprop/results)"
    )
    parser.add_argument("--quick", action="store_true", help="few rows and epochs, one seed; out to results/quick")
    if parser.parse_args(arguments).quick:
        parser.set_defaults(**QUICK)
    options = parser.parse_args(arguments)
    options.rows = options.rows or DEFAULT_ROWS.get(options.experiment)
    options.seeds = options.seeds or [0, 1, 2]
    return options


def run(options):
    """Choose each model's rate and train it once per seed; return the records in the order of the experiment."""
    name = options.experiment
    tasks = [
        {
            "images": "digits" if name == "digits" else options.data,
            "rows": options.rows,
            "test_rows": options.test_rows,
            **task,
            "epochs": max(1, task["epochs"] // 5) if options.quick else task["epochs"],
        }
        for task in EXPERIMENTS[name]()
        if task.get("learned", 0) <= (options.rows or 60_000)
    ]
    path = options.out / f"linked_{name}.jsonl"
    learn = partial(run_task, load(options))
    rates = () if name in FIXED_RATE or options.quick else RATES
    trials = [
        {**task, "phase": "choose", "seed": options.seeds[0], "rate": rate}
        for task in tasks
        for rate in rates
        if task.get("network") != "GLN"
    ]
    trials = run_tasks(learn, trials, path)
    final = [
        {**task, "phase": "test", "seed": seed, "rate": best_rate(task, trials)}
        for task in tasks
        for seed in options.seeds
    ]
    records = run_tasks(learn, final, path)
    print_summary(records)
    draw(name, records, options)
    return records


def load(options):
    """Load X, X_test (n, n_features), float32 in [0, 1], and classes y, y_test (n,)."""
    if options.experiment == "digits":
        X, y = load_digits(return_X_y=True)
        return train_test_split((X / 16).astype("float32"), y, test_size=0.3, stratify=y, random_state=0)
    if options.data == "mnist":
        X, X_test, y, y_test = load_mnist(options.mnist, deskew=options.experiment == "compare")
    else:
        from keras.datasets import cifar10

        (X, y), (X_test, y_test) = cifar10.load_data()
        X, X_test = (each.reshape(len(each), -1).astype("float32") / 255 for each in (X, X_test))
        y, y_test = y.ravel(), y_test.ravel()
    return X[: options.rows], X_test[: options.test_rows], y[: options.rows], y_test[: options.test_rows]


def best_rate(task, trials):
    """Rate with the lowest loss on the held-out rows; Keras' default where none was tried."""
    own = [trial for trial in trials if all(trial[key] == value for key, value in jsonable(task).items())]
    return min(own, key=lambda trial: trial["log_loss"])["rate"] if own else 1e-3


def jsonable(value):
    return json.loads(json.dumps(value))


# Runs


def run_task(data, *, phase, network="mlp", group=None, learned=None, count_dead=False, **task):
    """Train one network and score it on rows held out from training (phase "choose") or on the test rows ("test")."""
    X, X_test, y, y_test = data
    factor, offset = SHIFTS.get(group, (1, 0))
    X, X_test = np.float32(factor) * X + np.float32(offset), np.float32(factor) * X_test + np.float32(offset)
    if network == "GLN":
        return score_gln(X[:learned], X_test, y[:learned], y_test, task["params"], task["seed"])
    if phase == "choose" or count_dead:
        X, X_held, y, y_held = train_test_split(X, y, test_size=1 / 6, shuffle=False)
    start = perf_counter()
    model = train(NETWORKS[network], X[:learned], y[:learned], **task)
    record = {"seconds": perf_counter() - start, "n_parameters": model.count_params()}
    record["keras_backend"] = os.environ["KERAS_BACKEND"]
    if phase == "choose":
        return record | score(model, X_held, y_held)
    record |= score(model, X_test, y_test)
    if count_dead:
        untrained = train(NETWORKS[network], X, y, **{**task, "epochs": 0})
        # Before training, batch norm has only the statistics of the batch to normalise by.
        record["dead"] = {"before": dead_units(untrained, X_held, training=True), "after": dead_units(model, X_held)}
    if task["images"] == "digits":
        record["weights"] = [" ".join(f"{weight:.2f}" for weight in unit) for unit in model.get_weights()[0].T[:10]]
    return record


def train(make, X, y, *, params, rate, seed, epochs, batch_size=128, **_):
    """Build a model with `make` and train it on rows X (n, n_features) of classes y (n,)."""
    import keras

    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    model = make(X, y, rate=rate, **params)
    if epochs:
        model.fit(X, y, batch_size=batch_size, epochs=epochs, verbose=0)
    return model


def make_mlp(X, y, *, rate, activation="relu", kernel_initializer="he_normal", **params):
    from keras.optimizers import Adam

    from sklearn_gln.backprop import mlp

    params["activation"] = layer_of(activation) or activation
    return mlp(X, y, kernel_initializer=kernel_initializer, optimizer=Adam(rate), **params)


def make_convnet(_X, _y, *, rate, activation, kernel_initializer="he_normal", batch_norm=False):
    """Build a network of two convolutions with pooling and a dense layer for rows of 784 pixels."""
    import keras
    from keras import layers

    def activate(**params):
        layer = layer_of(activation)
        normalise = [layers.BatchNormalization()] if batch_norm else []
        return [*normalise, layer(**params) if layer else layers.Activation(activation)]

    slopes = {"shared_axes": [1, 2]} if "PReLU" in activation else {}
    weights = {"kernel_initializer": kernel_initializer}
    parts = [keras.Input((784,)), layers.Reshape((28, 28, 1))]
    for channels in (32, 64):
        parts += [layers.Conv2D(channels, 3, **weights), *activate(**slopes), layers.MaxPooling2D()]
    parts += [layers.Flatten(), layers.Dense(128, **weights), *activate(), layers.Dense(10, activation="softmax")]
    model = keras.Sequential(parts)
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


NETWORKS = {"mlp": make_mlp, "convnet": make_convnet}


def layer_of(name):
    """Layer class of this name in sklearn_gln.backprop or in Keras; None for the name of a function."""
    from keras import layers

    from sklearn_gln import backprop

    return getattr(backprop, name, None) or getattr(layers, name, None)


def score(model, X, y):
    """Accuracy and log-loss on rows X (n, n_features) of classes y (n,)."""
    loss, accuracy = model.evaluate(X, y, batch_size=1000, verbose=0)
    return {"accuracy": accuracy, "log_loss": loss if np.isfinite(loss) else 1e9}  # if the network diverged


def score_gln(X, X_test, y, y_test, params, seed):
    model = GLNClassifier(**params, random_state=seed)
    seconds = seconds_of(model.fit, X, y)
    return {"seconds": seconds, "accuracy": float(model.score(X_test, y_test))}


def dead_units(model, X, *, training=False):
    """Fraction of each hidden layer's 32 units whose outputs are 0 for every row of X (n, n_features)."""
    import keras

    hidden = [layer for layer in model.layers[:-1] if type(layer).__name__ in ("Activation", "LKReLU")]
    outputs = keras.Model(model.inputs[0], [layer.output for layer in hidden])(X, training=training)
    active = [np.any(keras.ops.convert_to_numpy(each) != 0, axis=0) for each in outputs]
    return [float(np.mean(~each.reshape(-1, 32).any(axis=0))) for each in active]  # a linked unit has two sides


# Seconds per epoch


def time_epochs(options):
    """Time the models' epochs in turn, after one epoch to compile, and print their ratios to those of LK-ReLU."""
    X, _, y, _ = load(options)
    names = ("ReLU", "SELU", "batch norm, ReLU", "LK-ReLU", "LK-SELU", "LK-PReLU")
    forms = {"three layers of 256": ("mlp", {"hidden_sizes": [256] * 3}, 60_000), "convnet": ("convnet", {}, 6_000)}
    records = []
    for form, (network, params, rows) in forms.items():
        X_rows, y_rows = X[:rows], y[:rows]
        measures = {}
        for name in names:
            model = train(
                NETWORKS[network], X_rows, y_rows, params={**MODELS[name], **params}, rate=1e-3, seed=0, epochs=1
            )
            measures[name] = partial(seconds_of, model.fit, X_rows, y_rows, batch_size=128, verbose=0)
        samples = measure_in_turn(measures, options.repeats)
        samples = {name: summarise(values) for name, values in samples.items()}
        records += [
            {"form": form, "rows": len(X_rows), "model": name, "seconds": seconds} for name, seconds in samples.items()
        ]
        print(f"\n{form}, {len(X_rows)} rows: min (median)")
        print_table(
            {"model": name, "seconds per epoch": seconds, "/ LK-ReLU": ratio(seconds, samples["LK-ReLU"])}
            for name, seconds in samples.items()
        )
    append_lines(options.out / "linked_seconds.jsonl", [{"run": {"environment": describe_machine()}}, *records])
    return records


# Tables and pictures


def by_setting(records):
    """Group records that differ only by seed, by group and label."""
    groups = {}
    for record in records:
        key = (str(record.get("learned") or record.get("group") or ""), record["label"])
        groups.setdefault(key, []).append(record)
    return groups


def print_summary(records):
    print_table(
        {
            "group": group,
            "model": label,
            "accuracy %": 100 * float(np.mean([run["accuracy"] for run in runs])),
            "lowest": 100 * min(run["accuracy"] for run in runs),
            "highest": 100 * max(run["accuracy"] for run in runs),
            "rate": f"{runs[0]['rate']:g}" if "n_parameters" in runs[0] else "",
            "parameters": runs[0].get("n_parameters"),
            "seconds": float(np.mean([run["seconds"] for run in runs])),
            "runs": len(runs),
        }
        for (group, label), runs in by_setting(records).items()
    )


def draw(name, records, options):
    from matplotlib.figure import Figure

    special = {"dead": draw_dead, "digits": draw_weights, "compare": draw_rows}
    figure = Figure(layout="constrained")
    special.get(name, draw_dots)(figure, records)
    figure.savefig(options.out / f"linked_{name}.png", dpi=100)


def draw_dots(figure, records):
    """Draw a panel for each group, with a row for each model and a dot for each seed."""
    from matplotlib.ticker import PercentFormatter

    found = by_setting(records)
    groups = list(dict.fromkeys(group for group, _ in found))
    counts = [sum(own == group for own, _ in found) for group in groups]
    n_columns = min(len(groups), 2)
    figure.set_size_inches(4.6 * n_columns + 1, (0.32 * max(counts) + 0.9) * -(-len(groups) // n_columns))
    axes = figure.subplots(-(-len(groups) // n_columns), n_columns, squeeze=False, sharex=True)
    for ax, group in zip(axes.flat, groups, strict=True):
        rows = {label: runs for (own, label), runs in found.items() if own == group}
        for y, (label, runs) in enumerate(rows.items()):
            style = STYLES[0 if "LK" in label else 1 if "batch" in label else 2]
            accuracies = [run["accuracy"] for run in runs]
            ax.plot(accuracies, [y] * len(runs), style["marker"], color=style["color"], alpha=0.8)
            ax.plot(2 * [np.mean(accuracies)], [y - 0.3, y + 0.3], color=style["color"])
        ax.set_yticks(range(len(rows)), rows)
        ax.invert_yaxis()
        ax.set_title(group, fontsize="medium")
        ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=None))
        ax.grid(axis="x", alpha=0.3)
    for ax in axes[-1]:
        ax.set_xlabel("test accuracy: a mark per seed, a bar at the mean")


def draw_dead(figure, records):
    """Draw the share of dead units layer by layer, before and after training."""
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    figure.set_size_inches(8.4, 3.4)
    for ax, when in zip(figure.subplots(1, 2, sharey=True), ("before", "after"), strict=True):
        for ((_, label), runs), style in zip(by_setting(records).items(), STYLES, strict=False):
            shares = np.transpose([run["dead"][when] for run in runs])
            draw_band(ax, np.arange(1, len(shares) + 1), shares, style, label)
        ax.set(title=f"{when} training", xlabel="layer")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        ax.grid(alpha=0.3)
    figure.axes[0].set_ylabel("units that no image activates")
    figure.axes[0].legend(fontsize="small")


def draw_weights(figure, records):
    """Draw the weights of ten first-layer units as 8x8 pictures, in a row for each network of the first seed."""
    shown = [record for record in records if "weights" in record and record["seed"] == records[0]["seed"]]
    figure.set_size_inches(8.4, 0.85 * len(shown) + 0.5)
    axes = figure.subplots(len(shown), 10)
    for row, record in zip(axes, shown, strict=True):
        for unit, (ax, weights) in enumerate(zip(row, record["weights"], strict=False)):
            weights = np.array(weights.split(), dtype=float).reshape(8, 8)
            limit = np.abs(weights).max()
            ax.imshow(weights, cmap="PuOr", vmin=-limit, vmax=limit)
            ax.set(xticks=[], yticks=[])
            if record is shown[0]:
                ax.set_title(str(unit), fontsize="small")
        row[0].set_ylabel(
            f"{record['label']}\n{100 * record['accuracy']:.1f} %",
            rotation=0,
            ha="right",
            va="center",
            fontsize="small",
        )
    figure.suptitle(
        "weights of the classes (linear softmax) or of ten hidden units; violet > 0 > orange", fontsize="medium"
    )


def draw_rows(figure, records):
    """Draw test error against rows learned."""
    from matplotlib.ticker import PercentFormatter

    figure.set_size_inches(6.4, 4)
    ax = figure.subplots()
    labels = dict.fromkeys(record["label"] for record in records)
    for label, style in zip(labels, MORE_STYLES, strict=False):
        own = [record for record in records if record["label"] == label]
        rows = sorted({record["learned"] for record in own})
        errors = [[1 - record["accuracy"] for record in own if record["learned"] == each] for each in rows]
        draw_band(ax, rows, errors, style, label)
    ax.set(xscale="log", yscale="log", xlabel="training images", ylabel="test error")
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    ax.yaxis.set_minor_formatter(PercentFormatter(1))
    ax.grid(alpha=0.3, which="both")
    ax.legend(fontsize="small")


if __name__ == "__main__":
    main()
