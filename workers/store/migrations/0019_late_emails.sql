-- An address that became known after its successor waits beside the present one, so that events go to that one meanwhile.
-- Changes that are under way become such, where the present customer is in this cell. is_late stays for processes of the
-- version before, which still read it.
ALTER TABLE identities
    ADD COLUMN first_said_at timestamptz,
    ADD COLUMN late_emails jsonb NOT NULL DEFAULT '{}';
UPDATE identities
SET late_emails = jsonb_object(ARRAY[identities.email], ARRAY['0']), email = customers.email, owner = customers.customer_id,
    said_at = identities.next_said_at, next_email = NULL, next_said_at = NULL
FROM customers
WHERE identities.is_late AND customers.account_id = identities.account_id AND customers.email = identities.next_email;
CREATE INDEX identities_late ON identities (customer_id) WHERE late_emails <> '{}';
