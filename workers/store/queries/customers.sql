-- name: list_customers
-- The marks stand for the table or first_customers, for filter_customers, for the risks of past moments (see
-- api/reading/past.py), for what narrows by them, and for the order.
SELECT customers.customer_id, email, first_seen, last_seen, last_active, customers.probability, customers.level,
       customers.state, reasons -> 0 ->> 'text' AS reason, low_confidence, plan, name, company, mrr, currency, mrr_at_risk,
       paid, open_tickets,
       overdue_since, nps, risk_before, {risen} AS risen, urgency, advice, advice ->> 'strategy' AS strategy,
       advice ->> 'urgency' AS advice_urgency, advice ->> 'why' AS why,
       -- A customer with an event since the last score is soon due.
       CASE WHEN rescore_at > now() + interval '1 hour' THEN last_seen ELSE greatest(last_seen, (
           SELECT max(last_at) FROM customer_days AS days
           WHERE days.customer_id = customers.customer_id
             AND days.day >= (customers.last_seen AT TIME ZONE 'UTC')::date
       )) END AS last_event
FROM {customers} {pasts}
WHERE {filter}
  AND (%(least)s::real IS NULL
       OR (customers.probability >= %(least)s AND customers.state <> 'lapsed' AND {risen} >= %(least)s))
  {then}
ORDER BY {column} {order}, customers.customer_id {order}
LIMIT %(limit)s

-- name: first_customers
-- A part of list_customers: the first of the list, before what is narrowed by risks of the past.
(
    SELECT * FROM customers
    WHERE {filter} AND (%(least)s::real IS NULL OR (customers.probability >= %(least)s AND customers.state <> 'lapsed'))
    ORDER BY {column} {order}, customers.customer_id {order}
    LIMIT %(looked_up)s
) AS customers

-- name: filter_customers
-- A part of both: what is known without the risks of the past, and the position in the list.
account_id = %(account_id)s
  AND (%(levels)s::text[] IS NULL OR customers.level = ANY (%(levels)s))
  AND (%(states)s::text[] IS NULL OR customers.state = ANY (%(states)s))
  AND (%(plan)s::text IS NULL OR plan = %(plan)s)
  AND (%(company)s::text IS NULL OR company = %(company)s)
  AND (%(currency)s::text IS NULL OR currency = %(currency)s)
  AND (%(prefix)s::text IS NULL OR email LIKE %(prefix)s)
  AND (%(lapsed_since)s::timestamptz IS NULL OR lapsed_at >= %(lapsed_since)s)
  {search}
  AND (%(first)s OR ({column}, customers.customer_id) {compare} (%(value)s::{type}, %(customer_id)s::uuid))

-- name: search_customers
-- A part of filter_customers.
AND customers.customer_id IN (
    SELECT customer_id FROM customer_search WHERE account_id = %(account_id)s AND email LIKE %(search)s
)

-- name: describe_past
-- Of an account: true if its model or rules changed after a moment; and true if it has so many customers, and so large a
-- part of all in these tables, that reading everybody's risk of that moment is quicker than looking up each one's.
SELECT EXISTS (
           SELECT FROM model_changes WHERE account_id = %(account_id)s AND at > %(moment)s
       ) AS has_changed,
       (SELECT count(*) FROM (
           SELECT FROM customers WHERE account_id = %(account_id)s LIMIT largest.customers
       ) AS counted) = largest.customers AS is_large
FROM (
    SELECT greatest(%(many)s, reltuples / 20)::bigint AS customers
    FROM pg_class WHERE oid = 'customers'::regclass
) AS largest

-- name: risk_since
-- A part of list_customers: the risk in force at a moment, by the model of now. A change of the model or the rules makes
-- the risks that were given before it incomparable; those of some past moments were computed anew then.
(SELECT risks.probability
 FROM (
     (SELECT given.at, given.probability FROM risk_history AS given
      WHERE given.customer_id = customers.customer_id AND given.at <= {moment}
        AND given.at >= coalesce(comparable_since, '-infinity') AND given.model = customers.model
      ORDER BY given.at DESC LIMIT 1)
     UNION ALL
     (SELECT rebuilt.at, rebuilt.probability FROM risk_rebuilt AS rebuilt
      WHERE rebuilt.customer_id = customers.customer_id AND rebuilt.at <= {moment} AND rebuilt.model = customers.model
      ORDER BY rebuilt.at DESC LIMIT 1)
     UNION ALL
     (SELECT restated.at, restated.probability FROM risk_restated AS restated
      WHERE restated.customer_id = customers.customer_id AND restated.generation = customers.generation
        AND restated.at <= {moment}
      ORDER BY restated.at DESC LIMIT 1)
 ) AS risks
 ORDER BY risks.at DESC LIMIT 1)

