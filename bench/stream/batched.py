"""`ebbtide scorer` with another number of records a batch: `python -m bench.stream.batched N`."""

from __future__ import annotations

import sys

from runtime import partition_loop
from scorer.main import main

if __name__ == "__main__":
    # Not a setting: nobody but a benchmark has reason to change it.
    assert hasattr(partition_loop, "BATCH_RECORDS")
    partition_loop.BATCH_RECORDS = int(sys.argv[1])
    sys.exit(main())
