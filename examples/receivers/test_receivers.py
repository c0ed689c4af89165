"""Sends every example receiver what Harborhook would send, and what it never would. Run it by `test.sh`.

The requests are signed by the library `standardwebhooks` and by `hmac`, not by Harborhook's own code.
"""

import base64
import hashlib
import hmac
import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

from standardwebhooks import Webhook

HERE = Path(__file__).resolve().parent
BUILD_SECONDS_MAX = 600
START_SECONDS_MAX = 30
ANSWER_SECONDS_MAX = 10

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OLD_SECRET = "whsec_" + base64.b64encode(bytes(range(32, 64))).decode()
# Not ASCII on purpose: without `whsec_` the key of either scheme is the UTF-8 bytes.
PLAIN_SECRET = "not base64: pässwörd of an older day"

# What a parser would change: the order of keys, a repeated key, digits, escapes, blanks.
BODY = b'{"z": 1.10, "a": 20000000000000000001, "a": "\\u00e9 \xc3\xa9",  "n": null}'


class Skipped(Exception):
    """A toolchain is missing."""


class Failed(Exception):
    """A receiver did not do what it should."""


# The receivers: each function builds one and answers the command that runs it.


def build_python(build: Path):
    return [sys.executable, "receiver.py"]


def build_typescript(build: Path):
    need("node", "npm")
    need_version(["node", "--version"], (20, 0))
    run(["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"], HERE / "typescript")
    run(["npm", "run", "--silent", "check"], HERE / "typescript")
    return ["npm", "run", "--silent", "start"]


def build_go(build: Path):
    need("go")
    need_version(["go", "version"], (1, 21))
    program = build / "go-receiver"
    run(["go", "build", "-o", str(program), "."], HERE / "go")
    return [str(program)]


def build_rust(build: Path):
    need("cargo")
    run(["cargo", "build", "--quiet", "--locked", "--target-dir", str(build / "rust")], HERE / "rust")
    return [str(build / "rust" / "debug" / "harborhook-example-receiver")]


RECEIVERS = {"python": build_python, "typescript": build_typescript, "go": build_go, "rust": build_rust}


def need(*programs: str):
    for program in programs:
        if shutil.which(program) is None:
            raise Skipped(f"{program} is not installed")


def need_version(command: list, least: tuple):
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    found = re.search(r"(\d+)\.(\d+)", said)
    if found is None or (int(found[1]), int(found[2])) < least:
        raise Skipped(f"it needs {command[0]} {least[0]}.{least[1]} or later, this is {said}")


def run(command: list, folder: Path):
    """Runs a command to its end, and all its children with it."""
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        output, _ = process.communicate(timeout=BUILD_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        raise Failed(f"`{' '.join(command)}` took more than {BUILD_SECONDS_MAX} s") from None
    finally:
        kill(process)
    if process.returncode != 0:
        raise Failed(f"`{' '.join(command)}` ended with {process.returncode}:\n{output}")


def kill(process: subprocess.Popen):
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # macOS says the latter of a group that has ended.
        pass
    process.wait()


class Running:
    """A receiver that was started."""

    def __init__(self, port: int, output: Path):
        self.port = port
        self.output = output

    def post(self, headers: dict, body: bytes) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_SECONDS_MAX)
        try:
            connection.request("POST", "/webhooks", body, {"content-type": "application/json", **headers})
            return connection.getresponse().status
        finally:
            connection.close()

    def printed(self, webhook_id: str) -> list:
        return [line for line in self.output.read_bytes().splitlines() if webhook_id.encode() in line]


@contextmanager
def start(name: str, command: list, secret: str):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "output"
        environment = {**os.environ, "PORT": str(port), "ENDPOINT_SECRET": secret}
        with output.open("wb") as sink:
            process = subprocess.Popen(
                command, cwd=HERE / name, env=environment, stdout=sink, stderr=sink, start_new_session=True
            )
        try:
            wait_until_listening(process, port, output)
            yield Running(port, output)
        finally:
            kill(process)


def wait_until_listening(process: subprocess.Popen, port: int, output: Path):
    deadline = time.monotonic() + START_SECONDS_MAX
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise Failed(f"it did not start:\n{output.read_text(errors='replace')}") from None
            time.sleep(0.05)


# The signer.


def standard(webhook_id: str, body: bytes, secrets=(SECRET,), now: int = 0) -> dict:
    now = now or int(time.time())
    signatures = []
    for secret in secrets:
        signer = Webhook(secret if secret.startswith("whsec_") else secret.encode())
        signatures.append(signer.sign(webhook_id, datetime.fromtimestamp(now, timezone.utc), body.decode()))
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(now),
        "webhook-signature": " ".join(signatures),
    }


