"""Multilayer perceptrons, compiled and ready to train."""

import keras
import numpy as np


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
    """Build and compile, but do not train, a softmax multilayer perceptron for rows like `X` and classes like `y`.

    Where a plain network of ReLU, tanh or sigmoid units will do, scikit-learn's ``MLPClassifier`` is simpler. This one
    takes linked activations, batch normalisation, and any of Keras' initializers, penalties and optimizers.
    ``keras.wrappers.SKLearnClassifier(mlp, model_kwargs={...})`` turns it into a scikit-learn classifier that accepts
    any labels. ``keras.utils.set_random_seed`` fixes the initial weights and the order of rows.

    Parameters
    ----------
    X : array-like of shape (n_rows, ...)
        Only its shape counts; rows that are not vectors are flattened.

    y : array-like of shape (n_rows,) or (n_rows, n_classes)
        Class numbers 0, 1, ..., of which the largest sets the number of classes, or one column for each class.

    hidden_sizes : sequence of int, default=(64,)
        Units of each hidden layer. A linked activation gives twice as many outputs. If empty, the model is a linear
        softmax.

    activation : str, callable, keras.layers.Layer or its class, default="relu"
        Activation of the hidden layers: anything that ``keras.layers.Activation`` takes, or a layer such as ``LKReLU``
        or ``Linked("relu", "tanh")``, of which each hidden layer gets a copy with its own weights.

    batch_norm : bool, default=False
        Normalise the inputs of each activation over the batch.

    kernel_initializer : str or keras.Initializer, default="glorot_uniform"
        Initializer of all kernels. An object gives layers of equal shape equal weights, as everywhere in Keras; a name
        does not.

    kernel_regularizer : str or keras.Regularizer, default=None
        Penalty on the weights of each layer: ``keras.regularizers.L2`` for weight decay, ``L1`` for sparsity, ``L1L2``
        for both, or ``OrthogonalRegularizer``.

    activity_regularizer : str or keras.Regularizer, default=None
        Penalty on the outputs of each hidden layer.

    output_regularizer : keras.Regularizer, default=None
        Penalty on the predicted probabilities, such as ``Certainty``.

    optimizer : str or keras.optimizers.Optimizer, default="adam"
        ``SGD(0.01, momentum=0.9)`` for momentum, with ``nesterov=True`` for Nesterov's. An object is copied, so one may
        be passed for several models.

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
    output_dtype = keras.config.dtype_policy().variable_dtype  # probabilities need the finer one under mixed precision
    model.add(
        keras.layers.Dense(
            n_classes, activation="softmax", activity_regularizer=output_regularizer, dtype=output_dtype, **weights
        )
    )
    optimizer = keras.optimizers.get(optimizer)
    model.compile(type(optimizer).from_config(optimizer.get_config()), loss, metrics=list(metrics))
    return model


def _targets(y):
    """Number of classes, and Keras' name for the cross entropy, for y (n_rows,) or (n_rows, n_classes)."""
    y = np.asarray(y)
    if y.ndim == 2:
        return y.shape[1], "categorical_crossentropy"
    if y.ndim == 1 and y.dtype.kind in "iu" and y.size and y.min() >= 0:
        return int(y.max()) + 1, "sparse_categorical_crossentropy"
    raise ValueError(
        f"y has shape {y.shape} and dtype {y.dtype}; expected class numbers 0, 1, ... (n_rows,) or one column for each "
        "class (n_rows, n_classes): encode it with sklearn.preprocessing.LabelEncoder, or wrap mlp in "
        "keras.wrappers.SKLearnClassifier, which does so"
    )


def _own_layer(activation):
    """New layer that applies the activation."""
    if isinstance(activation, keras.layers.Layer):
        return activation.from_config({**activation.get_config(), "name": None})
    if isinstance(activation, type) and issubclass(activation, keras.layers.Layer):
        return activation()
    return keras.layers.Activation(activation)
