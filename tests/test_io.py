"""Files: what is saved comes back, what was tampered with is refused, and a stream that is killed goes on."""

import copy
import inspect
import json
import os
import pickle
import re
import signal
import subprocess
import sys
from contextlib import nullcontext
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from textwrap import dedent
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.linear_model import SGDClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import sklearn_gln
from sklearn_gln import GLNRegressor
from tests.helpers import (
    CLASSES,
    KINDS,
    SMALL,
    X,
    Y,
    assert_same_object,
    make_stream,
    new,
    thorough_but,
    with_categories,
)

pytest.importorskip("skops")

from sklearn_gln.io import fit_stream, load, save

X_FULL = np.nan_to_num(X)


def logit_of(rows):
    return expit(rows)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.skops"


# What is saved comes back


@pytest.mark.parametrize("n", [0, 1, 100, 700])
@pytest.mark.parametrize("name", KINDS)
def test_a_loaded_model_is_the_saved_one_and_goes_on_alike(name, n, path):
    kind = KINDS[name]
    model = kind.streamed(n)
    save(model, path)
    loaded = load(str(path))
    assert_same_object(loaded, model)
    for each in (loaded, model):
        each.partial_fit(X[n:], kind.y[n:])
    assert_same_object(loaded, model)


@pytest.mark.parametrize(
    "params",
    [
        {"share_halfspaces": False, "aggregation": "neuron", "learning_rate": "constant", "batch_size": 7},
        {"preconditioner": "block", "skip": False, "half_life": "mixed"},
        {"categorical_features": [1, 2], "max_levels": 7},
        {"layer_sizes": (), "bias": False, "base_predictor": "minmax", "dtype": np.float64},
        {"base_predictor": expit, "max_weight": 2.0, "random_state": np.random.RandomState(3)},
    ],
)
def test_networks_of_all_forms(params, path):
    model = new(**params).fit(X, Y)
    save(model, path)
    assert_array_equal(load(path).predict_proba(X), model.predict_proba(X))


@pytest.mark.parametrize("name", ["numba", "torch"])  # torch has weights for all contexts
def test_networks_of_other_backends(name, path):
    rows = np.random.default_rng(0).normal(size=(300, 140))  # so many that "block" makes groups
    model = new(backend=name, preconditioner="block").partial_fit(rows, Y[:300], classes=CLASSES)
    save(model, path)
    assert_array_equal(load(path).predict_proba(rows), model.predict_proba(rows))


@pytest.mark.parametrize("labels", [np.array(["a", "b", "c"])[Y], np.array(["a", "b", "c"], object)[Y], np.eye(3)[Y]])
def test_labels(labels, path):
    model = new().fit(X, labels)
    save(model, path)
    assert_same_object(load(path), model)


@pytest.mark.parametrize("labels", [[False, True], np.array([False, True])])
def test_class_weights_of_true_and_false_are_refused(labels, path):
    model = make_pipeline(StandardScaler(), new(class_weight=dict(zip(labels, [0.5, 2.0], strict=True))))
    with pytest.raises(ValueError, match="gl.*class_weight=.*1 and 0"):
        save(model, path)
    model.set_params(glnclassifier__class_weight={0: 0.5, 1: 2.0}).fit(X_FULL, Y > 0)
    save(model, path)
    assert_same_object(load(path)[-1], model[-1])


@pytest.mark.parametrize("fitted", [False, True])
@pytest.mark.parametrize("wrap", [lambda model: make_pipeline(StandardScaler(), model), OneVsRestClassifier])
def test_estimators_around_ours(wrap, fitted, path):
    model = wrap(new())
    if fitted:
        model.fit(X_FULL, Y)
    save(model, path)
    loaded = load(path)
    assert repr(loaded) == repr(model)
    if fitted:
        assert_array_equal(loaded.predict_proba(X_FULL), model.predict_proba(X_FULL))


