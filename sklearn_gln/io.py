"""Models in files that execute nothing, and streams that are larger than memory and survive being killed.

A pickle may execute anything when it is loaded; what `save` writes is arrays and text (the format of skops), and `load`
makes of it what it knows and nothing else.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from reprlib import repr as brief
from time import monotonic
from uuid import uuid4
from zipfile import ZIP_STORED, ZipFile

import joblib
import numpy as np
from numpy.random import RandomState
from sklearn.base import BaseEstimator

try:
    import skops.io
    from skops.io.exceptions import UntrustedTypesFoundException
except ImportError as error:
    raise ImportError(
        f'sklearn_gln.io needs skops ({error}); install it with `pip install "sklearn_gln[persistence]"`.'
    ) from error

__all__ = ["fit_stream", "load", "save"]

OUR_TYPES = ("sklearn_gln.GLNClassifier", "sklearn_gln.GLNRegressor")
MAY_CHANGE = ("backend", "device", "n_jobs", "verbose")  # parameters of which what is learned does not depend


def save(estimator, path, *, trusted=()):
    """Write an estimator to a file that `load` reads, whole or not at all.

    Callbacks stay behind. If anything fails, a full disk too, a file that was there before stays as it was. When this
    returns the file is on the disk.

    Parameters
    ----------
    estimator : estimator
        A `GLNClassifier` or `GLNRegressor`, fitted or not, or an estimator of scikit-learn with them inside, such as a
        `Pipeline`.

    path : str or path-like
        The file; by convention its name ends in ``.skops``.

    trusted : sequence of str, default=()
        Names of further types and functions that the estimator may hold, such as ``"mypackage.MyTransformer"``. The
        file names them only, so whoever loads it must have and trust them too.

    Raises
    ------
    ValueError
        If the estimator is none, or holds what `load` with the same `trusted` would refuse, such as functions.

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
        raise ValueError(f"estimator={estimator!r:.100} is no estimator of scikit-learn's kind; pass one.")
    _write(estimator, estimator, path, trusted)


def load(path, *, trusted=()):
    """The estimator in a file of `save`, or in a checkpoint of `fit_stream`; nothing in the file is executed.

    Parameters
    ----------
    path : str or path-like
        The file.

    trusted : sequence of str, default=()
        Names of further types and functions that may be made, see `save`. What they do is not checked: give names that
        you know, not those that a file asks for.

    Returns
    -------
    estimator : estimator

    Raises
    ------
    ValueError
        If the file is of another kind, damaged, or tampered with, names a type that is neither one of this package nor
        one that skops trusts (scikit-learn's estimators without trees, NumPy's and Python's plain types) nor `trusted`,
        or was saved by a later major version of this package.

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
        and `verbose`.

    chunks : iterable, or callable
        Of tuples ``(X, y)`` or ``(X, y, sample_weight)``, as `partial_fit` takes them. An iterable is read from its
        start, and what was learned before skipped. A callable ``chunks(start)`` gives those from number `start` on,
        so that they need not be read again.

    classes : array-like of shape (n_classes,), default=None
        Of a classifier: all labels that may ever come.

    checkpoint : str or path-like, default=None
        The file in which the estimator and the number of chunks that it has learned are kept; None: nowhere. It is
        replaced as a whole. Delete it to start anew. A process killed while it wrote one leaves a file beside it whose
        name ends in ``.part``, which may be deleted.

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
        If the checkpoint is that of another estimator or of other parameters, or as in `load`; if a chunk is no such
        tuple, or `partial_fit` refuses it. The checkpoint stays as it is.

    Notes
    -----
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
    >>> from sklearn_gln.io import fit_stream
    >>> def chunks(start):
    ...     for number in range(start, 5):
    ...         X = np.random.default_rng(number).normal(size=(200, 3))
    ...         yield X, X[:, 0] > X[:, 1]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "model.skops")
    ...     model = fit_stream(GLNClassifier(random_state=0), chunks, classes=[False, True], checkpoint=file)
    ...     again = fit_stream(GLNClassifier(random_state=0), chunks, classes=[False, True], checkpoint=file)
    >>> model.n_samples_seen_, again.n_samples_seen_
    (1000, 1000)
    """
    n_done = 0
    if checkpoint is not None and os.path.exists(checkpoint):
        n_done = _go_on(estimator, checkpoint, trusted)
    n_saved, last_saved = n_done, monotonic()
    announced = {} if classes is None else {"classes": classes}
    for chunk in chunks(n_done) if callable(chunks) else islice(chunks, n_done, None):
        if not isinstance(chunk, tuple | list) or len(chunk) not in (2, 3):
            raise ValueError(
                f"Chunk {n_done} is no tuple (X, y) or (X, y, sample_weight), but of type {type(chunk).__name__}; give "
                "a tuple for each call of partial_fit."
            )
        X, y, *weights = chunk
        estimator.partial_fit(X, y, **announced, **({"sample_weight": weights[0]} if weights else {}))
        n_done += 1
        if checkpoint is not None and monotonic() - last_saved >= every:
            _write_checkpoint(estimator, n_done, checkpoint, trusted)
            n_saved, last_saved = n_done, monotonic()
    if checkpoint is not None and n_done > n_saved:
        _write_checkpoint(estimator, n_done, checkpoint, trusted)
    return estimator


