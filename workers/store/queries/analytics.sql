-- Reading the totals that totals.sql keeps.

-- name: count_account_events
-- Customers of a range are those who returned in it after a day before it. Both tables are added up by themselves: a join
-- of the two is planned badly as long as they have no statistics.
SELECT event, sum(n)::bigint AS count, sum(customers)::bigint AS customers, min(first_at) AS first_seen,
       max(last_at) AS last_seen
FROM (
    SELECT event, sum(n)::bigint AS n, 0 AS customers, min(first_at) AS first_at, max(last_at) AS last_at
    FROM event_days
    WHERE account_id = %(account_id)s AND day >= %(since)s::date AND day < %(until)s::date
    GROUP BY event
    UNION ALL
    SELECT event, 0, sum(customers), NULL, NULL
    FROM event_returns
    WHERE account_id = %(account_id)s AND day >= %(since)s::date AND day < %(until)s::date
      AND previous < %(since)s::date
    GROUP BY event
) AS totals
GROUP BY event
HAVING sum(n) > 0 AND sum(customers) > 0
ORDER BY count DESC, event
LIMIT %(limit)s

-- name: knows_event
SELECT EXISTS (SELECT FROM event_days WHERE account_id = %(account_id)s AND event = %(event)s) AS known

-- name: event_series_by_hour
SELECT hour AS at, n AS count, customers
FROM event_hours
WHERE account_id = %(account_id)s AND event = %(event)s AND hour >= %(since)s AND hour < %(until)s

-- name: event_series_by_day
-- A day's customers are counted beside its events, but those of events that a process of an earlier version has tallied.
SELECT date_trunc('day', day::timestamptz, 'UTC') AS at, n AS count, CASE WHEN counted = n THEN customers ELSE (
    SELECT coalesce(sum(customers), 0)::bigint FROM event_returns AS returns
    WHERE returns.account_id = days.account_id AND returns.event = days.event AND returns.day = days.day
) END AS customers
FROM event_days AS days
WHERE account_id = %(account_id)s AND event = %(event)s
  AND day >= (%(since)s AT TIME ZONE 'UTC')::date AND day < (%(until)s AT TIME ZONE 'UTC')::date

-- name: event_series
-- By weeks or months.
WITH counted AS (
    SELECT date_trunc(%(interval)s, day::timestamptz, 'UTC') AS at, sum(n)::bigint AS count
    FROM event_days
    WHERE account_id = %(account_id)s AND event = %(event)s
      AND day >= (%(since)s AT TIME ZONE 'UTC')::date AND day < (%(until)s AT TIME ZONE 'UTC')::date
    GROUP BY 1
), returned AS (
    SELECT date_trunc(%(interval)s, day::timestamptz, 'UTC') AS at,
           sum(customers) FILTER (WHERE previous < date_trunc(%(interval)s, day::timestamptz, 'UTC')) AS customers
    FROM event_returns
    WHERE account_id = %(account_id)s AND event = %(event)s
      AND day >= (%(since)s AT TIME ZONE 'UTC')::date AND day < (%(until)s AT TIME ZONE 'UTC')::date
    GROUP BY 1
)
SELECT at, count, coalesce(customers, 0)::bigint AS customers FROM counted LEFT JOIN returned USING (at)

-- name: recent_hours
-- Where the latest events of a name are, customer by customer and hour by hour, and how many; found by their key. Texts
-- that are long are common nowhere.
SELECT customer_id, hour, theirs.events
FROM (
    SELECT customer_id, hour FROM recent_events
    WHERE account_id = %(account_id)s AND event = %(event)s
      AND (%(first)s OR (hour, customer_id) < (%(hour)s::timestamptz, %(customer_id)s::uuid))
    ORDER BY hour DESC, customer_id DESC
    LIMIT %(limit)s
) AS recent
CROSS JOIN LATERAL (
    SELECT count(*) AS events FROM (
        SELECT FROM events
        WHERE events.customer_id = recent.customer_id AND events.event = %(event)s
          AND occurred_at >= hour AND occurred_at < hour + interval '2 hours'
          AND date_trunc('hour', least(occurred_at, received_at), 'UTC') = hour
          AND pg_column_size(properties) <= 2000
        LIMIT %(most)s
    ) AS counted
) AS theirs
ORDER BY hour DESC, customer_id DESC

-- name: event_values
-- How often each value of each property comes in these hours of customers, of each hour's events at most as many as asked.
-- A cell looks up its own customers. Many events have the same properties: these are taken apart once.
WITH latest AS MATERIALIZED (
    SELECT theirs.properties, count(*) AS events
    FROM unnest(%(customer_ids)s::uuid[], %(hours)s::timestamptz[], %(limits)s::integer[], %(cells)s::integer[])
         AS asked (customer_id, hour, most, cell)
    CROSS JOIN LATERAL (
        SELECT properties FROM events
        WHERE events.customer_id = asked.customer_id AND events.event = %(event)s
          AND occurred_at >= hour AND occurred_at < hour + interval '2 hours'
          AND date_trunc('hour', least(occurred_at, received_at), 'UTC') = hour
          AND pg_column_size(properties) <= 2000
        ORDER BY occurred_at DESC, event_key DESC
        LIMIT most
    ) AS theirs
    WHERE asked.cell = coalesce((SELECT number FROM installation), 0)
    GROUP BY theirs.properties
)
SELECT key AS name, value::text AS value, sum(events)::bigint AS count
FROM latest CROSS JOIN jsonb_each(properties) AS property (key, value)
WHERE jsonb_typeof(value) IN ('string', 'number', 'boolean') AND length(value::text) <= 200
GROUP BY key, property.value

-- name: risk_levels
-- How the customers at each level changed by day, with the first day what came before it.
SELECT greatest(day, %(first_day)s::date) AS day, level, sum(customers)::bigint AS customers
FROM risk_moves WHERE account_id = %(account_id)s
GROUP BY 1, 2

-- name: version_of_totals
-- Values that change whenever the totals may have.
SELECT (SELECT (snapshot::text, at)::text FROM tallied) AS tallied

-- name: version_of_learning
-- A value that changes whenever the model, or the standing of events, may have changed.
SELECT (SELECT version FROM models WHERE account_id = %(account_id)s AND in_use) AS version,
       (SELECT max(trained_at) FROM trainings WHERE account_id = %(account_id)s) AS trained_at

-- name: list_sent_names
-- Each name with its events, its customers, and on how many of their days it came (of all of them together).
SELECT event, sum(events)::bigint AS events, sum(customers)::bigint AS customers,
       sum(customer_days)::bigint AS customer_days
FROM (
    SELECT event, sum(n) AS events, 0 AS customers, sum(CASE WHEN counted = n THEN customers ELSE (
        SELECT sum(customers) FROM event_returns AS returns
        WHERE returns.account_id = days.account_id AND returns.event = days.event AND returns.day = days.day
    ) END) AS customer_days
    FROM event_days AS days WHERE account_id = %(account_id)s
    GROUP BY event
    UNION ALL
    SELECT event, 0, sum(customers), 0 FROM event_returns
    WHERE account_id = %(account_id)s AND previous = '-infinity'
    GROUP BY event
) AS totals
GROUP BY event
HAVING sum(events) > 0
ORDER BY events DESC, event
LIMIT %(limit)s

-- name: is_any_sent
SELECT EXISTS (SELECT FROM event_days WHERE account_id = %(account_id)s AND event = ANY (%(names)s::text[])) AS sent

-- name: mappings_of_account
SELECT mappings FROM accounts WHERE account_id = %(account_id)s
