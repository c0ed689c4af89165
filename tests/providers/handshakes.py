"""What providers ask before they send: whether somebody is there, and whether it is the right one."""

import time
from dataclasses import replace
from urllib.parse import urlencode

import providers
from programs import Answer, Harborhook, Node
from providers import FORM, Request

CHALLENGE = "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P"


class Door:
    """A source that is asked, and what holds of its answers."""

    def __init__(self, provider, hook: Harborhook, checks):
        self.provider = provider
        self.hook = hook
        self.checks = checks
        self.source = hook.create_source(provider)

    def request(self, method: str, body=b"", query=None, content_type="application/json") -> Request:
        url = self.source["ingest_url"] + (f"?{urlencode(query)}" if query else "")
        return Request(url, body, {"content-type": content_type}, method)

    def signed(self, document) -> Request:
        request = self.request("POST", providers.compact(document).encode())
        return self.provider.sign(request, self.provider.secret, int(time.time()))

    def answers(self, what: str, request: Request, status: int, body: bytes = b"") -> Answer:
        answer = self.hook.send(request)
        self.checks.that((answer.status, answer.body) == (status, body), f"{what} is answered {status} {body}", answer)
        self.checks.that("x-harborhook-event-id" not in answer.headers, f"{what} is no event")
        self.checks.that(answer.headers["x-content-type-options"] == "nosniff", f"{what} is no page", answer.headers)
        return answer

    def refuses(self, what: str, request: Request):
        answer = self.hook.send(request)
        self.checks.that(answer.status == 401, f"{what} is refused", answer)


def slack_url_verification(hook: Harborhook, node: Node, checks):
    """Slack's url_verification."""
    door = Door(providers.Slack(node), hook, checks)
    asked = door.signed({"token": "XXYYZZ", "challenge": CHALLENGE, "type": "url_verification"})
    door.answers("a challenge", asked, 200, CHALLENGE.encode())
    door.refuses("a challenge that is not signed", asked.without("x-slack-signature"))
    looked = door.request("POST", b"ssl_check=1&token=XXYYZZ", content_type=FORM)
    door.answers("a look at the certificate", looked, 200)


def meta_subscription(hook: Harborhook, node: Node, checks):
    """Meta's hub.challenge."""
    door = Door(providers.Meta(node), hook, checks)
    query = {"hub.mode": "subscribe", "hub.challenge": "1158201444", "hub.verify_token": "meatyhamhock"}
    door.answers("a subscription", door.request("GET", query=query), 200, b"1158201444")
    door.refuses("a wrong token", door.request("GET", query={**query, "hub.verify_token": "wrong"}))


def zoom_url_validation(hook: Harborhook, node: Node, checks):
    """Zoom's endpoint.url_validation."""
    node.start()
    door = Door(providers.Zoom(node), hook, checks)
    payload = {"plainToken": "qgg8vlvZRS6UYooatFL8Aw"}
    asked = door.signed({"payload": payload, "event_ts": 1700000000123, "event": "endpoint.url_validation"})
    by_library = node.ask("zoom_answer", door.provider.secret, asked)["body"]
    answer = hook.send(asked)
    checks.that(answer.status == 200 and answer.json() == by_library, "the answer is that of Zoom's library", answer)
    door.refuses("a validation that is not signed", asked.without("x-zm-signature"))

    hook.api("POST", f"/v1/sources/{door.source['id']}/rotate-secret", {"secret": door.provider.other_secret})
    answer = hook.send(asked)
    checks.that(answer.json() == by_library, "the answer keeps to the secret that signed", answer)


def dropbox_challenge(hook: Harborhook, node: Node, checks):
    """Dropbox's challenge."""
    door = Door(providers.Dropbox(node), hook, checks)
    asked = door.request("GET", query={"challenge": "<script>a b&ü"})
    answer = door.answers("a challenge", asked, 200, "<script>a b&ü".encode())
    checks.that(answer.headers["content-type"].startswith("text/plain"), "the answer is plain text", answer.headers)


def discord_ping(hook: Harborhook, node: Node, checks):
    """Discord's PING."""
    door = Door(providers.Discord(node), hook, checks)
    interaction = door.signed({"application_id": "1234560123453231555", "id": "1", "type": 1, "version": 1})
    door.answers("the PING of interactions", interaction, 200, b'{"type":1}')
    webhook = door.signed({"version": 1, "application_id": "1234560123453231555", "type": 0})
    door.answers("the PING of webhooks", webhook, 204)
    door.refuses("a PING with a wrong signature", replace(interaction, body=interaction.body + b" "))


def intercom_head(hook: Harborhook, node: Node, checks):
    """Intercom's HEAD."""
    door = Door(providers.Intercom(node), hook, checks)
    door.answers("a HEAD", door.request("HEAD"), 200)


def woocommerce_ping(hook: Harborhook, node: Node, checks):
    """WooCommerce's ping."""
    door = Door(providers.Woocommerce(node), hook, checks)
    door.answers("a ping", door.request("POST", b"webhook_id=123", content_type=FORM), 200)
    door.refuses("what is more than a ping", door.request("POST", b"webhook_id=123&x=1", content_type=FORM))


ALL = [
    slack_url_verification,
    meta_subscription,
    zoom_url_validation,
    dropbox_challenge,
    discord_ping,
    intercom_head,
    woocommerce_ping,
]
