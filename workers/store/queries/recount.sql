-- Counting the totals anew, from the rows that they are made of.

-- name: forget_tallies
WITH days AS (DELETE FROM event_days), returns AS (DELETE FROM event_returns), hours AS (DELETE FROM event_hours),
     recent AS (DELETE FROM recent_events), leaving AS (DELETE FROM leaving)
DELETE FROM risk_moves

-- name: disown_events
UPDATE events SET stored_by = 0 WHERE stored_by >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint

-- name: recount_days
WITH given AS MATERIALIZED (
    SELECT account_id, customer_id, event, day, sum(n) AS n, min(last_at) AS first_at, max(last_at) AS last_at
    FROM customer_days JOIN customers USING (customer_id)
    WHERE NOT EXISTS (SELECT FROM erasing WHERE erasing.customer_id = customers.customer_id)
    GROUP BY 1, 2, 3, 4
), counted AS (
    INSERT INTO event_days (account_id, event, day, n, first_at, last_at)
    SELECT account_id, event, day, sum(n), min(first_at), max(last_at) FROM given GROUP BY 1, 2, 3
)
INSERT INTO event_returns (account_id, event, day, previous, customers)
SELECT account_id, event, day, coalesce(previous, '-infinity'), count(*)
FROM (
    SELECT account_id, event, day, lag(day) OVER (PARTITION BY customer_id, event ORDER BY day) AS previous FROM given
) AS returns
GROUP BY 1, 2, 3, 4

-- name: recount_hours
WITH given AS MATERIALIZED (
    SELECT account_id, customer_id, event, hour, n
    FROM (
        SELECT customer_id, event, date_trunc('hour', least(occurred_at, received_at), 'UTC') AS hour, count(*) AS n
        FROM events
        GROUP BY 1, 2, 3
    ) AS counted
    JOIN customers USING (customer_id)
    WHERE NOT EXISTS (SELECT FROM erasing WHERE erasing.customer_id = customers.customer_id)
), hours AS MATERIALIZED (
    SELECT account_id, event, hour, sum(n) AS n, count(*) AS customers FROM given GROUP BY 1, 2, 3
), latest AS (
    SELECT account_id, event, min(hour) AS since
    FROM (
        SELECT *, sum(customers) OVER (PARTITION BY account_id, event ORDER BY hour DESC) - customers AS later FROM hours
    ) AS counted
    WHERE later < %(kept)s
    GROUP BY 1, 2
), noted AS (
    INSERT INTO recent_events (customer_id, event, hour, account_id)
    SELECT customer_id, event, hour, account_id FROM given JOIN latest USING (account_id, event) WHERE hour >= since
)
INSERT INTO event_hours (account_id, event, hour, n, customers)
SELECT account_id, event, hour, n, customers FROM hours

-- name: recount_moves
WITH steps AS (
    SELECT customer_id, (at AT TIME ZONE 'UTC')::date AS day, level,
           lag(level) OVER (PARTITION BY customer_id ORDER BY at) AS before
    FROM (
        SELECT customer_id, at, CASE WHEN state = 'lapsed' THEN state ELSE level END AS level FROM risk_history
        UNION ALL
        SELECT customer_id, at, CASE WHEN state = 'lapsed' THEN state ELSE level END FROM risk_rebuilt
    ) AS risks
), moved AS (
    SELECT customer_id, day, level, 1 AS customers FROM steps WHERE level IS DISTINCT FROM before
    UNION ALL
    SELECT customer_id, day, before, -1 FROM steps WHERE before <> level
)
INSERT INTO risk_moves (account_id, day, level, customers)
SELECT account_id, day, moved.level, sum(customers)
FROM moved JOIN customers USING (customer_id)
GROUP BY 1, 2, 3 HAVING sum(customers) <> 0
