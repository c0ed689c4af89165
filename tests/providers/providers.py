"""How each provider writes and signs what it sends: by its own library where there is one, else by its documentation.

A provider that sends in several ways has a class for each. The documentation of each stands on its page in
`docs/guides/sources`.
"""

import base64
import contextlib
import hashlib
import hmac
import json
import logging
import urllib.parse
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from importlib.metadata import version

import discord_interactions
import nacl.signing
import standardwebhooks
import stripe
import svix.webhooks
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hubspot.utils.signature import Signature as HubspotSignature
from paddle_billing.Notifications import Secret as PaddleSecret
from paddle_billing.Notifications import Verifier as PaddleVerifier
from paddle_billing.Notifications.PaddleSignature import PaddleSignature
from sendgrid.helpers.eventwebhook import EventWebhook
from slack_sdk.signature import SignatureVerifier
from square.utils.webhooks_helper import verify_signature as square_verify
from twilio.request_validator import RequestValidator

# Paddle's library reports every failed verification, some of which are wanted here.
logging.getLogger("paddle_billing").setLevel(logging.CRITICAL + 1)

FORM = "application/x-www-form-urlencoded"

# What the bodies hold, each of them in the way of writing that goes with it.
TEXTS = {
    "plain": "Hello",
    "unicode": "Grüße, 世界, e\u0301, \u2028, \u00a0",
    "emoji": "🦀 👩‍👩‍👧 \U0001f1e9\U0001f1ea",
    "escapes": 'ä 🦀 </script> "quoted" \\ https://example.com/a/b?c=d&e=f',
    "CRLF": "one\r\ntwo\n\ttabbed + 100 %",
    "100 KiB": "Ümläut 🦀 / " * (100 * 1024 // len("Ümläut 🦀 / ".encode())),
}
SHAPES = list(TEXTS)


@dataclass(frozen=True)
class Request:
    """What is sent. The names of headers are in lower case."""

    url: str
    body: bytes
    headers: dict = field(default_factory=dict)
    method: str = "POST"

    def with_headers(self, headers: dict) -> "Request":
        return replace(self, headers={**self.headers, **headers})

    def without(self, header: str) -> "Request":
        return replace(self, headers={name: self.headers[name] for name in self.headers if name != header})

    @property
    def text(self) -> str:
        return self.body.decode()


class Provider:
    """One way in which one provider sends. Unless said otherwise, it posts JSON and signs all of it in headers."""

    name = ""
    note = ""
    evidence = "documentation"
    remark = ""
    needs_node = False
    secret = "a secret of 24 characters!"
    other_secret = "another one of 24 chars!"
    options: dict = {}
    content_type = "application/json"
    event_type = None
    # The headers that hold a signature or a credential, or are signed.
    signed_headers: tuple = ()
    signs_body = True
    has_time = False
    # Whether the same request is known again, and whether one that the provider tries again later is.
    knows_repeats = True
    knows_retries = True
    # Whether the proof goes on to the receiver; credentials do not.
    is_relayed = True

    def __init__(self, node):
        self.node = node

    @property
    def label(self) -> str:
        return f"{self.name} ({self.note})" if self.note else self.name

    def url(self, ingest_url: str, body: bytes) -> str:
        return ingest_url

    def document(self, n: int, text: str, now: int, attempt: int):
        raise NotImplementedError

    def names(self, n: int, attempt: int) -> dict:
        """The headers beside the signature."""
        return {}

    def body(self, n: int, shape: str, now: int, attempt: int) -> bytes:
        document = self.document(n, TEXTS[shape], now, attempt)
        return write_form(document) if self.content_type == FORM else write_json(document, shape)

    def make(self, ingest_url: str, n: int, shape: str, secret: str, now: int, attempt: int = 0) -> Request:
        """The event number `n`, signed at `now`."""
        body = self.body(n, shape, now, attempt)
        headers = {"content-type": self.content_type, **self.names(n, attempt)}
        return self.sign(Request(self.url(ingest_url, body), body, headers), secret, now)

    def sign(self, request: Request, secret: str, now: int) -> Request:
        return request.with_headers(self.signature(request, secret, now))

    def signature(self, request: Request, secret: str, now: int) -> dict:
        raise NotImplementedError

    def verify(self, request: Request, secret: str) -> bool:
        """As a receiver does it. By the documentation that is: sign again and compare."""
        expected = self.signature(request, secret, 0)
        return all(hmac.compare_digest(request.headers[name], expected[name]) for name in expected)

    def unproven(self, request: Request):
        """The same request without a part of its proof, and with one that is changed."""
        for name in self.signed_headers:
            yield f"without {name}", request.without(name)
            yield f"with another {name}", request.with_headers({name: other_text(request.headers[name])})

    def tampered(self, request: Request) -> Request:
        return replace(request, body=flip(request.body))


def write_json(document, shape: str) -> bytes:
    if shape == "escapes":
        return json.dumps(document).replace("/", "\\/").encode()
    if shape == "CRLF":
        return (json.dumps(document, ensure_ascii=False, indent=2) + "\n").replace("\n", "\r\n").encode()
    return compact(document).encode()


def compact(document) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def write_form(fields: dict) -> bytes:
    return urllib.parse.urlencode(fields).encode()


def read_form(body: bytes) -> dict:
    return dict(urllib.parse.parse_qsl(body.decode(), keep_blank_values=True))


def flip(body: bytes) -> bytes:
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]


