"""Proof of a message's origin: the headers of Standard Webhooks, and a further signature.

`X-Windback-Signature` is the hex HMAC-SHA256 of the body under the whole secret, as handlers that were written for the
hosted product expect it.
"""

import base64
import hashlib
import hmac
import secrets

PREFIX = "whsec_"
SECRET_BYTES = 32


def new_secret() -> str:
    """Returns a fresh secret: `whsec_` and base64, as Standard Webhooks writes it."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of a message that is sent at `timestamp` (epoch seconds)."""
    key = base64.b64decode(secret.removeprefix(PREFIX))
    standard = hmac.digest(key, b"%s.%d.%s" % (message_id.encode(), timestamp, body), "sha256")
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{base64.b64encode(standard).decode()}",
        "X-Windback-Signature": hmac.new(secret.encode(), body, hashlib.sha256).hexdigest(),
    }
