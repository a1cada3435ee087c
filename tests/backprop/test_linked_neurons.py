"""The benchmark of linked neurons starts from the command line."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "backprop" / "linked_neurons.py"


def test_help(tmp_path):
    ran = subprocess.run([sys.executable, SCRIPT, "--help"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "usage: linked_neurons.py" in ran.stdout
