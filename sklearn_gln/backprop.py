"""Networks trained by backpropagation, to compare with: linked activations and penalties for Keras 3.

A linked activation gives g(x) and g(-x): where one of them falls silent, the other still passes a gradient, so that
deep networks learn without batch normalisation (Linked Neurons, 2017). The layers, the penalty and the optimizer here
are what Keras lacks; the rest is Keras' own, by Keras' names. Needs the extra ``sklearn_gln[keras]`` and one of
TensorFlow, JAX and PyTorch, among which Keras chooses by the environment variable ``KERAS_BACKEND``.
"""

import numpy as np

try:
    import keras
except ImportError as error:
    raise ImportError(
        f'Keras 3 cannot be imported ({error}): pip install "sklearn_gln[keras]" and one of tensorflow, jax and torch, '
        "and name that one in the environment variable KERAS_BACKEND"
    ) from error
from keras import ops

__all__ = ["LKSELU", "Certainty", "CoordinateDescent", "LKPReLU", "LKReLU", "LKSwish", "Linked", "mlp"]

_registered = keras.saving.register_keras_serializable(package="sklearn_gln")


@_registered
class Linked(keras.layers.Layer):
    """Several activations of the same inputs side by side, on the last axis.

    One activation g gives concat(g(x), g(-x)), several give concat(g1(x), g2(x), ...).

    Parameters
    ----------
    *activations : str, callable or keras.layers.Layer
        As in ``keras.layers.Activation``, or layers such as ``keras.layers.PReLU()``. A single layer serves x and -x
        with the same weights.

    **kwargs
        Of ``keras.layers.Layer``, such as `name` and `dtype`.

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
    """A linked activation that its class names."""

    activation: str

    def __init__(self, **kwargs):
        super().__init__(self.activation, **kwargs)

    def get_config(self):
        config = super().get_config()
        del config["activations"]
        return config


@_registered
class LKReLU(_LinkedByName):
    """max(x, 0) and max(-x, 0): all of x passes, on one side or the other.

    Parameters
    ----------
    **kwargs
        Of ``keras.layers.Layer``, such as `name` and `dtype`.

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
    """selu(x) and selu(-x).

    Parameters
    ----------
    **kwargs
        Of ``keras.layers.Layer``, such as `name` and `dtype`.

    Examples
    --------
    >>> from sklearn_gln.backprop import LKSELU
    >>> LKSELU().compute_output_shape((None, 10))
    (None, 20)
    """

    activation = "selu"


@_registered
class LKSwish(_LinkedByName):
    """x sigmoid(x) and -x sigmoid(-x).

    Parameters
    ----------
    **kwargs
        Of ``keras.layers.Layer``, such as `name` and `dtype`.

    Examples
    --------
    >>> from sklearn_gln.backprop import LKSwish
    >>> LKSwish().compute_output_shape((None, 10))
    (None, 20)
    """

    activation = "silu"


