"""What sample weights mean: how often rows count."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.datasets import make_classification

from sklearn_gln import GLNClassifier, GLNRegressor

SMALL = {"layer_sizes": (8,), "context_dim": 3, "random_state": 0}
MODELS = [
    pytest.param(lambda **options: GLNClassifier(**SMALL | options), id="classifier"),
    pytest.param(lambda **options: GLNRegressor(**SMALL | options), id="squared"),
    pytest.param(lambda **options: GLNRegressor(likelihood="gaussian", **SMALL | options), id="gaussian"),
]
X, Y = make_classification(200, 4, random_state=0)
WEIGHT = np.random.default_rng(0).uniform(0.5, 1.5, 200)


def answers(model):
    return model.predict_proba(X)[:, 1] if isinstance(model, GLNClassifier) else model.predict(X)


def streamed(model, sample_weight):
    classes = {"classes": [0, 1]} if isinstance(model, GLNClassifier) else {}
    return answers(model.partial_fit(X, Y, sample_weight=sample_weight, **classes))


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("total", [1.0, 1e-9, 150.0])
def test_a_survey_fits_as_if_its_weights_had_mean_1(make, total):
    of_mean_1, of_survey = (
        answers(make().fit(X, Y, sample_weight=weight * WEIGHT / WEIGHT.sum())) for weight in (200, total)
    )
    assert_allclose(of_survey, of_mean_1, atol=1e-4)


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize(("mean", "is_same"), [(1, True), (3, True), (0.3, False)])
def test_one_ordered_pass_of_fit_is_partial_fit_from_a_mean_of_1_on(make, mean, is_same):
    weight = mean * WEIGHT / WEIGHT.mean()
    fitted = answers(make(max_iter=1, shuffle=False).fit(X, Y, sample_weight=weight))
    assert np.allclose(fitted, streamed(make(), weight), atol=1e-6) == is_same


def test_class_weights_multiply_what_remains():
    halves, ones = (
        answers(GLNClassifier(**SMALL, class_weight={0: 1, 1: 3}).fit(X, Y, sample_weight=np.full(200, weight)))
        for weight in (0.5, 1.0)
    )
    assert_allclose(halves, ones, atol=1e-6)


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("learn", [lambda model, weight: model.fit(X, Y, sample_weight=weight), streamed])
def test_weights_that_are_cut_are_told(make, learn):
    weight = np.where(np.arange(200) == 7, 1001.0, 1.0)
    with pytest.warns(UserWarning, match=r"sample_weight holds 1001, .* more than 1,000 rows. Divide all weights"):
        learn(make(), weight)
    learn(make(), np.minimum(weight, 1000))
