-- Where Stripe's webhooks come in.

-- name: add_stripe_source
INSERT INTO stripe_sources (token, account_id, secret) VALUES (%(token)s, %(account_id)s, %(secret)s)

-- name: find_stripe_source
SELECT account_id, secret FROM stripe_sources WHERE token = %(token)s

-- name: list_stripe_sources
SELECT token, created_at, last_event_at FROM stripe_sources WHERE account_id = %(account_id)s ORDER BY created_at

-- name: note_stripe_event
UPDATE stripe_sources SET last_event_at = now()
WHERE token = %(token)s AND (last_event_at IS NULL OR last_event_at < now() - interval '1 minute')
RETURNING token

-- name: remove_stripe_source
DELETE FROM stripe_sources WHERE token = %(token)s AND account_id = %(account_id)s RETURNING token
