"""Models in files that execute nothing, and streams that are larger than memory and survive being killed.

A pickle may execute anything when it is loaded; what `save` writes is arrays and text (the format of skops), and `load`
makes of it what it knows and nothing else.
"""

import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from hashlib import sha256
from io import BytesIO
from numbers import Real
from pathlib import Path
from reprlib import repr as brief
from time import monotonic
from uuid import uuid4
from zipfile import ZIP_STORED, ZipFile

import joblib
import numpy as np
from numpy.random import RandomState
from scipy.interpolate import BSpline
from scipy.sparse import issparse
from sklearn import feature_selection, gaussian_process, metrics, model_selection
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from sklearn_gln._input import is_sparse_table
from sklearn_gln._runtime import interrupts_held
from sklearn_gln._state import half_precision
from sklearn_gln.kernels import as_numpy

try:
    import skops.io
    from skops.io.exceptions import UntrustedTypesFoundException
except ImportError as error:
    raise ImportError(
        f'sklearn_gln.io needs skops ({error}); install it with `pip install "sklearn_gln[persistence]"`.'
    ) from error

__all__ = ["fit_stream", "load", "save"]

OUR_TYPES = ("sklearn_gln.GLNClassifier", "sklearn_gln.GLNRegressor", "sklearn_gln.bandit.GLNBandit")
MAY_CHANGE = ("backend", "device", "n_jobs", "verbose")  # parameters of which what is learned does not depend


def _full_names(module, names):
    """The names under which skops files know what this module offers; a version may lack some."""
    items = [getattr(module, name) for name in names.split() if hasattr(module, name)]
    return tuple(f"{item.__module__}.{item.__qualname__}" for item in items)


# Beyond what skops trusts. Found by saving each of scikit-learn's estimators, then ours inside each meta-estimator,
# behind each transformer, and in searches with every scorer and splitter, and collecting what files asked for. Of that
# these are data with methods, which loading does not call, or functions of arrays that touch nothing else, even if a
# file had them called. Left out for good: trees, KDTree and BallTree, sparse matrices (compiled code follows indices in
# them unchecked), distributions of scipy.stats (which run text on loading), and whatever else takes text as code,
# reads or writes files, or calls what it is given.
HARMLESS = (
    *_full_names(
        metrics,
        "accuracy_score adjusted_mutual_info_score adjusted_rand_score average_precision_score "
        "balanced_accuracy_score brier_score_loss cohen_kappa_score completeness_score d2_absolute_error_score "
        "d2_brier_score d2_log_loss_score d2_pinball_score d2_tweedie_score explained_variance_score f1_score "
        "fbeta_score fowlkes_mallows_score hamming_loss hinge_loss homogeneity_score jaccard_score log_loss "
        "matthews_corrcoef max_error mean_absolute_error mean_absolute_percentage_error mean_gamma_deviance "
        "mean_pinball_loss mean_poisson_deviance mean_squared_error mean_squared_log_error mean_tweedie_deviance "
        "median_absolute_error mutual_info_score ndcg_score normalized_mutual_info_score precision_score r2_score "
        "rand_score recall_score roc_auc_score root_mean_squared_error root_mean_squared_log_error "
        "top_k_accuracy_score v_measure_score zero_one_loss",
    ),
    *_full_names(
        model_selection,
        "GroupKFold GroupShuffleSplit KFold LeaveOneGroupOut LeaveOneOut LeavePGroupsOut LeavePOut PredefinedSplit "
        "RepeatedKFold RepeatedStratifiedKFold ShuffleSplit StratifiedGroupKFold StratifiedKFold "
        "StratifiedShuffleSplit TimeSeriesSplit",
    ),
    *_full_names(
        feature_selection, "chi2 f_classif f_regression mutual_info_classif mutual_info_regression r_regression"
    ),
    *_full_names(
        gaussian_process.kernels,
        "CompoundKernel ConstantKernel DotProduct ExpSineSquared Exponentiation Matern PairwiseKernel Product RBF "
        "RationalQuadratic Sum WhiteKernel",
    ),
    "numpy.dtype",
    "numpy.mean",
    "scipy._lib.array_api_compat.numpy._aliases.asarray",
    "scipy.interpolate._bsplines.BSpline",
    "sklearn._loss.loss.HalfTweedieLossIdentity",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.calibration._TemperatureScaling",
    "sklearn.cluster._bisect_k_means._BisectingTree",
    "sklearn.compose._column_transformer._RemainderColsList",
    "sklearn.compose._column_transformer.make_column_selector",
    "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
    "sklearn.impute._iterative.IterativeImputer",
    "sklearn.impute._iterative._ImputerTriplet",
    "sklearn.metrics._scorer._CurveScorer",
    "sklearn.metrics._scorer._MultimetricScorer",
    "sklearn.metrics._scorer._PassthroughScorer",
    "sklearn.metrics._scorer._Scorer",
    "sklearn.metrics._scorer.negative_likelihood_ratio",
    "sklearn.metrics._scorer.positive_likelihood_ratio",
    "sklearn.model_selection._search_successive_halving.HalvingGridSearchCV",
    "sklearn.model_selection._search_successive_halving.HalvingRandomSearchCV",
    "sklearn.model_selection._split._CVIterableWrapper",
    "sklearn.multiclass._ConstantPredictor",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.utils._bunch.Bunch",
    "sklearn.utils._metadata_requests.MetadataRequest",
    "sklearn.utils._metadata_requests.MethodMetadataRequest",
)
KNOWN = (*OUR_TYPES, *HARMLESS)


