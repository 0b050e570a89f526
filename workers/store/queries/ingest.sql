-- A batch on its way into the tables. Times are microseconds since 1970. Arrays of columns are unnested in the list of a
-- SELECT: in its FROM, all rows would be written to a tuplestore first.

-- name: begin_storing
-- The time, by Postgres's clock.
SELECT (extract(epoch FROM now()) * 1000000)::bigint

-- name: copy_events
COPY events (customer_id, occurred_at, event_key, received_at, event, properties) FROM STDIN (FORMAT BINARY)

-- name: claim_event_ids
-- The rows are in the order of their keys. Returns how many were not there; the count of a bare INSERT can't be relied on
-- where an extension carries it out.
WITH claimed AS (
    INSERT INTO event_ids (customer_id, event_key, occurred_at, received_at)
    SELECT unnest(%(customer_id)s::uuid[]), unnest(%(event_key)s::bigint[]), unnest(%(occurred_at)s::timestamptz[]),
           unnest(%(received_at)s::timestamptz[])
    ON CONFLICT DO NOTHING
    RETURNING 1
)
SELECT count(*) FROM claimed

-- name: find_seen_event_ids
-- The places of those rows whose event_id stands with another time.
SELECT place - 1
FROM unnest(%(customer_id)s::uuid[], %(event_key)s::bigint[], %(occurred_at)s::timestamptz[])
     WITH ORDINALITY AS batch (customer_id, event_key, occurred_at, place)
JOIN event_ids AS seen USING (customer_id, event_key)
WHERE seen.occurred_at <> batch.occurred_at

-- name: insert_new_events
-- The rows are in the order of their keys. Returns the keys of those that were not there yet.
WITH inserted AS (
    INSERT INTO events (customer_id, occurred_at, event_key, event, properties, received_at)
    SELECT unnest(%(customer_id)s::uuid[]), unnest(%(occurred_at)s::timestamptz[]), unnest(%(event_key)s::bigint[]),
           unnest(%(event)s::text[]), unnest(%(properties)s::jsonb[]), unnest(%(received_at)s::timestamptz[])
    ON CONFLICT DO NOTHING
    RETURNING customer_id, occurred_at, event_key
)
SELECT replace(customer_id::text, '-', ''), (extract(epoch FROM occurred_at) * 1000000)::bigint, event_key
FROM inserted

-- name: list_details
SELECT detail
FROM customer_days
WHERE customer_id = %(customer_id)s AND day = '1970-01-01'::date + %(day)s::integer AND event = %(event)s
LIMIT %(limit)s

-- name: insert_new_customers
-- Before all that is locked afterwards, and in order: a batch that waits here for another with the same new customers
-- holds nothing that the other will want, and add_events then finds all its customers there. Those that are there are
-- looked up first: an INSERT would wait for whoever changes them. OFFSET keeps it a look-up for each.
WITH inserted AS (
    WITH met AS (
        SELECT unnest(%(customer_id)s::uuid[]) AS customer_id, unnest(%(account_id)s::integer[]) AS account_id,
               unnest(%(email)s::text[]) AS email, unnest(%(first_seen)s::timestamptz[]) AS first_seen,
               unnest(%(last_seen)s::timestamptz[]) AS last_seen
    ), new AS MATERIALIZED (
        SELECT * FROM met
        WHERE NOT EXISTS (SELECT FROM customers WHERE customers.customer_id = met.customer_id OFFSET 0)
    )
    INSERT INTO customers (customer_id, account_id, email, first_seen, last_seen, rescore_at, due_because)
    SELECT customer_id, account_id, email, first_seen, last_seen, now(),
           CASE WHEN last_seen < now() - interval '1 day' THEN 'import' ELSE 'event' END
    FROM new
    ON CONFLICT DO NOTHING
    RETURNING customer_id, account_id, email
)
INSERT INTO customer_search (customer_id, account_id, email) SELECT customer_id, account_id, email FROM inserted
ON CONFLICT DO NOTHING

