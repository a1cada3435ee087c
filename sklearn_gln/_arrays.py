"""The array type, and what a field of learned state says about its arrays: ``field(metadata=BY_OUTPUT)``.

Fields that say nothing are common to all outputs, but for what the fields of their own dataclass say.
"""

from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]

BY_OUTPUT = {"output_axis": 0}  # all arrays in the field have an element for each output; a list has an item for each
BY_SAMPLE_AND_OUTPUT = {"output_axis": 1}  # outputs are on the second axis, of arrays that have one
OF_HALFSPACES = {"output_axis": 0, "of_halfspaces": True}  # as BY_OUTPUT, but common where outputs share halfspaces
