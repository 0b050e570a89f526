-- name: count_account_events
SELECT event, sum(n)::bigint AS count, count(*) AS customers, min(first_seen) AS first_seen, max(last_seen) AS last_seen
FROM (
    SELECT event, sum(days.n) AS n, min(days.last_at) AS first_seen, max(days.last_at) AS last_seen
    FROM customer_days AS days JOIN customers USING (customer_id)
    WHERE account_id = %(account_id)s
      AND day >= coalesce(%(since)s::timestamptz, '-infinity') AND day < coalesce(%(until)s::timestamptz, 'infinity')
    GROUP BY event, days.customer_id
) AS by_customer
GROUP BY event
ORDER BY count DESC, event

-- name: knows_event
SELECT EXISTS (
    SELECT FROM customer_days JOIN customers USING (customer_id) WHERE account_id = %(account_id)s AND event = %(event)s
) AS known

-- name: event_series
SELECT date_trunc(%(interval)s, seen_at) AS at, count(*) AS count, count(DISTINCT customer_id) AS customers
FROM (
    SELECT customer_id, least(occurred_at, events.received_at) AS seen_at
    FROM events JOIN customers USING (customer_id)
    WHERE account_id = %(account_id)s AND event = %(event)s
) AS seen
WHERE seen_at >= %(since)s AND seen_at < %(until)s
GROUP BY at

-- name: event_values
WITH latest AS (
    SELECT properties
    FROM events JOIN customers USING (customer_id)
    WHERE account_id = %(account_id)s AND event = %(event)s
    ORDER BY occurred_at DESC
    LIMIT 1000
), counted AS (
    SELECT key AS name, value, count(*) AS count, sum(count(*)) OVER (PARTITION BY key) AS total,
           row_number() OVER (PARTITION BY key ORDER BY count(*) DESC, value) AS place
    FROM latest CROSS JOIN jsonb_each(properties)
    WHERE jsonb_typeof(value) IN ('string', 'number', 'boolean') AND length(value::text) <= 200
    GROUP BY key, value
)
SELECT name, value::text AS value, count FROM counted WHERE place <= 10 ORDER BY total DESC, name, place

-- name: risk_levels
SELECT day AS at,
       count(*) FILTER (WHERE said.level = 'low' AND said.state <> 'lapsed') AS low,
       count(*) FILTER (WHERE said.level = 'medium' AND said.state <> 'lapsed') AS medium,
       count(*) FILTER (WHERE said.level = 'high' AND said.state <> 'lapsed') AS high,
       count(*) FILTER (WHERE said.level = 'critical' AND said.state <> 'lapsed') AS critical,
       count(*) FILTER (WHERE said.state = 'lapsed') AS lapsed
FROM generate_series(date_trunc('day', %(since)s::timestamptz), %(until)s::timestamptz, interval '1 day') AS day,
     customers,
     LATERAL (
        SELECT level, state FROM (
            SELECT customer_id, at, level, state FROM risk_history
            UNION ALL
            SELECT customer_id, at, level, state FROM risk_rebuilt
        ) AS risks
        WHERE risks.customer_id = customers.customer_id AND at < day + interval '1 day'
        ORDER BY at DESC LIMIT 1
     ) AS said
WHERE account_id = %(account_id)s
GROUP BY day
ORDER BY day
