-- The totals that analytics reads, see workers/upkeep/totals.py. Counted is what the snapshot in `tallied` sees; all of
-- it happens in transactions that see one moment.

-- name: last_tally
-- `ahead`: the database is a restored one, or was moved to another server, so its transactions are numbered anew.
SELECT snapshot::text, pg_snapshot_xmin(snapshot)::text::bigint AS xmin, pg_snapshot_xmax(snapshot)::text::bigint AS xmax,
       pg_snapshot_xmax(snapshot) > pg_snapshot_xmax(pg_current_snapshot())
           OR coalesce(server <> (SELECT system_identifier FROM pg_control_system()), false) AS ahead,
       extract(epoch FROM now() - at)::float8 AS rested_seconds, worked_seconds
FROM tallied

-- name: note_tally
INSERT INTO tallied (snapshot, at, worked_seconds, server)
SELECT pg_current_snapshot(), clock_timestamp(), extract(epoch FROM clock_timestamp() - now()), system_identifier
FROM pg_control_system()
ON CONFLICT (single) DO UPDATE
SET snapshot = excluded.snapshot, at = excluded.at, worked_seconds = excluded.worked_seconds, server = excluded.server

-- name: count_untallied
-- How many events, and days of pruned ones, are not tallied; no more than %(limit)s are counted.
SELECT count(*) FROM (
    SELECT FROM events
    WHERE stored_by >= %(xmin)s
      AND (stored_by >= %(xmax)s OR NOT pg_visible_in_snapshot(stored_by::text::xid8, %(snapshot)s::pg_snapshot))
    UNION ALL
    SELECT FROM arriving
    WHERE stored_by >= %(xmin)s
      AND (stored_by >= %(xmax)s OR NOT pg_visible_in_snapshot(stored_by::text::xid8, %(snapshot)s::pg_snapshot))
    LIMIT %(limit)s
) AS untallied

-- name: create_fresh
CREATE TEMPORARY TABLE IF NOT EXISTS fresh (
    account_id integer NOT NULL,
    customer_id uuid NOT NULL,
    event text COLLATE "C" NOT NULL,
    day date NOT NULL,
    hour timestamptz,
    n bigint NOT NULL,
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL
) ON COMMIT DELETE ROWS

-- name: fill_fresh
-- An event counts when it was seen: when it happened, but not later than it was received. Of pruned events that came
-- with another customer's history only the day is known.
INSERT INTO fresh (account_id, customer_id, event, day, hour, n, first_at, last_at)
SELECT account_id, customer_id, event, coalesce(day, (hour AT TIME ZONE 'UTC')::date), hour, n, first_at, last_at
FROM (
    SELECT customer_id, event, NULL::date AS day, date_trunc('hour', seen_at, 'UTC') AS hour, count(*) AS n,
           min(seen_at) AS first_at, max(seen_at) AS last_at
    FROM (
        SELECT customer_id, event, least(occurred_at, received_at) AS seen_at
        FROM events
        WHERE stored_by >= %(xmin)s
          AND (stored_by >= %(xmax)s OR NOT pg_visible_in_snapshot(stored_by::text::xid8, %(snapshot)s::pg_snapshot))
    ) AS untallied
    GROUP BY 1, 2, 3, 4
    UNION ALL
    SELECT customer_id, event, day, NULL, sum(n), max(last_at), max(last_at)
    FROM arriving
    WHERE stored_by >= %(xmin)s
      AND (stored_by >= %(xmax)s OR NOT pg_visible_in_snapshot(stored_by::text::xid8, %(snapshot)s::pg_snapshot))
    GROUP BY 1, 2, 3
) AS counted
JOIN customers USING (customer_id)
WHERE NOT EXISTS (SELECT FROM erasing WHERE erasing.customer_id = counted.customer_id)

