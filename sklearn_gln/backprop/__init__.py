"""Networks trained by backpropagation, for comparison: linked activations and penalties for Keras 3.

A linked activation gives g(x) and g(-x): where one of them falls silent, the other still passes a gradient, so that
deep networks learn without batch normalisation (Linked Neurons, 2017). This package adds only the layers, the penalty
and the optimizer that Keras lacks; everything else is Keras' own, under Keras' names. It requires the extra
``sklearn_gln[keras]`` and one of TensorFlow, JAX and PyTorch; the environment variable ``KERAS_BACKEND`` selects which
of them Keras uses.
"""

try:
    import keras  # noqa: F401
except ImportError as error:
    raise ImportError(
        f'Keras 3 cannot be imported ({error}): pip install "sklearn_gln[keras]" and one of tensorflow, jax and torch, '
        "and name that one in the environment variable KERAS_BACKEND"
    ) from error

from sklearn_gln.backprop._certainty import Certainty
from sklearn_gln.backprop._coordinate_descent import CoordinateDescent
from sklearn_gln.backprop._linked import LKSELU, Linked, LKPReLU, LKReLU, LKSwish
from sklearn_gln.backprop._mlp import mlp

__all__ = ["LKSELU", "Certainty", "CoordinateDescent", "LKPReLU", "LKReLU", "LKSwish", "Linked", "mlp"]

for _name in __all__:
    globals()[_name].__module__ = __name__  # the path that saved models and pickles keep, wherever the code moves
del _name
