-- The dashboard's sessions.

-- name: find_signing_secret
SELECT secret FROM signing_secrets WHERE name = %(name)s

-- name: make_signing_secret
-- The secret that signs them: made on the first request, the same for all.
INSERT INTO signing_secrets AS kept (name, secret) VALUES (%(name)s, %(secret)s)
ON CONFLICT (name) DO UPDATE SET secret = kept.secret
RETURNING secret

-- name: find_secret_key
-- The secret key that a user signs in with.
SELECT key_id FROM api_keys WHERE hash = %(hash)s AND revoked_at IS NULL AND NOT publishable

-- name: find_session
-- A session lasts as long as its key, and until its user signs out.
SELECT account_id, accounts.name AS account, hint, time_zone
FROM api_keys JOIN accounts USING (account_id)
WHERE key_id = %(key_id)s AND revoked_at IS NULL
  AND NOT EXISTS (SELECT FROM ended_sessions WHERE session_id = %(session_id)s)

-- name: end_session
WITH forgotten AS (DELETE FROM ended_sessions WHERE expires_at < now())
INSERT INTO ended_sessions (session_id, expires_at)
VALUES (%(session_id)s, now() + %(seconds)s * interval '1 second')
ON CONFLICT (session_id) DO UPDATE SET expires_at = excluded.expires_at
RETURNING session_id