@_registered
class LKPReLU(Linked):
    """p(x) and q(-x), where p and q are PReLUs with slopes of their own.

    Parameters
    ----------
    alpha_initializer, alpha_regularizer, alpha_constraint, shared_axes
        Of each ``keras.layers.PReLU``. After a convolution ``shared_axes=[1, 2]`` gives a channel one slope.

    **kwargs
        Of ``keras.layers.Layer``, such as `name` and `dtype`.

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


@_registered
class Certainty(keras.Regularizer):
    """Penalty on the entropy of predicted probabilities, as ``activity_regularizer`` of the layer that gives them.

    Adds ``weight`` times the mean of -sum p ln p over the rows of a batch to the loss. A positive weight makes
    predictions more certain, a negative one less.

    Parameters
    ----------
    weight : float, default=0.01
        In nats of the loss per nat of entropy.

    Examples
    --------
    >>> import keras
    >>> from sklearn_gln.backprop import Certainty
    >>> output = keras.layers.Dense(10, activation="softmax", activity_regularizer=Certainty(0.1))
    >>> f"{float(Certainty(1.0)(keras.ops.full((1, 2), 0.5))):.4f}"
    '0.6931'
    """

    def __init__(self, weight=0.01):
        if not np.isfinite(weight):
            raise ValueError(f"weight={weight!r} is not a finite number; try 0.01")
        self.weight = float(weight)

    def __call__(self, probabilities):
        """The weighted sum over rows: Keras itself divides what an activity costs by the rows of the batch."""
        logs = ops.log(ops.maximum(probabilities, keras.config.epsilon()))  # finite where a softmax underflows
        return -self.weight * ops.sum(probabilities * logs)

    def get_config(self):
        return {"weight": self.weight}


@_registered
class CoordinateDescent(keras.optimizers.Optimizer):
    """Descent along one coordinate of each weight array: the one of the steepest slope (Gauss-Southwell rule).

    Parameters
    ----------
    learning_rate : float or keras.optimizers.schedules.LearningRateSchedule, default=0.1
        Times the slope is the step.

    **kwargs
        Of ``keras.optimizers.Optimizer``, such as `clipnorm` and `weight_decay`.

    Examples
    --------
    >>> import keras
    >>> from sklearn_gln.backprop import CoordinateDescent
    >>> weights = keras.Variable([0.0, 0.0, 0.0])
    >>> CoordinateDescent(0.5).apply([keras.ops.convert_to_tensor([1.0, -4.0, 2.0])], [weights])
    >>> weights.numpy()
    array([0., 2., 0.], dtype=float32)
    """

    def __init__(self, learning_rate=0.1, **kwargs):
        super().__init__(learning_rate=learning_rate, **kwargs)

    def update_step(self, gradient, variable, learning_rate):
        slopes = ops.reshape(gradient, (-1,))
        steepest = ops.one_hot(ops.argmax(ops.abs(slopes)), slopes.shape[0], dtype=slopes.dtype)
        step = ops.cast(learning_rate, slopes.dtype) * slopes * steepest
        self.assign_sub(variable, ops.cast(ops.reshape(step, variable.shape), variable.dtype))


def mlp(
    X,
    y,
    *,
    hidden_sizes=(64,),
    activation="relu",
    batch_norm=False,
    kernel_initializer="glorot_uniform",
    kernel_regularizer=None,
    activity_regularizer=None,
    output_regularizer=None,
    optimizer="adam",
    metrics=("accuracy",),
):
    """A compiled multilayer perceptron with a softmax output for rows like `X` and classes like `y`; not trained.

    Where a plain network of ReLU, tanh or sigmoid units will do, scikit-learn's ``MLPClassifier`` is simpler. This one
    takes linked activations, batch normalisation, and all that Keras has in initializers, penalties and optimizers.
    ``keras.wrappers.SKLearnClassifier(mlp, model_kwargs={...})`` makes it a scikit-learn classifier, of any labels.
    ``keras.utils.set_random_seed`` fixes its first weights and the order of rows.

    Parameters
    ----------
    X : array-like of shape (n_rows, ...)
        Only its shape counts; what is not a vector is flattened.

    y : array-like of shape (n_rows,) or (n_rows, n_classes)
        Class numbers 0, 1, ..., of which the largest counts, or one column for each class.

    hidden_sizes : sequence of int, default=(64,)
        Units of each hidden layer. A linked activation gives twice as many outputs. Empty is a linear softmax.

    activation : str, callable, keras.layers.Layer or its class, default="relu"
        Of the hidden layers: what ``keras.layers.Activation`` takes, or a layer such as ``LKReLU`` or
        ``Linked("relu", "tanh")``, of which each hidden layer gets a copy with weights of its own.

    batch_norm : bool, default=False
        Normalise what comes to each activation over the batch.

    kernel_initializer : str or keras.Initializer, default="glorot_uniform"
        Of all weights. An object gives layers of equal shape equal weights, as everywhere in Keras; a name does not.

    kernel_regularizer : str or keras.Regularizer, default=None
        Penalty on the weights of each layer: weight decay ``keras.regularizers.L2``, sparsity ``L1``, both ``L1L2``, or
        ``OrthogonalRegularizer``.

    activity_regularizer : str or keras.Regularizer, default=None
        Penalty on the outputs of each hidden layer.

    output_regularizer : keras.Regularizer, default=None
        Penalty on the predicted probabilities: ``Certainty``.

    optimizer : str or keras.optimizers.Optimizer, default="adam"
        Momentum is ``SGD(0.01, momentum=0.9)``, Nesterov's ``SGD(0.01, momentum=0.9, nesterov=True)``. An object is
        copied, so that it may serve for several models.

    metrics : sequence, default=("accuracy",)
        As in ``keras.Model.compile``.

    Returns
    -------
    model : keras.Sequential
        Compiled with the cross entropy that suits `y`.

    Examples
    --------
    >>> import keras
    >>> from keras.wrappers import SKLearnClassifier
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn_gln.backprop import LKReLU, mlp
    >>> X, y = load_iris(return_X_y=True)
    >>> model = mlp(X, y, hidden_sizes=(8, 8), activation=LKReLU)
    >>> model.count_params()  # 5 * 8 + 17 * 8 + 17 * 3
    227

    As the last step of a pipeline, with any labels:

    >>> keras.utils.set_random_seed(0)
    >>> labels = load_iris().target_names[y]
    >>> network = SKLearnClassifier(mlp, model_kwargs={"activation": LKReLU, "optimizer": keras.optimizers.Adam(0.01)})
    >>> pipeline = make_pipeline(StandardScaler(), network)
    >>> pipeline = pipeline.fit(X, labels, sklearnclassifier__epochs=10, sklearnclassifier__verbose=0)
    >>> network.history_.history["accuracy"][-1] > 0.9
    True
    """
    n_classes, loss = _targets(y)
    shape = np.shape(X)[1:]
    model = keras.Sequential([keras.Input(shape)])
    if len(shape) != 1:
        model.add(keras.layers.Flatten())
    weights = {"kernel_initializer": kernel_initializer, "kernel_regularizer": kernel_regularizer}
    for size in hidden_sizes:
        model.add(keras.layers.Dense(size, **weights))
        if batch_norm:
            model.add(keras.layers.BatchNormalization())
        hidden = _own_layer(activation)
        hidden.activity_regularizer = keras.regularizers.get(activity_regularizer)
        model.add(hidden)
    output_dtype = keras.config.dtype_policy().variable_dtype  # of mixed precision the finer one: probabilities need it
    model.add(
        keras.layers.Dense(
            n_classes, activation="softmax", activity_regularizer=output_regularizer, dtype=output_dtype, **weights
        )
    )
    optimizer = keras.optimizers.get(optimizer)
    model.compile(type(optimizer).from_config(optimizer.get_config()), loss, metrics=list(metrics))
    return model


def _targets(y):
    """Number of classes and Keras' name of the cross entropy for y (n_rows,) or (n_rows, n_classes)."""
    y = np.asarray(y)
    if y.ndim == 2:
        return y.shape[1], "categorical_crossentropy"
    if y.ndim == 1 and y.dtype.kind in "iu" and y.size and y.min() >= 0:
        return int(y.max()) + 1, "sparse_categorical_crossentropy"
    raise ValueError(
        f"y has shape {y.shape} and dtype {y.dtype}; wanted class numbers 0, 1, ... (n_rows,) or one column for each "
        "class (n_rows, n_classes): encode it with sklearn.preprocessing.LabelEncoder, or wrap mlp in "
        "keras.wrappers.SKLearnClassifier, which does"
    )


def _own_layer(activation):
    """A new layer that applies it."""
    if isinstance(activation, keras.layers.Layer):
        return activation.from_config({**activation.get_config(), "name": None})
    if isinstance(activation, type) and issubclass(activation, keras.layers.Layer):
        return activation()
    return keras.layers.Activation(activation)
