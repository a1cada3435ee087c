"""Files of scikit-learn's estimators with ours inside; what may be in them, and where they may be."""

import json
from io import BytesIO, StringIO
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.datasets import make_classification
from sklearn.ensemble import BaggingClassifier, RandomForestClassifier, StackingClassifier, VotingClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_selection import SelectKBest, mutual_info_classif
from sklearn.frozen import FrozenEstimator
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import fbeta_score, get_scorer, get_scorer_names, make_scorer
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    RepeatedKFold,
    ShuffleSplit,
    TimeSeriesSplit,
    TunedThresholdClassifierCV,
)
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    OneHotEncoder,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    SplineTransformer,
    StandardScaler,
    TargetEncoder,
)

from sklearn_gln import GLNClassifier

pytest.importorskip("skops")

from sklearn_gln.io import HARMLESS, load, save

SMALL = {"layer_sizes": (2,), "context_dim": 1, "max_iter": 1, "random_state": 0}
X, Y = make_classification(90, 5, random_state=0)
BINS = {"quantile_method": "averaged_inverted_cdf", "encode": "ordinal"}


def gln(**params):
    return GLNClassifier(**SMALL | params)


def search(kind=GridSearchCV, **options):
    return kind(gln(), {"context_dim": [1, 2]}, **{"cv": 2} | options)