@pytest.mark.parametrize("name", thorough_but(KINDS, "classifier"))
def test_half_precision_predicts_nearly_the_same_and_learns_no_more(name, path):
    kind = KINDS[name]
    model = kind.new(layer_sizes=(20,)).fit(X, kind.y)
    save(model, path)
    n_bytes = path.stat().st_size
    save(model, path, half=True)
    weights = [layer.trimmed().weights for layer in model._online.network.layers]
    assert n_bytes - path.stat().st_size == pytest.approx(sum(each.nbytes for each in weights) / 2, rel=0.05, abs=500)
    assert not model._online.predicts_only
    half = load(path)
    for layer, expected in zip(half._online.network.layers, weights, strict=True):
        assert layer.weights.dtype == expected.dtype
        assert_allclose(layer.weights, expected, rtol=2**-11, atol=1e-7)
    assert_allclose(kind.predict(half), kind.predict(model), rtol=0.02, atol=0.02)
    expected = kind.predict(half)
    for learn in (half.partial_fit, half.set_params(warm_start=True).fit):
        with pytest.raises(ValueError, match=r"half=True and only predicts"):
            learn(X, kind.y)
    assert_array_equal(kind.predict(half), expected)
    save(half, path)  # and so does what is saved again
    with pytest.raises(ValueError, match=r"half=True and only predicts"):
        load(path).partial_fit(X, kind.y)
    assert half.set_params(warm_start=False).fit(X, kind.y)._online.predicts_only is False


def test_half_precision_refuses_weights_beyond_it(path):
    model = new().fit(X, Y)
    model._online.network.layers[0].weights[0, 0, 0, 0] = 1e5
    with pytest.raises(ValueError, match=r"The largest weight is 100000, .* half=False"):
        save(model, path, half=True)
    assert not path.exists()


def test_room_for_contexts_to_come_is_not_saved(path):
    model = new(context_dim=6).partial_fit(X, Y, classes=CLASSES)
    layer = model._online.network.layers[0]
    assert layer.weights.shape[2] > layer.n_slots.max()
    save(model, path)
    loaded = load(path)
    assert loaded._online.network.layers[0].weights.shape[2] == layer.n_slots.max()
    for estimator in (model, loaded):
        estimator.partial_fit(-X, Y)
    assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))


@pytest.mark.parametrize("fitted", [False, True])
def test_callbacks_stay_behind(fitted, path):
    monitor = pytest.importorskip("sklearn.callback").ProgressBar()
    inner = new().set_callbacks(monitor)
    if fitted:
        inner.fit(X_FULL, Y)
    for model in (inner, make_pipeline(inner)):
        save(model, path)
        loaded = load(path)
        assert not hasattr(loaded[-1] if model is not inner else loaded, "_skl_callbacks")
        assert inner._skl_callbacks == [monitor]


def test_state_of_other_versions(path, monkeypatch):
    save(new(), path)
    monkeypatch.setattr(sklearn_gln, "__version__", "0.3.0")
    with pytest.warns(InconsistentVersionWarning, match=r"0\.2\.0"):
        load(path)
    monkeypatch.setattr(sklearn_gln, "__version__", "2.0.0")
    save(new(), path)
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"saved by sklearn_gln 2\.0\.0, and 0\.2\.0 is installed"):
        load(path)


# What cannot be saved; and what was there before stays


@pytest.mark.parametrize(
    "model",
    [new(base_predictor=logit_of), new(learning_rate=lambda t: 1 / t), make_pipeline(FunctionTransformer(print))],
)
def test_functions_are_refused(model, path):
    path.write_bytes(b"earlier")
    with pytest.raises(ValueError, match="of which a file keeps the name only") as refusal:
        save(model, path)
    assert re.search(r"tests\.test_io\.(logit_of|<lambda>)|builtins\.print", str(refusal.value))
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == {path.name: b"earlier"}


def test_functions_that_are_trusted(path):
    model = new(base_predictor=logit_of).fit(X_FULL, Y)
    trusted = ["tests.test_io.logit_of"]
    save(model, path, trusted=trusted)
    assert_array_equal(load(path, trusted=trusted).predict_proba(X), model.predict_proba(X))
    with pytest.raises(ValueError, match=r"not trusted, so nothing of it was made.*tests\.test_io\.logit_of"):
        load(path)


def test_what_is_not_an_estimator_is_refused(path):
    with pytest.raises(ValueError, match="estimator=5 is not a scikit-learn estimator"):
        save(5, path)
    assert not path.exists()


