"""MNIST from idx files and from OpenML (replaced by a stand-in), and deskewing against a slow reference."""

import gzip
import os
import struct

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import ndimage
from sklearn.utils import Bunch

from sklearn_gln import datasets
from sklearn_gln.datasets import deskew, fetch_mnist

N_TRAIN, N_TEST = 7, 3


@pytest.fixture(autouse=True)
def no_folder_variable(monkeypatch):
    monkeypatch.delenv("SKLEARN_GLN_MNIST", raising=False)


@pytest.fixture
def no_openml(monkeypatch):
    def fetch_openml(name, **kwargs):
        pytest.fail(f"fetch_openml was called with {name}, {kwargs}")

    monkeypatch.setattr(datasets, "fetch_openml", fetch_openml)


def idx(array, magic=None):
    """The bytes of an idx file."""
    magic = 0x0800 + array.ndim if magic is None else magic
    return struct.pack(f">{1 + array.ndim}I", magic, *array.shape) + array.astype(np.uint8).tobytes()


def random_digits(n, seed):
    """Images (n, 28, 28), uint8, blobs within a dark frame of random shapes, and labels (n,)."""
    rng = np.random.default_rng(seed)
    images = np.zeros((n, 28, 28), dtype=np.uint8)
    for image in images:
        top, left = rng.integers(4, 10, size=2)
        height, width = rng.integers(5, 14, size=2)
        image[top : top + height, left : left + width] = rng.integers(0, 256, size=(height, width))
    return images, rng.integers(0, 10, size=n).astype(np.uint8)


def write_mnist(folder, compress, seed=0):
    folder.mkdir(exist_ok=True)
    for prefix, n, offset in (("train", N_TRAIN, 0), ("t10k", N_TEST, 1)):
        images, labels = random_digits(n, 2 * seed + offset)
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            content = idx(array)
            path = folder / f"{prefix}-{name}-ubyte{'.gz' if compress else ''}"
            path.write_bytes(gzip.compress(content) if compress else content)
    return folder


@pytest.fixture(params=[False, True], ids=["plain", "gz"])
def mnist_folder(request, tmp_path):
    return write_mnist(tmp_path / "mnist", compress=request.param)


# Folder


@pytest.mark.usefixtures("no_openml")
@pytest.mark.parametrize("given_by", ["argument", "variable"])
def test_folder(mnist_folder, given_by, monkeypatch):
    if given_by == "variable":
        monkeypatch.setenv("SKLEARN_GLN_MNIST", str(mnist_folder))
    mnist = fetch_mnist(deskew=False, folder=mnist_folder if given_by == "argument" else None)
    images, labels = random_digits(N_TRAIN, 0)
    assert mnist.data.dtype == np.float32
    assert mnist.target.dtype == np.int64
    assert_allclose(mnist.data, images.reshape(N_TRAIN, 784) / 255, rtol=1e-6)
    assert_array_equal(mnist.target, labels)
    assert len(mnist.feature_names) == 784
    assert mnist.feature_names[29] == "pixel_1_1"
    assert mnist.DESCR.startswith("MNIST")


@pytest.mark.usefixtures("no_openml")
def test_folder_argument_goes_before_variable(tmp_path, monkeypatch):
    first = write_mnist(tmp_path / "first", compress=False, seed=1)
    second = write_mnist(tmp_path / "second", compress=False, seed=2)
    monkeypatch.setenv("SKLEARN_GLN_MNIST", str(first))
    data, _ = fetch_mnist(folder=second, return_X_y=True)
    assert_array_equal(data, fetch_mnist(folder=str(second)).data)
    assert not np.array_equal(data, fetch_mnist().data)


def test_subsets(mnist_folder):
    train, test, both = (fetch_mnist(subset=name, folder=mnist_folder) for name in ("train", "test", "all"))
    assert train.data.shape == (N_TRAIN, 784)
    assert test.data.shape == (N_TEST, 784)
    assert_array_equal(both.data, np.concatenate([train.data, test.data]))
    assert_array_equal(both.target, np.concatenate([train.target, test.target]))


