import msgspec
import pytest

from api.alerts.drafts import NewTemplate
from api.alerts.handlings import NewHandling
from api.alerts.webhooks import NewWebhookBody, WebhookChange
from api.body_faults import explain_body
from api.doors.stripe import NewStripeSource
from api.identities.merging import MergeInto
from api.reading.mappings import NewMappings

HOOK = {"url": "https://example.com/hook"}


@pytest.mark.parametrize(
    ("kind", "body", "sentence"),
    [
        (NewWebhookBody, {"url": "ftp://x"}, "`url` must be like https://example.com/hook."),
        (NewWebhookBody, {"url": 7}, "`url` must be like https://example.com/hook."),
        (NewWebhookBody, {}, "`url` is required."),
        (NewWebhookBody, [], "The body must be a JSON object."),
        (NewWebhookBody, HOOK | {"format": "teams"}, "`format` must be json or slack."),
        (NewWebhookBody, HOOK | {"min_level": "low"}, "`min_level` must be critical, high or medium."),
        (NewWebhookBody, HOOK | {"level": 1},
         "There is no field `level`; there are url, format, min_level, description."),
        (NewWebhookBody, HOOK | {"description": "\0"},
         "`description` must be text of at most 500 characters without the character NUL."),
        (WebhookChange, {"enabled": 1}, "`enabled` must be true or false."),
        (NewHandling, {"what": "called"}, "`what` must be contacted, noted or snoozed."),
        (NewHandling, {"what": "noted", "until": 5}, "`until` must be text."),
        (NewTemplate, {"subject": 7},
         "`subject` must be text of at most 20000 characters without the character NUL."),
        (NewMappings, {"mappings": 7}, "`mappings` must be an object."),
        (NewMappings, {"mappings": {"x": None}}, "`mappings[...]` must be text, not null."),
        (NewMappings, {"mappings": {"x": 7}}, "`mappings[...]` must be text, not a whole number."),
        (NewMappings, {"mappings": ["x"]}, "`mappings[0]` must be an object, not text."),
        (NewStripeSource, {"secret": ""}, "`secret` must be like whsec_…."),
        (MergeInto, {"into": None}, "`into` must be text."),
    ],
)  # fmt: skip
def test_a_fault_names_the_field_and_its_rule(kind: type, body: object, sentence: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.json.decode(msgspec.json.encode(body), type=kind)
    assert explain_body(caught.value, kind) == sentence


def test_a_fault_deep_in_a_body_names_its_place() -> None:
    body = {"mappings": [{"name": "x", "role": "y"}]}
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.json.decode(msgspec.json.encode(body), type=NewMappings)
    assert explain_body(caught.value, NewMappings).endswith("in `mappings[0]`.")
