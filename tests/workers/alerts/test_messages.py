import json
from datetime import UTC, datetime

from scoring.advice import Advice
from scoring.drafts.draft import write_draft
from scoring.reasons import Reason
from workers.alerts.messages import Alert, PaidAtLevel, encode_alert, encode_summary

AT = datetime(2025, 12, 13, 9, 0, 2, tzinfo=UTC)
ADVICE = Advice("re_engagement", "high", "No activity for 12 days", {"plan": "pro"})
PAID = [PaidAtLevel("EUR", "high", 2, 14800, 9000), PaidAtLevel("JPY", "critical", 1, 500_000, 400_000)]


def an_alert(email: str = "jane+a@example.com", text: str = "No login for 12 days") -> Alert:
    return Alert(email, AT, "medium", "high", 0.634, [Reason("silence", 21.4, text)], ADVICE, 4900, "EUR")


def test_an_alert_has_the_fields_that_are_promised() -> None:
    draft = write_draft("re_engagement", ADVICE.facts, AT.timestamp())
    body = json.loads(encode_alert("json", "id-1", an_alert(), draft, "https://w.example"))
    assert body == {
        "event": "churn_risk.alert",
        "id": "id-1",
        "customer_email": "jane+a@example.com",
        "risk_score": 63,
        "risk_level": "high",
        "level_before": "medium",
        "probability": 0.634,
        "signals": ["silence"],
        "reasons": [{"signal": "silence", "points": 21.4, "text": "No login for 12 days"}],
        "advice": {
            "strategy": "re_engagement",
            "urgency": "high",
            "why": "No activity for 12 days",
            "facts": {"plan": "pro"},
            "tactic": None,
        },
        "draft": {"subject": draft.subject, "body_text": draft.body_text},
        "mrr": 4900,
        "currency": "EUR",
        "mrr_at_risk": 3107,
        "triggered_at": "2025-12-13T09:00:02Z",
        "customer_url": "https://w.example/customers/jane%2Ba@example.com",
    }


def test_slack_finds_no_markup_in_what_customers_say() -> None:
    draft = write_draft("re_engagement", {}, AT.timestamp())
    alert = an_alert("<!channel>@example.com", "Sent <https://evil.example|x> & more")
    body = encode_alert("slack", "id-1", alert, draft, "https://w.example").decode()
    assert "<!channel>" not in body
    assert "<https://evil.example" not in body
    blocks = json.loads(body)["blocks"]
    assert "&lt;https://evil.example|x&gt; &amp; more" in blocks[0]["text"]["text"]
    assert blocks[2]["elements"][0]["url"].startswith("https://w.example/customers/")


def test_a_summary_has_the_count_and_the_highest() -> None:
    alerts = [an_alert(f"c{number}@example.com") for number in range(10)]
    body = json.loads(encode_summary("json", "id-2", AT, 900, alerts, PAID, "https://w.example"))
    assert (body["event"], body["id"], body["count"], len(body["highest"])) == ("churn_risk.summary", "id-2", 900, 10)
    slack = json.loads(encode_summary("slack", "id-2", AT, 900, alerts, PAID, "https://w.example"))
    assert "900" in slack["text"]
    assert body["money"][0] == {"currency": "EUR", "level": "high", "customers": 2, "mrr": 14800, "mrr_at_risk": 9000}
    (money,) = [block["text"]["text"] for block in slack["blocks"] if "What they pay" in str(block)]
    assert "high: 148\u00a0EUR a month, 90\u00a0EUR of it at risk" in money
    assert "critical: 500,000\u00a0JPY a month" in money


def test_what_a_customer_pays_is_null_where_nobody_said_it() -> None:
    draft = write_draft("re_engagement", {}, AT.timestamp())
    alert = an_alert()._replace(mrr=None, currency=None)
    body = json.loads(encode_alert("json", "id-1", alert, draft, "https://w.example"))
    assert (body["mrr"], body["currency"], body["mrr_at_risk"]) == (None, None, None)
    assert "pays" not in encode_alert("slack", "id-1", alert, draft, "https://w.example").decode()
    assert "pays 49\u00a0EUR a month" in encode_alert("slack", "id-1", an_alert(), draft, "https://w.example").decode()