def save(estimator, path, *, trusted=(), half=False):
    """Write an estimator to a file that `load` reads, whole or not at all.

    Callbacks stay behind. If anything fails, a full disk too, a file that was there before stays as it was. When this
    returns the file is on the disk.

    Parameters
    ----------
    estimator : estimator
        A `GLNClassifier` or `GLNRegressor`, fitted or not, or an estimator of scikit-learn with them inside, such as a
        `Pipeline`.

    path : str, path-like or binary file
        The file; by convention its name ends in ``.skops``, and ``~`` is the home directory. Or an object with a method
        `write`, such as a file opened with mode "wb" or a `BytesIO`.

    trusted : sequence of str, default=()
        Names of further types and functions that the estimator may hold, such as ``"mypackage.MyTransformer"``. The
        file names them only, so whoever loads it must have and trust them too.

    half : bool, default=False
        Whether weights are written in half precision (IEEE 754, 11 bits), in files of half the size. What is loaded
        from such a file only predicts: `partial_fit` refuses.

    Raises
    ------
    ValueError
        If it is not an estimator, or holds what `load` with the same `trusted` would refuse, such as functions, trees,
        or in a search distributions of `scipy.stats`: of a search, `best_estimator_` may be all that is needed. With
        `half`, if a weight is larger than 65,504.

    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn_gln import GLNClassifier
    >>> from sklearn_gln.io import load, save
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = GLNClassifier(random_state=0).fit(X, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(model, Path(folder, "model.skops"))
    ...     same = load(Path(folder, "model.skops"))
    >>> bool((same.predict_proba(X) == model.predict_proba(X)).all())
    True
    """
    if not isinstance(estimator, BaseEstimator):
        raise ValueError(
            f"estimator={brief(estimator)} is not a scikit-learn estimator; pass an instance of one, such as a "
            "GLNClassifier or a Pipeline."
        )
    with half_precision() if half else nullcontext():
        _write(estimator, estimator, path, trusted)


