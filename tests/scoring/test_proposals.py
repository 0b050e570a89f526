"""What own names probably stand for."""

import pytest

from scoring.proposals import SentName, is_use_understood, propose, words_of


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("Signed In", "login"),
        ("User Signed In", "login"),
        ("user_signed_in", "login"),
        ("userLoggedIn", "login"),
        ("user.login", "login"),
        ("Log In", "login"),
        ("session_start", "login"),
        ("Application Opened", "login"),
        ("$pageview", "engagement"),
        ("page_view", "engagement"),
        ("Screen Viewed", "engagement"),
        ("account_closed", "churn"),
        ("Subscription Cancelled", "churn"),
        ("subscription canceled", "churn"),
        ("customer.subscription.deleted", "churn"),
        ("payment_failed", "invoice_overdue"),
        ("Invoice Paid", "invoice_paid"),
        ("Plan Upgraded", "subscription_upgraded"),
        ("subscriptionDowngraded", "subscription_downgraded"),
        ("Trial Started", "trial_started"),
        ("Ticket Created", "support_ticket_opened"),
        ("ticket_solved", "support_ticket_resolved"),
        ("NPS Submitted", "nps_response"),
        ("Refund Issued", "refund_requested"),
    ],
)
def test_words_say_what_a_name_stands_for(name: str, role: str) -> None:
    (proposal,) = propose([SentName(name, 5, 2, 3)])
    assert (proposal.stands_for, proposal.likely) == (role, True)


def test_what_many_send_on_many_days_is_probably_use() -> None:
    names = [
        SentName("document.created", 900, 100, 500),
        SentName("theme_changed", 120, 100, 105),
        SentName("report_exported", 40, 10, 40),
    ]
    found = {proposal.event: proposal for proposal in propose(names)}
    assert {name: proposal.likely for name, proposal in found.items()} == {
        "document.created": True,
        "theme_changed": False,  # nearly once each
        "report_exported": False,  # by few
    }
    assert {proposal.stands_for for proposal in found.values()} == {"engagement"}


@pytest.mark.parametrize("name", ["Email Opened", "email_sent", "Signed Up", "sync.failed", "Invoice Created"])
def test_what_machines_do_is_no_use(name: str) -> None:
    assert propose([SentName(name, 900, 100, 800)]) == []


def test_what_is_mapped_or_recognised_needs_no_proposal() -> None:
    assert propose([SentName("login", 5, 2, 3), SentName("Signed In", 5, 2, 3)], ["Signed In"]) == []


def test_use_is_understood_by_recognised_or_mapped_names() -> None:
    sent = [SentName("Signed In", 200, 20, 100), SentName("invoice_paid", 20, 20, 20)]
    assert not is_use_understood(sent, {})
    assert is_use_understood(sent, {"Signed In": "login"})
    assert is_use_understood(sent, {"Signed In": "engagement"})
    assert not is_use_understood(sent, {"Signed In": "churn", "other": "login"})
    assert is_use_understood([*sent, SentName("login", 1, 1, 1)], {})


def test_spelling_makes_no_difference() -> None:
    spellings = ("userSignedIn", "User Signed In", "user.signed-in", "UserSignedIn", "USER_SIGNED_IN")
    assert {words_of(name) for name in spellings} == {" user signed in "}
