"""Keeps checks.py out of the main test process."""

collect_ignore = ["checks.py"]  # test_backprop.py runs it in separate processes
