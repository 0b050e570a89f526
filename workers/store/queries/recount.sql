-- Counting the totals anew, customer by customer: see workers/upkeep/recount.py.

-- name: read_recount
-- `near`: our own transactions come near to the other server's numbers that are left.
SELECT snapshot::text, pg_snapshot_xmin(snapshot)::text::bigint, pg_snapshot_xmax(snapshot)::text::bigint, foreign_from,
       after::text, pg_snapshot_xmax(pg_current_snapshot())::text::bigint + %(ahead)s > foreign_from
FROM recounts
-- Else the recount was another server's.
WHERE pg_snapshot_xmax(snapshot) <= pg_snapshot_xmax(pg_current_snapshot())
  AND coalesce(server = (SELECT system_identifier FROM pg_control_system()), true)

-- name: forget_totals
WITH days AS (DELETE FROM event_days), returns AS (DELETE FROM event_returns), hours AS (DELETE FROM event_hours),
     recent AS (DELETE FROM recent_events), leaving AS (DELETE FROM leaving),
     arriving AS (DELETE FROM arriving)
DELETE FROM tallied

-- name: begin_recount
INSERT INTO recounts (snapshot, after, foreign_from, server)
SELECT snapshot, %(first)s::uuid, pg_snapshot_xmax(snapshot)::text::bigint, system_identifier
FROM pg_current_snapshot() AS snapshot, pg_control_system()
ON CONFLICT (single) DO UPDATE
SET snapshot = excluded.snapshot, after = excluded.after, foreign_from = excluded.foreign_from,
    began_at = excluded.began_at, server = excluded.server

-- name: renumber_events
-- Events of another server's transactions get the number 0, which every snapshot has seen.
UPDATE events SET stored_by = 0 WHERE stored_by >= %(from)s AND stored_by < %(until)s

-- name: note_renumbered
UPDATE recounts SET foreign_from = %(until)s

-- name: create_part
CREATE TEMPORARY TABLE IF NOT EXISTS part (
    customer_id uuid PRIMARY KEY,
    account_id integer NOT NULL
) ON COMMIT DELETE ROWS

-- name: fill_part
INSERT INTO part (customer_id, account_id)
SELECT customer_id, account_id FROM customers
WHERE customer_id > %(after)s::uuid ORDER BY customer_id LIMIT %(limit)s

-- name: end_of_part
SELECT customer_id::text FROM part ORDER BY part.customer_id DESC LIMIT 1

-- name: skip_erasing
DELETE FROM part USING erasing WHERE part.customer_id = erasing.customer_id

-- name: drop_leaving
-- These were erased before they were counted.
DELETE FROM leaving WHERE customer_id > %(after)s::uuid AND customer_id <= %(upto)s::uuid

-- name: renumber_part
UPDATE events SET stored_by = 0
WHERE customer_id = ANY (ARRAY(SELECT customer_id FROM part)) AND stored_by >= %(foreign_from)s

-- name: recount_days
-- The rollup counts all events, pruned ones too; `late` is what the next tally counts. Nothing is joined here
-- but the customers' rows, so no plan can be quadratic.
WITH counted AS (
    SELECT part.account_id, part.customer_id, days.event, days.day, days.n, days.last_at
    FROM part
    CROSS JOIN LATERAL (
        SELECT event, day, n, last_at FROM customer_days WHERE customer_days.customer_id = part.customer_id OFFSET 0
    ) AS days
    UNION ALL
    SELECT part.account_id, part.customer_id, late.event, late.day, -1, NULL
    FROM part
    CROSS JOIN LATERAL (
        SELECT event, (least(occurred_at, received_at) AT TIME ZONE 'UTC')::date AS day FROM events
        WHERE events.customer_id = part.customer_id AND stored_by >= %(xmin)s
          AND (stored_by >= %(xmax)s OR NOT pg_visible_in_snapshot(stored_by::text::xid8, %(snapshot)s::pg_snapshot))
        OFFSET 0
    ) AS late
    UNION ALL
    SELECT part.account_id, part.customer_id, late.event, late.day, -late.n, NULL
    FROM part
    CROSS JOIN LATERAL (
        SELECT event, day, n FROM arriving
        WHERE arriving.customer_id = part.customer_id AND stored_by >= %(xmin)s
          AND (stored_by >= %(xmax)s OR NOT pg_visible_in_snapshot(stored_by::text::xid8, %(snapshot)s::pg_snapshot))
        OFFSET 0
    ) AS late
), days AS MATERIALIZED (
    SELECT account_id, customer_id, event, day, sum(n) AS n, min(last_at) AS first_at, max(last_at) AS last_at
    FROM counted
    GROUP BY 1, 2, 3, 4
    HAVING sum(n) > 0
), totals AS (
    INSERT INTO event_days AS kept (account_id, event, day, n, first_at, last_at, customers, counted)
    SELECT account_id, event, day, sum(n), min(first_at), max(last_at), count(*), sum(n) FROM days GROUP BY 1, 2, 3
    ON CONFLICT (account_id, event, day) DO UPDATE
    SET n = kept.n + excluded.n, first_at = least(kept.first_at, excluded.first_at),
        last_at = greatest(kept.last_at, excluded.last_at),
        customers = kept.customers + excluded.customers, counted = kept.counted + excluded.counted
)
INSERT INTO event_returns AS kept (account_id, event, day, previous, customers)
SELECT account_id, event, day, coalesce(previous, '-infinity'), count(*)
FROM (
    SELECT account_id, event, day, lag(day) OVER (PARTITION BY customer_id, event ORDER BY day) AS previous FROM days
) AS returns
GROUP BY 1, 2, 3, 4
ON CONFLICT (account_id, event, day, previous) DO UPDATE SET customers = kept.customers + excluded.customers

