"""Linked activations: layers that apply activations to their inputs and to the negated inputs."""

import keras
from keras import ops

_registered = keras.saving.register_keras_serializable(package="sklearn_gln")


@_registered
class Linked(keras.layers.Layer):
    """Several activations of the same inputs side by side, on the last axis.

    One activation g gives concat(g(x), g(-x)); several give concat(g1(x), g2(x), ...).

    Parameters
    ----------
    *activations : str, callable or keras.layers.Layer
        As in ``keras.layers.Activation``, or layers such as ``keras.layers.PReLU()``. A single layer serves x and -x
        with the same weights.

    **kwargs
        Passed to ``keras.layers.Layer``: `name`, `dtype` and so on.

    Examples
    --------
    >>> import numpy as np
    >>> from keras import ops
    >>> from sklearn_gln.backprop import Linked
    >>> x = np.array([[-2.0, 0.5]])
    >>> ops.convert_to_numpy(Linked("relu")(x))
    array([[0. , 0.5, 2. , 0. ]], dtype=float32)
    >>> ops.convert_to_numpy(Linked("relu", "linear")(x))
    array([[ 0. ,  0.5, -2. ,  0.5]], dtype=float32)
    """

    def __init__(self, *activations, **kwargs):
        if not activations:
            raise ValueError('Linked() was given no activation; name at least one, such as Linked("relu")')
        super().__init__(**kwargs)
        self.supports_masking = True
        self.activations = [keras.activations.get(activation) for activation in activations]

    def build(self, input_shape):
        for activation in self.activations:
            if isinstance(activation, keras.layers.Layer) and not activation.built:
                activation.build(input_shape)

    def call(self, inputs):
        return ops.concatenate(self._branches(inputs), axis=-1)

    def _branches(self, inputs):
        if len(self.activations) > 1:
            return [activation(inputs) for activation in self.activations]
        (activation,) = self.activations
        return [activation(inputs), activation(-inputs)]

    def compute_output_shape(self, input_shape):
        self.build(input_shape)
        inputs = keras.KerasTensor(input_shape, self.compute_dtype)
        return keras.Operation.compute_output_spec(self, inputs).shape

    def get_config(self):
        activations = [keras.activations.serialize(activation) for activation in self.activations]
        return {**super().get_config(), "activations": activations}

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        return cls(*config.pop("activations", ()), **config)


class _LinkedByName(Linked):
    """Linked activation whose class names the function."""

    activation: str

    def __init__(self, **kwargs):
        super().__init__(self.activation, **kwargs)

    def get_config(self):
        config = super().get_config()
        del config["activations"]
        return config


@_registered
class LKReLU(_LinkedByName):
    """Linked ReLU, max(x, 0) and max(-x, 0): all of x passes, on one side or the other.

    Parameters
    ----------
    **kwargs
        Passed to ``keras.layers.Layer``: `name`, `dtype` and so on.

    Examples
    --------
    >>> import keras
    >>> from sklearn_gln.backprop import LKReLU
    >>> model = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Conv2D(8, 3), LKReLU()])
    >>> model.output_shape
    (None, 26, 26, 16)
    """

    activation = "relu"


@_registered
class LKSELU(_LinkedByName):
    """Linked SELU, selu(x) and selu(-x).

    Parameters
    ----------
    **kwargs
        Passed to ``keras.layers.Layer``: `name`, `dtype` and so on.

    Examples
    --------
    >>> from sklearn_gln.backprop import LKSELU
    >>> LKSELU().compute_output_shape((None, 10))
    (None, 20)
    """

    activation = "selu"


@_registered
class LKSwish(_LinkedByName):
    """Linked Swish, x sigmoid(x) and -x sigmoid(-x).

    Parameters
    ----------
    **kwargs
        Passed to ``keras.layers.Layer``: `name`, `dtype` and so on.

    Examples
    --------
    >>> from sklearn_gln.backprop import LKSwish
    >>> LKSwish().compute_output_shape((None, 10))
    (None, 20)
    """

    activation = "silu"


@_registered
class LKPReLU(Linked):
    """Linked PReLU, p(x) and q(-x), where the PReLUs p and q have separate slopes.

    Parameters
    ----------
    alpha_initializer, alpha_regularizer, alpha_constraint, shared_axes
        Passed to each ``keras.layers.PReLU``. After a convolution, ``shared_axes=[1, 2]`` gives each channel one slope.

    **kwargs
        Passed to ``keras.layers.Layer``: `name`, `dtype` and so on.

    Examples
    --------
    >>> import numpy as np
    >>> from keras import ops
    >>> from sklearn_gln.backprop import LKPReLU
    >>> layer = LKPReLU(alpha_initializer="ones")
    >>> ops.convert_to_numpy(layer(np.array([[-2.0, 0.5]])))
    array([[-2. ,  0.5,  2. , -0.5]], dtype=float32)
    """

    def __init__(
        self,
        *,
        alpha_initializer="zeros",
        alpha_regularizer=None,
        alpha_constraint=None,
        shared_axes=None,
        **kwargs,
    ):
        slopes = {
            "alpha_initializer": alpha_initializer,
            "alpha_regularizer": alpha_regularizer,
            "alpha_constraint": alpha_constraint,
            "shared_axes": shared_axes,
            "dtype": kwargs.get("dtype"),
        }
        super().__init__(*(keras.layers.PReLU(**slopes) for _ in range(2)), **kwargs)

    def _branches(self, inputs):
        of_inputs, of_negated = self.activations
        return [of_inputs(inputs), of_negated(-inputs)]

    def get_config(self):
        config = super().get_config()
        slopes = config.pop("activations")[0]["config"]
        names = ("alpha_initializer", "alpha_regularizer", "alpha_constraint", "shared_axes")
        return {**config, **{name: slopes[name] for name in names}}
