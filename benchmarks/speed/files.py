"""How large models are in memory and in files, and what half precision changes."""

from pathlib import Path
from tempfile import TemporaryDirectory

from common import ONE_PASS, add_command, add_options, load_mnist, print_table
from internals import weight_bytes
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

from sklearn_gln import GLNClassifier
from sklearn_gln.io import load, save
from speed.memory import MEGABYTE


def add_files(subparsers):
    parser = add_command(subparsers, files, "sizes of models and files", "speed")
    add_options(parser, "--mnist", "--rows", rows=60_000)


def files(options):
    """The default learner on the digits, and with one-pass settings on MNIST's first rows if a folder is named."""
    digits = train_test_split(*load_digits(return_X_y=True), random_state=0)
    records = [describe_files("digits", GLNClassifier(random_state=0), *digits)]
    if options.mnist:
        X, X_test, y, y_test = load_mnist(options.mnist)
        model = GLNClassifier(**ONE_PASS, max_iter=1, random_state=0)
        records.append(describe_files("MNIST", model, X[: options.rows], X_test, y[: options.rows], y_test))
    print_table(records)
    return {"unit": "megabytes"}, records


def describe_files(name, model, X, X_test, y, y_test):
    """Megabytes, and how the test rows are predicted by the model and by what is loaded from each file."""
    model.fit(X, y)
    record = {"set": name, "weights": weight_bytes(model) / MEGABYTE}
    with TemporaryDirectory() as folder:
        for kind, half in (("whole", False), ("half", True)):
            path = Path(folder, kind)
            save(model, path, half=half)
            loaded = load(path)
            record |= {
                kind: path.stat().st_size / MEGABYTE,
                f"{kind}: accuracy": loaded.score(X_test, y_test),
                f"{kind}: log-loss": log_loss(y_test, loaded.predict_proba(X_test)),
            }
    return record
