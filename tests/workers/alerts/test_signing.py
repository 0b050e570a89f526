import hashlib
import hmac
import time

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from workers.alerts.signing import new_secret, sign

BODY = '{"event": "churn_risk.alert", "name": "Zoë"}'.encode()


def test_the_package_of_standard_webhooks_verifies_it() -> None:
    secret = new_secret()
    headers = sign(secret, "message-1", int(time.time()), BODY)
    assert Webhook(secret).verify(BODY, headers)["name"] == "Zoë"
    for wrong in (BODY + b" ", BODY.replace(b"alert", b"other")):
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(wrong, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret()).verify(BODY, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(BODY, {**headers, "webhook-id": "message-2"})


def test_the_hosted_products_signature_is_of_the_body_under_the_whole_secret() -> None:
    secret = new_secret()
    expected = hmac.new(secret.encode(), BODY, hashlib.sha256).hexdigest()
    assert sign(secret, "x", 1, BODY)["X-Windback-Signature"] == expected


def test_secrets_are_not_alike() -> None:
    assert len({new_secret() for _ in range(100)}) == 100
