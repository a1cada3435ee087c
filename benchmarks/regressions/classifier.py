"""GLNClassifier on data that ship with scikit-learn: seconds, memory and accuracy on every backend."""

from importlib.util import find_spec

import numpy as np
from sklearn.datasets import load_digits, make_classification

from sklearn_gln import GLNClassifier
from sklearn_gln.kernels import BACKENDS

N_CLASSES = 10
PIXEL_MAX = 16
N_CALLS = 64


def digits():
    """X (1797, 64), y (1797,): rows in an order without groups."""
    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(X))
    return (X[order] / PIXEL_MAX).astype(np.float32), y[order]


def synthetic():
    """X (4096, 128), y (4096,)."""
    X, y = make_classification(4096, 128, n_informative=32, n_classes=N_CLASSES, n_clusters_per_class=1, random_state=0)
    return X.astype(np.float32), y


DATA = {"digits": digits, "synthetic": synthetic}


def new(backend):
    """A classifier, where asv goes on with the next parameters if the backend's framework is missing."""
    if find_spec(backend) is None:
        raise NotImplementedError(f"{backend} is not installed")
    return GLNClassifier(backend=backend, random_state=0)


class Suite:
    params = list(DATA), list(BACKENDS)
    param_names = "data", "backend"

    def setup(self, data, backend):
        self.model = new(backend)
        self.X, self.y = DATA[data]()

    def learn(self, model):
        model.partial_fit(self.X, self.y, classes=np.arange(N_CLASSES))


class Memory(Suite):
    def peakmem_partial_fit(self, *_):
        self.learn(self.model)


class Learned(Suite):
    """A model that has learned the data, for which kernels were compiled before anything is timed."""

    def setup(self, data, backend):
        super().setup(data, backend)
        self.learn(self.model)


class Learning(Learned):
    def time_partial_fit(self, _data, backend):
        """A new model's pass, in one call."""
        self.learn(new(backend))

    def time_single_row(self, *_):
        """Calls of one row, by a model that goes on."""
        for i in range(N_CALLS):
            self.model.partial_fit(self.X[i : i + 1], self.y[i : i + 1])


class Prediction(Learned):
    def time_predict_proba(self, *_):
        self.model.predict_proba(self.X)

    def time_single_row(self, *_):
        for i in range(N_CALLS):
            self.model.predict_proba(self.X[i : i + 1])


class Progressive(Learned):
    """Quality of the predictions that were made for each row before it was learned, in one pass."""

    def track_accuracy(self, *_):
        return self.model.progressive_accuracy_

    def track_log_loss(self, *_):
        return self.model.progressive_loss_

    track_accuracy.unit = "accuracy"
    track_log_loss.unit = "nats"