-- name: fill_fresh_of_part
INSERT INTO fresh (account_id, customer_id, event, day, hour, n, first_at, last_at)
SELECT part.account_id, part.customer_id, counted.event, (counted.hour AT TIME ZONE 'UTC')::date, counted.hour,
       counted.n, counted.first_at, counted.last_at
FROM part
CROSS JOIN LATERAL (
    SELECT event, date_trunc('hour', seen_at, 'UTC') AS hour, count(*) AS n,
           min(seen_at) AS first_at, max(seen_at) AS last_at
    FROM (
        SELECT event, least(occurred_at, received_at) AS seen_at FROM events
        WHERE events.customer_id = part.customer_id AND stored_by < %(xmax)s
          AND (stored_by < %(xmin)s OR pg_visible_in_snapshot(stored_by::text::xid8, %(snapshot)s::pg_snapshot))
    ) AS seen
    GROUP BY 1, 2
    OFFSET 0
) AS counted

-- name: recount_hours
INSERT INTO event_hours AS kept (account_id, event, hour, n, customers)
SELECT account_id, event, hour, sum(n), count(*) FROM fresh GROUP BY 1, 2, 3
ON CONFLICT (account_id, event, hour) DO UPDATE
SET n = kept.n + excluded.n, customers = kept.customers + excluded.customers

-- name: note_recounted
UPDATE recounts SET after = %(upto)s::uuid

-- name: end_recount
-- The next tally counts the events after the moment of the recount.
WITH ended AS (DELETE FROM recounts RETURNING snapshot, began_at, server)
INSERT INTO tallied (snapshot, at, worked_seconds, server) SELECT snapshot, began_at, 0, server FROM ended
ON CONFLICT (single) DO UPDATE
SET snapshot = excluded.snapshot, at = excluded.at, worked_seconds = 0, server = excluded.server

-- name: any_moves
SELECT EXISTS (SELECT FROM risk_moves)

-- name: recount_moves
WITH steps AS (
    SELECT customer_id, (at AT TIME ZONE 'UTC')::date AS day, level,
           lag(level) OVER (PARTITION BY customer_id ORDER BY at) AS before
    FROM (
        SELECT customer_id, at, standing(state, level) AS level FROM risk_history
        UNION ALL
        SELECT customer_id, at, standing(state, level) FROM risk_rebuilt
        UNION ALL
        SELECT customer_id, recorded_at, standing(recorded_state, recorded_level)
        FROM customers WHERE recorded_at IS NOT NULL
    ) AS risks
), moved AS (
    SELECT customer_id, day, level, 1 AS customers FROM steps WHERE level IS DISTINCT FROM before
    UNION ALL
    SELECT customer_id, day, before, -1 FROM steps WHERE before <> level
), counted AS MATERIALIZED (
    SELECT account_id, day, moved.level, sum(customers) AS customers
    FROM moved JOIN customers USING (customer_id)
    GROUP BY 1, 2, 3 HAVING sum(customers) <> 0
)
INSERT INTO risk_moves (account_id, day, level, customers)
SELECT account_id, day, level, customers FROM counted
