"""Fitted estimators as ONNX graphs, which run without Python and scikit-learn: converters for skl2onnx.

`to_onnx` converts an estimator, or an estimator of scikit-learn that holds one: a Pipeline, CalibratedClassifierCV, a
stacking ensemble. After `register()` skl2onnx's own functions do so too, but without the checks of `to_onnx`.

A graph has the steps of `OnlineNetwork.infer`, one function a step, with the names that they have there::

    expand              categories -> evidence and indicators             Categories.recall, Categories.expanded
    transform           features -> base inputs and side information      BasePredictor.transform
    select_contexts     in double precision in all graphs                 kernels.select_contexts
    select_slots        the slot of each context                          Layer.slots
    linear_infer        layers of logits, or of means                     _network.infer
    gaussian_infer      layers of Gaussians                               Gaussian.infer_layer
    output              in double precision again, as all that follows    Head.gather, Head.predict
    probabilities       of the classes                                    GLNClassifier.predict_proba
    deviation           of the targets in regression                      Spread, Calibration

In shapes n are samples, k outputs, j neurons, c contexts, r slots, i inputs; ``k|1`` is an axis that has length 1
where all outputs share the array. Unlike in the package, outputs come before samples, (k, n, j): the inputs of a layer
times its weights are then one matrix product for each output.
"""

import operator
import warnings
from copy import copy
from functools import partial
from reprlib import repr as brief
from typing import NamedTuple

import numpy as np
from sklearn.base import BaseEstimator, is_classifier, is_regressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import VotingClassifier, VotingRegressor
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import RFE, RFECV
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils.validation import check_is_fitted

from sklearn_gln import GLNClassifier, GLNRegressor
from sklearn_gln._base_predictor import CLIP, PIECE_LIMIT, WIDE_CLIP, Inputs
from sklearn_gln._calibration import MAX_LOG
from sklearn_gln._categories import MISSING
from sklearn_gln._levels import FIRST_HASH
from sklearn_gln._likelihood import (
    BASE_VARIANCE,
    BIAS_MEANS,
    MAX_VARIANCE,
    MIN_VARIANCE,
    SQUARE_LIMIT,
    SQUARE_SCALE,
    stretch,
)
from sklearn_gln._network import initial_weights
from sklearn_gln._state import from_plain, to_plain
from sklearn_gln.kernels import get_kernels

try:
    import skl2onnx
    from onnx import TensorProto, helper, numpy_helper
    from skl2onnx.common.data_types import (
        BooleanTensorType,
        DoubleTensorType,
        FloatTensorType,
        Int64TensorType,
        StringTensorType,
        guess_tensor_type,
    )
    from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes
    from skl2onnx.common.utils_classifier import get_label_classes
    from skl2onnx.sklapi import CastTransformer
except ImportError as error:
    raise ImportError(
        f'sklearn_gln.onnx needs a package that is not installed ({error}); `pip install "sklearn_gln[onnx]"` installs '
        "what it needs."
    ) from error

__all__ = ["OPSET", "register", "to_onnx"]

OPSET = 18  # the lowest in which ReduceMean, ReduceMin and ReduceMax take their axes as inputs
MAX_BYTES = 2**31 - 2**20  # of a graph's arrays: protobuf ends at 2 GiB, and nodes and names need some
CLASSIFIER, REGRESSOR = "SklearnGlnClassifier", "SklearnGlnRegressor"  # what skl2onnx calls them
INPUT_TYPES = {"float64": DoubleTensorType, "float32": FloatTensorType}
OPTIMIZED_FOR = ("latency", "throughput")
_NONE = np.zeros(0, object)  # in place of a column's categories
MAX_DENSE_SLOTS = 32  # per neuron; with more a product with all of them takes longer than gathering the selected ones


def register():
    """Have skl2onnx convert GLNClassifier and GLNRegressor, alone and within other estimators.

    Then ``skl2onnx.to_onnx`` and ``skl2onnx.convert_sklearn`` take them, with the options of `to_onnx` and, for each of
    the two classes, ``optimize_for``. `to_onnx` registers them itself. Around ours, skl2onnx converts some estimators
    to graphs that predict something else, without a word: `to_onnx` of this module refuses these.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skl2onnx import to_onnx
    >>> from sklearn_gln import GLNClassifier
    >>> from sklearn_gln.onnx import register
    >>> register()
    >>> X, y = load_iris(return_X_y=True)
    >>> model = GLNClassifier(random_state=0).fit(X, y)
    >>> options = {GLNClassifier: {"zipmap": False, "optimize_for": "throughput"}}
    >>> graph = to_onnx(model, X[:1], options=options, target_opset=18)
    >>> [output.name for output in graph.graph.output]
    ['label', 'probabilities']
    """
    skl2onnx.update_registered_converter(
        GLNClassifier,
        CLASSIFIER,
        _classifier_shapes,
        _convert_classifier,
        options={
            "zipmap": [True, False, "columns"],
            "nocl": [True, False],
            "output_class_labels": [False, True],
            "raw_scores": [True, False],
            "optimize_for": list(OPTIMIZED_FOR),
        },
    )
    skl2onnx.update_registered_converter(
        GLNRegressor,
        REGRESSOR,
        _regressor_shapes,
        _convert_regressor,
        parser=_parse_regressor,
        options={"return_std": [False, True], "optimize_for": list(OPTIMIZED_FOR)},
    )