def harborhook(body: bytes, secrets=(SECRET,), now: int = 0) -> dict:
    timestamp = str(now or int(time.time()))
    tags = [hmac.new(secret.encode(), body + timestamp.encode(), hashlib.sha256).hexdigest() for secret in secrets]
    return {
        "x-harborhook-timestamp": timestamp,
        "x-harborhook-signature": ",".join(f"sha256={tag}" for tag in tags),
        "x-harborhook-event-type": "appointment.created",
    }


def both(webhook_id: str, body: bytes, secrets=(SECRET,), now: int = 0) -> dict:
    return {**standard(webhook_id, body, secrets, now), **harborhook(body, secrets, now)}


# The cases.


def check_receiver(receiver: Running):
    def check(what: str, expected: int, headers: dict, body: bytes = BODY):
        status = receiver.post(headers, body)
        if status != expected:
            output = receiver.output.read_text(errors="replace")
            raise Failed(f"{what}: answered {status} instead of {expected}\n{output}")

    now = int(time.time())
    other = BODY.replace(b"1.10", b"9.99")
    genuine = both("evt_1", BODY)

    check("both schemes", 204, genuine)
    check("the same webhook again", 204, genuine)
    check("the standard scheme alone", 204, standard("evt_2", BODY))
    check("our own scheme alone", 204, {"webhook-id": "evt_3", **harborhook(BODY)})
    check("a rotation, the known secret last", 204, both("evt_4", BODY, (OLD_SECRET, SECRET)))
    check("a rotation, the known secret first", 204, both("evt_5", BODY, (SECRET, OLD_SECRET)))

    check("a changed body", 401, both("bad_1", BODY), other)
    check("another body under the standard scheme", 401, {**standard("bad_2", other), **harborhook(BODY)})
    check("another body under our own scheme", 401, {**standard("bad_3", BODY), **harborhook(other)})
    check("a changed id", 401, {**both("evt_6", BODY), "webhook-id": "bad_4"})
    check("another secret", 401, both("bad_5", BODY, (OLD_SECRET,)))
    check("ten minutes old", 401, both("bad_6", BODY, now=now - 600))
    check("ten minutes early", 401, both("bad_7", BODY, now=now + 600))
    check("ten minutes old, our own scheme alone", 401, {"webhook-id": "bad_8", **harborhook(BODY, now=now - 600)})
    check("no signature", 401, {"webhook-id": "bad_9"})
    check("no id", 401, harborhook(BODY))
    check("a signature without a version", 401, {**standard("bad_10", BODY), "webhook-signature": "v1"})
    check("a signature that is not ASCII", 401, {**both("bad_11", BODY), "x-harborhook-signature": "sha256=\xe9"})
    check("a timestamp that is no number", 401, {**both("bad_12", BODY), "x-harborhook-timestamp": "soon"})
    moved = harborhook(b"10")
    moved["x-harborhook-timestamp"] = "0" + moved["x-harborhook-timestamp"]
    check("a zero moved from the body to the timestamp", 401, {"webhook-id": "bad_13", **moved}, b"1")

    expected = b"appointment.created evt_1 " + BODY
    if receiver.printed("evt_1") != [expected]:
        raise Failed(f"it printed {receiver.printed('evt_1')} instead of one line: {expected!r}")
    if receiver.printed("bad_"):
        raise Failed(f"it printed what it refused: {receiver.printed('bad_')}")


def check_plain_secret(receiver: Running):
    if receiver.post(both("evt_1", BODY, (PLAIN_SECRET,)), BODY) != 204:
        raise Failed("it refuses what is signed with a secret that does not begin with whsec_")
    if receiver.post(both("bad_1", BODY, (SECRET,)), BODY) != 401:
        raise Failed("it takes what is signed with another secret than its own")


def check(name: str, build: Path):
    command = RECEIVERS[name](build)
    with start(name, command, SECRET) as receiver:
        check_receiver(receiver)
    with start(name, command, PLAIN_SECRET) as receiver:
        check_plain_secret(receiver)


def main() -> int:
    build, names = Path(sys.argv[1]).resolve(), sys.argv[2:] or list(RECEIVERS)
    unknown = [name for name in names if name not in RECEIVERS]
    if unknown:
        sys.exit(f"no such receiver: {', '.join(unknown)}; there are {', '.join(RECEIVERS)}")
    # So that a receiver under way is ended by its `finally`.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    failures = 0
    for name in names:
        try:
            check(name, build)
            print(f"ok {name}", flush=True)
        except Skipped as reason:
            print(f"skipped {name}: {reason}", flush=True)
            failures += os.environ.get("CI") == "true"
        except (Failed, OSError, http.client.HTTPException) as error:
            print(f"FAILED {name}: {error}", flush=True)
            failures += 1
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