-- name: add_events
-- The daily counts that new events add, and the customers that they touch. Rows are locked in the order of customers
-- in every table, so that workers don't wait for each other in circles. Those of customers are held by whoever stores or
-- scores them: where one is held, this leaves news instead of waiting, so that an import or a score delays no live event.
WITH days AS (
    INSERT INTO customer_days AS kept (customer_id, day, event, detail, n, value, last_at, plan)
    SELECT unnest(%(day_customer_id)s::uuid[]), unnest(%(day)s::date[]), unnest(%(event)s::text[]),
           unnest(%(detail)s::text[]), unnest(%(n)s::integer[]), unnest(%(value)s::double precision[]),
           unnest(%(last_at)s::timestamptz[]), unnest(%(plan)s::text[])
    ON CONFLICT (customer_id, day, event, detail) DO UPDATE
    SET n = kept.n + excluded.n,
        value = kept.value + excluded.value,
        last_at = greatest(kept.last_at, excluded.last_at),
        plan = CASE WHEN excluded.last_at >= kept.last_at THEN coalesce(excluded.plan, kept.plan)
                    ELSE coalesce(kept.plan, excluded.plan) END
), touched AS MATERIALIZED (
    -- The customers of new events, in their order, and the span of these.
    SELECT *, CASE WHEN last_seen < now() - interval '1 day' THEN 'import' ELSE 'event' END AS because
    FROM (
        SELECT unnest(%(customer_id)s::uuid[]) AS customer_id, unnest(%(account_id)s::integer[]) AS account_id,
               unnest(%(email)s::text[]) AS email, unnest(%(first_seen)s::timestamptz[]) AS first_seen,
               unnest(%(last_seen)s::timestamptz[]) AS last_seen, unnest(%(since)s::timestamptz[]) AS since
    ) AS spans
), locked AS MATERIALIZED (
    -- `stands` needs no change, as `changes`, and is ours till we end; `held` by others; `new`.
    SELECT touched.*, greatest(now(), kept.throttled_until) AS rescore_at, CASE
        WHEN kept.customer_id IS NULL THEN
            coalesce((SELECT 'held' FROM customers WHERE customers.customer_id = touched.customer_id), 'new')
        WHEN touched.first_seen < kept.first_seen OR kept.rescore_at > greatest(now(), kept.throttled_until)
             OR kept.due_because IS NULL OR kept.due_because <> 'event' AND because = 'event' THEN 'changes'
        ELSE 'stands' END AS known
    FROM touched
    LEFT JOIN LATERAL (
        SELECT customer_id, first_seen, rescore_at, due_because,
               scored_at + %(rescore_seconds)s * '1 second'::interval AS throttled_until
        FROM customers
        WHERE customers.customer_id = touched.customer_id
        FOR UPDATE SKIP LOCKED
    ) AS kept ON true
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
    SELECT customer_id, account_id, email, first_seen, last_seen, rescore_at, because
    FROM locked
    WHERE known IN ('new', 'changes')  -- who is due anyway stands: the score brings last_seen up to date
    ON CONFLICT (customer_id) DO UPDATE
    SET first_seen = least(kept.first_seen, excluded.first_seen),
        last_seen = greatest(kept.last_seen, excluded.last_seen),
        due_because = CASE WHEN kept.due_because = 'event' THEN kept.due_because ELSE excluded.due_because END,
        rescore_at = least(kept.rescore_at, excluded.rescore_at)
), searchable AS (
    INSERT INTO customer_search (customer_id, account_id, email)
    SELECT customer_id, account_id, email FROM locked WHERE known = 'new'
    ON CONFLICT DO NOTHING
)
-- Customers whose row is held: the next score takes in when they were seen.
INSERT INTO news (customer_id, first_seen, last_seen)
SELECT customer_id, first_seen, last_seen FROM locked WHERE known = 'held'

-- name: bury
WITH unerased AS MATERIALIZED (
    SELECT received_at
    FROM (SELECT 'epoch'::timestamptz + %(received_us)s * '1 microsecond'::interval AS received_at) AS given
    WHERE NOT EXISTS (
        SELECT FROM erasures WHERE customer_id = %(customer_id)s::uuid AND erased_at >= given.received_at
    )
)
INSERT INTO dead_letters (customer_id, dead_letter_id, account_id, reason, sqlstate, fingerprint, received_at, lane, body)
SELECT %(customer_id)s::uuid, %(dead_letter_id)s::uuid, %(account_id)s::integer, %(reason)s, %(sqlstate)s,
       %(fingerprint)s, received_at, %(lane)s, %(body)s::bytea
FROM unerased
ON CONFLICT DO NOTHING
