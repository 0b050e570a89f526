-- A batch on its way into the tables. Times are microseconds since 1970.

-- name: create_incoming
CREATE TEMPORARY TABLE IF NOT EXISTS incoming (
    customer_id uuid NOT NULL,
    account_id integer NOT NULL,
    email text COLLATE "C" NOT NULL,
    event text COLLATE "C" NOT NULL,
    properties jsonb,
    detail text COLLATE "C" NOT NULL,
    value double precision NOT NULL,
    plan text,
    occurred_us bigint NOT NULL,
    event_key bigint NOT NULL,
    received_us bigint NOT NULL,
    identified boolean NOT NULL
) ON COMMIT DELETE ROWS;
-- Plans outlive the day on which there were so few customers that reading them all was the quickest.
SET LOCAL enable_seqscan = off

-- name: empty_incoming
TRUNCATE incoming

-- name: copy_incoming
COPY incoming FROM STDIN

-- name: claim_event_ids
INSERT INTO event_ids (customer_id, event_key, occurred_at, received_at)
SELECT customer_id, event_key, 'epoch'::timestamptz + occurred_us * '1 microsecond'::interval,
       'epoch'::timestamptz + received_us * '1 microsecond'::interval
FROM incoming
WHERE identified
ORDER BY customer_id, event_key, received_us
ON CONFLICT DO NOTHING

-- name: drop_seen_event_ids
DELETE FROM incoming
USING event_ids
WHERE incoming.identified
  AND event_ids.customer_id = incoming.customer_id
  AND event_ids.event_key = incoming.event_key
  AND event_ids.occurred_at <> 'epoch'::timestamptz + incoming.occurred_us * '1 microsecond'::interval

-- name: list_details
SELECT detail
FROM customer_days
WHERE customer_id = %(customer_id)s AND day = '1970-01-01'::date + %(day)s::integer AND event = %(event)s
LIMIT %(limit)s

-- name: insert_new_customers
-- Before all that store_incoming locks, and in order: a batch that waits here for another with the same new customers
-- holds nothing that the other will want, and store_incoming then finds all its customers there.
INSERT INTO customers (customer_id, account_id, email, first_seen, last_seen, rescore_at, due_because)
SELECT customer_id, min(account_id), min(email), min(seen_at), max(seen_at), now(),
       CASE WHEN max(seen_at) < now() - interval '1 day' THEN 'import' ELSE 'event' END
FROM (
    SELECT customer_id, account_id, email,
           least('epoch'::timestamptz + least(occurred_us, received_us) * '1 microsecond'::interval, now()) AS seen_at
    FROM incoming
    WHERE customer_id = ANY (%(customer_ids)s::uuid[])
) AS batch
GROUP BY customer_id
ORDER BY customer_id
ON CONFLICT DO NOTHING