def test_a_full_disk_leaves_the_earlier_file(path):
    resource = pytest.importorskip("resource")
    save(new(), path)
    before, model = path.read_bytes(), new().fit(X, Y)  # which may compile, and write that to files
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before), limit[1]))  # Python ignores the signal: writing fails
    try:
        with pytest.raises(OSError, match="too large"):
            save(model, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == {path.name: before}


def test_a_file_is_on_the_disk_before_it_has_its_name(path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: calls.append(os.path.exists(path)) or fsync(file))
    monkeypatch.setattr(os, "replace", lambda *names: calls.append("replace") or replace(*names))
    save(new(), path)
    assert calls == [False, "replace", True][: 3 if os.name == "posix" else 2]


def test_a_link_stays_a_link(path):
    target = path.with_name("target.skops")
    path.symlink_to(target)
    save(new(), path)
    assert path.is_symlink()
    assert_same_object(load(target), new())


# Hostile files: all are refused, and none executes anything


def rewrite(path, change=lambda name, data: data, **options):
    """Write the archive anew, each member as changed; None leaves it out."""
    with ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with ZipFile(path, "w", **options) as archive:
        for name, data in members.items():
            changed = change(name, data)
            if changed is not None:
                archive.writestr(name, changed)


def rewrite_schema(path, change):
    """Have `change` alter the schema, a tree of dicts and lists."""

    def altered(name, data):
        if name != "schema.json":
            return data
        schema = json.loads(data)
        return json.dumps(change(schema) or schema)

    rewrite(path, altered)


REFUSED = "cannot be loaded.*Nothing in it was executed|are not trusted, so nothing of it was made"


def assert_refused(path, match=REFUSED):
    with pytest.raises(ValueError, match=f"(?s){match}"):
        load(path)


@pytest.fixture
def saved(path):
    save(new().partial_fit(X[:300], Y[:300], classes=CLASSES), path)
    return path


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, sentinel):
        self.sentinel = sentinel

    def __reduce__(self):
        return os.mkdir, (str(self.sentinel),)


@pytest.fixture
def sentinel(tmp_path):
    """A path at which nothing may ever appear."""
    sentinel = tmp_path / "sentinel"
    yield sentinel
    assert not sentinel.exists()


def test_the_sentinel_shows_what_pickle_executes(tmp_path):
    pickle.loads(pickle.dumps(Evil(tmp_path / "made")))
    assert (tmp_path / "made").exists()


def test_a_pickle_is_refused(path, sentinel):
    path.write_bytes(pickle.dumps(Evil(sentinel)))
    assert_refused(path)


def test_a_pickle_in_an_array_is_refused(saved, sentinel):
    buffer = BytesIO()
    np.save(buffer, np.array([Evil(sentinel)], object), allow_pickle=True)
    rewrite(saved, lambda name, data: buffer.getvalue() if name.endswith(".npy") else data)
    assert_refused(saved, "allow_pickle=False")


def node(loader, module, name, **content):
    return {"__class__": name, "__module__": module, "__loader__": loader, **content}


def arguments(*values):
    """The node of a tuple of strings."""
    items = [node("JsonNode", "builtins", "str", content=json.dumps(str(value)), is_json=True) for value in values]
    return node("TupleNode", "builtins", "tuple", content=items)


KEYWORDS = node("DictNode", "builtins", "dict", content={}, key_types=node("ListNode", "builtins", "list", content=[]))


def attacks(sentinel):
    """Nodes of a schema that would call something, or give it to what calls it later."""
    given = arguments(sentinel)
    code = arguments(f"__import__('os').mkdir({str(sentinel)!r})")
    mkdir = node("FunctionNode", "os", "mkdir")
    function = {"func": mkdir, "args": given, "kwds": KEYWORDS, "namespace": KEYWORDS}
    return {
        "function": mkdir,
        "old function": node("FunctionNode", "os", "mkdir", content={"module_path": "os", "function": "mkdir"}),
        "type": node("TypeNode", "os", "mkdir"),
        "system": node("ConstructorFromReduceNode", "os", "system", content=arguments(f"mkdir {sentinel}")),
        "call": node("ConstructorFromReduceNode", "os", "mkdir", content=given),
        "eval": node("ConstructorFromReduceNode", "builtins", "eval", content=code),
        "partial": node("PartialNode", "functools", "partial", content=function),
        "object": node("ObjectNode", "subprocess", "Popen", content=KEYWORDS),
        "operator": node("OperatorFuncNode", "operator", "methodcaller", attrs=given),
        "list": node("ListNode", "os", "mkdir", content=given["content"]),
        "module of ours": node("ConstructorFromReduceNode", "sklearn_gln.datasets", "fetch_mnist", content=given),
        "class of ours": node("ObjectNode", "sklearn_gln._base", "BaseGLN", content=KEYWORDS),
        "what ours imports": node("ConstructorFromReduceNode", "sklearn_gln._base", "os.mkdir", content=given),
        "unknown loader": node("EvalNode", "builtins", "eval", content=code),
    }