-- name: tally_days
-- A customer's day of an event is new where the fresh events are all that the rollup has counted on it. It is then a
-- return after the customer's day before it, and the day after it isn't one after that any more.
WITH batch AS MATERIALIZED (
    -- The new events by customer and day.
    SELECT account_id, customer_id, event, day, sum(n) AS n, min(first_at) AS first_at, max(last_at) AS last_at
    FROM fresh
    GROUP BY 1, 2, 3, 4
), customers_days AS MATERIALIZED (
    -- The same, and whether the customer has these events alone on that day.
    SELECT *, n = (
        SELECT sum(n) FROM customer_days AS days
        WHERE days.customer_id = batch.customer_id AND days.day = batch.day AND days.event = batch.event
    ) AS is_new
    FROM batch
), day_totals AS (
    -- How often each event came on each day, and from how many customers.
    INSERT INTO event_days AS kept (account_id, event, day, n, first_at, last_at, customers, counted)
    SELECT account_id, event, day, sum(n), min(first_at), max(last_at), count(*) FILTER (WHERE is_new), sum(n)
    FROM customers_days
    GROUP BY account_id, event, day
    ON CONFLICT (account_id, event, day) DO UPDATE
    SET n = kept.n + excluded.n, first_at = least(kept.first_at, excluded.first_at),
        last_at = greatest(kept.last_at, excluded.last_at),
        customers = kept.customers + excluded.customers, counted = kept.counted + excluded.counted
), new_days AS MATERIALIZED (
    SELECT customer_id, event, day FROM customers_days WHERE is_new
), touched AS MATERIALIZED (
    -- The customers and events that have new days.
    SELECT DISTINCT account_id, customer_id, event FROM batch JOIN new_days USING (customer_id, event, day)
), their_days AS MATERIALIZED (
    -- All their days, and which of them are new.
    SELECT account_id, customer_id, event, days_of_customer.day, new_days.day IS NOT NULL AS new
    FROM touched
    CROSS JOIN LATERAL (
        SELECT DISTINCT day FROM customer_days AS days
        WHERE days.customer_id = touched.customer_id AND days.event = touched.event
        OFFSET 0
    ) AS days_of_customer
    LEFT JOIN new_days USING (customer_id, event, day)
), moved AS (
    -- The returns as they are now, less those as they were.
    SELECT account_id, event, day, lag(day) OVER (PARTITION BY customer_id, event ORDER BY day) AS previous,
           1 AS customers
    FROM their_days
    UNION ALL
    SELECT account_id, event, day, lag(day) OVER (PARTITION BY customer_id, event ORDER BY day), -1
    FROM their_days WHERE NOT new
)
INSERT INTO event_returns AS kept (account_id, event, day, previous, customers)
SELECT account_id, event, day, coalesce(previous, '-infinity'), sum(customers)
FROM moved
GROUP BY 1, 2, 3, 4
HAVING sum(customers) <> 0
ON CONFLICT (account_id, event, day, previous) DO UPDATE SET customers = kept.customers + excluded.customers

-- name: tally_hours
WITH batch AS MATERIALIZED (
    SELECT * FROM fresh WHERE hour IS NOT NULL
), counted AS MATERIALIZED (
    -- The same, and whether the customer is new to the hour of the event.
    SELECT account_id, event, hour, n, NOT EXISTS (
        SELECT FROM events
        WHERE events.customer_id = batch.customer_id AND events.event = batch.event
          AND occurred_at >= batch.hour AND occurred_at < batch.hour + interval '2 hours'
          AND date_trunc('hour', least(occurred_at, received_at), 'UTC') = batch.hour
          AND stored_by < %(xmax)s
          AND (stored_by < %(xmin)s OR pg_visible_in_snapshot(stored_by::text::xid8, %(snapshot)s::pg_snapshot))
    ) AS is_new
    FROM batch
)
INSERT INTO event_hours AS kept (account_id, event, hour, n, customers)
SELECT account_id, event, hour, sum(n), count(*) FILTER (WHERE is_new)
FROM counted
GROUP BY account_id, event, hour
ON CONFLICT (account_id, event, hour) DO UPDATE
SET n = kept.n + excluded.n, customers = kept.customers + excluded.customers

-- name: note_recent
-- Where the latest events of each name are: of which customer, in which hour. As many as hold the latest events.
WITH latest AS (
    SELECT customer_id, event, hour, account_id,
           sum(n) OVER (PARTITION BY account_id, event ORDER BY hour DESC, customer_id DESC) - n AS later
    FROM fresh WHERE hour IS NOT NULL
)
INSERT INTO recent_events (customer_id, event, hour, account_id)
SELECT customer_id, event, hour, account_id FROM latest WHERE later < %(kept)s
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

-- name: forget_arrived
-- Days that the last tally has counted.
DELETE FROM arriving
WHERE stored_by < (SELECT pg_snapshot_xmin(snapshot)::text::bigint FROM tallied)

-- name: prune_tallied_days
-- A return after a day that is gone counts as a first day.
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