def to_onnx(
    model,
    X=None,
    *,
    dtype="float64",
    optimize_for="latency",
    options=None,
    initial_types=None,
    target_opset=OPSET,
):
    """Convert a fitted estimator to an ONNX graph.

    The graph of a classifier gives labels and probabilities, that of a regressor the mean.

    Parameters
    ----------
    model : estimator
        A fitted GLNClassifier or GLNRegressor, or an estimator that skl2onnx converts and that holds some: Pipeline,
        CalibratedClassifierCV with method="sigmoid", StackingClassifier, VotingClassifier, searches and others. Such a
        graph is run and compared with the model before it is returned, see Raises.

    X : array-like or pandas.DataFrame of shape (n_samples, n_features), default=None
        Samples from which the graph's inputs are guessed. A data frame in front of a ColumnTransformer gives one input
        for each column, of shape (n_samples, 1) and with the column's name ("_" in place of what is not a letter or
        digit), in their order; all else gives one matrix "X". Pass more than one sample: the graph is compared with the
        model on up to 1,000 of them.

    dtype : {"float64", "float32"}, default="float64"
        Of the graph's input, its network and its output, where `X` or `initial_types` do not say otherwise: their
        floating-point type comes first. Scaling, halfspaces, the stack and probabilities are always computed in double
        precision, so that a sample of "float32" is on the same side of each halfspace in all graphs; one that had to be
        rounded to "float32" may be on the other, and its prediction then differs.

    optimize_for : {"latency", "throughput"}, default="latency"
        "latency": the weight vectors that a sample's contexts select are gathered and multiplied with its inputs; for
        single samples. "throughput": inputs are multiplied with all weight vectors, and the selected sums are gathered,
        in layers whose neurons have at most 32 weight vectors each; for many samples a call. The other layers are as
        for "latency".

    options : dict or None, default=None
        Options of skl2onnx for the model, or for the last step of a Pipeline. Of classifiers "zipmap": False (here the
        default), "columns" or, with dtype="float32", True; "nocl": True for the numbers of classes in place of string
        labels; "raw_scores": True for `decision_function` in place of probabilities, in two columns [-s, s] for two
        classes; "output_class_labels". Of regressors "return_std": True for standard deviations as second output. A key
        that is a class or the id of an estimator holds a dict of options for these.

    initial_types : list of (str, skl2onnx data type) or None, default=None
        The graph's inputs, as skl2onnx takes them, in place of `X`. None, and no `X`: "X", of shape (n_samples,
        n_features_in_).

    target_opset : int, default=18
        The version of ONNX's operators, at least 18.

    Returns
    -------
    graph : onnx.ModelProto
        ``graph.SerializeToString()`` is what ONNX runtimes load.

    Raises
    ------
    NotFittedError
        If the model is not fitted.

    NotImplementedError
        If a base_predictor is a Python callable, which no graph can hold; if levels of categories are text, dates or
        integers from 2**52 on, see Notes, or a column has reached `max_levels`; if rows are wider than `max_dense`; if
        the model holds, at any depth, what
        skl2onnx does not convert or converts to something else: a tuned or fixed decision threshold, a calibration
        other than "sigmoid", encoders of fractions; or if the graph of an estimator around ours, run by onnxruntime,
        fails or gives other predictions than the model. Without onnxruntime, and for inputs of which `X` gives no
        sample and that are not all numbers, this last check cannot be made.

    ValueError
        If a parameter is invalid, labels are neither numbers nor strings, or the graph would exceed 2 GiB.

    Notes
    -----
    Compared with `predict_proba` of the same samples, probabilities differ by rounding: less than 1e-12 of a model with
    dtype="float64" in a "float64" graph, below 1e-6 in our tests if either is "float32". Weights are kept in the lower
    of the two precisions: a "float64" graph of a model with dtype="float32" is no larger, and no nearer to the model.

    Graphs look up levels of categories that are numbers. Of text a model keeps hashes, which graphs cannot compute. Let
    an OrdinalEncoder, with ``handle_unknown="use_encoded_value"``, in a ColumnTransformer number such levels before the
    network, and name its columns by number in `categorical_features`.

    Missing values (NaN) are taken as in the package. Other input is not checked: values must be finite, and with
    base_predictor="identity" of a classifier probabilities.

    Weight vectors that are gathered take n_samples x n_outputs x n_neurons x n_inputs numbers for the largest layer:
    pass large data in batches. Calls of 16 samples or so take little memory, and were no slower than larger ones.

    Examples
    --------
    >>> import numpy as np
    >>> from onnxruntime import InferenceSession
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_gln import GLNClassifier
    >>> from sklearn_gln.onnx import to_onnx
    >>> X, y = load_iris(return_X_y=True)
    >>> model = GLNClassifier(dtype="float64", random_state=0).fit(X, y)
    >>> session = InferenceSession(to_onnx(model).SerializeToString())
    >>> labels, probabilities = session.run(None, {"X": X})
    >>> bool(np.abs(probabilities - model.predict_proba(X)).max() < 1e-12)
    True
    """
    dtype = np.dtype(dtype).name
    if dtype not in INPUT_TYPES:
        raise ValueError(f"dtype={dtype!r} is unknown; choose 'float64' or 'float32'.")
    if optimize_for not in OPTIMIZED_FOR:
        raise ValueError(f"optimize_for={optimize_for!r} is unknown; choose 'latency' or 'throughput'.")
    if X is not None and initial_types is not None:
        raise ValueError("X and initial_types both say what the graph's inputs are; pass one of them.")
    check_is_fitted(model)
    register()
    if X is not None:
        X, initial_types = _guess_types(X, model)
    kinds = {INPUT_TYPES[dtype]} if initial_types is None else {type(kind) for _, kind in initial_types}
    if kinds & {DoubleTensorType, FloatTensorType}:
        dtype = "float64" if DoubleTensorType in kinds else "float32"
    given, model = model, simplified(model, dtype)
    if initial_types is None:
        if not hasattr(model, "n_features_in_"):
            raise ValueError(
                f"How many features this {type(given).__name__} takes is not known; pass samples X, or initial_types."
            )
        initial_types = [("X", INPUT_TYPES[dtype]([None, model.n_features_in_]))]
    if not (kinds & {DoubleTensorType, FloatTensorType} or isinstance(model, Pipeline)):
        model = Pipeline([("cast", CastTransformer(dtype=np.dtype(dtype))), ("model", model)])
    options = _by_estimator(given, model, options or {}, optimize_for, dtype)
    try:
        graph = skl2onnx.to_onnx(model, initial_types=initial_types, options=options, target_opset=target_opset)
    except (ValueError, MemoryError, NotImplementedError):
        raise
    except Exception as error:
        raise NotImplementedError(
            f"skl2onnx cannot convert this {type(given).__name__} ({type(error).__name__}: {error!s:.300}). Convert "
            "the GLN alone, or replace the step that skl2onnx does not know; if columns are named or hold text, pass X."
        ) from error
    if not isinstance(given, GLNClassifier | GLNRegressor):
        check_predictions(graph, given, X, initial_types, options[id(last_step(model))])
    return graph