@pytest.mark.parametrize("place", ["whole", "parameter", "learned"])
@pytest.mark.parametrize("protocol", thorough_but([0, 1, 2], 1))
@pytest.mark.parametrize("name", attacks(""))
def test_types_that_are_not_ours_are_refused(name, protocol, place, saved, sentinel):
    attack = attacks(sentinel)[name]

    def change(schema):
        schema["protocol"] = protocol
        state = schema["content"]["content"]
        if place == "whole":
            return attack | {"protocol": protocol, "_skops_version": schema["_skops_version"]}
        state["base_predictor" if place == "parameter" else "n_features_in_"] = attack
        return None

    rewrite_schema(saved, change)
    assert_refused(saved)


@pytest.mark.parametrize("name", ["sklearn_gln.datasets.fetch_mnist", "sklearn_gln._base.BaseGLN", "os.system"])
def test_names_of_estimators_are_the_only_ones_of_ours(name, saved):
    module, _, name = name.rpartition(".")
    rewrite_schema(saved, lambda schema: schema.update(__module__=module, __class__=name))
    assert_refused(saved, "not trusted")


def test_members_in_other_folders_are_refused(saved, sentinel):
    with ZipFile(saved, "a") as archive:
        archive.writestr(f"../{sentinel.name}", b"")
        archive.writestr(str(sentinel), b"")
    assert_refused(saved, "in a folder")


def test_bombs_are_refused(saved):
    rewrite(saved, compression=ZIP_DEFLATED)
    assert_refused(saved, "is compressed")


def test_members_that_overlap_are_refused(saved):
    with ZipFile(saved, "a") as archive:
        first = archive.infolist()[0]
        for number in range(1000):
            twin = copy.copy(first)
            twin.filename = f"{number}.npy"
            archive.filelist.append(twin)
        archive._didModify = True
    assert_refused(saved, "larger than the archive")


@pytest.mark.parametrize("shape", ["(3000000000000,)", "(-1,)", "(1, 'a')", "__import__('os')"])
def test_arrays_of_impossible_shapes_are_refused(shape, saved):
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".encode()
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    rewrite(saved, lambda name, old: data if name.endswith(".npy") else old)
    assert_refused(saved)


def test_archives_in_place_of_arrays_are_refused(saved):
    buffer = BytesIO()
    np.savez(buffer, weights=np.zeros(3))
    rewrite(saved, lambda name, data: buffer.getvalue() if name.endswith(".npy") else data)
    assert_refused(saved)


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.99, 0.9999])
def test_truncated_files_are_refused(share, saved):
    data = saved.read_bytes()
    saved.write_bytes(data[: int(share * len(data))])
    assert_refused(saved)


