"""The two profiles, the choice of backends, and fixtures of several test modules.

By default tests are brief and need no framework. ``--thorough`` adds the rest: all parameters of each law, processes
that are started and killed, the benchmarks' scripts; ``--thorough-only`` runs the rest alone, with those of the brief
tests that it makes larger: more examples, longer streams. In all profiles a framework takes part where the environment
variable SKLEARN_GLN_BACKENDS names it (``SKLEARN_GLN_BACKENDS=torch python -m pytest``); what is left out is
deselected. ``-m backend`` selects the tests that name a backend or have one as a parameter.
"""

import gc
import importlib
import signal
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from sklearn_gln.kernels import BACKENDS, OTHER_NAMES, get_kernels
from tests import helpers
from tests.helpers import BRIEF, FRAMEWORKS, FULL, KINDS, NAMES

collect_ignore = ["_keras_checks.py"]  # test_backprop.py runs it in a process for each Keras backend
THOROUGH = ("tests/test_backprop", "tests/backprop", "tests/test_benchmarks", "tests/benchmarks")  # files and folders

MAPS, MANY_MAPS = Path("/proc/self/maps"), 25_000
LAWS = "tests/test_online"  # by default on the last backend alone, but for what is held against the oracle

ROOT = Path(__file__).parent.parent
KERAS, KERAS_BACKEND = "sklearn_gln/backprop", "tensorflow"  # a module that imports Keras, and what Keras then imports

PATIENT = {"deadline": None, "suppress_health_check": list(HealthCheck)}
settings.register_profile("brief", max_examples=BRIEF, stateful_step_count=10, derandomize=True, **PATIENT)
settings.register_profile("thorough", max_examples=FULL, stateful_step_count=15, derandomize=True, **PATIENT)
settings.register_profile("long", max_examples=4000, stateful_step_count=30, **PATIENT)  # test_properties.py, by hand


def pytest_addoption(parser):
    parser.addoption("--thorough", action="store_true", help="run all tests, not only the brief ones")
    parser.addoption("--thorough-only", action="store_true", help="run what --thorough adds to the brief tests")


def pytest_configure(config):
    helpers.IS_THOROUGH = config.getoption("--thorough") or config.getoption("--thorough-only")
    if not config.getoption("--hypothesis-profile", None):
        settings.load_profile("thorough" if helpers.IS_THOROUGH else "brief")
    config.option.ignore = [*(config.option.ignore or []), *modules_of_other_frameworks()]


def modules_of_other_frameworks():
    """Modules that pytest would import, to look for examples in them, and with them frameworks that are not chosen."""
    modules = [BACKENDS[name].replace(".", "/") for name in FRAMEWORKS if name not in NAMES]
    modules += [KERAS] if KERAS_BACKEND not in NAMES else []
    return [path for module in modules for path in ROOT.glob(f"{module}*")]


@pytest.hookimpl(tryfirst=True)  # before -m, which sees the marks that are put here
def pytest_collection_modifyitems(config, items):
    """Mark tests by their backends, and leave out those of other backends and those that take long."""
    kept, left_out = [], []
    for item in items:
        if item.nodeid.startswith(THOROUGH):
            item.add_marker(pytest.mark.thorough)
        if item.nodeid.startswith(KERAS):
            item.add_marker(pytest.mark.backend(KERAS_BACKEND))
        backends = backends_among(item)
        for name in sorted(backends):
            item.add_marker(pytest.mark.backend(name))
        if item.nodeid.startswith(LAWS) and "oracle" not in item.name and backends and NAMES[-1] not in backends:
            item.add_marker(pytest.mark.thorough)
        is_thorough = item.get_closest_marker("thorough") is not None
        is_run_before = config.getoption("--thorough-only") and not is_thorough and not is_larger(item)
        is_too_long = is_thorough and not helpers.IS_THOROUGH
        (kept if is_chosen(item) and not is_run_before and not is_too_long else left_out).append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept


def backends_among(item):
    """The backends that a test has as parameters, by their names or as those of estimators."""
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    names = {value if isinstance(value, str) else getattr(value, "backend", None) for value in parameters}
    names = {name.partition(" ")[0] for name in names if isinstance(name, str)}  # "torch float16" is of torch
    return {OTHER_NAMES.get(name, name) for name in names} & set(BACKENDS)


def is_larger(item):
    """Whether a test that runs by default does more with ``--thorough``."""
    is_of_hypothesis = getattr(getattr(item, "obj", None), "is_hypothesis_test", False)
    return is_of_hypothesis or item.get_closest_marker("larger") is not None


def is_chosen(item):
    """Whether the backends of a test are chosen; alongside a framework, NumPy and Numba serve to compare."""
    names = {name for marker in item.iter_markers("backend") for name in marker.args}
    frameworks = names.intersection(FRAMEWORKS)
    if item.get_closest_marker("gpu") is not None and not frameworks:
        return False  # NumPy and Numba see no GPU
    return (frameworks or names) <= set(NAMES)


@pytest.fixture(autouse=True, scope="session")
def interruptible():
    """Have Ctrl-C interrupt, which shells turn off in what they run in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="module")
def little_to_look_through():
    """Spare collections of garbage the objects of earlier modules and of packages, which are a million and stay."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="module")
def room_for_compiled_functions():
    """Have JAX forget what it compiled where memory maps run short: each function takes a dozen, of some 65,000."""
    yield
    if "jax" in sys.modules and MAPS.exists() and len(MAPS.read_bytes().splitlines()) > MANY_MAPS:
        sys.modules["jax"].clear_caches()


@pytest.fixture(scope="module", params=NAMES)
def backend(request):
    """The kernels of each backend."""
    return get_kernels(request.param)


@pytest.fixture
def backend_name(backend):
    """The name by which users choose the backend."""
    return next(name for name, module in BACKENDS.items() if module == backend.__name__)


@pytest.fixture(params=KINDS)
def kind(request):
    """A classifier, and a regressor of each likelihood."""
    return KINDS[request.param]


@pytest.fixture
def callbacks():
    return pytest.importorskip("sklearn.callback")


@pytest.fixture
def threads_started(monkeypatch):
    """The threads that the test starts, as they start; what earlier tests left running is not among them."""
    started, start, test = [], threading.Thread.start, threading.current_thread()

    def recording(thread):
        if threading.current_thread() is test:
            started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", recording)
    return started


@pytest.fixture
def load(monkeypatch):
    """Import a module of benchmarks/; these modules are forgotten after the test."""
    folder = str(ROOT / "benchmarks")
    monkeypatch.syspath_prepend(folder)
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(folder):
            del sys.modules[name]
