"""GLNRegressor on generated rows: seconds, memory and progressive error, both likelihoods on every backend."""

from importlib.util import find_spec

from sklearn.datasets import make_friedman1
from sklearn.metrics import r2_score

from sklearn_gln import GLNRegressor
from sklearn_gln.kernels import BACKENDS

N_ROWS = 4096
FIRST_SCORED = 16


def new(likelihood, backend):
    """A regressor, where asv goes on with the next parameters if the backend's framework is missing."""
    if find_spec(backend) is None:
        raise NotImplementedError(f"{backend} is not installed")
    return GLNRegressor(likelihood=likelihood, backend=backend, random_state=0)


class Suite:
    params = ["squared", "gaussian"], list(BACKENDS)
    param_names = "likelihood", "backend"

    def setup(self, likelihood, backend):
        self.model = new(likelihood, backend)
        self.X, self.y = make_friedman1(N_ROWS, noise=1.0, random_state=0)


class Memory(Suite):
    def peakmem_partial_fit(self, *_):
        self.model.partial_fit(self.X, self.y)


class Learned(Suite):
    """A model that has learned the data, for which kernels were compiled before anything is timed."""

    def setup(self, likelihood, backend):
        super().setup(likelihood, backend)
        self.predicted = self.model.progressive_predict(self.X, self.y)


class Learning(Learned):
    def time_partial_fit(self, likelihood, backend):
        """A new model's pass, in one call."""
        new(likelihood, backend).partial_fit(self.X, self.y)


class Prediction(Learned):
    def time_predict(self, *_):
        self.model.predict(self.X, return_std=True)


class Progressive(Learned):
    """Quality of the predictions that were made for each row before it was learned, in one pass."""

    def track_r2(self, *_):
        return r2_score(self.y[FIRST_SCORED:], self.predicted[FIRST_SCORED:])

    def track_log_loss(self, *_):
        return self.model.progressive_loss_

    track_r2.unit = "R2"
    track_log_loss.unit = "nats"