def test_a_flipped_bit_in_any_member_is_refused(saved):
    data = bytearray(saved.read_bytes())
    with ZipFile(saved) as archive:
        members = archive.infolist()
    starts = [*sorted(member.header_offset for member in members), len(data)]
    for member in members:
        start, end = next(pair for pair in pairwise(starts) if pair[0] == member.header_offset)
        middle = min(end - 1, start + 30 + len(member.filename) + member.file_size // 2)
        data[middle] ^= 1
        saved.write_bytes(data)
        assert_refused(saved)
        data[middle] ^= 1


def test_members_that_are_missing_are_refused(saved):
    with ZipFile(saved) as archive:
        names = archive.namelist()
    data = saved.read_bytes()
    for missing in names:
        saved.write_bytes(data)
        rewrite(saved, lambda name, data, missing=missing: None if name == missing else data)
        assert_refused(saved)


@pytest.mark.parametrize("schema", ["", "[]", "{}", "5", "[" * 100_000, '{"protocol": 99}', '"\ud800"'])
def test_schemas_of_other_forms_are_refused(schema, saved):
    rewrite(saved, lambda name, data: schema.encode(errors="surrogatepass") if name == "schema.json" else data)
    assert_refused(saved)


@pytest.mark.parametrize(
    "content",
    [[1, 2], {"estimator": 5, "n_chunks": 1, "begun": "", "last": ""}, {"a": 1}, "text", None],
)
def test_files_without_an_estimator_are_refused(content, path):
    pytest.importorskip("skops.io").dump(content, path)
    assert_refused(path, "does not hold an estimator")


@pytest.mark.parametrize("n_chunks", [-1, "1", True, None])
def test_bad_numbers_of_chunks_are_refused(n_chunks, path):
    pytest.importorskip("skops.io").dump({"estimator": new(), "n_chunks": n_chunks}, path)
    assert_refused(path, "n_chunks is")


def test_a_file_that_is_not_there(path):
    with pytest.raises(FileNotFoundError):
        load(path)


# State that does not fit together: compiled kernels would read memory that is not theirs


def of_categories(n):
    model = new(categorical_features=[1, 3], max_levels=20)
    return model.partial_fit(with_categories(X)[:n], Y[:n], CLASSES)


LEARNED = {
    **{f"{name}, {n} rows": lambda name=name, n=n: KINDS[name].streamed(n) for name in KINDS for n in (100, 700)},
    "labels": lambda: new().fit(X, np.column_stack([Y == 0, Y == 1])),
    "blocks": lambda: new(preconditioner="block").fit(np.random.default_rng(0).normal(size=(1000, 140)), Y),
    **{f"categories, {n} rows": lambda n=n: of_categories(n) for n in (100, 700)},
    "mixed half-lives": lambda: KINDS["squared"].new(half_life="mixed").fit(X, Y),
    **{
        f"wide, {n} rows": lambda n=n: KINDS["classifier"].streamed(n, max_dense=3, half_life="mixed")
        for n in (100, 700)
    },
    "squared, wide": lambda: KINDS["squared"].new(max_dense=3).fit(X, KINDS["squared"].y),
}


def leaves(value, at=()):
    """The places and values of all that a tree of dicts, lists and tuples holds, itself included."""
    yield at, value
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, (*at, key))
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from leaves(item, (*at, number))


def altered(value, at, change):
    """A copy of the tree with the value at a place changed."""
    if not at:
        return change(value)
    key, *rest = at
    items = dict(value) if isinstance(value, dict) else list(value)
    items[key] = altered(value[key], rest, change)
    return items if isinstance(value, dict | list) else tuple(items)


def without(name):
    return lambda value: {key: item for key, item in value.items() if key != name}


def alterations(value):
    """Changes of one value after which the state is none."""
    if isinstance(value, dict):
        for key in value:
            yield f"without {key}", without(key)
        yield "of another type", lambda value: value | {"type": "LogitStack" if value["type"] == "Layer" else "Layer"}
        yield "unknown type", lambda value: value | {"type": "os.system"}
    elif isinstance(value, np.ndarray):
        yield "an object", lambda array: array.astype(object)
        yield "complex", lambda array: array.astype(complex)
        yield "text", lambda array: array.astype(str)
        yield "one axis more", lambda array: array[..., np.newaxis]
        yield "one axis less", lambda array: array[0] if array.ndim > 1 else array.sum()
        if value.size:
            yield "shorter", lambda array: array[..., :-1]
            yield "longer", lambda array: np.concatenate([array, array[..., :1]], axis=-1)
    if value is not None:
        yield "a list", lambda _: [None]
        yield "an odd string", lambda _: "__import__('os')"


# Any number of scores will do.
HARMLESS = re.compile(r"_online\.head\.scores\.of_output\.\d+: (shorter|longer)")


@pytest.mark.parametrize(
    "name",
    thorough_but(
        LEARNED,
        "classifier, 700 rows",
        "squared, 700 rows",
        "gaussian, 700 rows",
        "categories, 700 rows",
        "wide, 700 rows",
    ),
)
def test_state_that_does_not_fit_together_is_refused(name):
    model = LEARNED[name]()
    state = model.__getstate__()
    accepted = []
    for at, value in leaves(state["_online"], ("_online",)):
        for what, change in alterations(value):
            changed = f"{'.'.join(map(str, at))}: {what}"
            try:
                type(model).__new__(type(model)).__setstate__(altered(state, at, change))
            except (AttributeError, IndexError, TypeError, ValueError):  # of all of these `load` makes a ValueError
                continue
            if not HARMLESS.fullmatch(changed):
                accepted.append(changed)
    assert not accepted, "\n".join(accepted)


