"""The probable roles of own names."""

import pytest

from scoring.proposals import SentName, names_of_use, propose, words_of


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
    proposals = {proposal.event: proposal for proposal in propose(names)}
    assert {name: proposal.likely for name, proposal in proposals.items()} == {
        "document.created": True,
        "theme_changed": False,  # nearly once each
        "report_exported": False,  # by few
    }
    assert {proposal.stands_for for proposal in proposals.values()} == {"engagement"}


@pytest.mark.parametrize("name", ["Email Opened", "email_sent", "Signed Up", "sync.failed", "Invoice Created"])
def test_what_machines_do_is_no_use(name: str) -> None:
    assert propose([SentName(name, 900, 100, 800)]) == []


def test_what_is_mapped_or_recognised_needs_no_proposal() -> None:
    assert propose([SentName("login", 5, 2, 3), SentName("Signed In", 5, 2, 3)], ["Signed In"]) == []


def test_names_of_use_are_the_recognised_ones_and_those_mapped_to_them() -> None:
    recognised = {"login", "feature_used", "engagement"}
    assert set(names_of_use({})) == recognised
    assert set(names_of_use({"Signed In": "login", "shared": "engagement"})) == recognised | {"Signed In", "shared"}
    assert set(names_of_use({"Signed In": "churn", "login": "invoice_paid"})) == recognised - {"login"}


def test_spelling_makes_no_difference() -> None:
    spellings = ("userSignedIn", "User Signed In", "user.signed-in", "UserSignedIn", "USER_SIGNED_IN")
    assert {words_of(name) for name in spellings} == {" user signed in "}
