"""Sends a running Harborhook what providers send, and what forgers would. Run it by `test.sh`.

Requests are signed by the providers' own libraries, and what arrives at the endpoint is verified by them. Where a
provider has none, `hmac` does what its documentation says.
"""

import itertools
import json
import os
import re
import signal
import sys
import time
import traceback
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import doors
import handshakes
from programs import Failed, Harborhook, Node, Skipped, body_of, original_headers, start
from providers import PROVIDERS, SHAPES, Provider, Request

STALE_SECONDS = 6 * 60
NEARLY_STALE_SECONDS = 4 * 60

NUMBERS = itertools.count(1)


class Checks:
    """Counts what holds, and stops at what does not."""

    def __init__(self):
        self.passed = 0

    def that(self, holds: bool, what: str, found=""):
        if not holds:
            raise Failed(f"{what}: {found}" if str(found) else what)
        self.passed += 1


class Visit:
    """One provider at one source of its own."""

    def __init__(self, provider: Provider, hook: Harborhook, checks: Checks):
        self.provider = provider
        self.hook = hook
        self.checks = checks
        self.source = hook.create_source(provider)

    def make(self, n: int = 0, shape: str = "unicode", secret: str = "", ago: int = 0, attempt: int = 0) -> Request:
        secret = secret or self.provider.secret
        now = int(time.time()) - ago
        return self.provider.make(self.source["ingest_url"], n or next(NUMBERS), shape, secret, now, attempt)

    def accept(self, what: str, request: Request) -> str:
        """Answers the id of the event that this became."""
        answer = self.hook.send(request)
        self.checks.that(answer.status == 200, f"{what} is taken", answer)
        self.checks.that(answer.json()["duplicate"] is False, f"{what} is new", answer)
        self.checks.that(answer.headers["x-harborhook-event-id"] == answer.json()["event_id"], f"{what} has one id")
        return answer.json()["event_id"]

    def refuse(self, what: str, request: Request, codes=("invalid_signature", "stale_timestamp")):
        answer = self.hook.send(request)
        self.checks.that(answer.status == 401 and answer.json()["code"] in codes, f"{what} is refused", answer)

    def send_again(self, what: str, request: Request, event_id: str, is_known: bool):
        answer = self.hook.send(request)
        self.checks.that(answer.status == 200, f"{what} is taken", answer)
        said = answer.json()
        is_same = said["duplicate"] and said["event_id"] == event_id
        self.checks.that(is_same == is_known, f"{what} is {'known again' if is_known else 'another event'}", answer)


def check_provider(provider: Provider, hook: Harborhook, checks: Checks):
    visit = Visit(provider, hook, checks)
    checks.that(visit.source["ingest_url"].startswith("https://hooks.example.com/ingest/src_"), "the address is public")
    check_relayed(visit)
    check_repeats(visit)
    check_forged(visit)
    check_rotation(visit)


def check_relayed(visit: Visit):
    """Every way of writing a body arrives at the endpoint to the byte, with a proof that its own library takes."""
    sent = {}
    for shape in SHAPES:
        request = visit.make(shape=shape)
        sent[visit.accept(shape, request)] = shape, request
    came = visit.hook.receiver.await_events(set(sent))
    for event_id, (shape, request) in sent.items():
        check_arrived(visit, shape, request, came[event_id])


def check_arrived(visit: Visit, shape: str, request: Request, came: dict):
    provider, that = visit.provider, visit.checks.that
    said_type = came["headers"]["x-harborhook-event-type"]
    that(said_type == full_type(provider), f"{shape} has the type {full_type(provider)}", said_type)
    that(body_of(came) == request.body, f"{shape} arrives as it was sent")
    that(came["headers"]["content-type"] == provider.content_type, f"{shape} keeps its media type", came["headers"])
    that(came["standard_signature"] == "valid", f"{shape} is signed for the endpoint")
    headers = original_headers(came)
    if provider.is_relayed:
        relayed = replace(request, body=body_of(came), headers=headers)
        refusal = refusal_of(provider, relayed)
        that(refusal is None, f"{shape} passes {provider.evidence} at the endpoint", refusal)
        refusal = refusal_of(provider, provider.tampered(relayed))
        that(refusal is not None, f"{shape} with a flipped bit fails {provider.evidence}")
    else:
        kept = [name for name in provider.signed_headers if name in headers]
        that(not kept, "the credential does not go on", kept)


def refusal_of(provider: Provider, request: Request):
    """Why the provider's library refuses this; none where it passes. Most raise, each in its own way."""
    try:
        return None if provider.verify(request, provider.secret) else "false"
    except Exception as error:
        return repr(error)


def full_type(provider: Provider) -> str:
    return re.sub(r"[^A-Za-z0-9_.:-]", ".", f"{provider.name}.{provider.event_type or 'received'}")


def check_repeats(visit: Visit):
    n, provider = next(NUMBERS), visit.provider
    first = visit.make(n)
    event_id = visit.accept("the first try", first)
    visit.send_again("the same request", first, event_id, provider.knows_repeats)
    # Providers that sign the time sign it anew, and with it Linear writes another body.
    retry = visit.make(n, ago=-1, attempt=1)
    visit.send_again("the provider's second try", retry, event_id, provider.knows_retries)


