-- The totals that analytics reads, see workers/upkeep/totals.py. What is tallied is what the snapshot in `tallied` sees; all of
-- it happens in transactions that see one moment.

-- One at a time.
-- name: try_tallying
SELECT pg_try_advisory_lock(hashtextextended('windback tally', 0))

-- name: halt_tallying
SELECT pg_advisory_lock(hashtextextended('windback tally', 0))

-- name: end_tallying
SELECT pg_advisory_unlock(hashtextextended('windback tally', 0))

-- `ahead`: the database is a restored one, whose transactions are numbered anew.
-- name: last_tally
SELECT snapshot::text, pg_snapshot_xmin(snapshot)::text::bigint AS xmin, pg_snapshot_xmax(snapshot)::text::bigint AS xmax,
       pg_snapshot_xmax(snapshot) > pg_snapshot_xmax(pg_current_snapshot()) AS ahead,
       extract(epoch FROM now() - at)::float8 AS rested_seconds, worked_seconds
FROM tallied

-- name: note_tally
INSERT INTO tallied (snapshot, at, worked_seconds)
VALUES (pg_current_snapshot(), clock_timestamp(), extract(epoch FROM clock_timestamp() - now()))
ON CONFLICT (single) DO UPDATE
SET snapshot = excluded.snapshot, at = excluded.at, worked_seconds = excluded.worked_seconds

-- How many events are not tallied; no more than %(limit)s are counted.
-- name: count_untallied
SELECT count(*) FROM (
    SELECT FROM events
    WHERE stored_by >= %(xmin)s
      AND (stored_by >= %(xmax)s OR NOT pg_visible_in_snapshot(stored_by::text::xid8, %(snapshot)s::pg_snapshot))
    LIMIT %(limit)s
) AS untallied

-- name: create_fresh
CREATE TEMPORARY TABLE IF NOT EXISTS fresh (
    account_id integer NOT NULL,
    customer_id uuid NOT NULL,
    event text COLLATE "C" NOT NULL,
    hour timestamptz NOT NULL,
    n bigint NOT NULL,
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL
) ON COMMIT DELETE ROWS

-- An event counts when it was seen: when it happened, but not later than it was received.
-- name: fill_fresh
INSERT INTO fresh (account_id, customer_id, event, hour, n, first_at, last_at)
SELECT account_id, customer_id, event, hour, n, first_at, last_at
FROM (
    SELECT customer_id, event, date_trunc('hour', seen_at, 'UTC') AS hour, count(*) AS n,
           min(seen_at) AS first_at, max(seen_at) AS last_at
    FROM (
        SELECT customer_id, event, least(occurred_at, received_at) AS seen_at
        FROM events
        WHERE stored_by >= %(xmin)s
          AND (stored_by >= %(xmax)s OR NOT pg_visible_in_snapshot(stored_by::text::xid8, %(snapshot)s::pg_snapshot))
    ) AS untallied
    GROUP BY 1, 2, 3
) AS counted
JOIN customers USING (customer_id)
WHERE NOT EXISTS (SELECT FROM erasing WHERE erasing.customer_id = counted.customer_id)

-- A customer's day of an event is new where the fresh events are all that the rollup has counted on it. It is then a
-- return after the customer's day before it, and the day after it isn't one after that any more.
-- name: tally_days
WITH given AS MATERIALIZED (
    SELECT account_id, customer_id, event, (hour AT TIME ZONE 'UTC')::date AS day, sum(n) AS n,
           min(first_at) AS first_at, max(last_at) AS last_at
    FROM fresh
    GROUP BY 1, 2, 3, 4
), counted AS (
    INSERT INTO event_days AS kept (account_id, event, day, n, first_at, last_at)
    SELECT account_id, event, day, sum(n), min(first_at), max(last_at)
    FROM given
    GROUP BY account_id, event, day
    ON CONFLICT (account_id, event, day) DO UPDATE
    SET n = kept.n + excluded.n, first_at = least(kept.first_at, excluded.first_at),
        last_at = greatest(kept.last_at, excluded.last_at)
), new_days AS MATERIALIZED (
    SELECT customer_id, event, day
    FROM given
    WHERE n = (
        SELECT sum(n) FROM customer_days AS days
        WHERE days.customer_id = given.customer_id AND days.day = given.day AND days.event = given.event
    )
), touched AS MATERIALIZED (
    SELECT DISTINCT account_id, customer_id, event FROM given JOIN new_days USING (customer_id, event, day)
), known AS MATERIALIZED (
    SELECT account_id, customer_id, event, found.day, new_days.day IS NOT NULL AS new
    FROM touched
    CROSS JOIN LATERAL (
        SELECT DISTINCT day FROM customer_days AS days
        WHERE days.customer_id = touched.customer_id AND days.event = touched.event
        OFFSET 0
    ) AS found
    LEFT JOIN new_days USING (customer_id, event, day)
), moved AS (
    SELECT account_id, event, day, lag(day) OVER (PARTITION BY customer_id, event ORDER BY day) AS previous,
           1 AS customers
    FROM known
    UNION ALL
    SELECT account_id, event, day, lag(day) OVER (PARTITION BY customer_id, event ORDER BY day), -1
    FROM known WHERE NOT new
)
INSERT INTO event_returns AS kept (account_id, event, day, previous, customers)
SELECT account_id, event, day, coalesce(previous, '-infinity'), sum(customers)
FROM moved
GROUP BY 1, 2, 3, 4
HAVING sum(customers) <> 0
ON CONFLICT (account_id, event, day, previous) DO UPDATE SET customers = kept.customers + excluded.customers

