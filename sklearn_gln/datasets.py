"""MNIST as arrays, and the deskewing of images by their moments."""

import gzip
import math
import os
import struct
import zipfile
import zlib
from importlib.util import find_spec
from pathlib import Path
from uuid import uuid4

import numpy as np
from sklearn.datasets import fetch_openml, get_data_home
from sklearn.utils import Bunch, check_array

__all__ = ["deskew", "fetch_mnist"]

_FOLDER_VARIABLE = "SKLEARN_GLN_MNIST"
_SIDE = 28  # pixels
_N_TRAIN = 60_000  # rows of OpenML's table that come first and are the training set
_FILE_PREFIXES = {"train": ("train",), "test": ("t10k",), "all": ("train", "t10k")}
_CACHE_NAME = "sklearn_gln_mnist.npz"
_MAX_VALUES = 2**30  # in a file: twenty times MNIST's
_CHUNK = 256  # images: bounds the temporary arrays and keeps them in the processor's cache

_DESCR = """MNIST: 70,000 handwritten digits of 28 x 28 grey values, 60,000 for training and 10,000 for testing.

Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, "Gradient-based learning applied to document recognition",
Proceedings of the IEEE 86 (11), 1998.
"""


def fetch_mnist(
    *, subset="train", deskew=True, data_home=None, folder=None, download_if_missing=True, return_X_y=False
):
    """Load the MNIST handwritten digits (classification).

    The images come from a folder with the original idx files if `folder` or the environment variable
    `SKLEARN_GLN_MNIST` names one, else from OpenML, once: later calls read a cache in scikit-learn's data folder.

    Parameters
    ----------
    subset : {"train", "test", "all"}, default="train"
        The 60,000 training images, the 10,000 test images, or both in this order.

    deskew : bool, default=True
        Centre each image and remove its slant, see :func:`deskew`.

    data_home : str or path-like, default=None
        Folder of the download and of the cache; None is scikit-learn's own, `~/scikit_learn_data`.

    folder : str or path-like, default=None
        Folder with `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and
        `t10k-labels-idx1-ubyte`, each plain or with `.gz`; only the files of `subset` are needed. It is read again
        in each call. None takes the environment variable `SKLEARN_GLN_MNIST`, if set.

    download_if_missing : bool, default=True
        If False, raise an OSError instead of downloading when neither a folder nor a cache is there.

    return_X_y : bool, default=False
        Return `(data, target)` instead of a Bunch.

    Returns
    -------
    mnist : :class:`~sklearn.utils.Bunch`
        With the attributes

        data : ndarray of shape (n_samples, 784), float32
            Grey values in [0, 1], the image's rows one after the other.
        target : ndarray of shape (n_samples,), int64
            The digits 0 to 9.
        feature_names : list of length 784
            `pixel_<row>_<column>`.
        DESCR : str
            A short description.

    (data, target) : tuple if `return_X_y` is True

    Examples
    --------
    >>> import struct, tempfile
    >>> from pathlib import Path
    >>> from sklearn_gln.datasets import fetch_mnist
    >>> with tempfile.TemporaryDirectory() as folder:  # two blank images stand in for the original files
    ...     images = struct.pack(">4I", 2051, 2, 28, 28) + bytes(2 * 28 * 28)
    ...     labels = struct.pack(">2I", 2049, 2) + bytes([5, 0])
    ...     _ = Path(folder, "train-images-idx3-ubyte").write_bytes(images)
    ...     _ = Path(folder, "train-labels-idx1-ubyte").write_bytes(labels)
    ...     mnist = fetch_mnist(folder=folder)
    >>> mnist.data.shape, mnist.target
    ((2, 784), array([5, 0]))
    """
    if subset not in tuple(_FILE_PREFIXES):
        raise ValueError(f"subset={subset!r} is unknown; choose from 'train', 'test', 'all'")
    folder = folder or os.environ.get(_FOLDER_VARIABLE)
    if folder:
        pixels, target = _from_folder(Path(folder).expanduser(), _FILE_PREFIXES[subset])
    else:
        rows = {"train": slice(None, _N_TRAIN), "test": slice(_N_TRAIN, None), "all": slice(None)}[subset]
        pixels, target = (array[rows] for array in _from_openml(data_home, download_if_missing))
    data = (_deskew(pixels.reshape(-1, _SIDE, _SIDE)) if deskew else pixels.astype(np.float32)).reshape(pixels.shape)
    data /= 255
    target = target.astype(np.int64)
    if return_X_y:
        return data, target
    names = [f"pixel_{row}_{column}" for row in range(_SIDE) for column in range(_SIDE)]
    return Bunch(data=data, target=target, feature_names=names, DESCR=_DESCR)


