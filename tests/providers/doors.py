"""What a source does whatever its provider is."""

import itertools
import time
from dataclasses import replace

import providers
from programs import Harborhook, Node
from providers import Request

NUMBERS = itertools.count(1_000_000)


def event(source: dict, provider, n: int = 0) -> Request:
    n, now = n or next(NUMBERS), int(time.time())
    return provider.make(source["ingest_url"], n, "plain", provider.secret, now)


def own_response(hook: Harborhook, node: Node, checks):
    """A source's own response."""
    provider = providers.Twilio(node)
    response = {"status": 202, "body": "<Response/>", "content_type": "text/xml"}
    source = hook.create_source(provider, response=response)
    request = event(source, provider)
    for what in ("an event", "the same event"):
        answer = hook.send(request)
        said = answer.status, answer.body, answer.headers["content-type"]
        checks.that(said == (202, b"<Response/>", "text/xml"), f"{what} has the source's response", answer)
        checks.that(answer.headers["x-harborhook-event-id"].startswith("evt_"), f"{what} has an id", answer.headers)
    refused = hook.send(request.without("x-twilio-signature"))
    checks.that(refused.status == 401, "a refusal keeps its own", refused)


def allowed_addresses(hook: Harborhook, node: Node, checks):
    """The addresses that are allowed."""
    provider = providers.Stripe(node)
    source = hook.create_source(provider, allowed_ips=["203.0.113.0/24", "2001:db8::/32"])
    request = event(source, provider)
    answer = hook.send(request)
    said = answer.status, answer.json()["code"]
    checks.that(said == (403, "address_not_allowed"), "a foreigner is refused", answer)
    answer = hook.send(request.with_headers({"x-forwarded-for": "203.0.113.7"}))
    checks.that(answer.status == 403, "nobody is a foreigner no more by saying so", answer)
    checks.that(hook.rejections(source, 2)[0]["code"] == "address_not_allowed", "its owner sees why")
    hook.api("PATCH", f"/v1/sources/{source['id']}", {"allowed_ips": ["127.0.0.0/8"]})
    answer = hook.send(request)
    checks.that(answer.status == 200, "a neighbour is let in", answer)


def rate_limit(hook: Harborhook, node: Node, checks):
    """The rate limit."""
    provider = providers.Stripe(node)
    source = hook.create_source(provider, rate_limit={"per_second": 1, "burst": 2})
    for _ in range(5):
        answer = hook.send(event(source, provider).without("stripe-signature"))
        checks.that(answer.status == 401, "a forger does not use it up", answer)
    for _ in range(2):
        answer = hook.send(event(source, provider))
        checks.that(answer.status == 200, "the burst passes", answer)
    refused = next((a for a in (hook.send(event(source, provider)) for _ in range(50)) if a.status != 200), None)
    checks.that(refused is not None and refused.status == 429, "more than the burst is refused", refused)
    checks.that(refused.json()["code"] == "rate_limited", "the answer says why", refused)
    wait = int(refused.headers["retry-after"])
    checks.that(1 <= wait <= 2, "the answer says when to come back", refused.headers)
    checks.that(any(one["code"] == "rate_limited" for one in hook.rejections(source, 6)), "its owner sees why")
    time.sleep(wait)
    answer = hook.send(event(source, provider))
    checks.that(answer.status == 200, "it goes on when it was said to", answer)


def too_large(hook: Harborhook, node: Node, checks):
    """A body of 2 MiB."""
    provider = providers.Stripe(node)
    source = hook.create_source(provider)
    small = event(source, provider)
    large = provider.sign(replace(small, body=b" " * 2**21 + small.body), provider.secret, int(time.time()))
    answer = hook.send(large)
    checks.that(answer.status == 413 and answer.json()["code"] == "payload_too_large", "it is refused", answer)
    checks.that(hook.rejections(source, 1)[0]["code"] == "too_large", "its owner sees why")
    answer = hook.send(small)
    checks.that(answer.status == 200, "the source goes on", answer)


def unknown_sources(hook: Harborhook, node: Node, checks):
    """Sources that are not there."""
    provider = providers.Stripe(node)
    source = hook.create_source(provider)
    request = event(source, provider)
    last = "0" if source["id"][-1] != "0" else "1"
    for other in (source["id"][:-1] + last, "src_", "nonsense", "", f"{source['id']}/more"):
        answer = hook.send(replace(request, url=request.url.replace(source["id"], other)))
        checks.that(answer.status == 404, f"`{other}` is not there", answer)
    answer = hook.send(replace(request, method="GET", body=b""))
    checks.that(answer.status == 405, "no event comes by GET", answer)
    hook.api("DELETE", f"/v1/sources/{source['id']}")
    answer = hook.send(request)
    checks.that(answer.status == 404 and answer.json()["code"] == "source_not_found", "a deleted one is gone", answer)


def secrets_stay_secret(hook: Harborhook, node: Node, checks):
    """Secrets are shown once."""
    provider = providers.Stripe(node)
    created = hook.create_source(provider)
    checks.that(created["secret"] == provider.secret, "the answer that makes the source shows it", created)
    hook.send(event(created, provider).with_headers({"stripe-signature": f"t=1,v1={provider.secret}"}))
    hook.rejections(created, 1)
    for path in ("", "/rejections"):
        shown = hook.ask("GET", f"/v1/sources/{created['id']}{path}").body.decode()
        checks.that(provider.secret not in shown, f"GET {path} does not", shown)
    shown = hook.ask("GET", "/v1/sources?limit=500").body.decode()
    checks.that(provider.secret not in shown, "the list does not", shown)


ALL = [own_response, allowed_addresses, rate_limit, too_large, unknown_sources, secrets_stay_secret]