-- name: tally_hours
INSERT INTO event_hours AS kept (account_id, event, hour, n, customers)
SELECT account_id, event, hour, sum(n), count(*) FILTER (WHERE NOT EXISTS (
    SELECT FROM events
    WHERE events.customer_id = fresh.customer_id AND events.event = fresh.event
      AND occurred_at >= fresh.hour AND occurred_at < fresh.hour + interval '2 hours'
      AND date_trunc('hour', least(occurred_at, received_at), 'UTC') = fresh.hour
      AND stored_by < %(xmax)s
      AND (stored_by < %(xmin)s OR pg_visible_in_snapshot(stored_by::text::xid8, %(snapshot)s::pg_snapshot))
))
FROM fresh
GROUP BY account_id, event, hour
ON CONFLICT (account_id, event, hour) DO UPDATE
SET n = kept.n + excluded.n, customers = kept.customers + excluded.customers

-- Where the latest events of each name are: of which customer, in which hour.
-- name: note_recent
WITH latest AS (
    SELECT customer_id, event, hour, account_id,
           row_number() OVER (PARTITION BY account_id, event ORDER BY hour DESC, customer_id DESC) AS place
    FROM fresh
)
INSERT INTO recent_events (customer_id, event, hour, account_id)
SELECT customer_id, event, hour, account_id FROM latest WHERE place <= %(some)s
ON CONFLICT DO NOTHING

-- name: trim_recent
DELETE FROM recent_events AS recent
USING (
    SELECT names.account_id, names.event, last.hour, last.customer_id
    FROM (SELECT DISTINCT account_id, event FROM fresh) AS names
    CROSS JOIN LATERAL (
        SELECT hour, customer_id FROM recent_events AS kept
        WHERE kept.account_id = names.account_id AND kept.event = names.event
        ORDER BY hour DESC, customer_id DESC
        OFFSET %(kept)s LIMIT 1
    ) AS last
) AS beyond
WHERE recent.account_id = beyond.account_id AND recent.event = beyond.event
  AND (recent.hour, recent.customer_id) <= (beyond.hour, beyond.customer_id)

-- Tallying everything anew.

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

-- Leaving out the customers who are erased. Who erases notes what goes; the totals that know it follow later.

-- From here until the erasure ends no tally counts the customer.
-- name: begin_erasing
INSERT INTO erasing (customer_id) VALUES (%(customer_id)s) ON CONFLICT DO NOTHING

-- name: end_erasing
DELETE FROM erasing WHERE customer_id = %(customer_id)s

