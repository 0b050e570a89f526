-- Contacts, snoozes and notes about customers.

-- name: add_handling
-- Of a customer who still exists. The end of a snooze is kept there, too: a rise of the
-- level ends it.
WITH there AS (
    UPDATE customers SET snoozed_until = coalesce(%(off_until)s, snoozed_until)
    WHERE customer_id = %(customer_id)s
    RETURNING customer_id
)
INSERT INTO handlings (customer_id, account_id, what, until, text, who)
SELECT customer_id, %(account_id)s, %(what)s, %(until)s, %(text)s, %(who)s FROM there
RETURNING handling_id, at, what, until, text, who

-- name: list_handlings
SELECT handling_id, at, what, until, text, who FROM handlings
WHERE customer_id = %(customer_id)s
ORDER BY at DESC, handling_id
LIMIT %(limit)s
