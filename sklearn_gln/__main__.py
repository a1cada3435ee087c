"""The demonstration: scikit-learn's handwritten digits, streamed once; ``python -m sklearn_gln``."""

import argparse
import os
import sys
from functools import partial
from time import perf_counter

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from sklearn_gln import GLNClassifier

CHUNK_ROWS = 200
PIXEL_MAX = 16
INTERRUPTED = 130  # the status by convention: 128 + SIGINT

say = partial(print, flush=True)  # at once, also into files and pipes; nothing is left to write at exit


class RowByRow:
    """A scikit-learn classifier that predicts each row before it learns it."""

    def __init__(self, estimator):
        self.estimator = estimator

    def progressive_predict_proba(self, X, y, classes):
        probabilities = np.full((len(X), len(classes)), 1 / len(classes))
        for i, row in enumerate(X[:, np.newaxis]):
            if hasattr(self.estimator, "classes_"):
                probabilities[i] = self.estimator.predict_proba(row)[0]
            self.estimator.partial_fit(row, y[i : i + 1], classes=classes)
        return probabilities

    def score(self, X, y):
        return self.estimator.score(X, y)


def demonstrate():
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X / PIXEL_MAX, y, test_size=0.2, stratify=y, random_state=0)
    classes = np.unique(y)
    models = {
        "GLNClassifier": GLNClassifier(random_state=0),
        "SGDClassifier": RowByRow(SGDClassifier(loss="log_loss", random_state=0)),
        "MLPClassifier": RowByRow(MLPClassifier(random_state=0)),
    }
    say("Kernels are compiled on the first run, then cached: ", end="")
    start = perf_counter()
    GLNClassifier().fit(X_train[:CHUNK_ROWS], y_train[:CHUNK_ROWS]).predict(X_test)
    say(f"ready in {perf_counter() - start:.1f} s.\n")
    say(f"{len(X_train)} images of handwritten digits, streamed once:\neach is predicted, then learned.")
    say("Progressive accuracy (log-loss) over the images so far:\n")
    say(f"{'images':>8}" + "".join(f"{name:>22}" for name in models))

    predictions = {name: np.empty((0, len(classes))) for name in models}
    seconds = dict.fromkeys(models, 0.0)
    for stop in range(CHUNK_ROWS, len(X_train) + CHUNK_ROWS, CHUNK_ROWS):
        rows = slice(stop - CHUNK_ROWS, stop)
        line = f"{min(stop, len(X_train)):>8}"
        for name, model in models.items():
            start = perf_counter()
            chunk = model.progressive_predict_proba(X_train[rows], y_train[rows], classes)
            seconds[name] += perf_counter() - start
            predictions[name] = np.concatenate([predictions[name], chunk])
            accuracy = accuracy_score(y_train[:stop], classes[predictions[name].argmax(axis=1)])
            loss = log_loss(y_train[:stop], predictions[name], labels=classes)
            line += f"{accuracy:>12.1%} ({loss:6.3f})"
        say(line)

    say(f"\n{'':>8}" + "".join(f"{name:>22}" for name in models))
    say(f"{'test':>8}" + "".join(f"{model.score(X_test, y_test):>22.1%}" for model in models.values()))
    say(f"{'seconds':>8}" + "".join(f"{seconds[name]:>22.2f}" for name in models))


def main(arguments=None):
    argparse.ArgumentParser("python -m sklearn_gln", description=__doc__).parse_args(arguments)
    try:
        demonstrate()
    except BrokenPipeError:  # the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python itself flushes at exit
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