def deskew(images):
    """Centre each image and remove its slant, both measured by the image's moments.

    The centre of mass moves to the centre of the image. Then every row moves sideways, in proportion to its distance
    from the middle, by the slope cov(row, column) / var(row): an upright stroke stays, a slanted one is set upright.
    Values between pixels are interpolated linearly; outside the image is zero.

    Parameters
    ----------
    images : array-like of shape (n_images, height, width)
        Grey values, finite and not negative.

    Returns
    -------
    deskewed : ndarray of shape (n_images, height, width), float32
        On the scale of `images`. An image without a positive value stays as it is.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_gln.datasets import deskew
    >>> slanted = np.eye(5)[:, ::-1]
    >>> deskew([slanted])[0]
    array([[0., 0., 1., 0., 0.],
           [0., 0., 1., 0., 0.],
           [0., 0., 1., 0., 0.],
           [0., 0., 1., 0., 0.],
           [0., 0., 1., 0., 0.]], dtype=float32)
    """
    images = check_array(images, ensure_2d=False, allow_nd=True, input_name="images")
    if images.ndim != 3:
        raise ValueError(
            f"images has shape {images.shape}; wanted (n_images, height, width): reshape it, "
            f"for rows of MNIST with images.reshape(-1, {_SIDE}, {_SIDE})"
        )
    if images.min() < 0:
        raise ValueError(f"images holds {images.min()}; wanted grey values >= 0 on a dark background: shift or invert")
    return _deskew(images)


def _deskew(images):
    """Deskew images (n, height, width), known to be valid."""
    deskewed = np.empty(images.shape, dtype=np.float32)
    for start in range(0, len(images), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        deskewed[chunk] = _deskew_chunk(images[chunk].astype(np.float64))
    return deskewed


def _deskew_chunk(images):
    """Deskew images (n, height, width), float64."""
    rows, columns = (np.arange(size, dtype=np.float64) for size in images.shape[1:])
    row_mass, column_mass = images.sum(axis=2), images.sum(axis=1)
    mass = row_mass.sum(axis=1)
    mass[mass == 0] = 1  # an empty image: all moments become 0
    mean_row, mean_column = row_mass @ rows / mass, column_mass @ columns / mass
    from_row, from_column = rows - mean_row[:, None], columns - mean_column[:, None]
    variance = (row_mass * from_row**2).sum(axis=1) / mass
    covariance = ((images @ from_column[:, :, None])[:, :, 0] * from_row).sum(axis=1) / mass
    # In an image of a single row both moments are rounding noise, and so would be their quotient.
    slope = np.divide(covariance, variance, out=np.zeros_like(mass), where=variance > 1e-9)

    middle_row, middle_column = rows.mean(), columns.mean()
    row_positions = rows + (mean_row - middle_row)[:, None]
    row_shifts = (mean_column - middle_column)[:, None] + slope[:, None] * (rows - middle_row)
    images = _interpolate(images.astype(np.float32), row_positions[:, :, None], axis=1)
    return _interpolate(images, columns + row_shifts[:, :, None], axis=2)


def _interpolate(images, positions, axis):
    """Values of images (n, height, width) at positions (broadcastable to it) along an axis; zero outside."""
    size = images.shape[axis]
    padded = np.pad(images, [(1, 1) if each == axis else (0, 0) for each in range(3)])
    below = np.floor(positions)
    fraction = (positions - below).astype(np.float32)
    lower, upper = (np.clip(index, -1, size).astype(np.intp) + 1 for index in (below, below + 1))
    lower, upper = (np.take_along_axis(padded, index, axis) for index in (lower, upper))
    return lower + fraction * (upper - lower)


def _from_folder(folder, prefixes):
    """Pixels (n, 784) and digits (n,), both uint8, of idx files."""
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder} is not a folder; name the one with MNIST's idx files in folder= or {_FOLDER_VARIABLE}, "
            "or unset both to fetch MNIST from OpenML"
        )
    images, labels = [], []
    for prefix in prefixes:
        images.append(_read_idx(folder, f"{prefix}-images-idx3-ubyte", n_dims=3))
        labels.append(_read_idx(folder, f"{prefix}-labels-idx1-ubyte", n_dims=1))
        if len(images[-1]) != len(labels[-1]):
            raise ValueError(
                f"{folder} has {len(images[-1])} {prefix} images but {len(labels[-1])} {prefix} labels; "
                "take both files from the same copy of MNIST"
            )
        if images[-1].shape[1:] != (_SIDE, _SIDE):
            height, width = images[-1].shape[1:]
            raise ValueError(
                f"the {prefix} images of {folder} are {height} x {width}; wanted {_SIDE} x {_SIDE}: is it MNIST?"
            )
    return np.concatenate(images).reshape(-1, _SIDE * _SIDE), np.concatenate(labels)