def other_text(text: str) -> str:
    """The text with another letter or digit near its middle."""
    at = next(i for i in range(len(text) // 2, len(text)) if text[i].isalnum())
    return text[:at] + ("1" if text[at] != "1" else "2") + text[at + 1 :]


def mac(secret: str, text: bytes, algorithm: str = "sha256") -> "hmac.HMAC":
    return hmac.new(secret.encode(), text, algorithm)


def as_hex(secret: str, text: bytes, algorithm: str = "sha256") -> str:
    return mac(secret, text, algorithm).hexdigest()


def as_base64(secret: str, text: bytes, algorithm: str = "sha256") -> str:
    return base64.b64encode(mac(secret, text, algorithm).digest()).decode()


def pypi(package: str) -> str:
    return f"PyPI {package} {version(package)}"


def utc(now: int) -> datetime:
    return datetime.fromtimestamp(now, timezone.utc)


class Stripe(Provider):
    name = "stripe"
    evidence = pypi("stripe")
    secret = "whsec_wRNftLajMZNeslQOP6vEPm4iVx5NlZ6z"
    other_secret = "whsec_0Dd9PlDzoXSxMdqAbPCQqQKqZsEwaJ7B"
    event_type = "payment_intent.succeeded"
    signed_headers = ("stripe-signature",)
    has_time = True

    def document(self, n, text, now, attempt):
        intent = {"id": f"pi_{n}", "object": "payment_intent", "amount": 2000, "description": text}
        return {"id": f"evt_{n}", "object": "event", "type": self.event_type, "data": {"object": intent}}

    def signature(self, request, secret, now):
        header = stripe.WebhookSignature.generate_signature_header(request.text, secret, timestamp=now)
        return {"stripe-signature": header}

    def verify(self, request, secret):
        event = stripe.Webhook.construct_event(request.body, request.headers["stripe-signature"], secret)
        return event["type"] == self.event_type


class Github(Provider):
    name = "github"
    evidence = "npm @octokit/webhooks-methods"
    needs_node = True
    event_type = "issues"
    signed_headers = ("x-hub-signature-256",)

    def document(self, n, text, now, attempt):
        return {"action": "opened", "issue": {"number": n, "title": text}}

    def names(self, n, attempt):
        return {"x-github-event": "issues", "x-github-delivery": f"72d3162e-cc78-11e3-81ab-{n:012}"}

    def signature(self, request, secret, now):
        return {"x-hub-signature-256": self.node.ask("github_sign", secret, request)}

    def verify(self, request, secret):
        return self.node.ask("github_verify", secret, request)


class GithubForm(Github):
    note = "form"
    content_type = FORM

    def document(self, n, text, now, attempt):
        return {"payload": compact(super().document(n, text, now, attempt))}


class Gitlab(Provider):
    name = "gitlab"
    note = "signing token"
    evidence = pypi("standardwebhooks")
    secret = "whsec_" + base64.b64encode(bytes(range(32))).decode()
    other_secret = "whsec_" + base64.b64encode(bytes(range(32, 64))).decode()
    event_type = "Push Hook"
    signed_headers = ("webhook-id", "webhook-timestamp", "webhook-signature")
    has_time = True

    def document(self, n, text, now, attempt):
        return {"object_kind": "push", "project_id": n, "commits": [{"message": text}]}

    def names(self, n, attempt):
        return {"x-gitlab-event": "Push Hook", "webhook-id": f"c4b1ef4b-1ad1-4a6a-9d4a-{n:012}"}

    def signature(self, request, secret, now):
        signer = standardwebhooks.Webhook(secret)
        signature = signer.sign(request.headers["webhook-id"], utc(now), request.text)
        return {"webhook-timestamp": str(now), "webhook-signature": signature}

    def verify(self, request, secret):
        standardwebhooks.Webhook(secret).verify(request.body, request.headers)
        return True


class GitlabToken(Gitlab):
    note = "secret token"
    evidence = "documentation"
    secret = "the webhook's secret token"
    other_secret = "another secret token"
    signed_headers = ("x-gitlab-token",)
    signs_body = False
    has_time = False
    is_relayed = False

    def names(self, n, attempt):
        return {"x-gitlab-event": "Push Hook", "idempotency-key": f"c4b1ef4b-1ad1-4a6a-9d4a-{n:012}"}

    def signature(self, request, secret, now):
        return {"x-gitlab-token": secret}


class Shopify(Provider):
    name = "shopify"
    evidence = "npm @shopify/shopify-api"
    needs_node = True
    secret = "shpss_0123456789abcdef0123456789abcdef"
    other_secret = "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"
    event_type = "orders/create"
    signed_headers = ("x-shopify-hmac-sha256",)

    def document(self, n, text, now, attempt):
        return {"id": 820982911946154508 + n, "email": "jon@example.com", "note": text, "total_price": "403.00"}

    def names(self, n, attempt):
        return {
            "x-shopify-topic": "orders/create",
            "x-shopify-shop-domain": "harbor.myshopify.com",
            "x-shopify-api-version": "2026-01",
            "x-shopify-webhook-id": f"b54557e4-bdd9-4b37-8a5f-{n:012}",
        }

    def signature(self, request, secret, now):
        return {"x-shopify-hmac-sha256": self.node.ask("shopify_sign", secret, request)}

    def verify(self, request, secret):
        return self.node.ask("shopify_verify", secret, request)


class Slack(Provider):
    name = "slack"
    note = "event"
    evidence = pypi("slack_sdk")
    secret = "8f742231b10e8888abcd99yyyzzz85a5"
    other_secret = "0f742231b10e8888abcd99yyyzzz85a6"
    event_type = "reaction_added"
    signed_headers = ("x-slack-signature", "x-slack-request-timestamp")
    has_time = True

    def document(self, n, text, now, attempt):
        event = {"type": "reaction_added", "reaction": "tada", "item": {"text": text}}
        return {"team_id": "T0001", "event": event, "type": "event_callback", "event_id": f"Ev{n:08}"}

    def names(self, n, attempt):
        return {"x-slack-retry-num": str(attempt)} if attempt else {}

    def signature(self, request, secret, now):
        signature = SignatureVerifier(secret).generate_signature(timestamp=str(now), body=request.body)
        return {"x-slack-signature": signature, "x-slack-request-timestamp": str(now)}

    def verify(self, request, secret):
        return SignatureVerifier(secret).is_valid_request(request.body, request.headers)


class SlackCommand(Slack):
    note = "command"
    event_type = "slash_commands"
    content_type = FORM

    def document(self, n, text, now, attempt):
        return {"command": "/weather", "text": text, "trigger_id": f"{n}.803a0bc887a14d10", "empty": ""}


class SlackInteraction(Slack):
    note = "interaction"
    event_type = "block_actions"
    content_type = FORM

    def document(self, n, text, now, attempt):
        return {"payload": compact({"type": "block_actions", "trigger_id": str(n), "value": text})}


class Twilio(Provider):
    name = "twilio"
    note = "form"
    evidence = pypi("twilio")
    secret = "f5a1b0c6d2e94a7f8b3c1d0e9f8a7b6c"
    other_secret = "05a1b0c6d2e94a7f8b3c1d0e9f8a7b6d"
    event_type = "message.delivered"
    content_type = FORM
    algorithm = "HMAC_SHA1"
    signed_headers = ("x-twilio-signature",)

    def document(self, n, text, now, attempt):
        sid = f"SM{n:032}"
        return {"To": "+15558675310", "MessageSid": sid, "MessageStatus": "delivered", "Body": text, "Empty": ""}

    def names(self, n, attempt):
        return {"i-twilio-idempotency-token": f"1f2e3d4c-5b6a-4988-8776-{n:012}"}

    def parameters(self, request):
        return read_form(request.body)

    def signature(self, request, secret, now):
        parameters = self.parameters(request)
        signature = RequestValidator(secret).compute_signature(request.url, parameters, self.algorithm)
        return {"x-twilio-signature": signature}

    def verify(self, request, secret):
        signature = request.headers["x-twilio-signature"]
        parameters = self.parameters(request) or request.text
        return RequestValidator(secret).validate(request.url, parameters, signature, self.algorithm)


class TwilioShared(Twilio):
    note = "shared key"
    algorithm = "HMAC_SHA256"

    def names(self, n, attempt):
        settings = "key=webhooks_sharedkey_01jd8x,algorithm=HMAC_SHA256"
        return {**super().names(n, attempt), "x-twilio-webhooks-signature-settings": settings}


class TwilioJson(Twilio):
    note = "JSON"
    event_type = "com.twilio.messaging.message.delivered"
    content_type = "application/json"

    def url(self, ingest_url, body):
        return f"{ingest_url}?bodySHA256={hashlib.sha256(body).hexdigest()}"

    def document(self, n, text, now, attempt):
        return [{"specversion": "1.0", "type": self.event_type, "id": f"EZ{n:032}", "data": {"body": text}}]

    def parameters(self, request):
        return {}


class StandardWebhooks(Provider):
    name = "standard-webhooks"
    evidence = pypi("standardwebhooks")
    library = standardwebhooks.Webhook
    prefix = "webhook"
    secret = Gitlab.secret
    other_secret = Gitlab.other_secret
    event_type = "contact.created"
    signed_headers = ("webhook-id", "webhook-timestamp", "webhook-signature")
    has_time = True

    def document(self, n, text, now, attempt):
        return {"type": "contact.created", "data": {"id": n, "name": text}}

    def names(self, n, attempt):
        return {f"{self.prefix}-id": f"msg_{n:027}"}

    def signature(self, request, secret, now):
        signature = self.library(secret).sign(request.headers[f"{self.prefix}-id"], utc(now), request.text)
        return {f"{self.prefix}-timestamp": str(now), f"{self.prefix}-signature": signature}

    def verify(self, request, secret):
        self.library(secret).verify(request.body, request.headers)
        return True


class Svix(StandardWebhooks):
    name = "svix"
    evidence = pypi("svix")
    library = svix.webhooks.Webhook
    prefix = "svix"
    signed_headers = ("svix-id", "svix-timestamp", "svix-signature")


class SvixStandardNames(Svix):
    note = "names of Standard Webhooks"
    prefix = "webhook"
    signed_headers = StandardWebhooks.signed_headers


class Paddle(Provider):
    name = "paddle"
    evidence = pypi("paddle-python-sdk")
    secret = "pdl_ntfset_01gkpjp8bkm3tm53kdgkx6sms7_6h3qd3uFSi9YCD3OLYAShQI90XTI5vEI"
    other_secret = "pdl_ntfset_01gkpjp8bkm3tm53kdgkx6sms7_anotherAccountsSecretOfTheLength"
    event_type = "transaction.billed"
    signed_headers = ("paddle-signature",)
    has_time = True

    def document(self, n, text, now, attempt):
        event = {"event_id": f"evt_{n:026}", "event_type": "transaction.billed", "data": {"details": text}}
        return {**event, "notification_id": f"ntf_{n:026}"}

    def signature(self, request, secret, now):
        tag = PaddleSignature.calculate_hmac(secret, f"{now}:".encode() + request.body).hexdigest()
        return {"paddle-signature": f"ts={now};h1={tag}"}

    def verify(self, request, secret):
        headers = {"Paddle-Signature": request.headers["paddle-signature"]}
        return PaddleVerifier(60).verify(replace(request, headers=headers), PaddleSecret(secret))


class Square(Provider):
    name = "square"
    remark = "verifies; the documentation signs"
    evidence = pypi("squareup")
    secret = "dGhpcyBpcyBub3QgYSByZWFsIGtleQ"
    other_secret = "dGhpcyBpcyBub3QgYSByZWFsIGtleR"
    event_type = "customer.created"
    signed_headers = ("x-square-hmacsha256-signature",)

    def document(self, n, text, now, attempt):
        return {"merchant_id": "6SSW7HV8K2ST5", "type": self.event_type, "event_id": str(n), "data": {"note": text}}

    def names(self, n, attempt):
        return {"square-retry-number": str(attempt)} if attempt else {}

    def signature(self, request, secret, now):
        return {"x-square-hmacsha256-signature": as_base64(secret, request.url.encode() + request.body)}

    def verify(self, request, secret):
        return square_verify(
            request_body=request.text,
            signature_header=request.headers["x-square-hmacsha256-signature"],
            signature_key=secret,
            notification_url=request.url,
        )


class Zoom(Provider):
    name = "zoom"
    remark = "verifies what is written as it would; the documentation signs"
    evidence = "npm @zoom/rivet"
    needs_node = True
    secret = "Gv4cPsXqS6yLWbU2Hn9zTg"
    other_secret = "Gv4cPsXqS6yLWbU2Hn9zTh"
    event_type = "meeting.started"
    signed_headers = ("x-zm-signature", "x-zm-request-timestamp")
    has_time = True

    def document(self, n, text, now, attempt):
        payload = {"account_id": "AAAAAABBBB", "object": {"id": str(n), "topic": text}}
        return {"event": "meeting.started", "payload": payload, "event_ts": 1700000000000 + n}

    def signature(self, request, secret, now):
        tag = as_hex(secret, f"v0:{now}:".encode() + request.body)
        return {"x-zm-signature": f"v0={tag}", "x-zm-request-timestamp": str(now)}

    def verify(self, request, secret):
        if compact(json.loads(request.body)).encode() != request.body:
            # The library writes the body anew, as JavaScript does, so it cannot verify what is written otherwise.
            sent = int(request.headers["x-zm-request-timestamp"])
            return self.signature(request, secret, sent)["x-zm-signature"] == request.headers["x-zm-signature"]
        return self.node.ask("zoom_answer", secret, request)["status"] == 200


# The public keys are what the sources have for a secret.
DISCORD_PAIR = [nacl.signing.SigningKey(bytes([n] * 32)) for n in (1, 2)]
DISCORD_KEYS = {key.verify_key.encode().hex(): key for key in DISCORD_PAIR}


class Discord(Provider):
    name = "discord"
    remark = "the latter signs"
    note = "interaction"
    evidence = f"{pypi('discord-interactions')}, {pypi('PyNaCl')}"
    secret, other_secret = DISCORD_KEYS
    event_type = "APPLICATION_COMMAND"
    signed_headers = ("x-signature-ed25519", "x-signature-timestamp")
    has_time = True

    def document(self, n, text, now, attempt):
        data = {"id": "771825006014889984", "name": "cardsearch", "options": [{"value": text}]}
        return {"application_id": "1234560123453231555", "data": data, "id": f"{n:018}", "type": 2, "version": 1}

    def signature(self, request, secret, now):
        signed = DISCORD_KEYS[secret].sign(str(now).encode() + request.body)
        return {"x-signature-ed25519": signed.signature.hex(), "x-signature-timestamp": str(now)}

    def verify(self, request, secret):
        signature, timestamp = (request.headers[name] for name in self.signed_headers)
        # The library prints why it refuses.
        with contextlib.redirect_stdout(None):
            return discord_interactions.verify_key(request.body, signature, timestamp, secret)


class DiscordEvent(Discord):
    note = "webhook event"
    event_type = "APPLICATION_AUTHORIZED"

    def document(self, n, text, now, attempt):
        event = {"type": self.event_type, "timestamp": f"2023-11-14T22:13:19.{n:06}", "data": {"name": text}}
        return {"version": 1, "application_id": "1234560123453231555", "type": 1, "event": event}


class Linear(Provider):
    name = "linear"
    remark = "verifies; the documentation signs"
    evidence = "npm @linear/sdk"
    needs_node = True
    secret = "lin_wh_5Yw1kTq0m8aZr3VbX7cJ2nHd"
    other_secret = "lin_wh_6Yw1kTq0m8aZr3VbX7cJ2nHe"
    event_type = "Issue"
    signed_headers = ("linear-signature",)
    has_time = True

    def document(self, n, text, now, attempt):
        issue = {"number": n, "title": text}
        return {"action": "create", "type": "Issue", "data": issue, "webhookTimestamp": now * 1000}

    def names(self, n, attempt):
        return {"linear-event": "Issue", "linear-delivery": f"234d1a4e-b617-4388-90fe-{n:012}"}

    def signature(self, request, secret, now):
        return {"linear-signature": as_hex(secret, request.body)}

    def verify(self, request, secret):
        return self.node.ask("linear_verify", secret, request)


class Sentry(Provider):
    name = "sentry"
    event_type = "issue"
    signed_headers = ("sentry-hook-signature",)
    # A retry has a new id.
    knows_retries = False

    def document(self, n, text, now, attempt):
        return {"action": "created", "data": {"issue": {"id": str(n), "title": text}}}

    def names(self, n, attempt):
        return {"sentry-hook-resource": "issue", "request-id": f"3f0f2a4b{attempt:08}{n:016}"}

    def signature(self, request, secret, now):
        return {"sentry-hook-signature": as_hex(secret, request.body)}


class Intercom(Provider):
    name = "intercom"
    event_type = "contact.user.created"
    signed_headers = ("x-hub-signature",)

    def document(self, n, text, now, attempt):
        item = {"type": "contact", "name": text}
        return {"id": f"notif_{n}", "topic": self.event_type, "data": {"item": item}, "delivery_attempts": attempt + 1}

    def signature(self, request, secret, now):
        return {"x-hub-signature": "sha1=" + as_hex(secret, request.body, "sha1")}


class Hubspot(Provider):
    name = "hubspot"
    evidence = pypi("hubspot-api-client")
    secret = "7b6ac2c1-8b0f-4bb8-8a11-5e0b6d0f2a4c"
    other_secret = "8b6ac2c1-8b0f-4bb8-8a11-5e0b6d0f2a4d"
    event_type = "contact.creation"
    signed_headers = ("x-hubspot-signature-v3", "x-hubspot-request-timestamp")
    has_time = True

    def url(self, ingest_url, body):
        return f"{ingest_url}?team=a%3Ab%2Cc&keep=%20%26"

    def document(self, n, text, now, attempt):
        first = {"eventId": n, "subscriptionType": "contact.creation", "attemptNumber": attempt}
        second = {"subscriptionType": "contact.propertyChange", "attemptNumber": attempt, "propertyValue": text}
        return [first, second]

    def signature(self, request, secret, now):
        timestamp = str(now * 1000 + 123)
        signature = HubspotSignature.get_signature(secret, request.text, "v3", signed_uri(request), "POST", timestamp)
        return {"x-hubspot-signature-v3": signature, "x-hubspot-request-timestamp": timestamp}

    def verify(self, request, secret):
        signature, timestamp = (request.headers[name] for name in self.signed_headers)
        uri = signed_uri(request)
        return HubspotSignature.is_valid(signature, secret, request.text, uri, "POST", "v3", timestamp)


def signed_uri(request: Request) -> str:
    """The URI as HubSpot signs it: its library leaves unescaping to the caller."""
    return request.url.replace("%3A", ":").replace("%2C", ",")


class Docusign(Provider):
    name = "docusign"
    secret = "q3kF0JrY9bS7tYw2m1E5cXoPzVhGdLuNaRiTeQjKxUs="
    other_secret = "r3kF0JrY9bS7tYw2m1E5cXoPzVhGdLuNaRiTeQjKxUt="
    event_type = "envelope-completed"
    signed_headers = ("x-docusign-signature-1",)

    def document(self, n, text, now, attempt):
        return {"event": self.event_type, "retryCount": attempt, "data": {"envelopeId": str(n), "emailSubject": text}}

    def signature(self, request, secret, now):
        return {"x-docusign-signature-1": as_base64(secret, request.body)}


class Woocommerce(Provider):
    name = "woocommerce"
    event_type = "order.created"
    signed_headers = ("x-wc-webhook-signature",)

    def document(self, n, text, now, attempt):
        return {"id": n, "status": "processing", "customer_note": text, "total": "29.35"}

    def names(self, n, attempt):
        # The same for all orders of one second.
        return {"x-wc-webhook-topic": "order.created", "x-wc-webhook-delivery-id": "36e520ebabc2fa725092ff4a47acedf2"}

    def signature(self, request, secret, now):
        return {"x-wc-webhook-signature": as_base64(secret, request.body)}


class Typeform(Provider):
    name = "typeform"
    event_type = "form_response"
    signed_headers = ("typeform-signature",)

    def document(self, n, text, now, attempt):
        return {"event_id": str(n), "event_type": "form_response", "form_response": {"answers": [{"text": text}]}}

    def signature(self, request, secret, now):
        return {"typeform-signature": "sha256=" + as_base64(secret, request.body)}


class Mailgun(Provider):
    """The signature stands in the body, whose other parts are not signed."""

    name = "mailgun"
    remark = "the library is one of Go"
    secret = "3f9a1c7be27d4b0f8e1a5c6d7b8e9f00"
    other_secret = "4f9a1c7be27d4b0f8e1a5c6d7b8e9f01"
    event_type = "delivered"
    has_time = True

    def make(self, ingest_url, n, shape, secret, now, attempt=0):
        token = f"{n:050}"
        tag = as_hex(secret, f"{now}{token}".encode())
        signature = {"timestamp": str(now), "token": token, "signature": tag}
        event = {"event": "delivered", "id": f"CPgfbmQMTCKtHW6u{n}", "message": {"subject": TEXTS[shape]}}
        body = write_json({"signature": signature, "event-data": event}, shape)
        return Request(ingest_url, body, {"content-type": self.content_type})

    def verify(self, request, secret):
        said = json.loads(request.body)["signature"]
        return said["signature"] == as_hex(secret, (said["timestamp"] + said["token"]).encode())

    def unproven(self, request):
        for name in ("timestamp", "token", "signature"):
            document = json.loads(request.body)
            document["signature"][name] = other_text(document["signature"][name])
            yield f"with another {name}", replace(request, body=compact(document).encode())
            del document["signature"][name]
            yield f"without {name}", replace(request, body=compact(document).encode())

    def tampered(self, request):
        at = request.body.index(b'"token"') + len(b'"token": "') + 20
        return replace(request, body=request.body[:at] + bytes([request.body[at] ^ 1]) + request.body[at + 1 :])


def sendgrid_public(key) -> str:
    der = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(der).decode()


SENDGRID_PAIR = [ec.derive_private_key(2**200 + n, ec.SECP256R1()) for n in (1, 2)]
SENDGRID_KEYS = {sendgrid_public(key): key for key in SENDGRID_PAIR}


class Sendgrid(Provider):
    name = "sendgrid"
    remark = "the latter signs"
    evidence = f"{pypi('sendgrid')}, {pypi('cryptography')}"
    secret, other_secret = SENDGRID_KEYS
    event_type = "delivered"
    signed_headers = ("x-twilio-email-event-webhook-signature", "x-twilio-email-event-webhook-timestamp")
    has_time = True

    def document(self, n, text, now, attempt):
        first = {"email": "anna@example.com", "event": "delivered", "sg_event_id": str(n)}
        return [first, {"email": "jürgen@example.com", "event": "delivered", "response": text}]

    def signature(self, request, secret, now):
        signed = SENDGRID_KEYS[secret].sign(str(now).encode() + request.body, ec.ECDSA(hashes.SHA256()))
        return dict(zip(self.signed_headers, (base64.b64encode(signed).decode(), str(now))))

    def verify(self, request, secret):
        signature, timestamp = (request.headers[name] for name in self.signed_headers)
        return EventWebhook(secret).verify_signature(request.text, signature, timestamp)


class Pagerduty(Provider):
    name = "pagerduty"
    remark = "the library is one of Go"
    event_type = "incident.triggered"
    signed_headers = ("x-pagerduty-signature",)

    def document(self, n, text, now, attempt):
        return {"event": {"id": f"01{n:024}", "event_type": self.event_type, "data": {"title": text}}}

    def signature(self, request, secret, now):
        # During a rotation PagerDuty signs with each secret.
        others = as_hex("a secret of before", request.body)
        return {"x-pagerduty-signature": f"v1={others},v1={as_hex(secret, request.body)}"}

    def unproven(self, request):
        yield from ((what, made) for what, made in super().unproven(request) if what.startswith("without"))
        first = request.headers["x-pagerduty-signature"].split(",")[0]
        yield "with the other signature alone", request.with_headers({"x-pagerduty-signature": first})


class Bitbucket(Provider):
    name = "bitbucket"
    event_type = "repo:push"
    signed_headers = ("x-hub-signature",)

    def document(self, n, text, now, attempt):
        return {"push": {"changes": [{"new": {"target": {"message": text}}}]}, "repository": {"id": n}}

    def names(self, n, attempt):
        return {"x-event-key": "repo:push", "x-request-uuid": f"e86f21b4-8f5d-4c2b-9e1a-{n:012}"}

    def signature(self, request, secret, now):
        return {"x-hub-signature": "sha256=" + as_hex(secret, request.body)}


class Dropbox(Provider):
    name = "dropbox"
    signed_headers = ("x-dropbox-signature",)
    # Its notifications are all alike.
    knows_repeats = False
    knows_retries = False

    def document(self, n, text, now, attempt):
        return {"list_folder": {"accounts": [f"dbid:{n}", text]}, "delta": {"users": [12345678]}}

    def signature(self, request, secret, now):
        return {"x-dropbox-signature": as_hex(secret, request.body)}


class Meta(Provider):
    name = "meta"
    secret = "614fc2afde15eee07a26b2fe3eaee9b9"
    other_secret = "714fc2afde15eee07a26b2fe3eaee9ba"
    options = {"verify_token": "meatyhamhock"}
    event_type = "page"
    signed_headers = ("x-hub-signature-256",)

    def document(self, n, text, now, attempt):
        changes = [{"field": "feed", "value": {"message": text}}]
        return {"object": "page", "entry": [{"id": str(n), "time": 1520383571, "changes": changes}]}

    def signature(self, request, secret, now):
        return {"x-hub-signature-256": "sha256=" + as_hex(secret, request.body)}


class Generic(Provider):
    """A sender of no provider in particular, that names its events in headers."""

    options = {"event_type_header": "X-Acme-Topic", "event_id_header": "X-Acme-Id"}
    event_type = "order.paid"

    def document(self, n, text, now, attempt):
        return {"order": n, "note": text}

    def names(self, n, attempt):
        return {"x-acme-topic": "order.paid", "x-acme-id": f"order-{n}"}


class GenericHmac(Generic):
    name = "generic-hmac"
    signed_headers = ("x-signature",)

    def signature(self, request, secret, now):
        return {"x-signature": "sha256=" + as_hex(secret, request.body)}


class GenericHmacOwn(Generic):
    name = "generic-hmac"
    note = "all options"
    options = {
        **Generic.options,
        "algorithm": "sha512",
        "header": "X-Acme-Signature",
        "encoding": "base64",
        "template": "{timestamp}.{method}.{url}.{header:X-Acme-Id}.{body}",
        "prefix": "v1=",
        "timestamp_header": "X-Acme-Time",
    }
    signed_headers = ("x-acme-signature", "x-acme-time")
    has_time = True

    def signature(self, request, secret, now):
        return self.signature_at(request, secret, str(now))

    def signature_at(self, request, secret, timestamp):
        head = f"{timestamp}.POST.{request.url}.{request.headers['x-acme-id']}."
        signature = as_base64(secret, head.encode() + request.body, "sha512")
        return {"x-acme-signature": f"v1={signature}", "x-acme-time": timestamp}

    def verify(self, request, secret):
        expected = self.signature_at(request, secret, request.headers["x-acme-time"])
        return all(request.headers[name] == expected[name] for name in expected)


class Basic(Generic):
    name = "basic"
    secret = "pässwörd: with a colon"
    options = {**Generic.options, "username": "hook"}
    signed_headers = ("authorization",)
    signs_body = False
    is_relayed = False

    def signature(self, request, secret, now):
        return {"authorization": "Basic " + base64.b64encode(f"hook:{secret}".encode()).decode()}


class ApiKey(Generic):
    name = "api-key"
    signed_headers = ("x-api-key",)
    signs_body = False
    is_relayed = False

    def signature(self, request, secret, now):
        return {"x-api-key": secret}


class ApiKeyBearer(ApiKey):
    note = "bearer"
    options = {**Generic.options, "header": "Authorization"}
    signed_headers = ("authorization",)

    def signature(self, request, secret, now):
        return {"authorization": f"Bearer {secret}"}


class Unverified(Generic):
    name = "none"
    secret = None
    signs_body = False
    is_relayed = False

    def signature(self, request, secret, now):
        return {}


PROVIDERS = [
    Stripe, Github, GithubForm, Gitlab, GitlabToken, Shopify, Slack, SlackCommand, SlackInteraction, Twilio,
    TwilioShared, TwilioJson, StandardWebhooks, Svix, SvixStandardNames, Paddle, Square, Zoom, Discord, DiscordEvent,
    Linear, Sentry, Intercom, Hubspot, Docusign, Woocommerce, Typeform, Mailgun, Sendgrid, Pagerduty, Bitbucket,
    Dropbox, Meta, GenericHmac, GenericHmacOwn, Basic, ApiKey, ApiKeyBearer, Unverified,
]  # fmt: skip
