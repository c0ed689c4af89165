"""Receives webhooks from Harborhook, verifies both signature schemes and prints each event once."""

import hashlib
import hmac
import os
import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks import Webhook, WebhookVerificationError

TOLERANCE_SECONDS = 5 * 60
BODY_BYTES_MAX = 1024 * 1024
IDS_KEPT_MAX = 10_000


class Verifier:
    """Tells whether a request was signed with the endpoint's secret."""

    def __init__(self, secret: str):
        self.secret = secret
        # Without `whsec_` the secret is its own bytes; the library would read it as base64.
        self.standard = Webhook(secret if secret.startswith("whsec_") else secret.encode())

    def is_genuine(self, headers, body: bytes) -> bool:
        """At least one scheme must have signed, and each that did must be right."""
        verdicts = []
        if "webhook-signature" in headers:
            verdicts.append(self.is_genuine_standard(headers, body))
        if "x-harborhook-signature" in headers:
            verdicts.append(self.is_genuine_harborhook(headers, body))
        return bool(verdicts) and all(verdicts)

    def is_genuine_standard(self, headers, body: bytes) -> bool:
        try:
            self.standard.verify(body, dict(headers.items()), json_parse=False)
        except (WebhookVerificationError, ValueError):  # ValueError: a header that is not even well-formed.
            return False
        return True

    def is_genuine_harborhook(self, headers, body: bytes) -> bool:
        timestamp = headers.get("x-harborhook-timestamp", "")
        # No leading zeros: the timestamp follows the body without a separator, so a zero could be the body's.
        if not re.fullmatch("[1-9][0-9]{0,11}", timestamp):
            return False
        if abs(time.time() - int(timestamp)) > TOLERANCE_SECONDS:
            return False
        tag = hmac.new(self.secret.encode(), body + timestamp.encode(), hashlib.sha256)
        expected = b"sha256=" + tag.hexdigest().encode()
        # While a secret is rotated there is one signature for each valid secret.
        presented = headers["x-harborhook-signature"].split(",")
        return any(hmac.compare_digest(expected, one.strip().encode()) for one in presented)


class SeenIds:
    """Remembers the last ids. A real service stores the id in the transaction that handles the event."""

    def __init__(self):
        self.ids: dict[str, None] = {}
        self.lock = threading.Lock()

    def add(self, webhook_id: str) -> bool:
        """Remembers an id; false if it was known."""
        with self.lock:
            if webhook_id in self.ids:
                return False
            self.ids[webhook_id] = None
            if len(self.ids) > IDS_KEPT_MAX:
                del self.ids[next(iter(self.ids))]
            return True


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60
    verifier: Verifier
    seen = SeenIds()

    def do_POST(self):
        self.answer(self.receive())

    def receive(self) -> int:
        length = self.headers.get("content-length", "")
        if not re.fullmatch("[0-9]{1,9}", length):
            self.close_connection = True
            return 411
        if int(length) > BODY_BYTES_MAX:
            self.close_connection = True
            return 413
        # The bytes as they came: parsing and printing them again would change what was signed.
        body = self.rfile.read(int(length))
        webhook_id = self.headers.get("webhook-id")
        if not webhook_id or not self.verifier.is_genuine(self.headers, body):
            return 401
        if self.seen.add(webhook_id):
            print(self.headers.get("x-harborhook-event-type", "-"), webhook_id, body.decode(), flush=True)
        return 204

    def answer(self, status: int):
        self.send_response(status)
        if status != 204:
            self.send_header("content-length", "0")
        if self.close_connection:
            self.send_header("connection", "close")
        self.end_headers()

    def log_message(self, format, *args):
        """Prints events only, not requests."""


def main():
    secret = os.environ.get("ENDPOINT_SECRET")
    if not secret:
        sys.exit("set ENDPOINT_SECRET to the secret of the endpoint")
    Receiver.verifier = Verifier(secret)
    port = int(os.environ.get("PORT", "8081"))
    server = ThreadingHTTPServer(("127.0.0.1", port), Receiver)
    print(f"receiving on http://127.0.0.1:{port}/", file=sys.stderr)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