def _read_idx(folder, name, n_dims):
    """The uint8 array of an idx file, plain or .gz."""
    path = next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)
    if path is None:
        raise FileNotFoundError(
            f"{folder} has no file {name} or {name}.gz; put it there, or unset folder= and {_FOLDER_VARIABLE} "
            "to fetch MNIST from OpenML"
        )
    header = struct.Struct(f">{1 + n_dims}I")
    wanted = 0x0800 + n_dims  # 8 stands for unsigned bytes
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            start = file.read(header.size)
            if len(start) < header.size:
                raise OSError(
                    f"{path} is truncated: {len(start)} bytes, its header alone has {header.size}; download it again"
                )
            magic, *shape = header.unpack(start)
            if magic != wanted:
                raise ValueError(
                    f"{path} has magic number {magic}; wanted {wanted}, {name}'s: is it another file, renamed?"
                )
            n_values = math.prod(shape)
            if n_values > _MAX_VALUES:  # which few compressed bytes may stand for
                raise ValueError(f"{path} says that its shape is {shape}: too large for MNIST; download it again")
            content = file.read(n_values + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise OSError(f"{path} is truncated or not a gzip file ({error}); download it again") from error
    if len(content) != n_values:
        raise OSError(
            f"{path} is truncated or damaged: {len(content)} values, its header says {shape}; download it again"
        )
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def _from_openml(data_home, download_if_missing):
    """Pixels (n, 784) and digits (n,) of OpenML's table, both uint8; from the cache if it is there."""
    # scikit-learn keeps the download too, but as text that takes long to parse.
    path = Path(get_data_home(data_home), _CACHE_NAME)
    if path.exists():
        try:
            with path.open("rb") as file, np.load(file) as arrays:
                return arrays["pixels"], arrays["target"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise OSError(f"the cache {path} is damaged ({error}); delete it and call again") from error
    if not download_if_missing:
        raise OSError(
            f"{path} does not exist and download_if_missing=False; pass folder=, set {_FOLDER_VARIABLE}, "
            "or allow the download"
        )
    parser = "auto" if find_spec("pandas") else "liac-arff"  # "auto" would fail without pandas
    table = fetch_openml("mnist_784", version=1, as_frame=False, data_home=data_home, parser=parser)
    pixels, target = table.data.astype(np.uint8), table.target.astype(np.uint8)
    _save(path, pixels=pixels, target=target)
    return pixels, target


def _save(path, **arrays):
    """Write an npz file that other processes see whole or not at all."""
    part = path.with_name(f"{path.name}.{uuid4().hex}.part")
    try:
        with part.open("wb") as file:
            np.savez_compressed(file, **arrays)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
