"""An address in all its spellings; rows of before stand under one form as well."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.events import count
from tests.workers.worlds import account
from workers.buffer.addresses import normalise_email
from workers.buffer.entries import hash_customer
from workers.identities.addresses import MENDED, mend_addresses
from workers.process import Process
from workers.store import Connection

COMPOSED, DECOMPOSED, PUNYCODE = "jane@m\u00fcller.example", "jane@mu\u0308ller.example", "jane@xn--mller-kva.example"


@pytest.mark.parametrize("email", [COMPOSED, DECOMPOSED, PUNYCODE, " Jane@M\u00dcLLER.example "])
def test_all_forms_are_one(email: str) -> None:
    assert normalise_email(email) == COMPOSED


@pytest.mark.parametrize("email", ["jane@example.com", "a_b+c@x-y.example", "jane@\u2764.example", "jane@xn--.example"])
def test_what_needs_no_change_or_allows_none_stays(email: str) -> None:
    assert normalise_email(email) == email


@given(st.text(max_size=40), st.text(max_size=40))
def test_the_form_of_a_form_is_itself(local: str, domain: str) -> None:
    email = normalise_email(f"{local}@{domain}")
    assert normalise_email(email) == email


def test_what_was_stored_under_other_forms_is_merged_once(process: Process, connection: Connection) -> None:
    account_id = account(connection)
    for number, email in enumerate((COMPOSED, DECOMPOSED, PUNYCODE)):
        customer = hash_customer(account_id, email)
        connection.execute(
            """INSERT INTO customers (customer_id, account_id, email, first_seen, last_seen, rescore_at)
            VALUES (%s, %s, %s, now(), now(), now())""",
            [customer, account_id, email],
        )
        connection.execute(
            """INSERT INTO events (customer_id, occurred_at, event_key, event, received_at)
            VALUES (%s, now(), %s, 'login', now())""",
            [customer, number],
        )
        connection.execute(
            """INSERT INTO customer_days (customer_id, day, event, detail, n, value, last_at)
            VALUES (%s, current_date, 'login', '', 1, 0, now())""",
            [customer],
        )
    for _ in range(2):
        mend_addresses(process)
    assert connection.execute("SELECT email FROM customers").fetchall() == [(COMPOSED,)]
    assert connection.execute("SELECT sum(n) FROM customer_days").fetchall() == [(3,)]
    assert count(connection, "events") == 3
    assert process.redis.exists(process.key(MENDED))
