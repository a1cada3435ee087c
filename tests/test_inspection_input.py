"""Inspection says what it takes, and shows names as they are."""

import io

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_gln import GLNClassifier, GLNRegressor
from sklearn_gln.inspection import (
    HalfspaceDisplay,
    ImportanceDisplay,
    LayerDisplay,
    ProgressiveLossDisplay,
    SaliencyDisplay,
    global_contributions,
    local_coefficients,
    neuron_predictions,
    summary,
)
from tests.helpers import thorough_but

SMALL = {"layer_sizes": (3,), "context_dim": 2, "max_iter": 1, "random_state": 0}
X, CODES = make_classification(120, 2, n_informative=2, n_redundant=0, n_clusters_per_class=1, random_state=0)
FITTED = {
    "local_coefficients": lambda estimator: local_coefficients(estimator, X[:2]),
    "global_contributions": lambda estimator: global_contributions(estimator, X),
    "neuron_predictions": lambda estimator: neuron_predictions(estimator, X[:2]),
    "summary": lambda estimator: summary(estimator, X),
    "saliency": lambda estimator: SaliencyDisplay.from_estimator(estimator, X[:1]),
    "importance": lambda estimator: ImportanceDisplay.from_estimator(estimator),
    "halfspaces": lambda estimator: HalfspaceDisplay.from_estimator(estimator, X, grid_resolution=5),
    "layers": lambda estimator: LayerDisplay.from_estimator(estimator, X, CODES),
}
ALL = FITTED | {"progress": lambda estimator: ProgressiveLossDisplay.from_estimator(estimator, X, CODES)}


@pytest.fixture
def pyplot():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    pyplot = pytest.importorskip("matplotlib.pyplot")
    yield pyplot
    pyplot.close("all")


WRONG = {
    "pipeline": (
        lambda: make_pipeline(StandardScaler(), GLNClassifier(**SMALL)).fit(X, CODES),
        r"a Pipeline.*pipeline\[-1\].*pipeline\[:-1\]\.transform\(X\)",
    ),
    "search": (lambda: GridSearchCV(GLNClassifier(), {"context_dim": [2]}), "a GridSearchCV.*best_estimator_"),
    "other": (lambda: LogisticRegression().fit(X, CODES), "LogisticRegression; a GLNClassifier or GLNRegressor"),
    "class": (lambda: GLNClassifier, "the class GLNClassifier.*an instance"),
    "none": (lambda: None, "NoneType"),
}


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize("name", ALL)
def test_what_is_not_a_gln_is_named(name, kind, pyplot):
    make, message = WRONG[kind]
    with pytest.raises(TypeError, match=f"(?s){message}"):
        ALL[name](make())


@pytest.mark.parametrize("name", FITTED)
def test_unfitted(name, pyplot):
    with pytest.raises(NotFittedError):
        FITTED[name](GLNClassifier())


def test_progress_of_a_regressor(pyplot):
    with pytest.raises(TypeError, match="GLNRegressor.*progressive_loss_"):
        ProgressiveLossDisplay.from_estimator(GLNRegressor(**SMALL), X, CODES)


def test_the_parts_of_a_pipeline(pyplot):
    pipeline = make_pipeline(StandardScaler(), GLNClassifier(**SMALL)).fit(X, CODES)
    local = local_coefficients(pipeline[-1], pipeline[:-1].transform(X))
    outputs = local.intercept + local.contributions.sum(axis=2)
    np.testing.assert_allclose(outputs[:, 0], pipeline.decision_function(X), atol=1e-4)


PAIRS_OF_NAMES = [("a$b", "$\\frac$"), ("_x^2_", r"\alpha"), ("{", "%"), ("$$", "a_b$c_d$")]


def shown(display):
    """The texts of a display, once it is drawn."""
    display.figure_.savefig(io.BytesIO())
    texts = display.figure_.findobj(pytest.importorskip("matplotlib.text").Text)
    assert not any(text._preprocess_math(text.get_text())[1] is True for text in texts)  # formulas
    return {text._preprocess_math(text.get_text())[0] for text in texts}


@pytest.mark.parametrize(("name", "other"), thorough_but(PAIRS_OF_NAMES, ("a$b", "$\\frac$"), ("_x^2_", r"\alpha")))
def test_names_are_shown_as_they_are(name, other, pyplot):
    pd = pytest.importorskip("pandas")
    frame, y = pd.DataFrame(X, columns=[name, other]), np.array([name, other])[CODES]
    model = GLNClassifier(**SMALL).fit(frame, y)
    texts = shown(SaliencyDisplay.from_estimator(model, frame[:1]))
    assert any(text.startswith(f"{name} = ") for text in texts)
    assert any(text.startswith(f"output {model.classes_[-1]}: ") for text in texts)
    texts = shown(SaliencyDisplay.from_estimator(model, frame[:2], image_shape=(1, 2)))
    assert {str(model.classes_[-1]), f"says {model.predict(frame[:1])[0]}"} <= texts
    assert {name, other} <= shown(ImportanceDisplay.from_estimator(model, frame))
    texts = shown(HalfspaceDisplay.from_estimator(model, frame, grid_resolution=5))
    assert {name, other, f"probability of {model.classes_[-1]}"} <= texts
    assert {name, other} <= shown(ProgressiveLossDisplay.from_estimator(model, frame, y))
    shown(LayerDisplay.from_estimator(model, frame, y))