def _write_checkpoint(estimator, n_chunks, path, trusted):
    _write({"estimator": estimator, "n_chunks": n_chunks}, estimator, path, trusted)


def _go_on(estimator, path, trusted):
    """Have the estimator be the one in a checkpoint; returns how many chunks that has learned."""
    content = _read(path, trusted)
    if not isinstance(content, dict):
        raise ValueError(f"checkpoint={str(path)!r} is a model that was saved, and no checkpoint; choose another file.")
    saved = content["estimator"]
    if type(saved) is not type(estimator):
        raise ValueError(
            f"checkpoint={str(path)!r} is of a {type(saved).__name__}, and this is a {type(estimator).__name__}; "
            "delete the file to start anew, or choose another."
        )
    here, there = estimator.get_params(), saved.get_params()
    other = [name for name in here if not (name in MAY_CHANGE or _same(here[name], there.get(name)))]
    if other:
        differences = ", ".join(f"{name}={brief(here[name])} (there {brief(there.get(name))})" for name in other)
        raise ValueError(
            f"checkpoint={str(path)!r} is of other parameters: {differences}. Set them as they are there, delete the "
            "file to start anew, or choose another."
        )
    saved.set_params(**{name: here[name] for name in MAY_CHANGE if name in here})
    vars(estimator).update(vars(saved))
    return content["n_chunks"]


def _same(parameter, other):
    if isinstance(parameter, RandomState) and isinstance(other, RandomState):
        return True  # the one there has moved on: what it drew is in the checkpoint
    return parameter is other or (type(parameter) is type(other) and joblib.hash(parameter) == joblib.hash(other))


def _write(content, estimator, path, trusted):
    for name, value in estimator.get_params().items():
        if isinstance(value, dict) and any(isinstance(key, bool | np.bool_) for key in value):
            raise ValueError(
                f"{name}={brief(value)} has the keys True or False, which skops does not keep apart; write them as 1 "
                "and 0, which stand for the same labels."
            )
    with _replacement(path) as file, _without_callbacks(estimator):
        skops.io.dump(content, file)
        file.flush()
        refused = set(skops.io.get_untrusted_types(file=file.name)) - {*OUR_TYPES, *trusted}
        if refused:
            raise ValueError(
                f"The {type(estimator).__name__} holds {', '.join(sorted(refused))}, of which a file keeps the name "
                "only, and which `load` would refuse. Replace them; or, if whoever loads the file has them, name them "
                "in `trusted`, here and there."
            )


@contextmanager
def _replacement(path) -> Iterator:
    """A new file that takes the place of `path` at the end, once it is on the disk; if anything raises, it is gone."""
    path = Path(os.path.realpath(path))
    part = path.with_name(f"{path.name}.{uuid4().hex}.part")
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


def _read(path, trusted):
    """An estimator; or the content of a checkpoint, a dict with `estimator` and `n_chunks`."""
    with open(path, "rb") as file:
        try:
            _check_archive(file)
            content = skops.io.load(file, trusted=[*OUR_TYPES, *trusted])
            _check_content(content)
        except UntrustedTypesFoundException as error:
            raise ValueError(
                f"{path} names types that are not trusted, so nothing of it was made. {error!s:.500} If you know what "
                "they do and whom the file is from, name them in `trusted`."
            ) from error
        except Warning:  # under a filter that makes them errors
            raise
        except Exception as error:  # what is not as `save` made it may fail in any way
            raise ValueError(
                f"{path} cannot be loaded: it is no file of sklearn_gln.io.save, or it is damaged, or tampered with "
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
    if type(content) is dict and content.keys() == {"estimator", "n_chunks"}:
        if type(content["n_chunks"]) is not int or content["n_chunks"] < 0:
            raise ValueError(f"n_chunks is {content['n_chunks']!r:.100}")
        content = content["estimator"]
    if not isinstance(content, BaseEstimator):
        raise ValueError(f"it holds no estimator, but a {type(content).__name__}")