@pytest.mark.parametrize("name", LEARNED)
def test_estimators_without_an_attribute_are_refused(name):
    model = LEARNED[name]()
    state = model.__getstate__()
    for attribute in state.keys() - model.get_params() - {"_sklearn_gln_version", "_online", "progressive_accuracy_"}:
        if attribute != "progressive_loss_" or isinstance(model, GLNRegressor):
            with pytest.raises(ValueError, match=f"lacks {attribute}"):
                type(model).__new__(type(model)).__setstate__(without(attribute)(state))


def put(array, value):
    array.flat[-1] = value


OUT_OF_RANGE = {
    "slot": lambda layer: put(layer.slot_of, 10**6),
    "slot not in use": lambda layer: put(layer.slot_of, layer.n_slots.flat[-1]),
    "negative slot": lambda layer: put(layer.slot_of, -1),
    "slots in use": lambda layer: put(layer.n_slots, layer.weights.shape[2] + 1),
    "short slot numbers": lambda layer: setattr(layer, "slot_of", layer.slot_of.astype(np.int8)),
    "order": lambda layer: setattr(layer, "slot_of", np.asfortranarray(layer.slot_of)),
    "no slot numbers": lambda layer: vars(layer).update(slot_of=None, n_slots=None),
}


@pytest.mark.parametrize("change", OUT_OF_RANGE)
@pytest.mark.parametrize("name", ["classifier", "squared", "gaussian"])
def test_slots_out_of_range_are_refused(name, change, path):
    model = KINDS[name].streamed(700, context_dim=3)
    save(model, path)
    load(path)
    OUT_OF_RANGE[change](model._online.network.layers[1])
    save(make_pipeline(StandardScaler(), model), path)
    assert_refused(path, "The saved state does not fit together")


@pytest.mark.parametrize("unit_weight", [0.0, -1.0, np.nan, np.inf])
def test_a_unit_of_weights_out_of_range_is_refused(unit_weight, path):
    model = new().fit(X, Y)
    model._online.unit_weight = unit_weight
    save(make_pipeline(StandardScaler(), model), path)
    assert_refused(path, "The saved state does not fit together: unit_weight is")


@pytest.mark.parametrize(
    ("setting", "value"),
    [("context_dim", -1), ("batch_size", 0), ("learning_rate", "fast"), ("eps", 2.0), ("layer_sizes", (5, 0))],
)
def test_settings_out_of_range_are_refused(setting, value, path):
    model = new().fit(X, Y)
    vars(model._online.settings)[setting] = value
    save(model, path)
    assert_refused(path)


# Streams


STREAM_X, STREAM_Y, STREAM_WEIGHTS = make_stream(11, 1500)
ENDS = [0, 1, 90, 300, 650, 1000, 1001, 1400, 1500]
SLICES = [slice(*pair) for pair in pairwise(ENDS)]


def chunks(start=0):
    for rows in SLICES[start:]:
        yield STREAM_X[rows], STREAM_Y[rows], STREAM_WEIGHTS[rows]


def interrupted(number):
    """The stream, which breaks off before this chunk."""
    for at, chunk in enumerate(chunks()):
        if at == number:
            raise ConnectionError("broken off")
        yield chunk


def uninterrupted(**params):
    model = new(**params)
    for rows, y, sample_weight in chunks():
        model.partial_fit(rows, y, CLASSES, sample_weight)
    return model


def test_a_stream_is_the_plain_loop():
    model = new()
    assert fit_stream(model, chunks(), classes=CLASSES) is model
    assert_same_object(model, uninterrupted())


def test_a_stream_without_classes_or_weights(path):
    model = GLNRegressor(**SMALL)
    fit_stream(model, [(X[:500], Y[:500]), [X[500:], Y[500:]]], checkpoint=path)
    assert_same_object(model, GLNRegressor(**SMALL).partial_fit(X[:500], Y[:500]).partial_fit(X[500:], Y[500:]))
    assert_same_object(load(path), model)


