-- name: create_account
INSERT INTO accounts (name) VALUES (%(account)s) ON CONFLICT DO NOTHING

-- name: create_key
INSERT INTO api_keys (account_id, hash, hint, publishable, rate_limit, name)
SELECT account_id, %(hash)s, %(hint)s, %(publishable)s, %(rate_limit)s, %(name)s FROM accounts WHERE name = %(account)s
RETURNING key_id, account_id

-- name: revoke_key
UPDATE api_keys SET revoked_at = least(revoked_at, now())
WHERE key_id = %(key_id)s AND (%(account_id)s::integer IS NULL OR account_id = %(account_id)s)
RETURNING hash

-- name: list_keys
SELECT key_id, accounts.name, hint, publishable, rate_limit, api_keys.created_at, revoked_at, api_keys.name
FROM api_keys JOIN accounts USING (account_id)
ORDER BY key_id

-- name: find_key
SELECT key_id FROM api_keys WHERE hash = %(hash)s AND revoked_at IS NULL

-- name: mirror_keys
SELECT hash, key_id, account_id, publishable, rate_limit FROM api_keys WHERE revoked_at IS NULL
