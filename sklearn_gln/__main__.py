"""The demonstration: scikit-learn's handwritten digits, streamed once; ``python -m sklearn_gln``."""

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


def main():
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X / PIXEL_MAX, y, test_size=0.2, stratify=y, random_state=0)
    classes = np.unique(y)
    models = {
        "GLNClassifier": GLNClassifier(random_state=0),
        "SGDClassifier": RowByRow(SGDClassifier(loss="log_loss", random_state=0)),
        "MLPClassifier": RowByRow(MLPClassifier(random_state=0)),
    }
    start = perf_counter()
    GLNClassifier().fit(X_train[:CHUNK_ROWS], y_train[:CHUNK_ROWS]).predict(X_test)
    print(f"Kernels ready in {perf_counter() - start:.1f} s (compiled on the first run, then cached).\n")
    print(f"{len(X_train)} images of handwritten digits, streamed once: each is predicted, then learned.")
    print("Progressive accuracy (log-loss) over the images so far:\n")
    print(f"{'images':>8}" + "".join(f"{name:>22}" for name in models))

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
        print(line, flush=True)

    print(f"\n{'':>8}" + "".join(f"{name:>22}" for name in models))
    print(f"{'test':>8}" + "".join(f"{model.score(X_test, y_test):>22.1%}" for model in models.values()))
    print(f"{'seconds':>8}" + "".join(f"{seconds[name]:>22.2f}" for name in models))


if __name__ == "__main__":
    main()