@pytest.mark.parametrize("random_state", thorough_but([0, None, np.random.RandomState], 0))
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("number", thorough_but([0, 1, 2, 5, 8], 0, 2, 8))
def test_a_stream_that_broke_off_goes_on(number, whole, random_state, path):
    def seed():
        return random_state(7) if callable(random_state) else random_state

    first, second, given = new(random_state=seed()), new(random_state=seed()), []

    def from_chunk(start):
        given.append(start)
        return chunks(start)

    if number < len(SLICES):
        with pytest.raises(ConnectionError):
            fit_stream(first, interrupted(number), classes=CLASSES, checkpoint=path, every=0)
    else:
        fit_stream(first, chunks(), classes=CLASSES, checkpoint=path)
    assert path.exists() == (number > 0)
    nothing_left = pytest.warns(UserWarning, match="Nothing was learned") if number == len(SLICES) else nullcontext()
    with nothing_left:
        assert fit_stream(second, chunks() if whole else from_chunk, classes=CLASSES, checkpoint=path) is second
    assert given == ([] if whole else [number])
    if random_state is None and not number:
        return  # nothing was drawn yet
    learned = first if random_state is None else uninterrupted(random_state=seed())
    if learned is first:
        for rows, y, sample_weight in chunks(number):
            first.partial_fit(rows, y, CLASSES, sample_weight)
    got, expected = ({k: v for k, v in vars(model).items() if k != "random_state"} for model in (second, learned))
    assert_same_object(got, expected)
    assert_same_object({**vars(load(path)), "random_state": None}, {**got, "random_state": None})


def test_a_stream_goes_on_with_another_backend(path):
    with pytest.raises(ConnectionError):
        fit_stream(new(), interrupted(3), classes=CLASSES, checkpoint=path, every=0)
    model = fit_stream(new(backend="numpy", n_jobs=2), chunks, classes=CLASSES, checkpoint=path)
    assert (model.backend, model.n_jobs) == ("numpy", 2)
    assert model.n_samples_seen_ == uninterrupted().n_samples_seen_


def test_checkpoints_come_as_often_as_asked(path, monkeypatch):
    clock, written = iter(np.arange(100.0)), []
    monkeypatch.setattr("sklearn_gln.io.monotonic", lambda: next(clock))
    monkeypatch.setattr("sklearn_gln.io._write_checkpoint", lambda estimator, n_done, *_: written.append(n_done))
    fit_stream(new(), chunks, classes=CLASSES, checkpoint=path, every=3)
    assert written == [3, 6, 8]


def test_a_chunk_that_is_refused_leaves_the_checkpoint(path):
    fit_stream(new(), list(chunks())[:3], classes=CLASSES, checkpoint=path)
    before = path.read_bytes()
    model = new()
    bad = [*list(chunks())[:4], (STREAM_X[:5], np.full(5, 9))]
    with pytest.raises(ValueError, match="do not exist in the initial classes"):
        fit_stream(model, bad, classes=CLASSES, checkpoint=path)
    assert path.read_bytes() == before
    assert_same_object(fit_stream(new(), chunks, classes=CLASSES, checkpoint=path), uninterrupted())


@pytest.mark.parametrize("chunk", [np.zeros((2, 4)), (1, 2, 3, 4), "ab", (1,)])
def test_chunks_that_are_not_tuples_are_refused(chunk):
    with pytest.raises(ValueError, match="Chunk 0 is not a tuple"):
        fit_stream(new(), [chunk], classes=CLASSES)


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (new(context_dim=3), r"other parameters: context_dim=3 \(there 2\)"),
        (new(random_state=1), r"other parameters: random_state=1 \(there 0\)"),
        (new(layer_sizes=np.array([5, 4])), "other parameters: layer_sizes"),
        (GLNRegressor(), "is of a GLNClassifier, and this is a GLNRegressor"),
    ],
)
def test_the_checkpoint_of_another_estimator_is_refused(estimator, message, path):
    fit_stream(new(), chunks, classes=CLASSES, checkpoint=path)
    with pytest.raises(ValueError, match=message):
        fit_stream(estimator, chunks, classes=CLASSES, checkpoint=path)
    assert not hasattr(estimator, "classes_")


def test_a_model_is_not_a_checkpoint(path):
    save(new(), path)
    with pytest.raises(ValueError, match="not a checkpoint; choose another file"):
        fit_stream(new(), chunks, classes=CLASSES, checkpoint=path)


def test_other_estimators_stream_too(path):
    rows = [(X_FULL[:500], Y[:500]), (X_FULL[500:], Y[500:])]
    model = fit_stream(SGDClassifier(random_state=0), rows, classes=CLASSES, checkpoint=path)
    assert_array_equal(load(path).coef_, model.coef_)


STREAMING = """
    import sys
    from sklearn_gln.io import fit_stream
    from tests.test_io import CLASSES, SLICES, chunks, new

    def slow(start):
        for number, chunk in enumerate(chunks(start), start):
            print(number, flush=True)
            if number in waits:
                input()  # until killed
            yield chunk

    path, *waits = sys.argv[1], *map(int, sys.argv[2:])
    fit_stream(new(), slow, classes=CLASSES, checkpoint=path, every=0)
    print("done")
"""


