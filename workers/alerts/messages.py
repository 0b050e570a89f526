"""Messages: an alert, a summary of many, an example to try a webhook; as JSON, or in the format of Slack."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec

from scoring.advice import Advice
from scoring.currencies import describe_amount
from scoring.drafts.draft import Draft
from scoring.reasons import Reason
from workers.alerts.webhooks import Format

HIGHEST = 10  # customers that a summary names

Json = dict[str, Any]

EXAMPLE_REASONS = [Reason("silence", 21.4, "No login for 12 days")]
EXAMPLE_ADVICE = Advice(
    "feature_win_back", "high", "Favourite feature exports not used for 12 days", {"favourite_feature": "exports"}
)
EXAMPLE_DRAFT = Draft(
    "feature_win_back",
    "Your exports",
    "Hi,\n\nDid something get in the way of your exports?\n",
    "",
    ["favourite_feature"],
)


class Alert(NamedTuple):
    """A customer's level rose: the content of the message about it."""

    email: str
    at: datetime
    level_before: str
    level: str
    probability: float
    reasons: list[Reason]
    advice: Advice
    mrr: int | None = None  # minor units of the currency
    currency: str | None = None

    @classmethod
    def from_row(
        cls,
        email: str,
        at: datetime,
        level_before: str,
        level: str,
        probability: float,
        reasons: str,
        advice: str,
        mrr: int | None,
        currency: str | None,
    ) -> "Alert":
        """From the columns of a query, whose reasons and advice are JSON."""
        return cls(
            email,
            at,
            level_before,
            level,
            probability,
            msgspec.json.decode(reasons, type=list[Reason]),
            msgspec.json.decode(advice, type=Advice),
            mrr,
            currency,
        )

    @property
    def score(self) -> int:
        """The risk in whole percent."""
        return round(self.probability * 100)

    @property
    def money(self) -> Json:
        """The customer's monthly revenue, and the part of it at risk, in minor units; None if unknown."""
        at_risk = None if self.mrr is None else round(self.mrr * self.probability)
        return {"mrr": self.mrr, "currency": self.currency, "mrr_at_risk": at_risk}


class PaidAtLevel(NamedTuple):
    """The revenue of a summary's customers at one level, in one currency: minor units a month."""

    currency: str | None
    level: str
    customers: int
    mrr: int
    mrr_at_risk: int


def example(at: datetime) -> Alert:
    """Returns an invented alert about an invented customer."""
    return Alert("jane@example.com", at, "medium", "high", 0.632, EXAMPLE_REASONS, EXAMPLE_ADVICE, 4900, "EUR")


def customer_url(address: str, email: str) -> str:
    """The page of a customer."""
    return f"{address}/customers/{quote(email, safe='@')}"


def encode_alert(kind: Format, message_id: str, alert: Alert, draft: Draft, address: str, test: bool = False) -> bytes:
    """The body of an alert's message."""
    described = _alert(message_id, alert, draft, address) | ({"test": True} if test else {})
    return msgspec.json.encode(_slack_alert(alert, address, test) if kind == "slack" else described)


def encode_summary(
    kind: Format,
    message_id: str,
    at: datetime,
    count: int,
    highest: Sequence[Alert],
    paid: Sequence[PaidAtLevel],
    address: str,
) -> bytes:
    """Returns the body of a message that stands for `count` alerts, with the highest of them and their revenue."""
    if kind == "slack":
        return msgspec.json.encode(_slack_summary(count, highest, paid, address))
    return msgspec.json.encode(
        {
            "event": "churn_risk.summary",
            "id": message_id,
            "count": count,
            "money": [at_level._asdict() for at_level in paid],
            "highest": [_in_summary(alert, address) for alert in highest],
            "triggered_at": at,
            "customers_url": f"{address}/customers",
        }
    )


def _alert(message_id: str, alert: Alert, draft: Draft, address: str) -> Json:
    return {
        "event": "churn_risk.alert",
        "id": message_id,
        "customer_email": alert.email,
        "risk_score": alert.score,
        "risk_level": alert.level,
        "level_before": alert.level_before,
        "probability": round(alert.probability, 6),
        "signals": [reason.signal for reason in alert.reasons],
        "reasons": alert.reasons,
        "advice": alert.advice,
        "draft": {"subject": draft.subject, "body_text": draft.body_text},
        **alert.money,
        "triggered_at": alert.at,
        "customer_url": customer_url(address, alert.email),
    }


def _in_summary(alert: Alert, address: str) -> Json:
    return {
        "customer_email": alert.email,
        "risk_score": alert.score,
        "risk_level": alert.level,
        "level_before": alert.level_before,
        "reason": alert.reasons[0].text if alert.reasons else None,
        "strategy": alert.advice.strategy,
        **alert.money,
        "customer_url": customer_url(address, alert.email),
    }


def _slack_alert(alert: Alert, address: str, test: bool) -> Json:
    person = ", ".join(filter(None, [alert.advice.facts.get("name"), alert.advice.facts.get("company")]))
    title = f"{f'{person} ({alert.email})' if person else alert.email} is now at {alert.level} risk"
    reason = f"\n{_plain(alert.reasons[0].text)}" if alert.reasons else ""
    pays = f", pays {describe_amount(alert.mrr, alert.currency)} a month" if alert.mrr else ""
    risk = f"*{alert.level_before} → {alert.level}* ({alert.score}%){pays}"
    link = f"<{customer_url(address, alert.email)}|{_plain(alert.email)}>"
    return {
        "text": _plain(f"{'Example: ' if test else ''}{title}"),
        "blocks": [
            _section(
                f"{'_An example._ ' if test else ''}{link}{f' ({_plain(person)})' if person else ''}\n{risk}{reason}"
            ),
            _section(f"*What to do:* {_plain(alert.advice.why)} ({alert.advice.strategy.replace('_', ' ')})"),
            _button("Open the customer", customer_url(address, alert.email)),
        ],
    }


def _slack_summary(count: int, highest: Sequence[Alert], paid: Sequence[PaidAtLevel], address: str) -> Json:
    title = f"{count} more customers are at a higher risk than before"
    money = [
        f"• {at_level.level}: {describe_amount(at_level.mrr, at_level.currency)} a month, "
        f"{describe_amount(at_level.mrr_at_risk, at_level.currency)} of it at risk"
        for at_level in paid
    ]
    lines = [
        f"• <{customer_url(address, customer.email)}|{_plain(customer.email)}> {customer.level} ({customer.score}%)"
        for customer in highest
    ]
    return {
        "text": title,
        "blocks": [
            _section(f"*{title}.* The highest:"),
            _section("\n".join(lines)),
            *([_section("\n".join(["*What they pay*", *money]))] if money else []),
            _button("All customers", address),
        ],
    }


def _section(text: str) -> Json:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text[:3000]}}


def _button(text: str, url: str) -> Json:
    button = {"type": "button", "text": {"type": "plain_text", "text": text}, "url": url}
    return {"type": "actions", "elements": [button]}


def _plain(text: str) -> str:
    """Text in which Slack finds no markup."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