-- Of days whose events were pruned, all of which were tallied, what the rollup has counted.
-- name: note_leaving
WITH sent AS MATERIALIZED (
    SELECT event, date_trunc('hour', seen_at, 'UTC') AS hour, stored_by, count(*) AS n,
           min(seen_at) AS first_at, max(seen_at) AS last_at
    FROM (
        SELECT event, least(occurred_at, received_at) AS seen_at, stored_by
        FROM events WHERE customer_id = %(customer_id)s
    ) AS seen
    GROUP BY 1, 2, 3
), days AS (
    SELECT event, (hour AT TIME ZONE 'UTC')::date AS day, sum(n) AS n FROM sent GROUP BY 1, 2
), pruned AS (
    SELECT event, day, counted.n - coalesce(days.n, 0) AS n, counted.last_at
    FROM (
        SELECT event, day, sum(n) AS n, max(last_at) AS last_at
        FROM customer_days WHERE customer_id = %(customer_id)s
        GROUP BY event, day
    ) AS counted
    LEFT JOIN days USING (event, day)
    WHERE counted.n > coalesce(days.n, 0)
)
INSERT INTO leaving (customer_id, account_id, event, day, hour, stored_by, n, first_at, last_at)
SELECT %(customer_id)s, %(account_id)s, event, (hour AT TIME ZONE 'UTC')::date, hour, stored_by, n, first_at, last_at
FROM sent
UNION ALL
SELECT %(customer_id)s, %(account_id)s, event, day, NULL, 0, n, last_at, last_at FROM pruned

-- name: anybody_leaving
SELECT EXISTS (SELECT FROM leaving)

-- name: create_parting
CREATE TEMPORARY TABLE IF NOT EXISTS parting (
    customer_id uuid NOT NULL,
    account_id integer NOT NULL,
    event text COLLATE "C" NOT NULL,
    day date NOT NULL,
    hour timestamptz,
    n bigint NOT NULL,
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL
) ON COMMIT DELETE ROWS

-- What the last tally has seen of those who leave; the rest is in no total.
-- name: fill_parting
WITH gone AS (
    DELETE FROM leaving RETURNING *
)
INSERT INTO parting (customer_id, account_id, event, day, hour, n, first_at, last_at)
SELECT customer_id, account_id, event, day, hour, sum(n), min(first_at), max(last_at)
FROM gone
WHERE stored_by < %(xmax)s
  AND (stored_by < %(xmin)s OR pg_visible_in_snapshot(stored_by::text::xid8, %(snapshot)s::pg_snapshot))
GROUP BY 1, 2, 3, 4, 5

-- name: leave_out_recent
DELETE FROM recent_events WHERE customer_id IN (SELECT customer_id FROM parting)

-- name: leave_out_hours
WITH theirs AS (
    SELECT account_id, event, hour, sum(n) AS n, count(*) AS customers
    FROM parting WHERE hour IS NOT NULL
    GROUP BY account_id, event, hour
)
UPDATE event_hours AS kept SET n = kept.n - theirs.n, customers = kept.customers - theirs.customers
FROM theirs
WHERE kept.account_id = theirs.account_id AND kept.event = theirs.event AND kept.hour = theirs.hour

-- name: leave_out_returns
WITH returns AS (
    SELECT account_id, event, day,
           coalesce(lag(day) OVER (PARTITION BY customer_id, event ORDER BY day), '-infinity') AS previous
    FROM (SELECT DISTINCT account_id, customer_id, event, day FROM parting) AS days
), theirs AS (
    SELECT account_id, event, day, previous, count(*) AS customers FROM returns GROUP BY 1, 2, 3, 4
)
UPDATE event_returns AS kept SET customers = kept.customers - theirs.customers
FROM theirs
WHERE kept.account_id = theirs.account_id AND kept.event = theirs.event AND kept.day = theirs.day
  AND kept.previous = theirs.previous

-- Where the first or last event of a day was theirs, the hour of the next one is what is left.
-- name: leave_out_days
WITH theirs AS (
    SELECT account_id, event, day, sum(n) AS n, min(first_at) AS first_at, max(last_at) AS last_at
    FROM parting
    GROUP BY account_id, event, day
), known AS (
    SELECT theirs.*, first_hour, last_hour
    FROM theirs
    CROSS JOIN LATERAL (
        SELECT min(hour) AS first_hour, max(hour) AS last_hour
        FROM event_hours AS hours
        WHERE hours.account_id = theirs.account_id AND hours.event = theirs.event AND hours.n > 0
          AND hour >= theirs.day::timestamptz AND hour < (theirs.day + 1)::timestamptz
    ) AS left_hours
)
UPDATE event_days AS kept
SET n = kept.n - known.n,
    first_at = CASE WHEN kept.first_at < known.first_at THEN kept.first_at
                    ELSE coalesce(first_hour, kept.first_at) END,
    last_at = CASE WHEN kept.last_at > known.last_at THEN kept.last_at ELSE coalesce(last_hour, kept.last_at) END