def load(path, *, trusted=()):
    """Read the estimator in a file of `save`, or in a checkpoint of `fit_stream`; nothing in the file is executed.

    Parameters
    ----------
    path : str, path-like or binary file
        The file, as in `save`. An object with a method `read` is read from where it stands to its end.

    trusted : sequence of str, default=()
        Names of further types and functions that may be made, see `save`. What they do is not checked: give names that
        you know, not those that a file asks for.

    Returns
    -------
    estimator : estimator

    Raises
    ------
    ValueError
        If the file is of another kind, damaged, or tampered with, names a type that is neither known nor `trusted`, or
        was saved by a later major version of this package. Known are this package's estimators, scikit-learn's with
        what searches, scorers, splitters and calibrations of its own hold, and plain types of NumPy and Python; not
        trees and nearest neighbours, whose compiled code follows what is in the file unchecked.

    OSError
        If the file cannot be read.

    Warns
    -----
    InconsistentVersionWarning
        If the file was saved by another version of this package, or of scikit-learn for estimators of its own.
    """
    content = _read(path, trusted)
    return content["estimator"] if isinstance(content, dict) else content


def fit_stream(estimator, chunks, *, classes=None, checkpoint=None, every=60.0, trusted=()):
    """Learn a stream chunk by chunk with `partial_fit`, and go on from the last checkpoint if there is one.

    Memory is that of the model and one chunk. The model is the same, bit for bit, however often the process was killed
    and started again, if the chunks are the same.

    Parameters
    ----------
    estimator : estimator with partial_fit
        Learns in place. Where a checkpoint exists it becomes the one in there, but for `backend`, `device`, `n_jobs`
        and `verbose`. A fitted estimator goes on learning. Where a checkpoint exists too, it must be the one in there,
        or the one that the checkpoint's stream began with: any other raises ValueError, and neither is lost.

    chunks : iterable, or callable
        Of tuples ``(X, y)`` or ``(X, y, sample_weight)``, as `partial_fit` takes them. An iterable is read from its
        start, and what was learned before skipped; if it is another stream, with other data in the last chunk that was
        learned, ValueError is raised. A callable ``chunks(start)`` gives those from number `start` on, so that they
        need not be read again; it must be the same stream, which is not checked.

    classes : array-like of shape (n_classes,), default=None
        Of a classifier: all labels that may ever come. With ``new_classes="add"`` none need be named.

    checkpoint : str or path-like, default=None
        The file in which the estimator and the number of chunks that it has learned are kept; None: nowhere. ``~`` is
        the home directory. It is replaced as a whole. It belongs to one stream: give each new stream, such as that of
        the next day, a new file, see Notes. Delete it to start from scratch. A process killed while it wrote one leaves
        a file next to it whose name ends in ``.part``, which may be deleted.

    every : float, default=60.0
        Seconds from one checkpoint to the next, which comes when the chunk is done; 0: one after each chunk. The end of
        the stream has one too.

    trusted : sequence of str, default=()
        As in `save`.

    Returns
    -------
    estimator : estimator
        The one given.

    Raises
    ------
    ValueError
        If the checkpoint is that of another estimator, of other parameters or of another stream, or as in `load` and
        `save`; if a chunk is not such a tuple, or `partial_fit` refuses it. The checkpoint stays as it is.

    TypeError
        If the estimator cannot learn in chunks, or chunks are neither an iterable nor a callable.

    OSError
        If the checkpoint cannot be written. This, and whether the estimator can be saved, is checked before anything is
        learned.

    Warns
    -----
    UserWarning
        If the checkpoint says that all chunks were learned before, so that nothing is learned.

    Notes
    -----
    A new stream goes on from the model of another with a checkpoint of its own; killed and started again, the same line
    finds that checkpoint::

        fit_stream(load("monday.skops"), tuesday(), checkpoint="tuesday.skops")

    Rows in Parquet files, with `pyarrow`, 65,536 at a time::

        from pathlib import Path
        import pyarrow.parquet as pq

        def chunks():
            for file in sorted(Path("folder").glob("*.parquet")):
                for batch in pq.ParquetFile(file).iter_batches(65_536):
                    rows = batch.to_pandas()
                    yield rows.drop(columns="y").to_numpy(), rows["y"].to_numpy()

        fit_stream(model, chunks(), classes=[0, 1], checkpoint="model.skops")

    Arrays of `dask`, block by block; a restart computes only those that are left::

        def chunks(start):
            blocks = zip(X.to_delayed()[start:, 0], y.to_delayed()[start:])
            return (dask.compute(*block) for block in blocks)

        fit_stream(model, chunks, classes=[0, 1], checkpoint="model.skops")

    Without a checkpoint, this is the plain loop::

        for X, y in chunks():
            model.partial_fit(X, y, classes=[0, 1])

    Examples
    --------
    >>> import numpy as np
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn_gln import GLNClassifier
    >>> from sklearn_gln.io import fit_stream, load
    >>> def chunks(start):
    ...     for number in range(start, 5):
    ...         X = np.random.default_rng(number).normal(size=(200, 3))
    ...         yield X, X[:, 0] > X[:, 1]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "model.skops")
    ...     model = fit_stream(GLNClassifier(random_state=0), chunks, classes=[False, True], checkpoint=file)
    ...     same = load(file)
    >>> model.n_samples_seen_, same.n_samples_seen_
    (1000, 1000)
    """
    _check_stream(estimator, chunks, every)
    n_done, begun = 0, _digest_if_fitted(estimator)
    if checkpoint is None:
        chunks = iter(chunks(0) if callable(chunks) else chunks)
    else:
        checkpoint = _writable(checkpoint, "checkpoint")
        _check_parameters(estimator)
        _check_known(clone(estimator), trusted)
        if checkpoint.exists():
            saved = _read_checkpoint(estimator, begun, checkpoint, trusted)
            n_done, begun = saved["n_chunks"], saved["begun"]
            chunks = _after(chunks, saved, checkpoint)
            vars(estimator).update(vars(saved["estimator"]))
        else:
            chunks = iter(chunks(0) if callable(chunks) else chunks)
    n_saved, n_given, last_saved = n_done, n_done, monotonic()
    announced = {} if classes is None else {"classes": classes}
    for chunk in chunks:
        if not isinstance(chunk, tuple | list) or len(chunk) not in (2, 3):
            raise ValueError(
                f"Chunk {n_done} is not a tuple (X, y) or (X, y, sample_weight), but of type {type(chunk).__name__}; "
                "give a tuple for each call of partial_fit."
            )
        X, y, *weights = chunk
        estimator.partial_fit(X, y, **announced, **({"sample_weight": weights[0]} if weights else {}))
        n_done += 1
        if checkpoint is not None and monotonic() - last_saved >= every:
            _write_checkpoint(estimator, n_done, begun, chunk, checkpoint, trusted)
            n_saved, last_saved = n_done, monotonic()
    if checkpoint is not None and n_done > n_saved:
        _write_checkpoint(estimator, n_done, begun, chunk, checkpoint, trusted)
    if n_given and n_done == n_given:
        warnings.warn(
            f"Nothing was learned: checkpoint={str(checkpoint)!r} says that all {n_done} chunks were learned before. "
            f"{NEW_STREAM}",
            stacklevel=2,
        )
    return estimator


