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
