"""The guide above the reference: a first event from everywhere, a first risk, and the events that have a meaning."""

from typing import Final, NamedTuple

ADDRESS: Final = "http://127.0.0.1:8000"  # the page's script writes its own in place of it


class Snippet(NamedTuple):
    """A piece of code to copy."""

    title: str
    text: str


SNIPPETS: Final = (
    Snippet(
        "From a terminal",
        f"""\
KEY=sk_live_…
curl {ADDRESS}/api/v1/track -H "X-API-Key: $KEY" \\
  -d '{{"event": "login", "customer_email": "jane@example.com"}}'""",
    ),
    Snippet(
        "From Python",
        f"""\
import requests

requests.post("{ADDRESS}/api/v1/track",
    headers={{"X-API-Key": "sk_live_…"}},
    json={{"event": "login", "customer_email": "jane@example.com"}}).raise_for_status()""",
    ),
    Snippet(
        "From JavaScript, on a server",
        f"""\
await fetch("{ADDRESS}/api/v1/track", {{
  method: "POST",
  headers: {{ "X-API-Key": "sk_live_…" }},
  body: JSON.stringify({{ event: "login", customer_email: "jane@example.com" }}),
}});""",
    ),
    Snippet(
        "From a web page, with a publishable key",
        f"""\
<script src="{ADDRESS}/windback.js" data-key="pk_live_…" data-email="jane@example.com"></script>
<script>windback.track("feature_used", {{ feature: "exports" }})</script>""",
    ),
)
READING: Final = Snippet(
    "A moment later: the risk, its reasons, and what to do",
    f"""\
curl {ADDRESS}/api/v1/customers/jane@example.com -H "X-API-Key: $KEY\"""",
)
PROPERTIES: Final = {
    "feature": "The part of the product that was used, in `feature_used`.",
    "plan": "The customer's plan; the latest one holds.",
    "page": "The page that was seen.",
    "duration_seconds": "How long it took.",
    "score": "0 to 10, in `nps_response`.",
    "amount": 'What was paid, in `invoice_paid`: in whole units of `currency`, 49 or "49.00".',
    "invoice_id": "Which invoice is overdue or paid. A payment clears the one with its id, else the latest.",
    "subject": "What a support ticket is about, for drafts. So are `reason` and `comment`.",
    "mrr": "What the customer pays a month, in cents. With `currency` and `company` it may come with any event.",
}
