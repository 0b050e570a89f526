-- What the dashboard alone asks.

-- name: count_levels
SELECT level, state, count(*) AS customers
FROM customers WHERE account_id = %(account_id)s
GROUP BY level, state

-- name: account_keys
SELECT key_id, hint, publishable, rate_limit, created_at, revoked_at
FROM api_keys WHERE account_id = %(account_id)s
ORDER BY key_id DESC