@pytest.mark.thorough
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal here")
def test_a_stream_that_is_killed_goes_on(path):
    def start(*waits):
        command = [sys.executable, "-c", dedent(STREAMING), str(path), *map(str, waits)]
        root = Path(__file__).parents[1]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, cwd=root, env=os.environ | {"PYTHONPATH": str(root)}, **pipes)

    killed = start(5)
    with killed:
        assert [int(killed.stdout.readline()) for _ in range(6)] == list(range(6))
        killed.kill()
    assert killed.returncode == -signal.SIGKILL
    assert load(path).n_samples_seen_ < len(STREAM_X)
    again, _ = start().communicate(timeout=120)
    assert again.split() == ["5", "6", "7", "done"]
    assert_same_object(load(path), uninterrupted())


@pytest.mark.thorough
def test_a_process_that_is_killed_while_it_writes_leaves_the_checkpoint(path):
    """The child dies in the middle of a file: at the fsync, before the new file has its name."""
    if not hasattr(os, "fork"):
        pytest.skip("no fork here")
    with pytest.raises(ConnectionError):
        fit_stream(new(), interrupted(4), classes=CLASSES, checkpoint=path, every=0)
    code = f"""
        import os, signal
        from sklearn_gln.io import fit_stream
        from tests.test_io import CLASSES, chunks, new
        os.fsync = lambda file: os.kill(os.getpid(), signal.SIGKILL)
        fit_stream(new(), chunks, classes=CLASSES, checkpoint={str(path)!r}, every=0)
    """
    root = Path(__file__).parents[1]
    child = subprocess.run([sys.executable, "-c", dedent(code)], cwd=root, env=os.environ | {"PYTHONPATH": str(root)})
    assert child.returncode == -signal.SIGKILL
    assert len(list(path.parent.glob("model.skops.*.part"))) == 1
    assert_same_object(fit_stream(new(), chunks, classes=CLASSES, checkpoint=path), uninterrupted())


# The loops of the documentation


def documented(first_line):
    """The block of code in the docstring of `fit_stream` that begins with this line."""
    blocks = re.findall(r"::\n\n((?: {4}.*\n|\n)+)", inspect.getdoc(fit_stream))
    return next(block for block in map(dedent, blocks) if block.startswith(first_line))


def assert_learned_all(model):
    whole = new().partial_fit(X_FULL, Y % 2, classes=[0, 1])
    assert model.n_samples_seen_ == whole.n_samples_seen_
    assert_allclose(model.predict_proba(X), whole.predict_proba(X), atol=1e-5)  # other chunks, other rounding


def test_parquet(tmp_path, monkeypatch):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    for number, rows in enumerate(np.array_split(np.arange(len(X)), 3)):
        columns = {f"x{column}": X_FULL[rows, column] for column in range(X.shape[1])} | {"y": Y[rows] % 2}
        pq.write_table(pa.table(columns), f"folder/{number}.parquet")
    model = new()
    exec(documented("from pathlib"), {"model": model, "fit_stream": fit_stream})
    assert_learned_all(model)


def test_dask(tmp_path, monkeypatch):
    dask = pytest.importorskip("dask")
    da = pytest.importorskip("dask.array")
    monkeypatch.chdir(tmp_path)
    arrays = {"X": da.from_array(X_FULL, chunks=(300, -1)), "y": da.from_array(Y % 2, chunks=300)}
    for nothing_left in (nullcontext(), pytest.warns(UserWarning, match="Nothing was learned")):
        model = new()
        with nothing_left:
            exec(documented("def chunks(start)"), {"model": model, "fit_stream": fit_stream, "dask": dask, **arrays})
        assert_learned_all(model)


def test_the_plain_loop():
    model = new()
    exec(documented("for X, y in"), {"model": model, "chunks": lambda: [(X_FULL, Y % 2)]})
    assert_learned_all(model)


@pytest.mark.thorough
def test_skops_is_named_where_it_is_missing():
    code = "import sys; sys.modules['skops'] = None; import sklearn_gln, sklearn_gln.io"
    root = Path(__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": str(root)}
    child = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert 'pip install "sklearn_gln[persistence]"' in child.stderr.splitlines()[-1]
