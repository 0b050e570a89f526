-- Pruning rows older than their retention: customer by customer, by the primary keys, a few rows at a time.

-- name: next_customers
SELECT customer_id::text FROM customers WHERE customer_id > %(after)s::uuid ORDER BY customer_id LIMIT %(limit)s

-- name: limit_wait
-- No transaction should queue for long behind one that waits for the lock; a batch takes a second at most, as a rule.
SELECT set_config('lock_timeout', %(wait)s, true)

-- name: any_old_events
SELECT EXISTS (
    SELECT FROM unnest(%(customer_ids)s::uuid[]) AS given (customer_id)
    CROSS JOIN LATERAL (
        SELECT FROM events WHERE events.customer_id = given.customer_id AND occurred_at < %(before)s LIMIT 1
    ) AS old
)

-- name: prune_events
-- A fingerprint of 8 bytes stays of a pruned event, so that it isn't stored again.
WITH old AS MATERIALIZED (
    SELECT old.*
    FROM unnest(%(customer_ids)s::uuid[]) AS given (customer_id)
    CROSS JOIN LATERAL (
        SELECT customer_id, occurred_at, event_key FROM events
        WHERE events.customer_id = given.customer_id AND occurred_at < %(before)s
          AND (stored_by < (SELECT pg_snapshot_xmin(snapshot)::text::bigint FROM tallied)
               OR pg_visible_in_snapshot(stored_by::text::xid8, (SELECT snapshot FROM tallied)))
        ORDER BY occurred_at, event_key
        LIMIT %(limit)s
        FOR UPDATE SKIP LOCKED
    ) AS old
    LIMIT %(limit)s
), gone AS (
    DELETE FROM events USING old
    WHERE events.customer_id = old.customer_id AND events.occurred_at = old.occurred_at
      AND events.event_key = old.event_key
    RETURNING events.customer_id, events.occurred_at, events.event_key
), noted AS (
    INSERT INTO pruned AS known (customer_id, month, keys)
    SELECT customer_id, date_trunc('month', occurred_at)::date AS month,
           array_agg(event_key # (extract(epoch FROM occurred_at) * 1000000)::bigint)
    FROM gone
    GROUP BY customer_id, month
    ORDER BY customer_id, month
    ON CONFLICT (customer_id, month) DO UPDATE SET keys = known.keys || excluded.keys
)
SELECT count(*) FROM gone

-- name: any_pruned
SELECT EXISTS (SELECT FROM pruned)

-- name: find_fingerprints
-- The fingerprints of these customers' pruned events of these months.
SELECT place - 1, keys
FROM unnest(%(customer_id)s::uuid[], %(month)s::date[]) WITH ORDINALITY AS sent (customer_id, month, place)
JOIN pruned USING (customer_id, month)

-- name: prune_event_ids
WITH old AS MATERIALIZED (
    SELECT old.*
    FROM unnest(%(customer_ids)s::uuid[]) AS given (customer_id)
    CROSS JOIN LATERAL (
        SELECT customer_id, event_key FROM event_ids
        WHERE event_ids.customer_id = given.customer_id AND received_at < %(before)s
        LIMIT %(limit)s
        FOR UPDATE SKIP LOCKED
    ) AS old
    LIMIT %(limit)s
)
DELETE FROM event_ids USING old
WHERE event_ids.customer_id = old.customer_id AND event_ids.event_key = old.event_key

-- name: prune_days
-- The last day of each event stays: a customer's state rests on it. So do an overdue invoice and the payment with
-- its id: without one, the other would say something else.
WITH old AS MATERIALIZED (
    SELECT old.*
    FROM unnest(%(customer_ids)s::uuid[]) AS given (customer_id)
    CROSS JOIN LATERAL (
        SELECT customer_id, day, event, detail FROM customer_days AS days
        WHERE days.customer_id = given.customer_id AND day < %(before)s
          AND EXISTS (
              SELECT FROM customer_days AS later
              WHERE later.customer_id = days.customer_id AND later.event = days.event AND later.day > days.day
          )
          AND (NOT starts_with(detail, 'invoice:') OR NOT EXISTS (
              SELECT FROM customer_days AS same
              WHERE same.customer_id = days.customer_id AND same.detail = days.detail AND same.event <> days.event
                AND (same.event = ANY (%(overdue)s::text[]) OR days.event = ANY (%(overdue)s::text[]))
          ))
        LIMIT %(limit)s
        FOR UPDATE OF days SKIP LOCKED
    ) AS old
    LIMIT %(limit)s
)
DELETE FROM customer_days AS days USING old
WHERE days.customer_id = old.customer_id AND days.day = old.day AND days.event = old.event AND days.detail = old.detail

-- name: prune_earlier_days
DELETE FROM earlier_days
WHERE customer_id = ANY (%(customer_ids)s::uuid[]) AND oldest < (%(before)s::timestamptz AT TIME ZONE 'UTC')

-- name: prune_fingerprints
-- Fingerprints are of no use where no count is left that an event could be added to.
DELETE FROM pruned
WHERE customer_id = ANY (%(customer_ids)s::uuid[]) AND month < date_trunc('month', %(before)s::timestamptz)
  AND NOT EXISTS (
      SELECT FROM customer_days AS days
      WHERE days.customer_id = pruned.customer_id AND day >= month AND day < month + interval '1 month'
  )

-- name: prune_risk_history
WITH old AS MATERIALIZED (
    SELECT old.*
    FROM unnest(%(customer_ids)s::uuid[]) AS given (customer_id)
    CROSS JOIN LATERAL (
        SELECT customer_id, at FROM risk_history
        WHERE risk_history.customer_id = given.customer_id AND at < %(before)s
        LIMIT %(limit)s
        FOR UPDATE SKIP LOCKED
    ) AS old
    LIMIT %(limit)s
)
DELETE FROM risk_history USING old WHERE risk_history.customer_id = old.customer_id AND risk_history.at = old.at

-- name: prune_risk_rebuilt
DELETE FROM risk_rebuilt WHERE customer_id = ANY (%(customer_ids)s::uuid[]) AND at < %(before)s

-- name: prune_deliveries
DELETE FROM deliveries WHERE customer_id = ANY (%(customer_ids)s::uuid[]) AND at < %(before)s

-- name: prune_alerts
DELETE FROM alerts WHERE customer_id = ANY (%(customer_ids)s::uuid[]) AND at < %(before)s

-- name: prune_handlings
DELETE FROM handlings WHERE customer_id = ANY (%(customer_ids)s::uuid[]) AND at < %(before)s

-- name: prune_dead_letters
DELETE FROM dead_letters
WHERE (customer_id, dead_letter_id) IN (
    SELECT customer_id, dead_letter_id FROM dead_letters WHERE received_at < %(before)s LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