NEW_STREAM = (
    "If this is a new stream, such as that of the next day, go on from the model with a checkpoint of its own: "
    "fit_stream(load(old_checkpoint), chunks, checkpoint=new_checkpoint)."
)


def _check_stream(estimator, chunks, every):
    """Raise TypeError or ValueError unless these are what `fit_stream` takes."""
    if isinstance(estimator, type) or not isinstance(estimator, BaseEstimator) or not hasattr(estimator, "partial_fit"):
        if isinstance(estimator, type):
            kind, advice = f"the class {estimator.__name__}", f"pass an instance, {estimator.__name__}(...)"
        elif isinstance(estimator, Pipeline):
            kind, advice = "a Pipeline", "pass its last step, pipeline[-1], and chunks with X already transformed"
        elif isinstance(estimator, model_selection._search.BaseSearchCV):
            kind, advice = f"a {type(estimator).__name__}", "pass an estimator with the parameters that it has found"
        else:
            kind, advice = f"of type {type(estimator).__name__}", "pass a GLNClassifier or GLNRegressor"
        raise TypeError(f"estimator is {kind}, which cannot learn chunk by chunk with partial_fit; {advice}.")
    if not (callable(chunks) or isinstance(chunks, Iterable)):
        raise TypeError(
            f"chunks must be an iterable of (X, y), or a callable chunks(start) that gives one; got {brief(chunks)}."
        )
    if not isinstance(every, Real) or not every >= 0:
        raise ValueError(f"every={every!r} must be a number of seconds, 0 or more.")