def test_only_the_files_of_the_subset_are_needed(mnist_folder):
    for path in mnist_folder.glob("train-*"):
        path.unlink()
    assert len(fetch_mnist(subset="test", folder=mnist_folder).data) == N_TEST


def test_deskew_is_the_default(mnist_folder):
    data, target = fetch_mnist(folder=mnist_folder, return_X_y=True)
    images, labels = random_digits(N_TRAIN, 0)
    assert data.dtype == np.float32
    assert 0 <= data.min() < data.max() <= 1
    assert_allclose(data.reshape(images.shape), deskew(images) / 255, rtol=1e-6)
    assert_array_equal(target, labels)


# Errors of folders and arguments


@pytest.mark.parametrize("subset", ["training", None, ["train"]])
def test_unknown_subset(subset, mnist_folder):
    with pytest.raises(ValueError, match="subset=.* is unknown; choose from 'train', 'test', 'all'"):
        fetch_mnist(subset=subset, folder=mnist_folder)


def test_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder; name the one with"):
        fetch_mnist(folder=tmp_path / "nowhere")


def test_missing_file(mnist_folder):
    next(mnist_folder.glob("train-labels-*")).unlink()
    with pytest.raises(FileNotFoundError, match=r"has no file train-labels-idx1-ubyte or .*\.gz; put it there"):
        fetch_mnist(folder=mnist_folder)


IMAGES, LABELS = random_digits(N_TRAIN, 0)
BAD_FILES = {
    "labels as images": ("images-idx3", idx(IMAGES, magic=2049), ValueError, "magic number 2049; wanted 2051"),
    "images as labels": ("labels-idx1", idx(LABELS, magic=2051), ValueError, "magic number 2051; wanted 2049"),
    "empty": ("images-idx3", b"", OSError, "truncated: 0 bytes, its header alone has 16"),
    "cut": ("images-idx3", idx(IMAGES)[:-1], OSError, rf"{N_TRAIN * 784 - 1} values, .* \[{N_TRAIN}, 28, 28\]"),
    "too long": ("labels-idx1", idx(LABELS) + bytes(2**20), OSError, rf"{N_TRAIN + 1} values, .* \[{N_TRAIN}\]"),
    "too large": ("images-idx3", struct.pack(">4I", 2051, 2**32 - 1, 28, 28), ValueError, "too large for MNIST"),
    "fewer labels": ("labels-idx1", idx(LABELS[1:]), ValueError, f"{N_TRAIN} train images but {N_TRAIN - 1}"),
    "other size": ("images-idx3", idx(IMAGES[:, :20]), ValueError, "are 20 x 28; wanted 28 x 28"),
}


@pytest.mark.parametrize("case", BAD_FILES)
@pytest.mark.parametrize("compress", [False, True])
def test_bad_file(case, compress, tmp_path):
    name, content, error, match = BAD_FILES[case]
    write_mnist(tmp_path, compress=compress)
    path = next(tmp_path.glob(f"train-{name}-*"))
    path.write_bytes(gzip.compress(content) if compress else content)
    with pytest.raises(error, match=match):
        fetch_mnist(folder=tmp_path)


@pytest.mark.parametrize("damage", [lambda content: content[:-20], lambda content: content[2:]], ids=["cut", "other"])
def test_bad_gzip(damage, tmp_path):
    write_mnist(tmp_path, compress=True)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(OSError, match="train-images-idx3-ubyte.gz is truncated or not a gzip .*; download it again"):
        fetch_mnist(folder=tmp_path)


# OpenML


@pytest.fixture
def openml(monkeypatch):
    """Replace OpenML by ten rows, the first seven of which count as the training set; returns the list of calls."""
    calls = []
    images, labels = random_digits(N_TRAIN + N_TEST, 5)

    def fetch_openml(name, **kwargs):
        calls.append((name, kwargs))
        # As OpenML's: numbers and, in a column of objects, strings.
        return Bunch(data=images.reshape(-1, 784).astype(np.int64), target=labels.astype(str).astype(object))

    monkeypatch.setattr(datasets, "fetch_openml", fetch_openml)
    monkeypatch.setattr(datasets, "_N_TRAIN", N_TRAIN)
    return calls


