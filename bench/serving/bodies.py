"""What `/predict` is asked in benchmarks."""

from __future__ import annotations

import json
from typing import Final

BODIES: Final = [
    json.dumps(
        {
            "pages_visited": 3 * n + 1,
            "time_spent": round(17.5 * n + 0.25, 2),
            "days_since_signup": n + 0.5,
            "is_logged_in": n % 3 > 0,
        }
    ).encode()
    for n in range(40)
]