def _write_checkpoint(estimator, n_chunks, begun, last, path, trusted):
    """Keep the estimator, how many chunks it has learned, and the digests of where it began and of the last chunk."""
    content = {"estimator": estimator, "n_chunks": n_chunks, "begun": begun, "last": _digest(last)}
    _write(content, estimator, path, trusted)


def _read_checkpoint(estimator, digest, path, trusted):
    """The content of a checkpoint, if it is one from which this estimator, with this digest, can go on."""
    content, name = _read(path, trusted), f"checkpoint={str(path)!r}"
    if not isinstance(content, dict):
        raise ValueError(f"{name} is a model that was saved, and not a checkpoint; choose another file.")
    saved = content["estimator"]
    if type(saved) is not type(estimator):
        raise ValueError(
            f"{name} is of a {type(saved).__name__}, and this is a {type(estimator).__name__}; delete the file to "
            "start from scratch, or choose another."
        )
    here, there = estimator.get_params(), saved.get_params()
    other = [each for each in here if not (each in MAY_CHANGE or _same(here[each], there.get(each)))]
    if other:
        differences = ", ".join(f"{each}={brief(here[each])} (there {brief(there.get(each))})" for each in other)
        raise ValueError(
            f"{name} is of other parameters: {differences}. Set them as they are there, delete the file to start from "
            "scratch, or choose another."
        )
    if digest not in ("", content["begun"], _digest_if_fitted(saved)):
        raise ValueError(
            f"The estimator is fitted, and is neither the one in {name} nor the one that its stream began with: one of "
            "them would be lost. Pass sklearn.base.clone(estimator) to go on from the checkpoint, or another "
            "checkpoint to go on from the estimator."
        )
    saved.set_params(**{each: here[each] for each in MAY_CHANGE if each in here})
    return content


def _after(chunks, saved, path):
    """An iterator of the chunks that come after those learned, once the last of these is found to be the same."""
    n_done = saved["n_chunks"]
    if callable(chunks):
        return iter(chunks(n_done))
    chunks, chunk = iter(chunks), None
    for number in range(n_done):
        try:
            chunk = next(chunks)
        except StopIteration:
            raise ValueError(
                f"checkpoint={str(path)!r} is of another stream: {n_done} chunks were learned, and this one has "
                f"{number}. {NEW_STREAM}"
            ) from None
    if n_done and _digest(chunk) != saved["last"]:
        raise ValueError(
            f"checkpoint={str(path)!r} is of another stream: {n_done} chunks were learned, and chunk {n_done - 1} was "
            f"other data than it is now. {NEW_STREAM}"
        )
    return chunks


def _digest_if_fitted(estimator):
    """A digest of what was learned; empty if that is nothing."""
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        return ""
    return _digest({name: value for name, value in estimator.__getstate__().items() if name not in MAY_CHANGE})