def _guess_types(X, model):
    """X as an array or a data frame, and the inputs of a graph that takes it."""
    if hasattr(X, "columns") and not hasattr(X, "iloc"):
        X = X.to_pandas()
    if hasattr(X, "columns"):
        numbers = [name for name in X.columns if getattr(X[name].dtype, "categories", _NONE).dtype.kind in "biuf"]
        X = X.astype(dict.fromkeys(numbers, float))
        types = [_tensor_type(X[name].dtype, name) for name in X.columns]
        if any(isinstance(part, ColumnTransformer) for part in _parts(model)) or len(set(_is_text(types))) > 1:
            return X, [(str(name), kind([None, 1])) for name, kind in zip(X.columns, types, strict=True)]
    X = np.asarray(X)
    if X.ndim != 2:
        raise ValueError(f"X has shape {X.shape}; pass samples as rows: an array of shape (n_samples, n_features).")
    return X, [("X", _tensor_type(X.dtype, "X")([None, X.shape[1]]))]


def _is_text(types):
    return [kind is StringTensorType for kind in types]


def _tensor_type(dtype, name):
    kinds = {"f": DoubleTensorType, "i": Int64TensorType, "u": Int64TensorType, "b": BooleanTensorType}
    kinds |= dict.fromkeys("OUT", StringTensorType)
    if dtype.kind not in kinds:
        raise ValueError(f"{name} has dtype {dtype}, of which ONNX has no input; pass numbers or strings.")
    return FloatTensorType if dtype == np.float32 else kinds[dtype.kind]


def last_step(model):
    while isinstance(model, Pipeline):
        model = model[-1]
    return model


def _by_estimator(given, model, options, optimize_for, dtype):
    """Options as skl2onnx takes them: dicts, by the class or the id of an estimator."""
    last = last_step(model)
    own = {"zipmap": False} if is_classifier(last) else {}
    own |= {name: value for name, value in options.items() if isinstance(name, str)}
    others = {key: value for key, value in options.items() if not isinstance(key, str)}
    for estimator in (given, last_step(given), last):
        own |= others.get(id(estimator), {})
    if own.get("zipmap") is True and (dtype == "float64" or getattr(last, "_multilabel", False)):
        raise ValueError(
            "options={'zipmap': True} makes a dict of each sample's probabilities, for which ONNX has an operator of "
            "dtype='float32' and of classes, not of labels. Use False, 'columns', or dtype='float32'."
        )
    of_classes = {kind: {"optimize_for": optimize_for} | others.get(kind, {}) for kind in (GLNClassifier, GLNRegressor)}
    selectors = {RFE: {}, RFECV: {}}  # which skl2onnx takes for classifiers, and has no options for
    pipelines = [
        part.estimator
        for part in _parts(model)
        if hasattr(part, "calibrators") and isinstance(part.estimator, Pipeline)
    ]
    scored = [last_step(pipeline) for pipeline in pipelines if hasattr(pipeline, "decision_function")]
    calibrated = {id(step): {"raw_scores": True, "zipmap": False} for step in scored}
    return calibrated | selectors | others | of_classes | {id(last): own}


# Other estimators, as skl2onnx has to find them


def simplified(estimator, dtype):
    """The estimator as skl2onnx converts it: a copy where anything is to be changed, at any depth.

    What skl2onnx would convert to something else raises NotImplementedError.
    """
    if isinstance(estimator, list | tuple):
        items = [simplified(item, dtype) for item in estimator]
        unchanged = all(map(operator.is_, items, estimator))
        return estimator if unchanged else items if isinstance(estimator, list) else tuple(items)
    if isinstance(estimator, BaseSearchCV | FrozenEstimator):
        held = _held(estimator)
        return estimator if held is None else simplified(held, dtype)
    if not _is_part(estimator):
        return estimator
    if isinstance(estimator, GLNClassifier | GLNRegressor):
        check_levels(estimator)
        return estimator
    check_supported(estimator)
    changed = {name: simplified(value, dtype) for name, value in vars(estimator).items()}
    if isinstance(estimator, Pipeline):
        steps = [(name, step) for name, step in changed["steps"] if step not in (None, "passthrough")]
        if len(steps) > 1 and (is_classifier(steps[-1][1]) or is_regressor(steps[-1][1])):
            # Encoders give float32 whatever the input is, and skl2onnx then declares results of another type.
            steps.insert(-1, ("cast", CastTransformer(dtype=np.dtype(dtype))))
        changed["steps"] = steps
    elif isinstance(estimator, FeatureUnion):
        changed["transformer_list"] = [pair for pair in changed["transformer_list"] if pair[1] != "drop"]
    elif isinstance(estimator, VotingClassifier | VotingRegressor):
        changed["flatten_transform"] = False  # of `transform` only, but skl2onnx insists
        weights = estimator._weights_not_none
        changed["weights"] = None if weights is None else np.array(weights)
    if all(value is vars(estimator).get(name) for name, value in changed.items()):
        return estimator
    duplicate = copy(estimator)
    vars(duplicate).update(changed)
    return duplicate


def _held(estimator):
    """The estimator that predicts for a search or a frozen estimator; None if it is not fitted."""
    return getattr(estimator, "best_estimator_" if isinstance(estimator, BaseSearchCV) else "estimator", None)


def _parts(estimator):
    """The estimator, and all that it holds at any depth."""
    if isinstance(estimator, list | tuple):
        for item in estimator:
            yield from _parts(item)
    elif _is_part(estimator):
        yield estimator
        yield from _parts(list(vars(estimator).values()))


def _is_part(value):
    """Whether this is an estimator, or holds some as one of CalibratedClassifierCV does."""
    return isinstance(value, BaseEstimator) or type(value).__name__ == "_CalibratedClassifier"


def check_supported(estimator):
    """Raise NotImplementedError for an estimator that skl2onnx converts to something else."""
    name = type(estimator).__name__
    if isinstance(estimator, TunedThresholdClassifierCV | FixedThresholdClassifier):
        raise NotImplementedError(
            f"skl2onnx leaves out the decision threshold of {name}, so that the graph would give other labels. Convert "
            "its `estimator_`, and compare the probabilities with the threshold where the graph is used."
        )
    if isinstance(estimator, CalibratedClassifierCV) and estimator.method != "sigmoid":
        raise NotImplementedError(
            f"method={estimator.method!r} of {name} is not converted as scikit-learn computes it. Use 'sigmoid', or "
            "convert the network without calibration."
        )
    for categories in getattr(estimator, "categories_", ()) if name.endswith("Encoder") else ():
        if categories.dtype.kind == "f" and not np.array_equal(categories, np.trunc(categories)):
            raise NotImplementedError(
                f"{name} has the categories {brief(categories.tolist())}, of which skl2onnx keeps the integer part. "
                "Encode strings or integers, or leave these columns as numbers."
            )