def test_openml_is_asked_once(openml, tmp_path):
    first = fetch_mnist(subset="all", data_home=tmp_path)
    again = fetch_mnist(subset="all", data_home=tmp_path, download_if_missing=False)
    assert len(openml) == 1
    name, arguments = openml[0]
    assert name == "mnist_784"
    assert (arguments["version"], arguments["as_frame"], arguments["data_home"]) == (1, False, tmp_path)
    images, labels = random_digits(N_TRAIN + N_TEST, 5)
    assert_allclose(first.data, deskew(images).reshape(-1, 784) / 255, rtol=1e-6)
    assert_array_equal(first.target, labels)
    assert first.data.dtype == np.float32
    assert first.target.dtype == np.int64
    assert_array_equal(again.data, first.data)
    assert_array_equal(again.target, first.target)
    assert os.listdir(tmp_path) == ["sklearn_gln_mnist.npz"]  # no temporary file is left


def test_openml_subsets_and_raw_images(openml, tmp_path):
    images, labels = random_digits(N_TRAIN + N_TEST, 5)
    for subset, rows in (("train", slice(0, N_TRAIN)), ("test", slice(N_TRAIN, None)), ("all", slice(None))):
        data, target = fetch_mnist(subset=subset, deskew=False, data_home=tmp_path, return_X_y=True)
        assert_allclose(data, images[rows].reshape(-1, 784) / 255, rtol=1e-6)
        assert_array_equal(target, labels[rows])
    assert len(openml) == 1


@pytest.mark.parametrize("pandas_is_there", [True, False])
def test_openml_without_pandas(pandas_is_there, openml, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "find_spec", {"pandas": object() if pandas_is_there else None}.get)
    fetch_mnist(data_home=tmp_path)
    assert openml[0][1]["parser"] == ("auto" if pandas_is_there else "liac-arff")


def test_folder_and_cache_stay_apart(openml, mnist_folder, tmp_path):
    from_folder = fetch_mnist(folder=mnist_folder, data_home=tmp_path)
    from_openml = fetch_mnist(data_home=tmp_path)
    assert len(openml) == 1
    assert not np.array_equal(from_folder.data, from_openml.data)
    assert_array_equal(fetch_mnist(folder=mnist_folder, data_home=tmp_path).data, from_folder.data)


@pytest.mark.usefixtures("no_openml")
def test_download_if_missing(tmp_path):
    with pytest.raises(OSError, match=r"download_if_missing=False; pass folder=, set SKLEARN_GLN_MNIST"):
        fetch_mnist(data_home=tmp_path, download_if_missing=False)


@pytest.mark.usefixtures("openml")
@pytest.mark.parametrize("keep", [0, 100])
def test_damaged_cache(keep, tmp_path):
    fetch_mnist(data_home=tmp_path)
    cache = tmp_path / "sklearn_gln_mnist.npz"
    cache.write_bytes(cache.read_bytes()[:keep])
    with pytest.raises(OSError, match=r"sklearn_gln_mnist.npz is damaged .*; delete it and call again"):
        fetch_mnist(data_home=tmp_path)


@pytest.mark.usefixtures("openml")
def test_interrupted_write_leaves_no_cache(tmp_path, monkeypatch):
    def savez_compressed(file, **arrays):
        file.write(arrays["target"].tobytes())
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez_compressed", savez_compressed)
    with pytest.raises(OSError, match="disk full"):
        fetch_mnist(data_home=tmp_path)
    assert os.listdir(tmp_path) == []


# Deskewing


def moments(image):
    """Mean row, mean column, variance of the row and covariance of row and column."""
    rows, columns = np.indices(image.shape)
    weights = image / image.sum()
    mean_row, mean_column = (weights * rows).sum(), (weights * columns).sum()
    variance = (weights * (rows - mean_row) ** 2).sum()
    return mean_row, mean_column, variance, (weights * (rows - mean_row) * (columns - mean_column)).sum()


def slow_deskew(image):
    mean_row, mean_column, variance, covariance = moments(image.astype(np.float64))
    middle = (np.array(image.shape) - 1) / 2
    matrix = np.array([[1, 0], [covariance / variance, 1]])
    offset = np.array([mean_row, mean_column]) - matrix @ middle
    return ndimage.affine_transform(image.astype(np.float64), matrix, offset, order=1, mode="grid-constant")


