"""Types of arrays, so that a signature says which numbers it takes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats32 = NDArray[np.float32]
Floats64 = NDArray[np.float64]
Ints = NDArray[np.int64]

Mask = NDArray[np.bool_]
"""(height, width): true where something is."""