# The graph against the model

MAX_CHECKED, MADE_UP = 1000, 200  # samples
SHARE_OFF = 0.05  # of samples: rounding may move some across a threshold or halfspace


def check_predictions(graph, model, X, initial_types, options):
    """Raise NotImplementedError if the graph predicts something else than the model, for X or made-up numbers."""
    try:
        from onnxruntime import InferenceSession, SessionOptions
    except ImportError:
        return
    quiet = SessionOptions()
    quiet.log_severity_level = 4  # what fails is raised too
    name, error = type(model).__name__, None
    try:
        session = InferenceSession(graph.SerializeToString(), quiet, providers=["CPUExecutionProvider"])
        given, fed = _samples(X, model, initial_types)
        if given is None:
            return
        # In their order: skl2onnx changes names that are not those of variables.
        inputs = {node.name: array for node, array in zip(session.get_inputs(), fed, strict=True)}
        results = session.run(None, inputs)
    except Exception as failure:  # onnxruntime has classes of its own for each way to fail
        error = failure
    if error is not None:
        raise NotImplementedError(
            f"onnxruntime cannot run the graph that skl2onnx makes of this {name} ({error!s:.300}). Try "
            "dtype='float32', of which ONNX has more operators; else convert the GLN alone, or change the other steps."
        ) from error
    off = _share_off(results, model, given, options)
    if off > SHARE_OFF:
        raise NotImplementedError(
            f"skl2onnx converts this {name} to a graph that predicts something else: for {off:.0%} of {len(given)} "
            "samples labels or values differ, or their shape does. Convert the GLN alone, or change the other steps."
        )


def _samples(X, model, initial_types):
    """Samples that the model takes, and as a graph takes them; None if there are none."""
    if X is None:
        if len(initial_types) > 1 or type(initial_types[0][1]) not in (DoubleTensorType, FloatTensorType):
            return None, None
        dtype = np.float64 if isinstance(initial_types[0][1], DoubleTensorType) else np.float32
        X = 2 * np.random.default_rng(0).normal(size=(MADE_UP, initial_types[0][1].shape[1])).astype(dtype)
        with_missing = X.copy()
        with_missing[::5, ::2] = np.nan
        X = with_missing if _predicts(model, with_missing) else X
        return (X, [X]) if _predicts(model, X) else (None, None)
    X, kinds = X[:MAX_CHECKED], [kind for _, kind in initial_types]
    if isinstance(X, np.ndarray):
        return X, [_as_input(X, kinds[0])]
    texts = [name for name, is_text in zip(X.columns, _is_text(map(type, kinds)), strict=True) if is_text]
    X = X[X[texts].notna().all(axis=1)]  # ONNX has no missing strings
    columns = [_as_input(X[name].to_numpy()[:, np.newaxis], kind) for name, kind in zip(X.columns, kinds, strict=True)]
    return (X, columns) if len(X) else (None, None)


def _as_input(array, kind):
    if isinstance(kind, StringTensorType):
        return array.astype(str).astype(object)
    return array.astype(
        {Int64TensorType: np.int64, BooleanTensorType: bool, FloatTensorType: np.float32}.get(type(kind), np.float64)
    )


def _predicts(model, X):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model.predict(X)
        except Exception:  # made-up numbers may be anything that some step refuses
            return False
    return True


