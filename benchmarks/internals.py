"""Access to private modules and attributes of sklearn_gln, which only this module and context_functions.py import.

The layout of the networks that it returns is known to numerics.py (`counts_of`) and speed/plain.py (`learn_by_row`).
"""

from contextlib import contextmanager
from time import perf_counter

import numpy as np
from sklearn.base import clone

from sklearn_gln import GLNClassifier, _single_row
from sklearn_gln._halfspaces import Pool, draw_halfspaces
from sklearn_gln._network import InputSizes, contexts_by_layer, init_network, learn
from sklearn_gln._regressor import gaussian_losses  # noqa: F401  (numerics.py's)
from sklearn_gln._samples import Samples
from sklearn_gln._schedule import LAST_REBUILD, MAX_CHUNK  # noqa: F401  (speed/plain.py's)
from sklearn_gln.kernels import get_kernels, in_tasks

# A fitted model


def layers_of(model):
    return model._online.network.layers


def weight_bytes(model):
    return sum(layer.weights.nbytes for layer in layers_of(model))


def hyperplane_elements(model):
    return int(np.prod(tuple(model._online.network.hyperplanes.shape)))


def settings_of(model):
    return model._online.settings


def preconditioners_of(model):
    return [matrix.astype(float) for each in model._online.network.preconditioners for matrix in each.matrix]


def scaling_of(model, of):
    """Mean and deviation of the model's "features" so far, or of "targets" up to the last rebuild; their weight."""
    if of == "features":
        moments = model._online.predictor.moments
        return moments.mean, np.sqrt(moments.variance), float(moments.weight[0])
    scale = model._online.head.scale
    return scale.origin, scale.unit, float(min(model._online.n_samples_seen, LAST_REBUILD))


def contexts_of(model, X):
    """The contexts (n, n_neurons) of rows, gated in the precision in which the model learns."""
    online, kernels = model._online, get_kernels(model.backend)
    with kernels.scope(None):
        side_info = online.predictor.transform(kernels.asarray(X), kernels).side_info
        contexts = contexts_by_layer(online.ensure_network(kernels), kernels, side_info, online.settings.dtype)
        return np.concatenate([kernels.to_numpy(layer)[:, 0] for layer in contexts], axis=1)


def halfspaces_drawn_by(model, y):
    """A function for the tests' oracles that draws the halfspaces of this model, which learns rows of targets y."""
    settings, seed = model._online.settings, model._online.seed

    def draw(side_info, layer, output, n_neurons):  # noqa: ARG001  (outputs share halfspaces)
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(layer,)))
        pool = Pool.of(np.array(side_info), y[: len(side_info)], np.ones(len(side_info)), np.arange(1))
        return draw_halfspaces(pool, n_neurons, settings, rng)

    return draw


# The network alone


def new_network(model, X, y, classes):
    """The model's online network after one row, for its settings; a network of these settings that learned nothing."""
    online = clone(model).partial_fit(X[:1], y[:1], classes=classes)._online
    inputs = online.predictor.transform(X[:1], get_kernels("numpy"))
    pool = Pool.of(inputs.side_info, y[:1], np.ones(1), np.arange(1))
    n_base = inputs.base.shape[1] + online.settings.bias
    sizes = InputSizes(n_base, online.predictor.n_basis)
    return online, init_network(sizes, pool, online.output_numbers, online.settings, online.seed)


def learn_in_network(online, network, kernels, inputs, targets, n_seen):
    """Learn inputs of rows after n_seen others; what the layers predicted before."""
    n = len(targets)
    samples = Samples(inputs.base, targets, np.ones(n), n_seen + np.arange(1, n + 1), np.ones(n, bool), epoch=1)
    return learn(network, kernels, inputs, targets, samples, online.settings)


def calls_of_one_row(model):
    """Calls below those of a binary model that has learned its first rows, of a row and its label, by name."""
    online, kernels = model._online, in_tasks(get_kernels())
    return {
        "the clock and below learn": lambda x, label: online.learn_row(x[0], label, kernels),
        "the network and below learn": lambda x, label: _single_row.learn(online, x[0], label == 1, kernels),
        "the network and below predict": lambda x, _: _single_row.infer(online, x[0], kernels),
        "the same as for a chunk learn": lambda x, label: list(online.learn(x, label, np.ones(1), kernels)),
        "the same as for a chunk predict": lambda x, _: online.infer(x, kernels),
    }


# Kernels whose calls are timed


class TimedKernels:
    """Kernels that sum up the seconds of some of their functions, {function: name of the sum}, in `seconds`."""

    def __init__(self, kernels, parts, seconds):
        self.kernels, self.parts, self.seconds = kernels, parts, seconds

    def __getattr__(self, name):
        function = getattr(self.kernels, name)
        if name not in self.parts:
            return function

        def timed(*args, **options):
            start = perf_counter()
            result = function(*args, **options)
            self.seconds[self.parts[name]] += perf_counter() - start
            return result

        return timed


@contextmanager
def timed_kernels(model, n_rows, parts):
    """The model's kernels for so many rows, timed; the sums are in their `seconds`."""
    with model._kernels(n_rows) as kernels:
        yield TimedKernels(kernels, parts, dict.fromkeys(parts.values(), 0.0))


class Timed(GLNClassifier):
    """GLNClassifier that sums up the seconds of gating and of its neurons' steps in `seconds`."""

    parts = {"select_contexts": "gating", "linear_learn": "neurons"}

    @property
    def seconds(self):
        return vars(self).setdefault("_seconds", dict.fromkeys(self.parts.values(), 0.0))

    @contextmanager
    def _kernels(self, n_rows):
        with super()._kernels(n_rows) as kernels:
            yield TimedKernels(kernels, self.parts, self.seconds)
