"""The programs that take part: the server, the receiver, and the libraries of npm."""

import base64
import http.client
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from providers import Request

HERE = Path(__file__).resolve().parent
PUBLIC_URL = "https://hooks.example.com"
ENDPOINT_SECRET = "whsec_aGFyYm9yaG9vay1kZW1vLXNlY3JldC0zMi1ieXRlcyE="

NODE_VERSION_MIN = 20
INSTALL_SECONDS_MAX = 300
START_SECONDS_MAX = 30
ANSWER_SECONDS_MAX = 30
RELAY_SECONDS_MAX = 30


class Skipped(Exception):
    """A toolchain is missing."""


class Failed(Exception):
    """Something is not as it should be."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict
    body: bytes

    def json(self):
        return json.loads(self.body) if self.body else None

    def __str__(self):
        return f"{self.status} {self.body[:400].decode(errors='replace')}"


def call(address: str, method: str, path: str, body=None, headers=None) -> Answer:
    connection = http.client.HTTPConnection(address, timeout=ANSWER_SECONDS_MAX)
    try:
        try:
            connection.request(method, path, body, headers or {})
        except (BrokenPipeError, ConnectionResetError):
            pass  # It has answered without reading all of the body.
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, response.read())
    finally:
        connection.close()


@contextmanager
def running(command: list, says: str):
    """Runs a program; answers what it says of itself, once it does: the group in the pattern `says`."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=output)
        try:
            yield wait_until_said(process, output, says)
        finally:
            process.terminate()
            try:
                process.wait(timeout=START_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_until_said(process: subprocess.Popen, output, says: str) -> str:
    deadline = time.monotonic() + START_SECONDS_MAX
    while True:
        said = os.pread(output.fileno(), 1 << 20, 0).decode(errors="replace")
        found = re.search(says, said)
        if found:
            return found[1]
        if process.poll() is not None or time.monotonic() > deadline:
            raise Failed(f"{process.args[1]} did not start:\n{said}")
        time.sleep(0.02)


@contextmanager
def start(program: str):
    """Starts a server and a receiver that all its events can go to."""
    receiver = [program, "receiver", "--listen", "127.0.0.1:0", "--secret", ENDPOINT_SECRET]
    with tempfile.TemporaryDirectory() as data:
        server = [program, "serve", "--dev", "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"]
        server += ["--data-dir", data, "--public-url", PUBLIC_URL, "--log-format", "json"]
        with running(server, r'"api_address":"([^"]+)"') as address:
            with running(receiver, r"receiving on http://([\d.:]+)") as receiver_address:
                credentials = json.loads((Path(data) / "dev-credentials.json").read_text())
                yield Harborhook(address, credentials["api_key"], Receiver(receiver_address))


class Harborhook:
    """The API, and the way in for providers."""

    def __init__(self, address: str, key: str, receiver: "Receiver"):
        self.address = address
        self.key = key
        self.receiver = receiver
        endpoint = {"url": f"http://{receiver.address}/webhooks", "secret": ENDPOINT_SECRET}
        self.endpoint_id = self.api("POST", "/v1/endpoints", endpoint)["id"]

    def ask(self, method: str, path: str, document=None) -> Answer:
        body = None if document is None else json.dumps(document).encode()
        headers = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        return call(self.address, method, path, body, headers)

    def api(self, method: str, path: str, document=None):
        answer = self.ask(method, path, document)
        if answer.status >= 300:
            raise Failed(f"{method} {path} with {document}: {answer}")
        return answer.json()

    def create_source(self, provider, **fields) -> dict:
        wanted = {"name": provider.name, "provider": provider.name, "endpoint_id": self.endpoint_id}
        if provider.secret is not None:
            wanted["secret"] = provider.secret
        return self.api("POST", "/v1/sources", {**wanted, **provider.options, **fields})

    def send(self, request: Request) -> Answer:
        """Sends as a proxy would that stands behind the public URL."""
        path = request.url.removeprefix(PUBLIC_URL)
        headers = {name: value.encode("latin-1") for name, value in request.headers.items()}
        return call(self.address, request.method, path, request.body, headers)

    def rejections(self, source: dict, least: int) -> list:
        """The last refusals of a source; they are stored a moment after they are answered."""
        deadline = time.monotonic() + RELAY_SECONDS_MAX
        while True:
            listed = self.api("GET", f"/v1/sources/{source['id']}/rejections")["data"]
            if len(listed) >= least:
                return listed
            if time.monotonic() > deadline:
                raise Failed(f"{len(listed)} of {least} refusals are listed")
            time.sleep(0.05)


class Receiver:
    """What the endpoint got."""

    def __init__(self, address: str):
        self.address = address

    def await_events(self, event_ids: set) -> dict:
        """The requests of these events, by the event; forgets all that came."""
        deadline = time.monotonic() + RELAY_SECONDS_MAX
        while True:
            came = json.loads(call(self.address, "GET", "/requests").body)["data"]
            by_event = {request["headers"].get("x-harborhook-event-id"): request for request in came}
            if event_ids <= by_event.keys():
                call(self.address, "DELETE", "/requests")
                return {event_id: by_event[event_id] for event_id in event_ids}
            if time.monotonic() > deadline:
                raise Failed(f"{len(event_ids - by_event.keys())} of {len(event_ids)} events did not arrive")
            time.sleep(0.05)


def body_of(came: dict) -> bytes:
    return came["body"].encode() if "body" in came else base64.b64decode(came["body_base64"])


def original_headers(came: dict) -> dict:
    """The provider's headers. Where a name is also one of Harborhook's, the provider's goes by another."""
    prefix = "x-original-"
    headers = came["headers"]
    originals = {name.removeprefix(prefix): headers[name] for name in headers if name.startswith(prefix)}
    return {**headers, **originals}


def need_node():
    for name in ("node", "npm"):
        if shutil.which(name) is None:
            raise Skipped(f"no {name}")
    said = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(re.search(r"\d+", said)[0]) < NODE_VERSION_MIN:
        raise Skipped(f"no node {NODE_VERSION_MIN} or later, this is {said}")


class Node:
    """The libraries of npm, in a process that is asked line by line."""

    def __init__(self, build: Path):
        self.folder = build / "npm"
        self.process = None

    def version(self, package: str) -> str:
        return json.loads((self.folder / "node_modules" / package / "package.json").read_text())["version"]

    def ask(self, what: str, secret: str, request: Request):
        question = {"ask": what, "secret": secret, "body": request.text, "headers": request.headers}
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise Failed(f"sign.mjs ended at {what}")
        answer = json.loads(line)
        if "error" in answer:
            raise Failed(f"{what}: {answer['error']}")
        return answer["value"]

    def start(self):
        """Installs and starts, once it is needed."""
        if self.process is not None:
            return
        need_node()
        self.install()
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "encoding": "utf-8"}
        self.process = subprocess.Popen(["node", "sign.mjs"], cwd=self.folder, **pipes)

    def install(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(HERE / "sign.mjs", self.folder)
        installed, wanted = self.folder / "installed.json", HERE / "package-lock.json"
        if installed.exists() and installed.read_bytes() == wanted.read_bytes():
            return
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, self.folder)
        command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=INSTALL_SECONDS_MAX)
        if done.returncode != 0:
            raise Failed(f"`{' '.join(command)}` ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        shutil.copy(wanted, installed)

    def close(self):
        if self.process is not None:
            self.process.stdin.close()
            self.process.wait()