def _share_off(results, model, X, options):
    """The share of samples for which results of a graph and of the model differ."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about names of features, of which made-up numbers have none
        predicted = np.asarray(model.predict(X))
        pairs = [] if options.get("nocl") else [(results[0], predicted, None)]
        is_plain = not (options.get("zipmap") or options.get("raw_scores"))
        if is_classifier(model) and is_plain and hasattr(model, "predict_proba"):
            probabilities = model.predict_proba(X)
            several = isinstance(probabilities, list)
            of_graph = results[1] if several else [results[1]]
            pairs += [
                (*pair, 1.0) for pair in zip(of_graph, probabilities if several else [probabilities], strict=False)
            ]
        elif not is_classifier(model):
            pairs = [(results[0], predicted, np.abs(predicted).mean() + np.ptp(predicted))]
    off = np.zeros(len(X), bool)
    for got, expected, scale in pairs:
        got = np.asarray(got)
        if len(got) != len(X) or got.size != expected.size:
            return 1.0
        got = got.reshape(expected.shape)
        if scale is not None:
            differs = ~(np.abs(got - expected) <= 1e-3 * scale)
        elif {got.dtype.kind, expected.dtype.kind} <= set("biuf"):  # labels False and True are 0 and 1 in graphs
            differs = got != expected
        else:
            differs = got.astype(str) != expected.astype(str)
        off |= differs.reshape(len(X), -1).any(axis=1)
    return off.mean()


# What skl2onnx calls


def _classifier_shapes(operator):
    estimator = operator.raw_operator
    check_is_fitted(estimator)
    calculate_linear_classifier_output_shapes(operator)
    if estimator._multilabel:
        operator.outputs[0].set_type(
            Int64TensorType([operator.inputs[0].get_first_dimension(), len(estimator.classes_)])
        )


def _convert_classifier(scope, operator, container):
    estimator = operator.raw_operator
    if not estimator._has_come.all():
        missing = estimator.classes_[~estimator._has_come]
        raise ValueError(
            f"The classes {brief(missing.tolist())} have been announced and have not come, so that a graph would lack "
            "their columns. Export the model once a row of each has been learned."
        )
    options = container.get_options(estimator, {"raw_scores": False, "optimize_for": "latency"})
    graph = _Graph(scope, container, operator, options["optimize_for"])
    online = online_network(estimator)
    logits = output(graph, online, infer(graph, online, operator.inputs[0].full_name).means)
    of_logits = logits, online.n_outputs, estimator._multilabel
    label, score = operator.output_full_names
    graph.Identity(labels(graph, *of_logits, get_label_classes(scope, estimator)), output=label)
    graph.result((raw_scores if options["raw_scores"] else probabilities)(graph, *of_logits), score)


def _parse_regressor(scope, model, inputs, custom_parsers=None):  # noqa: ARG001  (skl2onnx's signature)
    operator = scope.declare_local_operator(REGRESSOR, model)
    operator.inputs = inputs
    return_std = scope.get_options(model, {"return_std": False})["return_std"]
    for name in ("variable", "std") if return_std else ("variable",):
        operator.outputs.append(scope.declare_local_variable(name, guess_tensor_type(inputs[0].type)))
    return operator.outputs


def _regressor_shapes(operator):
    estimator = operator.raw_operator
    check_is_fitted(estimator)
    for output in operator.outputs:
        output.type.shape = [operator.inputs[0].get_first_dimension(), estimator.n_outputs_]


def _convert_regressor(scope, operator, container):
    estimator = operator.raw_operator
    options = container.get_options(estimator, {"return_std": False, "optimize_for": "latency"})
    graph = _Graph(scope, container, operator, options["optimize_for"])
    online = online_network(estimator)
    inferred = infer(graph, online, operator.inputs[0].full_name)
    mean, *std = operator.output_full_names
    graph.result(output(graph, online, inferred.means), mean)
    if std:
        graph.result(deviation(graph, online.head, log_variance(graph, online, inferred)), *std)


# A graph in the making


class _Graph:
    """Adds nodes and arrays to a graph of skl2onnx: ``graph.MatMul(a, b)`` is a node, and the name of what it gives.

    Inputs are such names, or NumPy arrays and scalars.
    """

    def __init__(self, scope, container, operator, optimize_for):
        if container.target_opset < OPSET:
            raise ValueError(f"target_opset={container.target_opset} is too low; it must be {OPSET} or higher.")
        is_double = isinstance(operator.inputs[0].type, DoubleTensorType)
        self.dtype = np.float64 if is_double else np.float32  # of the network and the results
        self.by_product = optimize_for == "throughput"
        self._scope, self._container = scope, container

    def __getattr__(self, op_type):
        return partial(self._node, op_type)

    def _node(self, op_type, *inputs, output=None, **attributes):
        inputs = [value if isinstance(value, str) else self.constant(value) for value in inputs]
        output = output or self._scope.get_unique_variable_name(op_type.lower())
        name = self._scope.get_unique_operator_name(op_type)
        self._container.add_node(op_type, inputs, output, name=name, **attributes)
        return output

    def constant(self, array):
        array = np.asarray(array)
        name = self._scope.get_unique_variable_name("array")
        if array.dtype.kind in "OU":
            self._container.add_initializer(name, TensorProto.STRING, array.shape, [str(value) for value in array])
            return name
        n_bytes = array.nbytes + sum(len(tensor.raw_data) for tensor in self._container.initializers)
        if n_bytes > MAX_BYTES:
            raise ValueError(
                f"The graph would take more than {n_bytes / 2**30:.1f} GiB, and a file of ONNX can take 2 GiB. Use "
                "dtype='float32', here or in the model, or fit a model with a lower context_dim or fewer neurons."
            )
        tensor = numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)
        self._container.add_initializer(name, tensor.data_type, array.shape, tensor)
        return name

    def weights(self, array, dtype=None):
        """A constant in the graph's precision, or another, kept in its own if that is lower."""
        dtype = np.dtype(dtype or self.dtype)
        if array.dtype.itemsize >= dtype.itemsize:
            return self.constant(array.astype(dtype, copy=False))
        return self.cast(self.constant(array), dtype)

    def cast(self, value, dtype, output=None):
        return self.Cast(value, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), output=output)

    def result(self, value, output):
        self.cast(value, self.dtype, output)


# Features to slots


def online_network(estimator):
    """The estimator's OnlineNetwork, on the host whatever has learned it."""
    online = from_plain(to_plain(estimator._closed()))
    check_levels(estimator)
    if callable(online.predictor.kind):
        raise NotImplementedError(
            f"base_predictor={online.predictor.kind!r} is Python code, which an ONNX graph cannot hold. Compute its "
            "result in a step of a Pipeline that skl2onnx can convert, and have the network take it by "
            "base_predictor='identity'."
        )
    if online.wide is not None:
        raise NotImplementedError(
            f"Rows of {estimator.n_features_in_} features are more than max_dense={estimator.max_dense}: learned by "
            "column, for which there is no ONNX graph. Have a step of the Pipeline make them narrower, such as "
            "SelectKBest or TruncatedSVD, or raise max_dense and fit again."
        )
    if online.ensure_network(get_kernels("numpy")) is None:
        raise NotFittedError(f"This {type(estimator).__name__} has not learned any row yet, so there is no network.")
    return online


def check_levels(estimator):
    """Raise NotImplementedError where a graph could not look up the levels of a fitted estimator's categories."""
    categories = estimator._online.categories if hasattr(estimator, "_online") else None
    if categories is None:
        return
    names = getattr(estimator, "feature_names_in_", np.arange(estimator.n_features_in_))[categories.columns].tolist()
    hashed = [name for name, levels in zip(names, categories.levels, strict=True) if (levels.keys <= -FIRST_HASH).any()]
    if hashed:
        raise NotImplementedError(
            f"Columns {brief(hashed)} have levels of text, dates or large integers, of which the model keeps hashes; "
            "an ONNX graph cannot compute these. Have an OrdinalEncoder number the levels in a Pipeline, before the "
            "network, and name its columns by number in categorical_features."
        )
    full = [name for name, of in zip(names, categories.levels, strict=True) if of.n_levels == of.max_levels]
    if full:
        raise NotImplementedError(
            f"Columns {brief(full)} have max_levels={estimator.max_levels} levels, so that others share what is known "
            "of these by their hashes, which an ONNX graph cannot compute. Fit with a higher max_levels."
        )


class Inferred(NamedTuple):
    """The results of `infer`."""

    means: list  # of each layer (k, n, j): means, or logits
    variances: list  # of each layer (k, n, j), where neurons mix densities only
    tables: list
    slots: list  # of each table (k|1, n, j); None: each neuron has one