@pytest.mark.parametrize("shape", [(28, 28), (17, 30)])
def test_deskew_as_affine_transform(shape):
    rng = np.random.default_rng(0)
    images = rng.random((20, *shape)) ** 4  # up to the border, which mode="grid-constant" treats as zero outside
    images[:10] = ndimage.shift(images[:10], (0, 7.3, -5.6), order=1)  # off centre
    images[5:15] = [ndimage.affine_transform(each, [[1, 0], [0.4, 1]], order=1) for each in images[5:15]]
    result = deskew(images)
    assert result.dtype == np.float32
    assert_allclose(result, [slow_deskew(image) for image in images], atol=1e-6)


def slanted_bar(slope, middle_row, middle_column):
    """A bar (28, 28), 12 rows high and about 3 columns wide, with soft edges."""
    rows, columns = np.indices((28, 28))
    distance = np.abs(columns - middle_column - slope * (rows - middle_row))
    return np.clip(2 - distance, 0, 1) * (np.abs(rows - middle_row) <= 6)


@pytest.mark.parametrize("slope", [-0.8, 0.0, 0.5])
@pytest.mark.parametrize("middle", [(13.5, 13.5), (10, 15), (15.25, 11.7)])
def test_bar_is_set_upright_and_centred(slope, middle):
    bar = slanted_bar(slope, *middle)
    mean_row, mean_column, _, covariance = moments(deskew([bar])[0].astype(np.float64))
    assert_allclose([mean_row, mean_column], 13.5, atol=0.05)
    # Interpolating rows a fraction f apart adds f * (1 - f) <= 1/4 to the variance, with it up to slope / 4 to the
    # covariance; before it is slope * variance, with a variance of almost 12.
    assert abs(covariance) <= abs(slope) / 4 + 1e-6
    assert abs(moments(bar)[3]) >= 11 * abs(slope)


def test_upright_centred_image_is_unchanged():
    image = np.zeros((28, 28))
    image[6:22, 12:16] = np.random.default_rng(0).random((16, 1))
    image += image[::-1]  # symmetric, up and down as well as left and right
    assert_allclose(deskew([image])[0], image, atol=1e-6)


def test_image_of_one_row_is_only_shifted():
    image = np.zeros((9, 9))
    image[2, 3:6] = [0.1, 0.7, 0.1]
    expected = np.zeros((9, 9))
    expected[4, 3:6] = [0.1, 0.7, 0.1]
    assert_allclose(deskew([image])[0], expected, atol=1e-6)


def test_empty_images_stay_empty_among_others():
    images = np.stack([np.zeros((28, 28)), slanted_bar(0.5, 12, 12), np.zeros((28, 28))])
    result = deskew(images)
    assert_array_equal(result[[0, 2]], 0)
    assert_array_equal(result[1], deskew(images[1:2])[0])


def test_deskew_in_chunks(monkeypatch):
    images, _ = random_digits(11, 3)
    whole = deskew(images)
    monkeypatch.setattr(datasets, "_CHUNK", 4)
    assert_array_equal(deskew(images), whole)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.int64])
def test_deskew_keeps_scale_and_input(dtype):
    images = random_digits(3, 4)[0].astype(dtype)
    before = images.copy()
    result = deskew(images)
    assert result.dtype == np.float32
    assert_allclose(result, 255 * deskew(images / 255), rtol=1e-5, atol=1e-4)
    assert_array_equal(images, before)


def test_deskew_rejects_other_shapes():
    with pytest.raises(ValueError, match=r"images has shape \(2, 784\); wanted \(n_images, height, width\): reshape"):
        deskew(np.zeros((2, 784)))


def test_deskew_rejects_negative_values():
    with pytest.raises(ValueError, match=r"images holds -0\.5; wanted grey values >= 0"):
        deskew(np.full((1, 5, 5), -0.5))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_deskew_rejects_what_is_not_finite(value):
    with pytest.raises(ValueError, match="images contains"):
        deskew(np.full((1, 5, 5), value))