MODELS = {
    "calibrated": lambda: CalibratedClassifierCV(gln(), cv=2),
    "isotonic": lambda: CalibratedClassifierCV(gln(), cv=2, method="isotonic"),
    "tuned": lambda: TunedThresholdClassifierCV(gln(), cv=2),
    "fixed": lambda: FixedThresholdClassifier(gln(), threshold=0.3),
    "stacking": lambda: StackingClassifier([("a", gln()), ("b", gln())], LogisticRegression(), cv=2),
    "voting": lambda: VotingClassifier([("a", gln()), ("b", LogisticRegression())], voting="soft", weights=[1, 2]),
    "bagging": lambda: BaggingClassifier(gln(), 2, random_state=0),
    "one against rest": lambda: OneVsRestClassifier(gln()),
    "one against one": lambda: OneVsOneClassifier(gln()),
    "frozen": lambda: FrozenEstimator(gln().fit(X, Y)),
    "grid": search,
    "scorer": lambda: search(scoring="neg_log_loss", cv=ShuffleSplit(2, random_state=0)),
    "made scorer": lambda: search(scoring=make_scorer(fbeta_score, beta=2), cv=RepeatedKFold(n_splits=2, n_repeats=1)),
    "scorers": lambda: search(scoring=["accuracy", "roc_auc"], refit="accuracy", cv=TimeSeriesSplit(2)),
    "folds given": lambda: search(cv=[(np.arange(60), np.arange(60, 90))]),
    "random": lambda: search(RandomizedSearchCV, n_iter=1, random_state=0),
    "halving": lambda: search(HalvingGridSearchCV, random_state=0),
    "union": lambda: make_pipeline(make_union(StandardScaler(), PolynomialFeatures(2)), gln()),
}
MODELS |= {
    type(step).__name__: (lambda step=step: make_pipeline(step, gln()))
    for step in (
        SplineTransformer(), KBinsDiscretizer(3, **BINS), SimpleImputer(), KNNImputer(), PowerTransformer(),
        QuantileTransformer(n_quantiles=20), SelectKBest(mutual_info_classif, k=2), TargetEncoder(),
        FunctionTransformer(np.tanh),
    )
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_estimators_around_ours_come_back(name):
    model, file = MODELS[name]().fit(X, Y), BytesIO()
    save(model, file)
    file.seek(0)
    assert_array_equal(load(file).predict(X), model.predict(X))


@pytest.mark.parametrize("kind", [MultiOutputClassifier, ClassifierChain])
def test_several_outputs(kind):
    model, file = kind(gln()).fit(X, np.column_stack([Y, 1 - Y])), BytesIO()
    save(model, file)
    file.seek(0)
    assert_array_equal(load(file).predict(X), model.predict(X))


@pytest.mark.parametrize("searched", [False, True])
def test_the_pipeline_of_the_readme(searched, tmp_path):
    pd = pytest.importorskip("pandas")
    table = pd.DataFrame(X, columns=list("abcde")).assign(clinic=np.array(["north", "south"])[Y])
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    columns = make_column_transformer((encoder, make_column_selector(dtype_exclude="number")), remainder="passthrough")
    model = make_pipeline(columns, gln())
    if searched:
        model = GridSearchCV(model, {"glnclassifier__context_dim": [1]}, scoring="neg_log_loss", cv=2)
    model.fit(table, Y)
    save(model, tmp_path / "model.skops")
    assert_array_equal(load(tmp_path / "model.skops").predict_proba(table), model.predict_proba(table))


@pytest.mark.parametrize("scoring", get_scorer_names())
def test_every_scorer(scoring):
    save(search(scoring=get_scorer(scoring)), BytesIO())


# What is not harmless


def test_nothing_harmless_runs_code_or_follows_pointers():
    """Distributions of SciPy run text when they are loaded; compiled trees read where a file says."""
    suspicious = "scipy.stats", "rv_", "Tree", "partial", "eval", "load", "sparse", "os.", "builtins", "_dist_metrics"
    found = {name for name in HARMLESS if any(word in name for word in suspicious)}
    assert found == {"sklearn.cluster._bisect_k_means._BisectingTree"}  # a Python class


def test_trees_and_distributions_are_refused_unless_trusted():
    forest = VotingClassifier([("a", gln()), ("f", RandomForestClassifier(2, random_state=0))]).fit(X, Y)
    with pytest.raises(ValueError, match=r"sklearn\.tree\._tree\.Tree.*`trusted`"):
        save(forest, BytesIO())
    file = BytesIO()
    save(forest, file, trusted=["sklearn.tree._tree.Tree"])
    with pytest.raises(ValueError, match="not trusted"):
        load(BytesIO(file.getvalue()))
    assert_array_equal(
        load(BytesIO(file.getvalue()), trusted=["sklearn.tree._tree.Tree"]).predict(X), forest.predict(X)
    )
    uniform = pytest.importorskip("scipy.stats").uniform
    model = RandomizedSearchCV(gln(), {"learning_rate_init": uniform(1, 2)}, n_iter=1, cv=2, random_state=0).fit(X, Y)
    with pytest.raises(ValueError, match=r"scipy\.stats.*best_estimator_"):
        save(model, BytesIO())
    save(model.best_estimator_, BytesIO())


@pytest.mark.parametrize("trap", ["os.mkdir", "numpy.load", "numpy.save", "joblib.load", "sklearn.datasets.load_files"])
def test_functions_in_place_of_harmless_ones_are_refused(trap, tmp_path):
    path = tmp_path / "model.skops"
    save(make_pipeline(SelectKBest(k=2), gln()).fit(X, Y), path)
    with ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    module, _, name = trap.rpartition(".")
    schema = members["schema.json"].decode()
    assert '"f_classif"' in schema
    schema = schema.replace('"f_classif"', json.dumps(name))
    members["schema.json"] = schema.replace("sklearn.feature_selection._univariate_selection", module).encode()
    with ZipFile(path, "w") as archive:
        for member, data in members.items():
            archive.writestr(member, data)
    with pytest.raises(ValueError, match="not trusted|cannot be loaded"):
        load(path)


@pytest.mark.parametrize(
    "change", [{"k": 10**6}, {"k": -1}, {"c": np.zeros((1, 1))}, {"t": np.zeros(2)}, {"t": [0.0, 1.0]}, {"c": None}]
)
def test_splines_that_do_not_fit_together_are_refused(change):
    model, file = make_pipeline(SplineTransformer(), gln()).fit(X, Y), BytesIO()
    state = vars(model[0].bsplines_[1])
    state.update({(name if name in state else f"_{name}"): value for name, value in change.items()})  # as SciPy has it
    save(model, file)
    with pytest.raises(ValueError, match="cannot be loaded"):
        load(BytesIO(file.getvalue()))


# Where files may be


def test_the_home_directory_and_path_likes(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    for path in ("~/a.skops", Path("~/b.skops"), tmp_path / "c.skops"):
        save(gln(), path)
        assert repr(load(path)) == repr(gln())
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.skops", "b.skops", "c.skops"]


def test_open_files(tmp_path):
    path, model = tmp_path / "model.skops", gln().fit(X, Y)
    with path.open("wb") as file:
        save(model, file)
    with path.open("rb") as file:
        assert_array_equal(load(file).predict_proba(X), model.predict_proba(X))
    with path.open() as file, pytest.raises((TypeError, ValueError)):
        load(file)
    with pytest.raises(TypeError, match="mode='wb'"):
        save(model, StringIO())
    with pytest.raises(TypeError, match="mode='rb'"):
        load(StringIO("a"))


def test_a_refused_estimator_leaves_an_open_file():
    file = BytesIO()
    with pytest.raises(ValueError, match="of which a file keeps the name only"):
        save(gln(base_predictor=print), file)
    assert file.getvalue() == b""


def test_a_file_that_stands_at_its_end():
    file = BytesIO()
    save(gln(), file)
    with pytest.raises(ValueError, match=r"seek\(0\)"):
        load(file)


@pytest.mark.parametrize("path", [None, 5, 1.5, ["a"]])
def test_what_is_not_a_path(path):
    with pytest.raises(TypeError, match="path=.* must be a str or path-like"):
        save(gln(), path)
    with pytest.raises(TypeError, match="path=.* must be a str or path-like"):
        load(path)


def test_paths_that_cannot_be_written(tmp_path):
    with pytest.raises(FileNotFoundError, match="directory of path=.*missing.* does not exist"):
        save(gln(), tmp_path / "missing" / "model.skops")
    with pytest.raises(IsADirectoryError, match="is a directory"):
        save(gln(), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("estimator", [GLNClassifier, "model", None])
def test_what_is_not_an_estimator(estimator):
    with pytest.raises((ValueError, TypeError), match=r"not a scikit-learn estimator|class"):
        save(estimator, BytesIO())
