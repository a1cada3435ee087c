"""Checks that test_backprop.py runs in one process per Keras backend, since Keras fixes its backend on import."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from keras.wrappers import SKLearnClassifier
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_gln import backprop
from sklearn_gln.backprop import LKSELU, Certainty, CoordinateDescent, Linked, LKPReLU, LKReLU, LKSwish, mlp

BRANCHES = {LKReLU: ["relu"], LKSELU: ["selu"], LKSwish: ["silu"], "several": ["relu", "silu", "tanh"]}
ALPHA = keras.initializers.Constant(0.25)  # slopes of 0 would put penalties and pooling on a kink
NAMED = {LKReLU: "relu", LKSELU: "selu", LKSwish: "silu"}
NOT_ACTIVATIONS = {"get", "serialize", "deserialize", "threshold"}  # threshold has arguments without defaults
ACTIVATIONS = [name for name in dir(keras.activations) if name not in NOT_ACTIVATIONS and not name.startswith("_")]
FORMULAS = {
    "relu": lambda x: np.maximum(x, 0),
    "selu": lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0))),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "tanh": np.tanh,
}


@pytest.fixture(autouse=True)
def seeds():
    keras.utils.set_random_seed(0)


@pytest.fixture
def policy():
    """Function that sets Keras' dtype policy for one test."""
    before = keras.config.dtype_policy()
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy(before)


