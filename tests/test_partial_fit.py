"""Streams: heavy rows, row numbers, and calls without checks."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from tests.helpers import (
    CLASSES,
    KINDS,
    LABELS,
    TARGETS,
    X,
    Y,
    assert_refused,
    assert_same_object,
    new,
    streamed,
    thorough_but,
)

# Weights and row numbers


@pytest.mark.filterwarnings("ignore:sample_weight holds")
@pytest.mark.parametrize("learn", ["fit", "partial_fit"])
def test_a_weight_beyond_1e9_is_1e9(kind, learn):
    weights = np.where(np.arange(100) % 50 == 25, 1e30, 1.0)
    classes = kind.classes if learn == "partial_fit" else {}
    huge, large = (
        getattr(kind.new(class_weight=None) if kind.classes else kind.new(), learn)(
            X[:100], kind.y[:100], sample_weight=given, **classes
        )
        for given in (weights, np.minimum(weights, 1e9))
    )
    assert np.isfinite(kind.predict(large)).all()
    assert_array_equal(kind.predict(huge), kind.predict(large))


def test_row_numbers_start_at_1(kind):
    numbers = []

    def rate(t):
        numbers.extend(t)
        return 1e-3 / t

    model = kind.new(learning_rate=rate)
    model.partial_fit(X[:9], kind.y[:9], sample_weight=np.arange(9) // 4, **kind.classes)
    assert min(numbers) == 1


# Without checks


CLASSIFIER_METHODS = ("predict", "predict_proba", "predict_log_proba", "decision_function")
UNCHECKED = {
    "binary": (new, (Y > 0).astype(int), {"classes": [0, 1]}, "progressive_predict_proba", CLASSIFIER_METHODS),
    "classes": (new, Y, {"classes": CLASSES}, "progressive_predict_proba", CLASSIFIER_METHODS),
    "labels": (new, LABELS, {}, "progressive_predict_proba", CLASSIFIER_METHODS),
    "squared": (KINDS["squared"].new, TARGETS, {}, "progressive_predict", ("predict", "predict_interval")),
    "gaussian": (KINDS["gaussian"].new, TARGETS[:, 0], {}, "progressive_predict", ("predict", "predict_interval")),
}


@pytest.mark.parametrize("dtype", thorough_but([np.float64, np.float32], np.float32))
@pytest.mark.parametrize(("new", "y", "classes", "progressive", "methods"), UNCHECKED.values(), ids=UNCHECKED)
def test_unchecked_input_gives_the_same(new, y, classes, progressive, methods, dtype):
    rows = X.astype(dtype)
    checked, unchecked = new(), new()
    for chunk in np.split(np.arange(1000), [1, 2, 3, 60, 61, 255, 256, 257, 800]):
        options = {"sample_weight": None if len(chunk) % 2 else np.linspace(0, 2, len(chunk)), **classes}
        for method in ("partial_fit", progressive):
            expected = getattr(checked, method)(rows[chunk], y[chunk], **options)
            got = getattr(unchecked, method)(rows[chunk], y[chunk], **options, check_input=False)
            assert_same_object(unchecked, checked)
            if method == progressive:
                assert_array_equal(got, expected)
        for method in methods:
            for test in (rows[:1], rows):
                got, expected = (getattr(checked, method)(test, check_input=check) for check in (False, True))
                assert got.dtype == expected.dtype
                assert_array_equal(got, expected)


@pytest.mark.parametrize("n", [1, 300])
def test_unchecked_labels_are_still_compared_to_the_classes(n):
    model = streamed(n)
    for wrong in (3, -1):
        y = np.array([0, wrong])
        for method in ("partial_fit", "progressive_predict_proba"):
            assert_refused(
                model, lambda it, y=y, m=method: getattr(it, m)(X[:2], y, check_input=False), ValueError, "do not exist"
            )