def _digest(value):
    """Digest numbers, text, arrays and whatever holds these, so that equal values give equal digests."""
    digest = sha256()

    def add(value):
        if isinstance(value, BaseEstimator):
            value = value.__getstate__()
        if isinstance(value, RandomState):
            return  # it moves on by itself
        if is_sparse_table(value):
            value = [list(value.columns), value.sparse.to_coo()]
        if issparse(value):
            value = value.tocsr()
            value = [value.shape, value.data, value.indices, value.indptr]
        if isinstance(value, dict):
            value = [item for pair in sorted(value.items(), key=lambda pair: str(pair[0])) for item in pair]
        if isinstance(value, list | tuple):
            digest.update(f"[{len(value)}".encode())
            for item in value:
                add(item)
        elif value is None or isinstance(value, str | bytes):
            digest.update(repr(value).encode())
        elif callable(value):
            digest.update(f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}".encode())
        else:
            array = np.asarray(as_numpy(value))
            if array.dtype.hasobject and array.ndim == 0:  # some other object
                digest.update(f"{type(value).__module__}.{type(value).__qualname__}".encode())
                add(getattr(value, "__dict__", None))
                return
            array = array.astype(str) if array.dtype.hasobject else array
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).view(np.uint8) if array.size else b"")

    add(value)
    return digest.hexdigest()


def _same(parameter, other):
    if isinstance(parameter, RandomState) and isinstance(other, RandomState):
        return True  # the one there has moved on: what it drew is in the checkpoint
    return parameter is other or (type(parameter) is type(other) and joblib.hash(parameter) == joblib.hash(other))


def _write(content, estimator, target, trusted):
    _check_parameters(estimator)
    with _without_callbacks(estimator):
        if hasattr(target, "write"):
            buffer = BytesIO()
            with interrupts_held():
                skops.io.dump(content, buffer)
            _check_known(estimator, trusted, data=buffer.getvalue())
            try:
                target.write(buffer.getbuffer())
            except TypeError as error:
                raise TypeError(f"{target!r} does not take bytes; open the file with mode='wb'.") from error
            return
        # Ctrl-C waits: out of a ZipFile it would come as another error.
        with interrupts_held(), _replacement(_writable(target, "path")) as file:
            skops.io.dump(content, file)
            file.flush()
            _check_known(estimator, trusted, file=file.name)


def _check_parameters(estimator):
    for name, value in estimator.get_params().items():
        if isinstance(value, dict) and any(isinstance(key, bool | np.bool_) for key in value):
            raise ValueError(
                f"{name}={brief(value)} has the keys True or False, which skops does not keep apart; write them as 1 "
                "and 0, which stand for the same labels."
            )


def _check_known(estimator, trusted, **written):
    """Raise ValueError if the estimator, or what was written of it, holds what `load` would refuse."""
    if not written:
        with _without_callbacks(estimator):
            written = {"data": skops.io.dumps(estimator)}
    refused = set(skops.io.get_untrusted_types(**written)) - {*KNOWN, *trusted}
    if refused:
        raise ValueError(
            f"The {type(estimator).__name__} holds {', '.join(sorted(refused))}, of which a file keeps the name "
            "only, and which `load` would refuse. Replace them; or, if whoever loads the file has them, name them "
            "in `trusted`, here and there. Of a search, `best_estimator_` may be all that is needed."
        )


