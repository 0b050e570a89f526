"""Reads the body of PostHog's webhook destination: an event and the person that sent it. Pure functions.

The body is the destination's default, `{"event": {…}, "person": {…}}`, as
https://github.com/PostHog/posthog/blob/master/nodejs/src/cdp/templates/_destinations/webhook has it.
"""

from typing import Any
from urllib.parse import urlsplit

from api.doors.segment_messages import NOBODY, MessageReading
from api.track.rules import valid_email

Json = dict[str, Any]

NAMING = frozenset({"$identify", "$set", "$create_alias"})  # events that identify a person


def is_posthog(body: Json) -> bool:
    """Returns whether this is such a body."""
    return isinstance(body.get("event"), dict)


def read_posthog(body: Json) -> MessageReading:
    """Returns what it says."""
    event, person = body["event"], _as_object(body.get("person"))
    traits = _as_object(person.get("properties"))
    email, user_id = traits.get("email"), event.get("distinct_id")
    if not (isinstance(email, str) and valid_email(email)):
        email = user_id if isinstance(user_id, str) and valid_email(user_id) else None
    if not email and (not user_id or _as_object(event.get("properties")).get("$process_person_profile") is False):
        return MessageReading(problem=NOBODY)
    if event.get("event") in NAMING:
        own_traits = {name: value for name, value in traits.items() if not name.startswith("$")}
        named = {"user_id": user_id if user_id != email else None, "customer_email": email, "traits": own_traits}
        return MessageReading(identity={name: value for name, value in named.items() if value})
    customer = {"customer_email": email} if email else {"user_id": str(user_id)}
    sent = {"event_id": event.get("uuid"), "timestamp": event.get("timestamp")}
    fields = {"event": event.get("event"), **customer, "properties": _keep_own(event.get("properties")), **sent}
    return MessageReading(event={name: value for name, value in fields.items() if value})


def _keep_own(properties: object) -> Json:
    """The person's own properties; of PostHog's ($…) only the page."""
    if not isinstance(properties, dict):
        return {}
    own = {name: value for name, value in properties.items() if not name.startswith("$")}
    address = properties.get("$pathname") or urlsplit(str(properties.get("$current_url") or "")).path
    return {**own, "page": address} if address and "page" not in own else own


def _as_object(value: object) -> Json:
    return value if isinstance(value, dict) else {}
