"""Prints what Ebbtide's channels send to http://127.0.0.1:9000, and checks signed webhooks.

Uses nothing but the standard library:  CRM_SECRET=whsec_... python examples/alerts/receiver.py
"""

import base64
import hashlib
import hmac
import json
import os
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

KEY = base64.b64decode(os.environ["CRM_SECRET"].removeprefix("whsec_"))
SEEN: set[str] = set()
"""Ids of messages that were taken: deliveries are at least once, and a repeat has the same id."""


class Receiver(BaseHTTPRequestHandler):
    """Takes Slack-shaped messages at /slack, signed webhooks at any other path."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/slack":
            print(f"\n{json.loads(body)['text']}", flush=True)
            self.answer(200)
            return
        message_id, sent = self.headers["webhook-id"], self.headers["webhook-timestamp"]
        signed = f"{message_id}.{sent}.".encode() + body
        mine = "v1," + base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
        theirs = (self.headers["webhook-signature"] or "").split(" ")
        if not any(hmac.compare_digest(mine, one) for one in theirs):
            self.answer(401)
        elif abs(time.time() - int(sent)) > 300:
            self.answer(400)  # somebody has kept it and sends it again
        else:
            if message_id not in SEEN:
                message = json.loads(body)
                print(f"\nsigned: {message['type']} {message['data']['user_id']}", flush=True)
            SEEN.add(message_id)
            self.answer(204)

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing but the messages."""


if __name__ == "__main__":
    HTTPServer(("127.0.0.1", 9000), Receiver).serve_forever()
