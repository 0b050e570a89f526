-- Track records: what is due (by account), who left and who was flagged (by customer).

-- name: request_track_record
INSERT INTO track_records (account_id) VALUES (%(account_id)s)
ON CONFLICT (account_id) DO UPDATE SET due = true WHERE NOT track_records.due

-- name: list_due_track_records
SELECT account_id FROM track_records WHERE due ORDER BY computed_at NULLS FIRST, account_id

-- name: begin_track_record
-- What is asked for from now on is asked for again.
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
    SELECT gone.*
    FROM unnest(%(customer_id)s::uuid[], %(left_at)s::float8[], %(risks)s::text[]) AS gone (customer_id, left_at, risks)
    WHERE EXISTS (SELECT FROM customers WHERE customers.customer_id = gone.customer_id)
)
INSERT INTO departures (customer_id, left_at, account_id, risks)
SELECT customer_id, 'epoch'::timestamptz + left_at * interval '1 second', %(account_id)s, risks::real[]
FROM there
ON CONFLICT DO NOTHING

-- name: copy_flags
WITH there AS MATERIALIZED (
    SELECT flagged.*
    FROM unnest(%(customer_id)s::uuid[], %(at)s::float8[], %(probability)s::real[], %(left_at)s::float8[])
         AS flagged (customer_id, at, probability, left_at)
    WHERE EXISTS (SELECT FROM customers WHERE customers.customer_id = flagged.customer_id)
)
INSERT INTO flags (customer_id, at, account_id, probability, left_at)
SELECT customer_id, 'epoch'::timestamptz + at * interval '1 second', %(account_id)s, probability,
       'epoch'::timestamptz + left_at * interval '1 second'
FROM there
ON CONFLICT DO NOTHING

-- name: find_track_record
SELECT computed_at, since, horizon_days FROM track_records WHERE account_id = %(account_id)s AND computed_at IS NOT NULL

-- name: count_track_record
-- A customer who left more than once counts once, by the last time.
WITH gone AS (
    SELECT DISTINCT ON (customer_id) customer_id, risks[%(before)s::integer] >= %(bound)s AS flagged
    FROM departures
    WHERE account_id = %(account_id)s AND left_at > %(at)s::timestamptz - %(days)s * interval '1 day'
    ORDER BY customer_id, left_at DESC
), flagged AS (
    SELECT customer_id, bool_or(left_at IS NOT NULL) AS left_since
    FROM flags
    WHERE account_id = %(account_id)s AND probability >= %(bound)s
      AND at > %(at)s::timestamptz - (%(days)s + %(before)s) * interval '1 day'
      AND at <= %(at)s::timestamptz - %(before)s * interval '1 day'
    GROUP BY customer_id
    UNION ALL
    SELECT customer_id, true FROM gone WHERE flagged
)
SELECT (SELECT count(*) FROM gone) AS "left", (SELECT count(*) FROM gone WHERE flagged) AS flagged_before,
       count(DISTINCT customer_id) AS flagged, count(DISTINCT customer_id) FILTER (WHERE left_since) AS flagged_left
FROM flagged

-- name: list_departed
SELECT email, gone.*
FROM (
    SELECT DISTINCT ON (customer_id) customer_id, left_at, risks[%(before)s::integer] AS risk
    FROM departures
    WHERE account_id = %(account_id)s AND left_at > %(at)s::timestamptz - %(days)s * interval '1 day'
    ORDER BY customer_id, left_at DESC
) AS gone
JOIN customers USING (customer_id)
WHERE %(first)s OR (gone.left_at, gone.customer_id) < (%(left_at)s::timestamptz, %(customer_id)s::uuid)
ORDER BY gone.left_at DESC, gone.customer_id DESC
LIMIT %(limit)s
