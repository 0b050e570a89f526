-- Queries of the dashboard alone.

-- name: any_customer
SELECT 1 FROM customers WHERE account_id = %(account_id)s LIMIT 1

-- name: account_keys
SELECT key_id, hint, publishable, rate_limit, created_at, revoked_at, name
FROM api_keys WHERE account_id = %(account_id)s
ORDER BY key_id DESC

-- name: account_health
SELECT (SELECT count(*) FROM (
            SELECT FROM dead_letters WHERE account_id = %(account_id)s LIMIT %(limit)s
        ) AS counted) AS dead_letters,
       stored.events, stored.last_at,
       coalesce((
           SELECT extract(epoch FROM now() - min(rescore_at))::float8 FROM customers
           WHERE rescore_at <= now() AND account_id = %(account_id)s
       ), 0) AS due_seconds
FROM (
    SELECT coalesce(sum(n), 0)::bigint AS events, max(last_at) AS last_at FROM event_days WHERE account_id = %(account_id)s
) AS stored

-- name: urgent
-- Whom to talk to first, by the order of customers.urgency.
SELECT customer_id, email, probability, level, reasons -> 0 ->> 'text' AS reason, advice ->> 'strategy' AS strategy,
       advice ->> 'why' AS why, risen, last_active, plan, company, mrr, currency, paid, urgency
FROM customers
WHERE account_id = %(account_id)s AND urgency > 0 AND level <> 'low' AND coalesce(snoozed_until, '-infinity') <= now()
ORDER BY urgency DESC, customer_id DESC
LIMIT %(limit)s

-- name: risen
-- The biggest rises within two weeks.
SELECT customer_id, email, probability, level, reasons -> 0 ->> 'text' AS reason, risk_before AS before, risen
FROM customers
WHERE account_id = %(account_id)s AND coalesce(risen, 0) >= %(least)s AND urgency > 0
ORDER BY coalesce(risen, 0) DESC, customer_id DESC
LIMIT %(limit)s

-- name: count_lapsed
-- How many customers have lapsed since a time.
SELECT count(*) AS customers FROM customers WHERE account_id = %(account_id)s AND lapsed_at >= %(since)s

-- name: daily_counts
-- How often each of these events came on each day since.
SELECT event, day, n
FROM event_days
WHERE account_id = %(account_id)s AND day >= %(since)s AND day <= %(until)s AND event = ANY (%(events)s::text[])

-- name: counted_at
-- When the totals were last brought up to date.
SELECT at FROM tallied

-- name: risk_by_plan
-- Customers with a risk by plan, and the sum of the risks of those who have not lapsed.
SELECT coalesce(plan, '') AS plan, count(*) FILTER (WHERE state <> 'lapsed') AS customers,
       count(*) FILTER (WHERE state <> 'lapsed' AND level IN ('high', 'critical')) AS likely,
       coalesce(sum(probability::float8) FILTER (WHERE state <> 'lapsed'), 0) AS risk,
       count(*) FILTER (WHERE state = 'lapsed') AS lapsed
FROM customers
WHERE account_id = %(account_id)s AND level IS NOT NULL
GROUP BY 1
