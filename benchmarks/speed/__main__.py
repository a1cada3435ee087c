"""`python benchmarks/speed COMMAND` looks for modules in this folder alone; they are in the one above."""

import sys
from importlib import import_module
from pathlib import Path

sys.path[0] = str(Path(__file__).parent.parent)
import_module("speed").main()