def rows(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def arrays(model):
    return [ops.convert_to_numpy(weight.value) for weight in model.trainable_variables]


# Values and shapes


@pytest.mark.parametrize("layer", NAMED)
def test_named_layers(layer):
    x, g = rows(5, 3), FORMULAS[NAMED[layer]]
    expected = np.concatenate([g(x), g(-x)], axis=1)
    np.testing.assert_allclose(ops.convert_to_numpy(layer()(x)), expected, rtol=1e-5)
    np.testing.assert_allclose(ops.convert_to_numpy(Linked(NAMED[layer])(x)), expected, rtol=1e-5)


def test_slopes_are_independent():
    x, layer = rows(5, 3), LKPReLU()
    layer.build(x.shape)
    p, q = rows(2, 3, seed=1)
    for weight, slopes in zip(layer.trainable_variables, (p, q), strict=True):
        weight.assign(slopes)
    expected = np.concatenate([np.where(x > 0, x, p * x), np.where(x < 0, -x, -q * x)], axis=1)
    np.testing.assert_allclose(ops.convert_to_numpy(layer(x)), expected, rtol=1e-6)


def test_several_activations():
    x = rows(5, 3)
    expected = np.concatenate([np.maximum(x, 0), np.tanh(x), x**2], axis=1)
    np.testing.assert_allclose(ops.convert_to_numpy(Linked("relu", "tanh", ops.square)(x)), expected, rtol=1e-5)


def test_a_layer_serves_both_signs():
    x, layer = rows(5, 3), Linked(layers.PReLU(alpha_initializer="ones"))
    np.testing.assert_allclose(ops.convert_to_numpy(layer(x)), np.concatenate([x, -x], axis=1))
    assert len(layer.trainable_variables) == 1


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_keras_activation(name):
    shape = (2, 3, 4)
    x, g = rows(*shape), keras.activations.get(name)
    outputs = Linked(name)(x)
    expected = np.concatenate([ops.convert_to_numpy(g(ops.convert_to_tensor(each))) for each in (x, -x)], axis=-1)
    np.testing.assert_allclose(ops.convert_to_numpy(outputs), expected, rtol=1e-6)
    assert Linked(name).compute_output_shape(shape) == expected.shape  # glu halves the axis
    assert Linked(name)(keras.Input(shape[1:])).shape == (None, *expected.shape[1:])


@pytest.mark.parametrize("layer", [*NAMED, LKPReLU])
def test_output_shape(layer):
    assert layer().compute_output_shape((None, 3, 6)) == (None, 3, 12)
    assert LKReLU().compute_output_shape((None, None, 5)) == (None, None, 10)


def test_masks_pass():
    x = ops.convert_to_tensor(np.array([[[1.0], [0.0]]], "float32"))
    outputs = LKReLU()(layers.Masking()(x))
    assert keras.backend.is_keras_tensor(outputs) is False
    np.testing.assert_array_equal(ops.convert_to_numpy(outputs._keras_mask), [[True, False]])


def test_no_activation():
    with pytest.raises(ValueError, match=r"Linked\(\) was given no activation; name at least one"):
        Linked()


# Models


def convolutional():
    inputs = keras.Input((8, 8, 1))
    x = LKPReLU(shared_axes=[1, 2], alpha_initializer=ALPHA)(layers.Conv2D(4, 3)(inputs))
    x = LKSwish()(layers.Conv2D(4, 3)(layers.MaxPooling2D()(x)))
    x = Linked("tanh", layers.PReLU())(layers.Dense(5)(layers.Flatten()(x)))
    return keras.Model(inputs, layers.Dense(3, activation="softmax", activity_regularizer=Certainty(0.1))(x))


def sequential():
    model = [keras.Input((8, 8, 1)), layers.Reshape((8, 8)), layers.Conv1D(3, 2), LKSELU(), layers.Flatten()]
    return keras.Sequential([*model, layers.Dense(5), LKReLU(), layers.Dense(3, activation="softmax")])


@pytest.mark.parametrize("build", [convolutional, sequential])
def test_models_train_and_survive_files(build, tmp_path):
    model = build()
    X, y = rows(12, 8, 8, 1), np.eye(3)[np.arange(12) % 3]
    model.compile(CoordinateDescent(0.05), "categorical_crossentropy")
    before = arrays(model)
    model.train_on_batch(X, y)
    assert any((old != new).any() for old, new in zip(before, arrays(model), strict=True))
    expected = ops.convert_to_numpy(model(X))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(ops.convert_to_numpy(loaded(X)), expected, rtol=1e-5)
    assert type(loaded.optimizer) is CoordinateDescent
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    np.testing.assert_allclose(ops.convert_to_numpy(clone(X)), expected, rtol=1e-5)


@pytest.mark.parametrize(
    "layer",
    [
        LKReLU(name="own"),
        LKSELU(dtype="mixed_bfloat16"),
        Linked("relu", layers.PReLU(shared_axes=[1])),
        LKPReLU(alpha_initializer="ones", alpha_regularizer="l2", alpha_constraint="non_neg", shared_axes=[1]),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_configurations(layer):
    config = layer.get_config()
    assert type(layer).from_config(config).get_config() == config
    again = keras.layers.deserialize(keras.layers.serialize(layer))
    assert type(again) is type(layer)
    assert again.get_config() == config


@pytest.mark.parametrize("name", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("layer", [LKReLU, LKSELU, LKSwish, LKPReLU])
def test_mixed_precision(layer, name, policy):
    policy(name)
    X, y = rows(20, 6), np.arange(20) % 2
    model = mlp(X, y, hidden_sizes=(4,), activation=layer, output_regularizer=Certainty(0.1))
    _, hidden, output = model.layers
    assert keras.backend.standardize_dtype(hidden(rows(5, 4)).dtype) == hidden.compute_dtype == name[6:]
    assert {weight.dtype for weight in model.trainable_variables} == {"float32"}
    assert all(each.dtype_policy.name == name for each in hidden.activations if isinstance(each, layers.Layer))
    assert output.compute_dtype == "float32"
    np.testing.assert_allclose(ops.convert_to_numpy(model(X)).sum(axis=1), 1, rtol=1e-6)


def test_training_in_mixed_precision(policy):
    policy("mixed_bfloat16")
    X, y = rows(20, 6), np.arange(20) % 2
    model = mlp(X, y, hidden_sizes=(4,), activation=LKPReLU, output_regularizer=Certainty(0.1), optimizer="sgd")
    before = arrays(model)
    assert np.isfinite(model.train_on_batch(X, y)).all()
    assert all(np.isfinite(new).all() for new in arrays(model))
    assert any((old != new).any() for old, new in zip(before, arrays(model), strict=True))


def test_own_dtype():
    layer = LKPReLU(dtype="mixed_float16")
    layer.build((None, 2))
    assert {each.compute_dtype for each in layer.activations} == {layer.compute_dtype} == {"float16"}


# Gradients, read off one step of SGD at learning rate 1, against finite differences of the same network in NumPy's
# float64, which Keras supports on TensorFlow only


def naive_activation(x, layer, weights):
    """Outputs (..., n_branches * n) for x (..., n); PReLU takes its slopes from the iterator `weights`."""
    if layer is LKPReLU:
        p, q = next(weights), next(weights)
        return np.concatenate([np.where(x > 0, x, p * x), np.where(x < 0, -x, -q * x)], axis=-1)
    names = BRANCHES[layer]
    inputs = [x] * len(names) if len(names) > 1 else [x, -x]
    return np.concatenate([FORMULAS[g](each) for g, each in zip(names * 2, inputs, strict=False)], axis=-1)


def naive_cost(weights, X, y, layer, *, n_hidden, weight=0.0, l1=0.0, l2=0.0):
    """Cross entropy of one-hot y (n, n_classes) plus penalties; X holds rows or images (n, height, width, 1)."""
    weights, x, cost = iter(weights), X, 0.0
    for _ in range(n_hidden):
        kernel, bias = next(weights), next(weights)
        cost += l2 * np.sum(kernel**2)
        if x.ndim == 4:
            x = np.einsum("nhwcij,ijco->nhwo", sliding_window_view(x, (3, 3), axis=(1, 2)), kernel)
        else:
            x = x @ kernel
        x = naive_activation(x + bias, layer, weights)
        cost += l1 * np.sum(np.abs(x)) / len(x)
    kernel, bias = next(weights), next(weights)
    logits = x.reshape(len(x), -1) @ kernel + bias
    p = np.exp(logits) / np.sum(np.exp(logits), axis=1, keepdims=True)
    entropy = -np.sum(p * np.log(p), axis=1)
    return cost + l2 * np.sum(kernel**2) + np.mean(weight * entropy - np.sum(y * np.log(p), axis=1))


def assert_gradients(model, X, y, naive, h=1e-6):
    """Assert that each weight's step is the slope of `naive`, a function of all weights."""
    model.compile(keras.optimizers.SGD(1.0), "categorical_crossentropy")
    start = arrays(model)
    loss = model.train_on_batch(X, y, return_dict=True)["loss"]
    weights = [array.astype("float64") for array in start]
    assert loss == pytest.approx(naive(weights), rel=1e-5)
    for array, old, new in zip(weights, start, arrays(model), strict=True):
        slopes = np.empty(array.shape)
        for index in np.ndindex(array.shape):
            value, costs = array[index], []
            for moved in (value + h, value - h):
                array[index] = moved
                costs.append(naive(weights))
            array[index] = value
            slopes[index] = (costs[0] - costs[1]) / (2 * h)
        np.testing.assert_allclose(old - new, slopes, rtol=2e-3, atol=1e-6)
    assert (start[0] != arrays(model)[0]).any(), "the first layer's gradient vanished"


def targets(n):
    return np.eye(3)[np.arange(n) % 3]


@pytest.mark.parametrize("layer", [*BRANCHES, LKPReLU])
def test_gradients_of_deep_networks(layer):
    n_hidden, X, y, penalties = 6, rows(9, 5), targets(9), {"weight": 0.3, "l1": 0.01, "l2": 0.02}
    if layer is LKPReLU:
        activation = LKPReLU(alpha_initializer=ALPHA)
    else:
        activation = layer if layer in NAMED else Linked(*BRANCHES[layer])
    model = mlp(
        X,
        y,
        hidden_sizes=(3,) * n_hidden,
        activation=activation,
        kernel_regularizer=keras.regularizers.L2(penalties["l2"]),
        activity_regularizer=keras.regularizers.L1(penalties["l1"]),
        output_regularizer=Certainty(penalties["weight"]),
    )
    assert_gradients(model, X, y, lambda weights: naive_cost(weights, X, y, layer, n_hidden=n_hidden, **penalties))


def test_gradients_after_a_convolution():
    X, y = rows(6, 5, 5, 1), targets(6)
    slopes = LKPReLU(shared_axes=[1, 2], alpha_initializer=ALPHA)
    model = [keras.Input(X.shape[1:]), layers.Conv2D(4, 3), slopes, layers.Flatten()]
    model = keras.Sequential([*model, layers.Dense(3, activation="softmax")])
    assert_gradients(model, X, y, lambda weights: naive_cost(weights, X, y, LKPReLU, n_hidden=1))


@pytest.mark.parametrize("weight", [0.7, -0.2])
def test_gradients_of_certainty(weight):
    X, y = rows(7, 5), targets(7)
    model = mlp(X, y, hidden_sizes=(), output_regularizer=Certainty(weight))
    assert_gradients(model, X, y, lambda weights: naive_cost(weights, X, y, None, n_hidden=0, weight=weight))


# Certainty


def test_certainty_is_the_mean_entropy_of_rows():
    X, y = rows(12, 5), targets(12)
    plain = mlp(X, y, hidden_sizes=())
    penalised = mlp(X, y, hidden_sizes=(), output_regularizer=Certainty(0.5))
    penalised.set_weights(plain.get_weights())
    p = ops.convert_to_numpy(plain(X))
    losses = [model.evaluate(X, y, batch_size=6, verbose=0)[0] for model in (plain, penalised)]
    assert losses[1] - losses[0] == pytest.approx(-0.5 * np.mean(np.sum(p * np.log(p), axis=1)), rel=1e-4)


def test_certainty_of_zero_probabilities():
    X, y = 1e4 * rows(12, 5), np.arange(12) % 3
    model = mlp(X, y, hidden_sizes=(), output_regularizer=Certainty(0.5), optimizer="sgd")
    assert (ops.convert_to_numpy(model(X)) == 0).any()
    assert np.isfinite(model.train_on_batch(X, y)[0])
    assert all(np.isfinite(array).all() for array in arrays(model))


@pytest.mark.parametrize("weight", [float("nan"), float("inf")])
def test_certainty_without_a_number(weight):
    with pytest.raises(ValueError, match="is not a finite number"):
        Certainty(weight)


# Coordinate descent


def test_coordinate_descent_moves_the_steepest_coordinate():
    weights = keras.Variable(np.zeros((2, 2), "float32"))
    optimizer = CoordinateDescent(0.5)
    for _ in range(2):
        optimizer.apply([ops.convert_to_tensor([[1.0, -2.0], [0.5, 0.1]])], [weights])
    np.testing.assert_allclose(ops.convert_to_numpy(weights.value), [[0, 2], [0, 0]])


def test_coordinate_descent_learns():
    X, y = load_iris(return_X_y=True)
    X = StandardScaler().fit_transform(X).astype("float32")
    model = mlp(X, y, hidden_sizes=(), optimizer=CoordinateDescent(0.3))
    first = model.evaluate(X, y, verbose=0)[0]
    for _ in range(60):
        model.train_on_batch(X, y)
    assert model.evaluate(X, y, verbose=0)[0] < 0.6 * first


# The builder


def test_layers_of_mlp():
    X, y = rows(6, 3, 4), np.arange(6) % 3
    model = mlp(
        X,
        y,
        hidden_sizes=(5, 4),
        activation=Linked("relu", layers.PReLU()),
        batch_norm=True,
        kernel_initializer="he_normal",
        kernel_regularizer=keras.regularizers.OrthogonalRegularizer(0.1),
        activity_regularizer="l1",
        output_regularizer=Certainty(0.2),
    )
    hidden = [layers.Dense, layers.BatchNormalization, Linked]
    assert [type(layer) for layer in model.layers] == [layers.Flatten, *hidden, *hidden, layers.Dense]
    assert model.output_shape == (None, 3)
    first, second = (model.layers[i] for i in (3, 6))
    assert first is not second
    assert [len(layer.trainable_variables) for layer in (first, second)] == [1, 1]
    assert all(type(layer.activity_regularizer) is keras.regularizers.L1 for layer in (first, second))
    dense = [layer for layer in model.layers if type(layer) is layers.Dense]
    assert all(type(each.kernel_regularizer) is keras.regularizers.OrthogonalRegularizer for each in dense)
    assert all(type(each.kernel_initializer) is keras.initializers.HeNormal for each in dense)
    assert dense[-1].activity_regularizer.weight == 0.2
    assert model.train_on_batch(X, y)[0] > 0


@pytest.mark.parametrize("activation", ["tanh", "elu", "selu", "swish", ops.sin, layers.PReLU, LKReLU, Linked("gelu")])
def test_activations_of_mlp(activation):
    X, y = rows(6, 4), np.arange(6) % 3
    model = mlp(X, np.eye(3)[y], hidden_sizes=(4, 4), activation=activation)
    assert model.loss == "categorical_crossentropy"
    assert model(X).shape == (6, 3)


def test_an_optimizer_serves_several_models():
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True)
    X, y = rows(6, 4), np.arange(6) % 3
    models = [mlp(X, y, optimizer=optimizer, metrics=()) for _ in range(2)]
    for model in models:
        assert model.optimizer is not optimizer
        assert model.optimizer.get_config() == optimizer.get_config()
        model.train_on_batch(X, y)


@pytest.mark.parametrize("y", [np.array(["a", "b"]), np.array([0.5, 1.0]), np.array([-1, 1]), np.zeros((2, 2, 2))])
def test_targets_of_mlp(y):
    with pytest.raises(ValueError, match=r"expected class numbers 0, 1, .*SKLearnClassifier, which does"):
        mlp(rows(2, 3), y)


def test_in_a_pipeline():
    X, y = load_iris(return_X_y=True)
    labels = load_iris().target_names[y]
    params = {"hidden_sizes": (8,), "activation": LKReLU, "optimizer": keras.optimizers.Adam(0.05)}
    pipeline = make_pipeline(StandardScaler(), SKLearnClassifier(mlp, model_kwargs=params))
    # Passed to fit: the clones that a search makes of SKLearnClassifier lose the ones given to its constructor.
    fit = {"sklearnclassifier__epochs": 6, "sklearnclassifier__verbose": 0, "sklearnclassifier__batch_size": 25}
    grid = {"sklearnclassifier__model_kwargs": [params, {**params, "activation": Linked("tanh")}]}
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(X, labels, **fit)
    assert search.best_score_ > 0.8
    assert set(search.predict(X)) <= set(labels)


def test_public_names():
    assert set(backprop.__all__) == {
        "Certainty",
        "CoordinateDescent",
        "Linked",
        "LKPReLU",
        "LKReLU",
        "LKSELU",
        "LKSwish",
        "mlp",
    }
    assert {getattr(backprop, name).__module__ for name in backprop.__all__} == {"sklearn_gln.backprop"}