def infer(graph, online, X):
    """The layers' outputs for features X (n, d)."""
    X, evidence = expand(graph, online, graph.cast(X, np.float64))
    inputs = transform(graph, online.predictor, X)._replace(evidence=evidence)
    tables = tabulate(online.network, online.settings)
    slots = select_slots(graph, tables, select_contexts(graph, online.network, online.settings, inputs.side_info))
    infer_layers = gaussian_infer if online.settings.likelihood.mixes_densities else linear_infer
    return Inferred(*infer_layers(graph, online, tables, slots, inputs), tables, slots)


def expand(graph, online, X):
    """X (n, d) with indicators in place of categories, double, and the evidence (k, n, size), or None."""
    categories = online.categories
    if categories is None:
        return X, None
    table = tabulate_levels(online)
    values = graph.Gather(X, categories.columns, axis=1)
    keys = graph.Where(graph.IsNaN(values), np.float64(MISSING), values)
    first = np.cumsum([0, *table.sizes[:-1]])
    places, last = first, first + table.sizes - 1
    for bit in reversed(range(int(max(table.sizes) - 1).bit_length())):  # a binary search in each column
        probed = graph.Min(graph.Add(places, np.int64(1 << bit)), last)
        places = graph.Where(graph.LessOrEqual(graph.Gather(table.keys, probed), keys), probed, places)
    places = graph.Where(graph.Equal(graph.Gather(table.keys, places), keys), places, first)
    by_column = graph.cast(graph.Gather(graph.weights(table.evidence), places), graph.dtype)
    evidence = graph.Transpose(by_column, perm=[2, 0, 3, 1, 4])  # from (n, columns, k, PER_MEMORY, memories)
    evidence = graph.Reshape(evidence, np.array([0, 0, categories.n_evidence]))
    indicated = graph.Equal(graph.Gather(keys, categories.indicated_columns, axis=1), categories.indicated_keys)
    numbers = graph.Gather(X, categories.numbers, axis=1)
    return graph.Concat(numbers, graph.cast(indicated, np.float64), axis=1), evidence


class LevelTable(NamedTuple):
    """The levels of all categories, column by column, in the order of their keys, after one for those not known."""

    sizes: np.ndarray  # (n_categorical,): of columns
    keys: np.ndarray  # (sum of sizes,); NaN: not known
    evidence: np.ndarray  # (sum of sizes, k, PER_MEMORY, memories), as neurons take it


def tabulate_levels(online):
    categories, keys, evidence = online.categories, [], []
    for column, levels in enumerate(categories.levels):
        of_slots = np.append(np.nan, levels.keys[1 : levels.n_levels + 1])
        slots = np.append(0, 1 + np.argsort(of_slots[1:]))
        known = categories.known(column, slots, online.settings.likelihood).transpose(3, 1, 0, 2)
        scaled = categories.scaled(known.reshape(*known.shape[:2], -1), online.head.unit)
        keys.append(of_slots[slots])
        evidence.append(scaled.reshape(known.shape).astype(online.settings.dtype))
    return LevelTable(np.array(list(map(len, keys))), np.concatenate(keys), np.concatenate(evidence))


def transform(graph, predictor, X):
    """What the network sees of X (n, d), without the constant; all double."""
    if predictor.has_statistics:
        scaled = standardize(graph, X, predictor.mean, predictor.inverse_deviation)
        side_info = clip(graph, scaled, CLIP)
        if predictor.max_logit is None:
            return Inputs(clip(graph, scaled, WIDE_CLIP), (), side_info)
        return Inputs(side_info, basis_of(graph, predictor.bins, X, side_info), side_info)
    side_info = fill_missing(graph, X)
    if predictor.max_logit is None:
        return Inputs(side_info, (), side_info)
    if predictor.kind == "minmax":
        lowest, highest = extremes_by_row(graph, X)
        odds = graph.Div(graph.Sub(X, lowest), graph.Abs(graph.Sub(highest, X)))  # -0 - 0 is -0
    else:
        odds = graph.Div(X, graph.Sub(np.float64(1), X))
    return Inputs(clip(graph, fill_missing(graph, graph.Log(odds)), predictor.max_logit), (), side_info)


def standardize(graph, X, mean, inverse_deviation):
    return fill_missing(graph, graph.Mul(graph.Sub(X, mean), inverse_deviation))


def basis_of(graph, bins, X, scaled):
    if bins is None or not bins.n_squared:
        return ()
    numbers = graph.Slice(scaled, np.array([0]), np.array([bins.n_squared]), np.array([1]))
    squares = graph.Mul(numbers, numbers)
    if not len(bins.columns):
        return (squares,)
    pieces = standardize(graph, graph.Gather(X, bins.columns, axis=1), bins.middle, bins.inverse_width)
    return squares, clip(graph, pieces, PIECE_LIMIT)


def fill_missing(graph, x):
    return graph.Where(graph.IsNaN(x), np.float64(0), x)


def extremes_by_row(graph, X):
    """The least and the largest value (n, 1) of each row, NaN left out."""
    is_missing, axes = graph.IsNaN(X), np.array([1])
    lowest = graph.ReduceMin(graph.Where(is_missing, np.float64(np.inf), X), axes)
    return lowest, graph.ReduceMax(graph.Where(is_missing, np.float64(-np.inf), X), axes)


def clip(graph, x, limit, dtype=np.float64):
    return graph.Clip(x, dtype(-limit), dtype(limit))


def select_contexts(graph, network, settings, side_info):
    """Contexts (k|1, n, j) int32, j over all neurons that have several; None if none has."""
    first = settings.layer_sizes[0] if settings.likelihood.has_linear_first else 0
    hyperplanes, offsets = network.hyperplanes[:, first:], network.offsets[:, first:]
    if not offsets.size:
        return None
    normals = graph.weights(hyperplanes.reshape(-1, hyperplanes.shape[3]).T, np.float64)
    positive = graph.Greater(graph.MatMul(side_info, normals), graph.weights(offsets.ravel(), np.float64))
    bits = graph.Reshape(graph.cast(positive, np.float32), np.array([0, *offsets.shape]))
    powers = 2 ** np.arange(settings.context_dim, dtype=np.float32)[:, np.newaxis]  # a column: a vector needs rows
    contexts = graph.Squeeze(graph.MatMul(bits, powers), np.array([3]))
    return graph.Transpose(graph.cast(contexts, np.int32), perm=[1, 0, 2])


