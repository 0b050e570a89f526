-- What the dashboard alone asks.

-- name: count_levels
SELECT level, state, count(*) AS customers
FROM customers WHERE account_id = %(account_id)s
GROUP BY level, state

-- name: any_customer
SELECT 1 FROM customers WHERE account_id = %(account_id)s LIMIT 1

-- name: account_keys
SELECT key_id, hint, publishable, rate_limit, created_at, revoked_at
FROM api_keys WHERE account_id = %(account_id)s
ORDER BY key_id DESC

-- name: account_health
SELECT (SELECT began_at FROM outages WHERE account_id = %(account_id)s AND ended_at IS NULL LIMIT 1) AS out_since,
       (SELECT count(*) FROM (
            SELECT FROM dead_letters WHERE account_id = %(account_id)s LIMIT %(limit)s
        ) AS counted) AS dead_letters,
       coalesce((SELECT extract(epoch FROM now() - min(rescore_at))::float8 FROM customers WHERE rescore_at <= now()), 0)
           AS due_seconds

-- Whose risk rose most within a week: of the riskiest who haven't lapsed, since who rose most is among them.
-- name: risen
WITH likely AS (
    SELECT customer_id, email, probability, level, reasons -> 0 ->> 'text' AS reason
    FROM customers
    WHERE account_id = %(account_id)s AND state <> 'lapsed'
    ORDER BY probability DESC, customer_id DESC
    LIMIT %(among)s
)
SELECT email, likely.probability, level, reason, said.probability AS before
FROM likely
CROSS JOIN LATERAL (
    SELECT probability
    FROM (
        SELECT customer_id, at, probability FROM risk_history
        UNION ALL
        SELECT customer_id, at, probability FROM risk_rebuilt
    ) AS risks
    WHERE risks.customer_id = likely.customer_id AND at <= now() - interval '7 days'
    ORDER BY at DESC LIMIT 1
) AS said
WHERE likely.probability - said.probability >= %(least)s
ORDER BY likely.probability - said.probability DESC, email
LIMIT %(limit)s
