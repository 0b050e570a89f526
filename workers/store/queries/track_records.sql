-- Track records: those that are due (by account), departures and flags (by customer).

-- name: request_track_record
INSERT INTO track_records (account_id) VALUES (%(account_id)s)
ON CONFLICT (account_id) DO UPDATE SET due = true WHERE NOT track_records.due

-- name: list_due_track_records
SELECT account_id FROM track_records WHERE due ORDER BY computed_at NULLS FIRST, account_id

-- name: begin_track_record
-- Requests from now on are new ones.
UPDATE track_records SET due = false WHERE account_id = %(account_id)s

-- name: save_track_record
INSERT INTO track_records (account_id, due, computed_at, since, horizon_days)
VALUES (%(account_id)s, false, %(at)s, %(since)s, %(horizon_days)s)
ON CONFLICT (account_id) DO UPDATE
SET computed_at = excluded.computed_at, since = excluded.since, horizon_days = excluded.horizon_days

-- name: forget_departures
DELETE FROM departures WHERE account_id = %(account_id)s

-- name: forget_flags
DELETE FROM flags WHERE account_id = %(account_id)s

-- name: copy_departures
-- Customers who were erased meanwhile are gone.
WITH there AS MATERIALIZED (
    SELECT lapsed.*
    FROM unnest(%(customer_id)s::uuid[], %(left_at)s::float8[], %(stayed_away)s::boolean[], %(risks)s::text[])
         AS lapsed (customer_id, left_at, stayed_away, risks)
    WHERE EXISTS (SELECT FROM customers WHERE customers.customer_id = lapsed.customer_id)
)
INSERT INTO departures (customer_id, left_at, account_id, stayed_away, risks)
SELECT customer_id, 'epoch'::timestamptz + left_at * interval '1 second', %(account_id)s, stayed_away, risks::real[]
FROM there
ON CONFLICT DO NOTHING

-- name: copy_flags
WITH there AS MATERIALIZED (
    SELECT flagged.*
    FROM unnest(%(customer_id)s::uuid[], %(at)s::float8[], %(probability)s::real[], %(has_left)s::boolean[])
         AS flagged (customer_id, at, probability, has_left)
    WHERE EXISTS (SELECT FROM customers WHERE customers.customer_id = flagged.customer_id)
)
INSERT INTO flags (customer_id, at, account_id, probability, has_left)
SELECT customer_id, 'epoch'::timestamptz + at * interval '1 second', %(account_id)s, probability, has_left
FROM there
ON CONFLICT DO NOTHING

-- name: forget_months
DELETE FROM churn_months WHERE account_id = %(account_id)s

-- name: copy_months
INSERT INTO churn_months (account_id, month, customers, joined, came_back, lapsed)
SELECT %(account_id)s, month, customers, joined, came_back, lapsed
FROM unnest(%(start)s::date[], %(customers)s::integer[], %(joined)s::integer[], %(came_back)s::integer[],
            %(lapsed)s::integer[]) AS months (month, customers, joined, came_back, lapsed)

-- name: list_churn_months
-- The latest first; `flagged` are those of the lapsed who had been at this risk so many days before.
SELECT month, customers, joined, came_back, lapsed, (
           SELECT count(*) FROM departures
           WHERE departures.account_id = %(account_id)s AND risks[%(before)s::integer] >= %(bound)s
             AND left_at >= month::timestamptz AND left_at < month + interval '1 month'
       ) AS flagged
FROM churn_months
WHERE account_id = %(account_id)s
ORDER BY month DESC

-- name: find_track_record
SELECT computed_at, since, horizon_days FROM track_records WHERE account_id = %(account_id)s AND computed_at IS NOT NULL

-- name: count_track_record
-- A customer who left more than once counts once, by the last time. A customer on several of the lists counts once,
-- by the first of them: the outcome after the first warning counts. The lists are those whose horizon is over.
WITH gone AS (
    SELECT DISTINCT ON (customer_id) customer_id, risks[%(before)s::integer] >= %(bound)s AS flagged
    FROM departures
    WHERE account_id = %(account_id)s AND stayed_away AND left_at > %(at)s::timestamptz - %(days)s * interval '1 day'
    ORDER BY customer_id, left_at DESC
), warned AS (
    SELECT DISTINCT ON (customer_id) customer_id, has_left
    FROM flags
    WHERE account_id = %(account_id)s AND probability >= %(bound)s
      AND at > %(at)s::timestamptz - (%(days)s + %(horizon_days)s) * interval '1 day'
    ORDER BY customer_id, at
)
SELECT (SELECT count(*) FROM gone) AS "left", (SELECT count(*) FROM gone WHERE flagged) AS flagged_before,
       count(*) AS flagged, count(*) FILTER (WHERE has_left) AS flagged_left
FROM warned

-- name: count_flagged_lines
-- The same by line of the lists.
SELECT count(*) AS lines, count(*) FILTER (WHERE has_left) AS lines_left
FROM flags
WHERE account_id = %(account_id)s AND probability >= %(bound)s
  AND at > %(at)s::timestamptz - (%(days)s + %(horizon_days)s) * interval '1 day'

-- name: count_flagged_earlier
-- The number of departures that had been flagged, by days before.
SELECT days_before, count(*) FILTER (WHERE risks[days_before] >= %(bound)s) AS flagged
FROM unnest(%(days_before)s::integer[]) AS days_before
CROSS JOIN (
    SELECT DISTINCT ON (customer_id) risks
    FROM departures
    WHERE account_id = %(account_id)s AND stayed_away AND left_at > %(at)s::timestamptz - %(days)s * interval '1 day'
    ORDER BY customer_id, left_at DESC
) AS gone
GROUP BY days_before
ORDER BY days_before DESC

-- name: list_departed
SELECT email, gone.*
FROM (
    SELECT DISTINCT ON (customer_id) customer_id, left_at, risks[%(before)s::integer] AS risk
    FROM departures
    WHERE account_id = %(account_id)s AND stayed_away AND left_at > %(at)s::timestamptz - %(days)s * interval '1 day'
    ORDER BY customer_id, left_at DESC
) AS gone
JOIN customers USING (customer_id)
WHERE %(first)s OR (gone.left_at, gone.customer_id) < (%(left_at)s::timestamptz, %(customer_id)s::uuid)
ORDER BY gone.left_at DESC, gone.customer_id DESC
LIMIT %(limit)s
