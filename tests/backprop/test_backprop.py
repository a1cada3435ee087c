"""Networks trained by backpropagation: runs checks.py in one process per Keras backend."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from textwrap import dedent

import pytest

ROOT = Path(__file__).parents[2]
CHECKS = str(Path(__file__).with_name("checks.py"))
BACKENDS = ("tensorflow", "jax", "torch")
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1"
)
TIMEOUT = 600  # seconds; generous, for a busy machine


def run(*arguments, **variables):
    """Run Python in the project's folder; the result holds its output and return code."""
    environment = {**os.environ, **ONE_THREAD, "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_backend(backend):
    for package in ("keras", backend):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    options = {"KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    options |= {"TF_CPP_MIN_LOG_LEVEL": "2", "PYTEST_ADDOPTS": ""}  # do not measure the suite's coverage here
    quiet = "-q", "-p", "no:cacheprovider", "--color=no", "--tb=short"
    checks = run("-m", "pytest", "--thorough", *quiet, CHECKS, **options)
    assert checks.returncode == 0, checks.stdout
    assert " passed" in checks.stdout


def test_the_package_does_not_import_keras():
    code = "import sys, sklearn_gln; sys.exit('keras' in sys.modules or 'sklearn_gln.backprop' in sys.modules)"
    assert run("-c", code).returncode == 0


@pytest.mark.parametrize("missing", ["keras", "tensorflow"])
def test_what_is_missing_is_named(missing):
    if missing == "tensorflow" and find_spec("keras") is None:
        pytest.skip("keras is not installed")
    code = f"""
        import sys
        sys.modules[{missing!r}] = None
        try:
            import sklearn_gln.backprop
        except ImportError as error:
            print(error)
        """
    printed = run("-c", dedent(code), KERAS_BACKEND="tensorflow").stdout
    assert 'pip install "sklearn_gln[keras]" and one of tensorflow, jax and torch' in printed
    assert missing in printed.partition("pip install")[0]  # Python's own message
