-- Taking erased customers out of the totals. An erasure notes what it deletes; the totals that count it follow later.

-- name: begin_erasing
-- From here until the erasure ends no tally counts the customer.
INSERT INTO erasing (customer_id) VALUES (%(customer_id)s) ON CONFLICT DO NOTHING

-- name: end_erasing
DELETE FROM erasing WHERE customer_id = %(customer_id)s

-- name: note_leaving
-- Of pruned events it is the rollup's counts. They were tallied before they were pruned; those that came with another
-- customer's history count with the transaction that brought them.
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
), arrived AS (
    SELECT event, day, stored_by, sum(n) AS n, max(last_at) AS last_at
    FROM arriving WHERE customer_id = %(customer_id)s
    GROUP BY 1, 2, 3
), arrived_days AS (
    SELECT event, day, sum(n) AS n FROM arrived GROUP BY 1, 2
), pruned AS (
    SELECT event, day, counted.n - coalesce(days.n, 0) - coalesce(arrived_days.n, 0) AS n, counted.last_at
    FROM (
        SELECT event, day, sum(n) AS n, max(last_at) AS last_at
        FROM customer_days WHERE customer_id = %(customer_id)s
        GROUP BY event, day
    ) AS counted
    LEFT JOIN days USING (event, day)
    LEFT JOIN arrived_days USING (event, day)
    WHERE counted.n > coalesce(days.n, 0) + coalesce(arrived_days.n, 0)
)
INSERT INTO leaving (customer_id, account_id, event, day, hour, stored_by, n, first_at, last_at)
SELECT %(customer_id)s, %(account_id)s, event, (hour AT TIME ZONE 'UTC')::date, hour, stored_by, n, first_at, last_at
FROM sent
UNION ALL
SELECT %(customer_id)s, %(account_id)s, event, day, NULL, stored_by, n, last_at, last_at FROM arrived
UNION ALL
SELECT %(customer_id)s, %(account_id)s, event, day, NULL, 0, n, last_at, last_at FROM pruned

-- name: anybody_leaving
-- While everything is counted anew, customers after `after` are in no total.
SELECT EXISTS (SELECT FROM leaving WHERE customer_id <= coalesce((SELECT after FROM recounts), 'ffffffff-ffff-ffff-ffff-ffffffffffff'))

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

-- name: fill_parting
-- The part of the erased customers' events that the last tally has seen; the rest is in no total.
WITH gone AS (
    DELETE FROM leaving
    WHERE customer_id <= coalesce((SELECT after FROM recounts), 'ffffffff-ffff-ffff-ffff-ffffffffffff')
    RETURNING *
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
-- Days that are pruned from the totals before they are from the rollup are taken out as if they were there: sums over
-- days that are left come out right.
WITH returns AS (
    SELECT account_id, event, day,
           coalesce(lag(day) OVER (PARTITION BY customer_id, event ORDER BY day), '-infinity') AS previous
    FROM (SELECT DISTINCT account_id, customer_id, event, day FROM parting) AS days
)
INSERT INTO event_returns AS kept (account_id, event, day, previous, customers)
SELECT account_id, event, day, previous, -count(*) FROM returns GROUP BY 1, 2, 3, 4
ON CONFLICT (account_id, event, day, previous) DO UPDATE SET customers = kept.customers + excluded.customers

-- name: leave_out_days
-- Where the first or last event of a day was theirs, the hour of the next one is what is left.
WITH theirs AS (
    SELECT account_id, event, day, sum(n) AS n, min(first_at) AS first_at, max(last_at) AS last_at,
           count(DISTINCT customer_id) AS customers
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
SET n = kept.n - known.n, customers = kept.customers - known.customers, counted = kept.counted - known.n,
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
    WHERE kept.account_id = days.account_id AND kept.event = days.event AND kept.day = days.day AND customers = 0
), hours AS (
    DELETE FROM event_hours AS kept USING theirs
    WHERE kept.account_id = theirs.account_id AND kept.event = theirs.event AND kept.hour = theirs.hour AND n <= 0
)
DELETE FROM event_days AS kept USING (SELECT DISTINCT account_id, event, day FROM theirs) AS days
WHERE kept.account_id = days.account_id AND kept.event = days.event AND kept.day = days.day AND n <= 0
