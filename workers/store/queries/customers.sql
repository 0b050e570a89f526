-- name: list_customers
SELECT customer_id, email, first_seen, last_seen, probability, level, state, reasons -> 0 ->> 'text' AS reason,
       low_confidence, plan, open_tickets, overdue_since, nps,
       advice ->> 'strategy' AS strategy, advice ->> 'urgency' AS urgency, advice ->> 'why' AS why,
       -- Who sent something since the last score is soon due.
       CASE WHEN rescore_at > now() + interval '1 hour' THEN last_seen ELSE greatest(last_seen, (
           SELECT max(last_at) FROM customer_days AS days
           WHERE days.customer_id = customers.customer_id
             AND days.day >= (customers.last_seen AT TIME ZONE 'UTC')::date
       )) END AS last_event
FROM customers
WHERE account_id = %(account_id)s
  AND (%(level)s::text IS NULL OR level = %(level)s)
  AND (%(state)s::text IS NULL OR state = %(state)s OR (%(state)s = 'here' AND state <> 'lapsed'))
  AND (%(prefix)s::text IS NULL OR email LIKE %(prefix)s)
  AND (%(first)s OR ({column}, customer_id) {compare} (%(value)s::{type}, %(customer_id)s::uuid))
ORDER BY {column} {order}, customer_id {order}
LIMIT %(limit)s

-- name: find_customer
SELECT *, greatest(last_seen, (
    SELECT max(last_at) FROM customer_days AS days
    WHERE days.customer_id = customers.customer_id
      AND days.day >= (customers.last_seen AT TIME ZONE 'UTC')::date
)) AS last_event
FROM customers
WHERE customer_id = %(customer_id)s

-- name: count_events
SELECT event, sum(n)::bigint AS n FROM customer_days WHERE customer_id = %(customer_id)s GROUP BY event ORDER BY n DESC, event

-- name: list_events
SELECT event, occurred_at, event_key, received_at, properties::text AS properties
FROM events
WHERE customer_id = %(customer_id)s
  AND (%(first)s OR (occurred_at, event_key) < (%(occurred_at)s::timestamptz, %(event_key)s::bigint))
ORDER BY occurred_at DESC, event_key DESC
LIMIT %(limit)s

-- name: list_risk
SELECT at, probability, level, rebuilt
FROM (
    SELECT customer_id, at, probability, level, false AS rebuilt FROM risk_history
    UNION ALL
    SELECT customer_id, at, probability, level, true FROM risk_rebuilt
) AS risks
WHERE customer_id = %(customer_id)s
  AND at >= coalesce(%(from)s::timestamptz, '-infinity') AND at <= coalesce(%(to)s::timestamptz, 'infinity')
ORDER BY at

-- name: list_moves
-- The latest of the events that move a risk, oldest first.
SELECT * FROM (
    SELECT event, detail, n, last_at FROM customer_days
    WHERE customer_id = %(customer_id)s AND day >= (%(since)s::timestamptz AT TIME ZONE 'UTC')::date
      AND event = ANY (%(events)s::text[])
    ORDER BY last_at DESC
    LIMIT 60
) AS latest
ORDER BY last_at