FROM known
WHERE kept.account_id = known.account_id AND kept.event = known.event AND kept.day = known.day

-- name: drop_emptied
WITH theirs AS MATERIALIZED (
    SELECT DISTINCT account_id, event, day, hour FROM parting
), returns AS (
    DELETE FROM event_returns AS kept USING (SELECT DISTINCT account_id, event, day FROM theirs) AS days
    WHERE kept.account_id = days.account_id AND kept.event = days.event AND kept.day = days.day AND customers <= 0
), hours AS (
    DELETE FROM event_hours AS kept USING theirs
    WHERE kept.account_id = theirs.account_id AND kept.event = theirs.event AND kept.hour = theirs.hour AND n <= 0
)
DELETE FROM event_days AS kept USING (SELECT DISTINCT account_id, event, day FROM theirs) AS days
WHERE kept.account_id = days.account_id AND kept.event = days.event AND kept.day = days.day AND n <= 0

-- Retention. A return after a day that is gone is as good as a first day.

-- name: prune_tallied_days
WITH days AS (
    DELETE FROM event_days WHERE day < %(before)s::date
), gone AS (
    DELETE FROM event_returns WHERE day < %(before)s::date
), moved AS (
    DELETE FROM event_returns
    WHERE day >= %(before)s::date AND previous < %(before)s::date AND previous > '-infinity'
    RETURNING account_id, event, day, customers
)
INSERT INTO event_returns AS kept (account_id, event, day, previous, customers)
SELECT account_id, event, day, '-infinity', sum(customers) FROM moved GROUP BY 1, 2, 3
ON CONFLICT (account_id, event, day, previous) DO UPDATE SET customers = kept.customers + excluded.customers

-- name: prune_tallied_hours
DELETE FROM event_hours WHERE hour < %(before)s

-- How customers move between the levels: from nowhere to the first one, from one to the next. Who has lapsed is at none.

-- What these customers' risks say of it; sign -1 takes it back.
-- name: move_risks
WITH steps AS (
    SELECT customer_id, (at AT TIME ZONE 'UTC')::date AS day, level,
           lag(level) OVER (PARTITION BY customer_id ORDER BY at) AS before
    FROM (
        SELECT customer_id, at, CASE WHEN state = 'lapsed' THEN state ELSE level END AS level
        FROM risk_history WHERE customer_id = ANY (%(customer_ids)s::uuid[])
        UNION ALL
        SELECT customer_id, at, CASE WHEN state = 'lapsed' THEN state ELSE level END
        FROM risk_rebuilt WHERE customer_id = ANY (%(customer_ids)s::uuid[])
    ) AS risks
), moved AS (
    SELECT day, level, 1 AS customers FROM steps
    UNION ALL
    SELECT day, before, -1 FROM steps WHERE before IS NOT NULL
)
INSERT INTO risk_moves (account_id, day, level, customers)
SELECT %(account_id)s, day, level, %(sign)s * sum(customers) FROM moved GROUP BY day, level HAVING sum(customers) <> 0

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

-- name: merge_moves
WITH many AS (
    SELECT account_id, day FROM risk_moves GROUP BY account_id, day HAVING count(*) > %(many)s
), gone AS (
    DELETE FROM risk_moves USING many
    WHERE risk_moves.account_id = many.account_id AND risk_moves.day = many.day
    RETURNING risk_moves.*
)
INSERT INTO risk_moves (account_id, day, level, customers)
SELECT account_id, day, level, sum(customers) FROM gone GROUP BY 1, 2, 3 HAVING sum(customers) <> 0

-- What the moves don't tell right of now, because two wrote of the same customer at once, is moved today.
-- name: settle_moves
WITH said AS (
    SELECT account_id, CASE WHEN state = 'lapsed' THEN state ELSE level END AS level, count(*) AS customers
    FROM customers WHERE level IS NOT NULL
    GROUP BY 1, 2
), told AS (
    SELECT account_id, level, sum(customers) AS customers FROM risk_moves GROUP BY 1, 2
)
INSERT INTO risk_moves (account_id, day, level, customers)
SELECT account_id, (now() AT TIME ZONE 'UTC')::date, level, coalesce(said.customers, 0) - coalesce(told.customers, 0)
FROM said FULL JOIN told USING (account_id, level)
WHERE coalesce(said.customers, 0) <> coalesce(told.customers, 0)