def _writable(path, name):
    """The path of a file that can be written; else an OSError says why not, before there is anything to lose."""
    path = _path(path, name)
    if path.is_dir():
        raise IsADirectoryError(f"{name}={str(path)!r} is a directory; give the name of a file in it.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"The directory of {name}={str(path)!r} does not exist; create it first.")
    part = _part(path)
    try:
        part.open("xb").close()
    except OSError as error:
        raise type(error)(error.errno, f"{name} cannot be written ({error.strerror})", str(path)) from error
    finally:
        part.unlink(missing_ok=True)
    return path


def _path(path, name):
    try:
        return Path(os.path.realpath(Path(path).expanduser()))
    except TypeError:
        raise TypeError(f"{name}={brief(path)} must be a str or path-like, such as pathlib.Path.") from None


def _part(path):
    return path.with_name(f"{path.name}.{uuid4().hex}.part")


@contextmanager
def _replacement(path) -> Iterator:
    """A new file that takes the place of `path` at the end, once it is on the disk; if anything raises, it is gone."""
    part = _part(path)
    try:
        with part.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # elsewhere folders cannot be opened
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def _without_callbacks(estimator) -> Iterator[None]:
    """Callbacks belong to this process: the estimator and its parts are without them for a while."""
    parts = [part for part in (estimator, *estimator.get_params().values()) if isinstance(part, BaseEstimator)]
    held = [(part, vars(part).pop("_skl_callbacks")) for part in parts if "_skl_callbacks" in vars(part)]
    try:
        yield
    finally:
        for part, callbacks in held:
            part._skl_callbacks = callbacks


def _read(source, trusted):
    """An estimator; or the content of a checkpoint, a dict as `_write_checkpoint` makes it."""
    if hasattr(source, "read"):
        data = source.read()
        if not isinstance(data, bytes):
            raise TypeError(f"{source!r} does not give bytes; open the file with mode='rb'.")
        if not data:
            raise ValueError(f"{source!r} has nothing left to read; call seek(0) on what has just been written.")
        return _read_open(BytesIO(data), source, trusted)
    path = _path(source, "path")
    with open(path, "rb") as file:
        return _read_open(file, path, trusted)


def _read_open(file, name, trusted):
    try:
        _check_archive(file)
        content = skops.io.load(file, trusted=[*KNOWN, *trusted])
        _check_content(content)
    except UntrustedTypesFoundException as error:
        raise ValueError(
            f"{name} names types that are not trusted, so nothing of it was made. {error!s:.500} If you know what "
            "they do and whom the file is from, name them in `trusted`."
        ) from error
    except Warning:  # under a filter that makes them errors
        raise
    except Exception as error:  # what is not as `save` made it may fail in any way
        raise ValueError(
            f"{name} cannot be loaded: it is not a file of sklearn_gln.io.save, or it is damaged, or tampered with "
            f"({type(error).__name__}: {error!s:.500}). Nothing in it was executed."
        ) from error
    return content


def _check_archive(file):
    """Raise ValueError unless the archive is plain: nothing compressed, nothing twice, no folders."""
    n_bytes = file.seek(0, os.SEEK_END)
    with ZipFile(file) as archive:
        members = archive.infolist()
    for member in members:
        if member.compress_type != ZIP_STORED or set("/\\") & set(member.filename):
            raise ValueError(f"member {member.filename!r:.100} of the archive is compressed or in a folder")
    if sum(member.file_size for member in members) > n_bytes:
        raise ValueError("the archive's members are larger than the archive")


def _check_content(content):
    _check_splines(content)
    if type(content) is dict and {"estimator", "n_chunks"} <= content.keys():
        if type(content["n_chunks"]) is not int or content["n_chunks"] < 0:
            raise ValueError(f"n_chunks is {content['n_chunks']!r:.100}")
        if content.keys() != {"estimator", "n_chunks", "begun", "last"}:
            raise ValueError(f"it has the entries {brief(sorted(content))}")
        if not isinstance(content["begun"], str) or not isinstance(content["last"], str):
            raise ValueError("begun and last are not digests")
        content = content["estimator"]
    if not isinstance(content, BaseEstimator):
        raise ValueError(f"it does not hold an estimator, but a {type(content).__name__}")


def _check_splines(content, seen=None):
    """Raise ValueError for splines whose knots and coefficients do not fit: compiled code reads them unchecked."""
    seen = set() if seen is None else seen
    if id(content) in seen:
        return
    seen.add(id(content))
    if isinstance(content, BSpline):
        for name in ("t", "c"):
            if not isinstance(getattr(content, name), np.ndarray):
                raise ValueError(f"a spline's {name} is not an array")
        BSpline(content.t, content.c, content.k, content.extrapolate, content.axis)  # which checks them
    items = []
    if isinstance(content, dict):
        items = content.values()
    elif isinstance(content, list | tuple | set) or (isinstance(content, np.ndarray) and content.dtype == object):
        items = list(content)
    elif not isinstance(content, type):
        with suppress(TypeError):
            items = vars(content).values()
    for item in items:
        _check_splines(item, seen)
