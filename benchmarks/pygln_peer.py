"""PyGLN as a peer in benchmarks, by the interface that it documents.

PyGLN dates from 2020; `importable` puts back the names that it needs from NumPy, SciPy and JAX as they were then.
"""

import sys
from contextlib import ExitStack, contextmanager
from types import ModuleType
from unittest.mock import patch

import numpy as np
import scipy.ndimage
from common import DIGITS, PYGLN

from sklearn_gln.kernels import as_numpy

PYGLN_BACKENDS = ("numpy", "pytorch", "tf", "jax")
PREDICTED_ROWS = 1000  # a call


class PyGLN:
    """A network with the settings of the preset PYGLN behind two of scikit-learn's methods."""

    def __init__(self, backend, batch_size, X, y):
        """Compiled here: it learns the batch X, y, for which new networks of some backends are slow."""
        from pygln import GLN

        seed_global_generators(backend)
        self.batch_size = batch_size
        self.network = GLN(
            backend=backend,
            layer_sizes=list(PYGLN["layer_sizes"]),
            input_size=X.shape[1],
            num_classes=len(DIGITS),
            context_map_size=PYGLN["context_dim"],
            learning_rate=PYGLN["learning_rate_init"],
            pred_clipping=PYGLN["eps"],
            weight_clipping=PYGLN["max_weight"],
        )
        self.partial_fit(X, y)

    def partial_fit(self, X, y, classes=None):  # noqa: ARG002
        for first in range(0, len(X), self.batch_size):
            rows = slice(first, first + self.batch_size)
            self.network.predict(X[rows], target=y[rows])
        return self

    def predict(self, X):
        blocks = np.split(X, range(PREDICTED_ROWS, len(X), PREDICTED_ROWS))
        return np.concatenate([as_numpy(self.network.predict(block)) for block in blocks])


def seed_global_generators(backend):
    """PyGLN draws from its framework's, and takes no seed."""
    if backend == "pytorch":
        import torch

        torch.manual_seed(0)
    elif backend == "tf":
        import tensorflow as tf

        tf.random.set_seed(0)
    np.random.seed(0)  # noqa: NPY002  (last, as importing TensorFlow draws from it)


@contextmanager
def importable(folder, backends):
    """Within, `import pygln` finds the checkout in `folder` and the old names; after it, all is as it was before."""
    with ExitStack() as stack:
        stack.callback(forget, "pygln")
        stack.enter_context(patch.object(sys, "path", [str(folder), *sys.path]))
        stack.enter_context(patch.object(np, "int", int, create=True))
        stack.enter_context(patch.object(np, "float", float, create=True))
        stack.enter_context(old_scipy())
        if "jax" in backends:
            stack.enter_context(old_jax())
        yield


def forget(package):
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]


@contextmanager
def old_scipy():
    name = "scipy.ndimage.interpolation"
    module, before = ModuleType(name), sys.modules.pop(name, None)
    module.affine_transform = scipy.ndimage.affine_transform
    sys.modules[name] = module
    try:
        yield
    finally:
        if before:
            sys.modules[name] = before
        else:
            del sys.modules[name]


@contextmanager
def old_jax():
    """The settings, too, are put back: importing PyGLN changes some."""
    import jax
    import jax.numpy as jnp

    new_jit, new_clip, settings = jax.jit, jnp.clip, dict(jax.config.values)

    def jit(*functions, fun=None, **keywords):
        return new_jit(*(functions if fun is None else (fun,)), **keywords)

    def clip(array, min=None, max=None, *, a_min=None, a_max=None):
        return new_clip(array, a_min if min is None else min, a_max if max is None else max)

    try:
        with patch.object(jax, "jit", jit), patch.object(jnp, "clip", clip):
            yield
    finally:
        for name, value in settings.items():
            if jax.config.values[name] != value:
                jax.config.update(name, value)