class Table(NamedTuple):
    """The slots of a layer, neuron by neuron, without those that no context has."""

    weights: np.ndarray  # (k, r, i)
    log_ratio: np.ndarray | None  # (k, r): of the spread
    slot_of: np.ndarray  # (k|1, j, c) int32: the slot of each context; c is 1 where there are no halfspaces


def tabulate(network, settings):
    """A Table for each layer."""
    tables, n_below = [], 0
    for layer in network.layers:
        _, n_neurons, n_slots, n_inputs = layer.weights.shape
        initial = initial_weights(n_below, n_inputs, settings)
        slot_of = _slots_of_visited(layer, initial, len(network.offsets)) if layer.slot_of is None else layer.slot_of
        if settings.likelihood.has_linear_first and not tables:
            slot_of = slot_of[:, :, :1]
        in_use = np.zeros((len(slot_of), n_neurons, n_slots), bool)
        np.put_along_axis(in_use, slot_of, True, axis=2)
        numbers = np.cumsum(in_use.reshape(len(in_use), -1), axis=1, dtype=np.int32).reshape(in_use.shape) - 1
        tables.append(
            Table(
                _packed(layer.weights, in_use),
                None if layer.spread is None else _packed(layer.spread.log_ratio, in_use),
                np.take_along_axis(numbers, slot_of, axis=2),
            )
        )
        n_below = n_neurons
    return tables


def _slots_of_visited(layer, initial, n_sharing):
    """As `slot_of` (k|1, j, c), where each context has weights: one that no sample visited stands for all such."""
    visited = (layer.accumulator != 0) | (layer.weights != initial.astype(layer.weights.dtype)).any(axis=3)
    if n_sharing == 1:
        visited = visited.any(axis=0, keepdims=True)
    return np.where(visited, np.arange(visited.shape[2]), visited.argmin(axis=2)[..., np.newaxis])


def _packed(array, in_use):
    """The slots in use (k|1, j, all slots) of an array (k, j, all slots, ...): (k, r, ...), padded with 0."""
    packed = np.zeros((len(array), in_use.sum(axis=(1, 2)).max(), *array.shape[3:]), array.dtype)
    for slots, all_slots, used in zip(packed, array, np.broadcast_to(in_use, array.shape[:3]), strict=True):
        slots[: np.count_nonzero(used)] = all_slots[used]
    return packed


def select_slots(graph, tables, contexts):
    """For each table the slots (k|1, n, j) int32 of contexts, None where each neuron has one."""
    by_table, start = [None] * len(tables), 0
    gated = [number for number, table in enumerate(tables) if table.slot_of.shape[2] > 1]
    if gated:
        slot_of = np.concatenate([tables[number].slot_of for number in gated], axis=1)
        chains = np.arange(0, slot_of.size, slot_of.shape[2], dtype=np.int32).reshape(len(slot_of), 1, -1)
        slots = graph.Gather(slot_of.ravel(), graph.Add(contexts, chains))
    for number in gated:
        stop = start + tables[number].slot_of.shape[1]
        by_table[number] = graph.Slice(slots, np.array([start]), np.array([stop]), np.array([2]))
        start = stop
    return by_table


# Layers


def linear_infer(graph, online, tables, slots, inputs):
    """The logits, or means, (k, n, j) of the layers; no variances."""
    settings, limits = online.settings, online.network.limits
    of_layer, more = base_blocks(graph, online, inputs)
    layers = []
    for table, layer_slots in zip(tables, slots, strict=True):
        outputs = weighted_sums(graph, table, layer_slots, of_layer)
        if np.isfinite(settings.limit):
            outputs = clip(graph, outputs, settings.limit, graph.dtype)
        if limits is not None:
            bounds = limits.astype(graph.dtype)[:, np.newaxis, np.newaxis]
            outputs = graph.Min(graph.Max(outputs, -bounds), bounds)
        layers.append(outputs)
        of_layer = graph.Concat(outputs, *more, axis=2)
    return layers, []


def gaussian_infer(graph, online, tables, slots, inputs):
    """The means and the variances (k, n, j) of the layers."""
    blocks = gaussian_base_blocks(graph, online, inputs)
    (precisions, more_precisions), (shifts, more_shifts) = blocks
    means, variances = [], []
    for table, layer_slots in zip(tables, slots, strict=True):
        precision = weighted_sums(graph, table, layer_slots, precisions)
        precision = graph.Max(precision, graph.dtype(1 / MAX_VARIANCE))
        mean = graph.Div(weighted_sums(graph, table, layer_slots, shifts), precision)
        variance = graph.Clip(graph.Reciprocal(precision), graph.dtype(MIN_VARIANCE), graph.dtype(MAX_VARIANCE))
        means.append(mean)
        variances.append(variance)
        precisions = graph.Concat(graph.Reciprocal(variance), *more_precisions, axis=2)
        shifts = graph.Concat(graph.Div(mean, variance), *more_shifts, axis=2)
    return means, variances


def base_blocks(graph, online, inputs):
    """Inputs of the first layer, (1, n, size), and of those above, next to the layer below, [(k, n, size)]."""
    settings, given = online.settings, graph.cast(inputs.base, graph.dtype)
    parts = [given]
    if settings.squares:
        bounded = clip(graph, given, SQUARE_LIMIT, graph.dtype)
        parts.append(graph.Mul(graph.Mul(bounded, bounded), graph.dtype(SQUARE_SCALE)))
    base, more = _blocks(graph, online, parts, np.ones(settings.n_constants))
    if inputs.basis:
        basis = graph.cast(graph.Concat(*inputs.basis, axis=1), graph.dtype)
        base = graph.Concat(graph.Unsqueeze(basis, np.array([0])), base, axis=2)
    return _with_evidence(graph, online, inputs.evidence, base, more)