-- name: store_incoming
-- Rows are locked in the order of customers in every table, so that workers don't wait for each other in circles.
-- Those of customers are held by whoever stores or scores them: who finds one held leaves news instead of waiting, so
-- that an import or a score delays no live event.
-- A producer's clock may be ahead of ours: the event keeps its time, and counts as seen when it was received.
WITH batch AS MATERIALIZED (
    -- The rows as they are stored, of equal ones the first.
    SELECT *, 'epoch'::timestamptz + occurred_us * '1 microsecond'::interval AS occurred_at,
           least('epoch'::timestamptz + least(occurred_us, received_us) * '1 microsecond'::interval, now()) AS seen_at
    FROM incoming
    ORDER BY customer_id, occurred_at, event_key
), inserted AS (
    -- Those of them that were not there yet.
    INSERT INTO events (customer_id, occurred_at, event_key, event, properties, received_at)
    SELECT customer_id, occurred_at, event_key, event, properties,
           'epoch'::timestamptz + received_us * '1 microsecond'::interval
    FROM batch
    ON CONFLICT DO NOTHING
    RETURNING customer_id, occurred_at, event_key
), new_events AS MATERIALIZED (
    -- The same with all their columns.
    SELECT batch.* FROM batch JOIN inserted USING (customer_id, occurred_at, event_key)
), days AS (
    INSERT INTO customer_days AS kept (customer_id, day, event, detail, n, value, last_at, plan)
    SELECT customer_id, (seen_at AT TIME ZONE 'UTC')::date AS day, event, detail, count(*), sum(value),
           max(seen_at), (array_agg(plan ORDER BY seen_at DESC) FILTER (WHERE plan IS NOT NULL))[1]
    FROM new_events
    GROUP BY customer_id, day, event, detail
    ORDER BY customer_id, day, event, detail
    ON CONFLICT (customer_id, day, event, detail) DO UPDATE
    SET n = kept.n + excluded.n,
        value = kept.value + excluded.value,
        last_at = greatest(kept.last_at, excluded.last_at),
        plan = CASE WHEN excluded.last_at >= kept.last_at THEN coalesce(excluded.plan, kept.plan)
                    ELSE coalesce(kept.plan, excluded.plan) END
), touched AS MATERIALIZED (
    -- The customers of new events, and the span of these.
    SELECT customer_id, min(account_id) AS account_id, min(email) AS email,
           min(seen_at) AS first_seen, max(seen_at) AS last_seen, min(occurred_at) AS since,
           CASE WHEN max(seen_at) < now() - interval '1 day' THEN 'import' ELSE 'event' END AS because
    FROM new_events
    GROUP BY customer_id
    ORDER BY customer_id
), locked AS MATERIALIZED (  -- `stands` needs no change, as `changes`, and is ours till we end; `held` by others; `new`
    SELECT *, coalesce(
        (SELECT CASE WHEN touched.first_seen < kept.first_seen OR kept.rescore_at > greatest(
                     now(), kept.scored_at + %(rescore_seconds)s * '1 second'::interval)
                     OR kept.due_because IS NULL OR kept.due_because <> 'event' AND because = 'event'
                     THEN 'changes' ELSE 'stands' END
         FROM customers AS kept WHERE kept.customer_id = touched.customer_id FOR UPDATE SKIP LOCKED),
        (SELECT 'held' FROM customers WHERE customers.customer_id = touched.customer_id),
        'new') AS known
    FROM touched
), rebuild_marks AS (
    -- Customers of whom history arrived.
    INSERT INTO rebuilds AS kept (customer_id, since)
    SELECT customer_id, since
    FROM locked
    WHERE since < now() - interval '1 day'
    ON CONFLICT (customer_id) DO UPDATE SET since = excluded.since WHERE excluded.since < kept.since
), upserted AS (
    -- New customers, and those whose row has to change.
    INSERT INTO customers AS kept (customer_id, account_id, email, first_seen, last_seen, rescore_at, due_because)
    SELECT customer_id, account_id, email, first_seen, last_seen, now(), because
    FROM locked
    WHERE known IN ('new', 'changes')  -- who is due anyway stands: the score brings last_seen up to date
    ON CONFLICT (customer_id) DO UPDATE
    SET first_seen = least(kept.first_seen, excluded.first_seen),
        last_seen = greatest(kept.last_seen, excluded.last_seen),
        due_because = CASE WHEN kept.due_because = 'event' THEN kept.due_because ELSE excluded.due_because END,
        rescore_at = least(kept.rescore_at,
                           greatest(now(), kept.scored_at + %(rescore_seconds)s * '1 second'::interval))
), deferred AS (
    -- Customers whose row is held: the next score takes in when they were seen.
    INSERT INTO news (customer_id, first_seen, last_seen)
    SELECT customer_id, first_seen, last_seen FROM locked WHERE known = 'held'
)
SELECT count(*) FROM inserted

-- name: bury
INSERT INTO dead_letters (customer_id, dead_letter_id, account_id, reason, sqlstate, fingerprint, received_at, lane, body)
SELECT %(customer_id)s, %(dead_letter_id)s, %(account_id)s, %(reason)s, %(sqlstate)s, %(fingerprint)s, received_at,
       %(lane)s, %(body)s
FROM (SELECT 'epoch'::timestamptz + %(received_us)s * '1 microsecond'::interval AS received_at) AS given
WHERE NOT EXISTS (
    SELECT FROM erasures WHERE customer_id = %(customer_id)s::uuid AND erased_at >= given.received_at
)
ON CONFLICT DO NOTHING
