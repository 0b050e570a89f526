-- What the dashboard alone asks.

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

-- name: urgent
-- The riskiest who haven't lapsed, and whom nobody has put off.
WITH riskiest AS (
    SELECT customer_id FROM customers
    WHERE account_id = %(account_id)s AND state <> 'lapsed' AND (snoozed_until IS NULL OR snoozed_until <= now())
    ORDER BY probability DESC, customer_id DESC
    LIMIT %(limit)s
)
SELECT email, probability, level, reasons -> 0 ->> 'text' AS reason, advice ->> 'strategy' AS strategy
FROM riskiest JOIN customers USING (customer_id)
WHERE level <> 'low'
ORDER BY probability DESC, customer_id DESC

-- name: risen
-- Whose risk rose most within a week by the same model: of the riskiest, since those who rose most are among them.
WITH riskiest AS (
    SELECT customer_id FROM customers
    WHERE account_id = %(account_id)s AND state <> 'lapsed'
    ORDER BY probability DESC, customer_id DESC
    LIMIT %(among)s
)
SELECT email, customers.probability, level, reasons -> 0 ->> 'text' AS reason, week_ago.probability AS before
FROM riskiest JOIN customers USING (customer_id)
CROSS JOIN LATERAL (SELECT risk_then(customers, now() - interval '7 days') AS probability) AS week_ago
WHERE customers.probability - week_ago.probability >= %(least)s AND NOT provisional
ORDER BY customers.probability - week_ago.probability DESC, email
LIMIT %(limit)s

-- name: daily_counts
-- How often each of these events came on each day since.
SELECT event, day, n
FROM event_days
WHERE account_id = %(account_id)s AND day >= %(since)s AND day <= %(until)s AND event = ANY (%(events)s::text[])

-- name: counted_at
-- When the totals were last brought up to date.
SELECT at FROM tallied