def gaussian_base_blocks(graph, online, inputs):
    """`base_blocks` of the precisions, and of the means times the precisions."""
    given, precision = graph.cast(inputs.base, graph.dtype), 1 / BASE_VARIANCE
    scale = stretch(len(online.predictor.moments.mean)) * precision
    biases = precision * np.array(BIAS_MEANS[: online.settings.n_constants])
    precisions = [graph.Expand(graph.dtype(precision), graph.Shape(given))] * 2
    shifts = [graph.Mul(given, graph.dtype(scale)), graph.Mul(given, graph.dtype(-scale))]
    of_precisions = _blocks(graph, online, precisions, np.full_like(biases, precision))
    of_shifts, evidence = _blocks(graph, online, shifts, biases), inputs.evidence
    if evidence is None:
        return of_precisions, of_shifts
    constant = graph.Expand(graph.dtype(precision), graph.Shape(evidence))
    return (
        _with_evidence(graph, online, constant, *of_precisions),
        _with_evidence(graph, online, graph.Mul(evidence, graph.dtype(precision)), *of_shifts),
    )


def _blocks(graph, online, parts, constants):
    """`base_blocks` of parts (n, size) and of constants (n_constants,), with which each row ends."""
    if constants.size:
        shape = graph.Concat(graph.Shape(parts[0], start=0, end=1), np.array([len(constants)]), axis=0)
        parts = [*parts, graph.Expand(constants.astype(graph.dtype), shape)]
    base = graph.Unsqueeze(graph.Concat(*parts, axis=1), np.array([0]))
    if not (online.settings.skip or constants.size):
        return base, []
    more = base if online.settings.skip else graph.Unsqueeze(parts[-1], np.array([0]))
    return base, [graph.Expand(more, np.array([online.n_outputs, 1, 1]))]


def _with_evidence(graph, online, evidence, base, more):
    """`base_blocks` with evidence (k, n, size), if there is some."""
    if evidence is None:
        return base, more
    first = graph.Concat(evidence, graph.Expand(base, np.array([online.n_outputs, 1, 1])), axis=2)
    return first, [evidence, *more] if online.settings.skip else more


def weighted_sums(graph, table, slots, inputs):
    """w . u (k, n, j) of the weights in slots (k|1, n, j) and the inputs u (k|1, n, i)."""
    n_outputs, n_slots, _ = table.weights.shape
    few_slots = n_slots <= MAX_DENSE_SLOTS * table.slot_of.shape[1]
    if slots is not None and not (graph.by_product and few_slots):
        columns = graph.Unsqueeze(inputs, np.array([3]))
        return graph.Squeeze(graph.MatMul(at_slots(graph, table.weights, slots), columns), np.array([3]))
    sums = graph.MatMul(inputs, graph.weights(table.weights.transpose(0, 2, 1)))  # (k, n, r): of all slots
    if slots is None:
        return sums
    return graph.GatherElements(sums, graph.Add(slots, np.zeros((n_outputs, 1, 1), np.int32)), axis=2)


def at_slots(graph, array, slots):
    """The elements (k, n, j, ...) of an array (k, r, ...) at slots (k|1, n, j); where these are None (k, 1, r, ...)."""
    if slots is None:
        return graph.weights(array[:, np.newaxis])
    if len(array) > 1:
        slots = graph.Add(slots, array.shape[1] * np.arange(len(array), dtype=np.int32).reshape(-1, 1, 1))
    return graph.Gather(graph.weights(array.reshape(-1, *array.shape[2:])), slots)


# Layers to predictions, in double precision


def output(graph, online, layers):
    """The output logits, or the targets' means (n, k)."""
    weights, constant = online.output_weights()
    sizes = online.settings.layer_sizes
    shares = np.repeat(weights / sizes, sizes, axis=1)[..., np.newaxis]  # (k, j of all layers, 1)
    outputs = graph.cast(graph.Concat(*layers, axis=2), np.float64)
    summed = graph.Squeeze(graph.MatMul(outputs, shares), np.array([2]))
    return graph.Add(graph.Transpose(summed, perm=[1, 0]), constant)


def labels(graph, logits, n_outputs, multilabel, classes):
    """The most probable classes (n,), or which labels are more probable than not (n, k)."""
    if multilabel or n_outputs == 1:
        positive = graph.cast(graph.Greater(logits, np.float64(0)), np.int64)
        if multilabel:
            return positive
        codes = graph.Squeeze(positive, np.array([1]))
    else:
        codes = graph.ArgMax(logits, axis=1, keepdims=0)
    return graph.Gather(classes if classes.dtype.kind in "OU" else classes.astype(np.int64), codes)


def probabilities(graph, logits, n_outputs, multilabel):
    """Of the classes, (n, n_classes)."""
    if multilabel:
        return graph.Sigmoid(logits)
    if n_outputs == 1:
        return graph.Sigmoid(raw_scores(graph, logits, n_outputs, multilabel))
    return graph.Softmax(logits, axis=1)


def raw_scores(graph, logits, n_outputs, multilabel):
    """The logits, (n, n_classes)."""
    if multilabel or n_outputs > 1:
        return logits
    return graph.Concat(graph.Neg(logits), logits, axis=1)


def log_variance(graph, online, inferred):
    """The logarithm of the variance (n, k), as the last layer knows it."""
    axes, spread = np.array([2]), online.network.layers[-1].spread
    mean = graph.ReduceMean(graph.cast(inferred.means[-1], np.float64), axes)
    errors = graph.Sub(graph.cast(inferred.means[-1], np.float64), mean)
    disagreement = graph.ReduceMean(graph.Mul(errors, errors), axes)
    within = np.float64(0)
    if online.settings.likelihood.mixes_densities:
        within = graph.ReduceMean(graph.cast(inferred.variances[-1], np.float64), axes)
    elif spread is not None:
        log_ratio = graph.cast(at_slots(graph, inferred.tables[-1].log_ratio, inferred.slots[-1]), np.float64)
        within = graph.Exp(graph.ReduceMean(log_ratio, axes))
        within = graph.Mul(within, spread.mean_square[:, np.newaxis, np.newaxis])
    variance = graph.Squeeze(graph.Add(within, disagreement), axes)
    return graph.Transpose(graph.Log(variance), perm=[1, 0])


def deviation(graph, head, log_variance):
    """The targets' standard deviations (n, k)."""
    coefficients = head.calibration.coefficients
    calibrated = graph.Add(graph.Mul(log_variance, coefficients[:, 1]), coefficients[:, 0])
    _, factor, spread = head.recent.correction.T
    variance = graph.Add(graph.Mul(graph.Exp(clip(graph, calibrated, MAX_LOG)), factor), spread)
    return graph.Mul(graph.Sqrt(variance), head.unit)
