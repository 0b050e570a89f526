-- name: list_customers
-- The marks stand for risk_since or level_then, for what narrows by them, for search_customers, and for the order.
SELECT customer_id, email, first_seen, last_seen, last_active, probability, level, state,
       reasons -> 0 ->> 'text' AS reason, low_confidence, plan, name, company, mrr, currency, mrr_at_risk,
       paid, open_tickets,
       overdue_since, nps, risk_before, {risen} AS risen, urgency, advice, advice ->> 'strategy' AS strategy,
       advice ->> 'urgency' AS advice_urgency, advice ->> 'why' AS why,
       -- A customer with an event since the last score is soon due.
       CASE WHEN rescore_at > now() + interval '1 hour' THEN last_seen ELSE greatest(last_seen, (
           SELECT max(last_at) FROM customer_days AS days
           WHERE days.customer_id = customers.customer_id
             AND days.day >= (customers.last_seen AT TIME ZONE 'UTC')::date
       )) END AS last_event
FROM customers {past}
WHERE account_id = %(account_id)s
  AND (%(levels)s::text[] IS NULL OR level = ANY (%(levels)s))
  AND (%(states)s::text[] IS NULL OR state = ANY (%(states)s))
  AND (%(plan)s::text IS NULL OR plan = %(plan)s)
  AND (%(company)s::text IS NULL OR company = %(company)s)
  AND (%(currency)s::text IS NULL OR currency = %(currency)s)
  AND (%(prefix)s::text IS NULL OR email LIKE %(prefix)s)
  AND (%(least)s::real IS NULL OR (probability >= %(least)s AND state <> 'lapsed' AND {risen} >= %(least)s))
  AND (%(lapsed_since)s::timestamptz IS NULL OR lapsed_at >= %(lapsed_since)s)
  {then}
  {search}
  AND (%(first)s OR ({column}, customer_id) {compare} (%(value)s::{type}, %(customer_id)s::uuid))
ORDER BY {column} {order}, customer_id {order}
LIMIT %(limit)s

-- name: search_customers
-- A part of list_customers.
AND customer_id IN (
    SELECT customer_id FROM customer_search WHERE account_id = %(account_id)s AND email LIKE %(search)s
)

-- name: risk_since
-- A part of list_customers: the risk in force at a time, by the model of now. A risk that was given is later than all
-- that were rebuilt.
CROSS JOIN LATERAL (
    SELECT coalesce(
        (SELECT given.probability FROM risk_history AS given
         WHERE given.customer_id = customers.customer_id AND given.at <= %(since)s AND given.model = customers.model
         ORDER BY given.at DESC LIMIT 1),
        (SELECT rebuilt.probability FROM risk_rebuilt AS rebuilt
         WHERE rebuilt.customer_id = customers.customer_id AND rebuilt.at <= %(since)s
           AND rebuilt.model = customers.model
         ORDER BY rebuilt.at DESC LIMIT 1)
    ) AS was
    OFFSET 0
) AS past

-- name: level_then
-- A part of list_customers: the level in force at a time, whatever the model.
CROSS JOIN LATERAL (
    SELECT CASE WHEN recorded_at <= %(then)s THEN standing(recorded_state, recorded_level) ELSE coalesce(
        (SELECT standing(given.state, given.level) FROM risk_history AS given
         WHERE given.customer_id = customers.customer_id AND given.at <= %(then)s
         ORDER BY given.at DESC LIMIT 1),
        (SELECT standing(rebuilt.state, rebuilt.level) FROM risk_rebuilt AS rebuilt
         WHERE rebuilt.customer_id = customers.customer_id AND rebuilt.at <= %(then)s
         ORDER BY rebuilt.at DESC LIMIT 1)
    ) END AS stood
    OFFSET 0
) AS past

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
-- From the risk in force at the beginning on.
WITH risks AS (
    SELECT at, probability, level, model, false AS rebuilt FROM risk_history WHERE customer_id = %(customer_id)s
    UNION ALL
    SELECT at, probability, level, model, true FROM risk_rebuilt WHERE customer_id = %(customer_id)s
)
SELECT at, probability, level, model, rebuilt
FROM risks
WHERE at >= coalesce((SELECT max(at) FROM risks WHERE at <= %(from)s::timestamptz), '-infinity')
  AND at <= coalesce(%(to)s::timestamptz, 'infinity')
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

-- name: count_unscored
-- Customers of an account who were due at a moment, or a few seconds later, and haven't been scored since.
SELECT count(*) FROM customers
WHERE account_id = %(account_id)s AND rescore_at < %(stored_at)s::timestamptz + interval '10 seconds'
  AND (scored_at IS NULL OR provisional OR scored_at < %(stored_at)s)
