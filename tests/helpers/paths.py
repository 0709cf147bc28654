"""Where the checkout is, and the real data that some tests look at where it is there."""

import os
import pathlib

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SHARED_DATA = pathlib.Path(os.environ.get("DSG_TF_SHARED_DATA", os.path.join(os.path.dirname(ROOT), "shared", "data")))
