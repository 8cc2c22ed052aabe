"""LitServe: `python litserve_app.py PORT [MAX_BATCH_SIZE BATCH_TIMEOUT]`.

https://lightning.ai/docs/litserve/features/batching; with a batch size, also the ZeroMQ queue that
LitServe recommends above a hundred requests a second.
"""

import sys

import litserve as ls
import numpy as np
from classifier import Classifier, answer


class Churn(ls.LitAPI):
    """One request at a time, or what `batch` stacks."""

    def setup(self, device: str) -> None:
        self._classifier = Classifier()

    def decode_request(self, request) -> np.ndarray:  # type: ignore[no-untyped-def]
        # Annotated, FastAPI would look for it in the query.
        return np.array(
            [
                request["pages_visited"],
                request["time_spent"],
                request["days_since_signup"],
                request["is_logged_in"],
            ],
            np.float64,
        )

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self._classifier.churn(x if x.ndim == 2 else x[None])

    def encode_response(self, output: np.ndarray):  # type: ignore[no-untyped-def]
        # Annotated, FastAPI would validate what it says.
        return answer(float(np.ravel(output)[0]))


if __name__ == "__main__":
    port, *batching = sys.argv[1:]
    api = Churn()
    if batching:
        api = Churn(max_batch_size=int(batching[0]), batch_timeout=float(batching[1]))
    server = ls.LitServer(api, accelerator="cpu", fast_queue=bool(batching))
    server.run(host="127.0.0.1", port=int(port), log_level="warning", generate_client_file=False)