-- name: level_then
-- A part of list_customers: the level in force at a moment.
CASE WHEN recorded_at <= {moment} THEN standing(recorded_state, recorded_level) ELSE coalesce(
    (SELECT standing(given.state, given.level) FROM risk_history AS given
     WHERE given.customer_id = customers.customer_id AND given.at <= {moment}
     ORDER BY given.at DESC LIMIT 1),
    (SELECT standing(rebuilt.state, rebuilt.level) FROM risk_rebuilt AS rebuilt
     WHERE rebuilt.customer_id = customers.customer_id AND rebuilt.at <= {moment}
     ORDER BY rebuilt.at DESC LIMIT 1)
) END

-- name: level_restated
-- A part of list_customers: the level at a moment, as the model has it that came after it.
(SELECT standing(restated.state, restated.level) FROM risk_restated AS restated
 WHERE restated.customer_id = customers.customer_id AND restated.generation = customers.generation
   AND restated.at <= {moment}
 ORDER BY restated.at DESC LIMIT 1)

-- name: look_up
-- A part of list_customers: one of the three above, for each customer.
CROSS JOIN LATERAL (SELECT {risk} AS was OFFSET 0) AS {past}

-- name: risks_in_pass
-- A part of list_customers: everybody's risk at a moment, in one pass over what was recorded shortly before it. Risks are
-- recorded about once a day, rebuilt ones are of Mondays. `latest` is the time of the latest one, in milliseconds from
-- the moment, and as its fraction what the risk was: a maximum takes half as long as sorting rows by their time.
LEFT JOIN (
    SELECT customer_id, max(latest) AS latest
    FROM (
        SELECT customer_id, floor((date_part('epoch', at) - {epoch}) * 1000) + {fraction} AS latest FROM risk_history
        WHERE at > {moment}::timestamptz - interval '2 days' AND at <= {moment}
        UNION ALL
        SELECT customer_id, floor((date_part('epoch', at) - {epoch}) * 1000) + {fraction} FROM risk_rebuilt
        WHERE at > {moment}::timestamptz - interval '7 days' AND at <= {moment}
    ) AS risks
    GROUP BY customer_id
) AS {past} ON {past}.customer_id = customers.customer_id

-- name: restated_in_pass
-- A part of list_customers: everybody's risk at a moment as the model has it that came after it, computed for some days.
LEFT JOIN risk_restated AS {past} ON {past}.customer_id = customers.customer_id
    AND {past}.generation = customers.generation
    AND {past}.at = (SELECT max(at) FROM levels_restated WHERE account_id = %(account_id)s AND at <= {moment})

-- name: risk_in_pass
-- A part of list_customers, with risks_in_pass. Few customers are looked up: those who had no risk for days, or whose
-- score changed its model since.
CASE WHEN {is_latest} AND floor({past}.latest) / 1000 >= date_part('epoch', coalesce(comparable_since, 'epoch')) - {epoch}
     THEN (2 * ({past}.latest - floor({past}.latest)))::real
     WHEN first_seen <= {moment}::timestamptz + interval '1 hour' THEN {risk} END

-- name: level_in_pass
-- A part of list_customers, with risks_in_pass.
CASE WHEN {is_latest}
     THEN (ARRAY['low', 'medium', 'high', 'critical', 'lapsed'])[8 * ({past}.latest - floor({past}.latest))]
     WHEN first_seen <= {moment}::timestamptz + interval '1 hour' THEN {risk} END

-- name: is_latest_in_pass
-- A part of both. A rebuilt risk of before these two days is the latest one where nobody's was recorded meanwhile.
({past}.latest >= -172800000 OR {past}.latest < 0 AND NOT EXISTS (
    SELECT FROM risk_history
    WHERE at > {moment}::timestamptz - interval '7 days' AND at <= {moment}::timestamptz - interval '2 days'
))

-- name: level_fraction
-- A part of risks_in_pass.
CASE WHEN state = 'lapsed' THEN 5 ELSE array_position(ARRAY['low', 'medium', 'high', 'critical'], level) END / 8::float8

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
-- Customers of an account who were due at a moment, or a few seconds later, and haven't been scored since; and those
-- whose score is provisional: they are due again when the clock sees that history is in.
SELECT count(*) FROM customers
WHERE account_id = %(account_id)s AND (
    provisional OR (
        rescore_at < %(stored_at)s::timestamptz + interval '10 seconds'
        AND (scored_at IS NULL OR scored_at < %(stored_at)s)
    )
)