def check_forged(visit: Visit):
    """What does not prove where it comes from is refused, and its owner learns why without learning a secret."""
    provider, refused = visit.provider, 0
    if provider.secret is None:
        return
    for what, request in forgeries(visit):
        visit.refuse(what, request)
        refused += 1
    if provider.has_time:
        for what, ago in (("too old", STALE_SECONDS), ("of the future", -STALE_SECONDS)):
            visit.refuse(what, visit.make(ago=ago), ["stale_timestamp"])
            refused += 1
        visit.accept("not yet too old", visit.make(ago=NEARLY_STALE_SECONDS))
    check_rejections(visit, refused)


def forgeries(visit: Visit):
    yield "another secret", visit.make(secret=visit.provider.other_secret)
    yield from visit.provider.unproven(visit.make())
    if visit.provider.signs_body:
        yield "one flipped bit", visit.provider.tampered(visit.make())


def check_rejections(visit: Visit, refused: int):
    that, provider = visit.checks.that, visit.provider
    listed = visit.hook.rejections(visit.source, refused)
    that(len(listed) == refused, "every refusal is listed", f"{len(listed)} instead of {refused}")
    text = json.dumps(listed, ensure_ascii=False)
    that(provider.secret not in text and provider.other_secret not in text, "no refusal shows a secret", text)
    code = "signature_mismatch" if provider.signs_body else "credential_mismatch"
    mismatches = [one for one in listed if one["code"] == code]
    that(bool(mismatches), f"another secret is {code}", listed)
    if provider.signs_body:
        that(all(one["signed_text"] for one in mismatches), "the signed text is shown", mismatches)
    missing = {one["header"] for one in listed if one["code"] == "missing_header"}
    that(missing == set(provider.signed_headers), "each header that was missing is named", missing)
    if provider.has_time:
        ages = {round(one["timestamp_age_s"], -1) for one in listed if one["code"] == "stale_timestamp"}
        that({STALE_SECONDS, -STALE_SECONDS} <= ages, "the age is shown", ages)
    that({one["remote_address"] for one in listed} == {"127.0.0.1"}, "the sender is shown", listed)


def check_rotation(visit: Visit):
    provider = visit.provider
    if provider.secret is None:
        return
    wanted = {"secret": provider.other_secret, "overlap": "1h"}
    visit.hook.api("POST", f"/v1/sources/{visit.source['id']}/rotate-secret", wanted)
    visit.accept("the old secret in the overlap", visit.make())
    visit.accept("the new secret", visit.make(secret=provider.other_secret))


def all_providers(hook: Harborhook, node: Node, checks: Checks):
    """Every provider that the server names."""
    answer = hook.ask("POST", "/v1/sources", {"name": "x", "provider": "nobody"})
    said = answer.json()["errors"][0]["message"]
    names = set(said.removeprefix("must be one of ").split(", "))
    checks.that(len(names) > 20, "the server names its providers", said)
    missing = names - {provider.name for provider in PROVIDERS}
    checks.that(not missing, "each of them is tested", missing)


def judge(label: str, evidence: str, check, rows: list) -> bool:
    """Makes checks, prints what came of them, and notes it for the table. Answers whether that is good enough."""
    checks = Checks()
    try:
        evidence = check(checks) or evidence
        result = str(checks.passed)
        print(f"ok {label}: {checks.passed} checks", flush=True)
    except Skipped as reason:
        result = f"skipped: {reason}"
        print(f"skipped {label}: {reason}", flush=True)
    except Failed as error:
        result = "FAILED"
        print(f"FAILED {label}: {error}", flush=True)
    except Exception:
        # An answer that nobody thought of, or none: the other cases are worth trying all the same.
        result = "FAILED"
        print(f"FAILED {label}: {traceback.format_exc()}", flush=True)
    rows.append((label, evidence, result))
    return result != "FAILED" and not (result.startswith("skipped") and os.environ.get("CI"))


def visit_provider(kind, hook: Harborhook, node: Node):
    def check(checks: Checks) -> str:
        evidence = kind.evidence
        if kind.needs_node:
            node.start()
            evidence = f"{evidence} {node.version(evidence.removeprefix('npm '))}"
        check_provider(kind(node), hook, checks)
        return f"{evidence} ({kind.remark})" if kind.remark else evidence

    return check


def cases(wanted: list, hook: Harborhook, node: Node):
    """What is to be checked: its name, who vouches for it, and the function that checks it."""
    for kind in PROVIDERS:
        if not wanted or kind.name in wanted:
            yield kind(node).label, kind.evidence, visit_provider(kind, hook, node)
    for function in [] if wanted else [all_providers, *handshakes.ALL, *doors.ALL]:
        yield function.__doc__.rstrip("."), "", partial(function, hook, node)


def print_table(rows: list):
    print()
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for label, evidence, result in rows:
        print(f"{label:{widths[0]}}  {evidence:{widths[1]}}  {result}")
    print(flush=True)


def main() -> int:
    program, build, wanted = sys.argv[1], Path(sys.argv[2]).resolve(), sys.argv[3:]
    known = {kind.name for kind in PROVIDERS}
    unknown = [name for name in wanted if name not in known]
    if unknown:
        sys.exit(f"no such provider: {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    # So that programs under way are ended by their `finally`.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    rows = [("provider", "evidence", "checks passed")]
    with closing(Node(build)) as node, start(program) as hook:
        failures = [case[0] for case in cases(wanted, hook, node) if not judge(*case, rows)]
    print_table(rows)
    if failures:
        print(f"{len(failures)} failed: {', '.join(failures)}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
