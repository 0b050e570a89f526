-- Erasing a customer. Whoever stores events shares the lock STORING with others, an erasure has it alone: a transaction
-- that stores has either ended before the erasure, or sees it.

-- name: recent_erasures
-- The customers whose erasure may cover events written to this place of the lane, or received at this time, or later:
-- by place, by time where no place was noted, and by time in any case, for events without a place.
SELECT replace(customer_id::text, '-', ''), max(position),
       (extract(epoch FROM max(erased_at) FILTER (WHERE position IS NULL)) * 1000000)::bigint,
       (extract(epoch FROM max(erased_at)) * 1000000)::bigint
FROM (
    SELECT customer_id, erased_at,
           CASE %(lane)s::text WHEN 'live' THEN live_position WHEN 'history' THEN history_position END AS position
    FROM erasures
    WHERE live_position >= %(first)s OR history_position >= %(first)s
       OR erased_at >= 'epoch'::timestamptz + %(oldest_us)s * '1 microsecond'::interval
) AS recent
WHERE position >= %(first)s OR (
    (position IS NULL OR %(unplaced)s)
    AND erased_at >= 'epoch'::timestamptz + %(oldest_us)s * '1 microsecond'::interval
)
GROUP BY customer_id

-- name: long_history
SELECT EXISTS (SELECT FROM events WHERE customer_id = %(customer_id)s OFFSET %(limit)s)

-- name: erase_some_events
-- Unless another erasure of the same customer has ended: the rows of now are a new history.
DELETE FROM events
WHERE (customer_id, occurred_at, event_key) IN (
    SELECT customer_id, occurred_at, event_key FROM events
    WHERE customer_id = %(customer_id)s AND EXISTS (SELECT FROM erasing WHERE customer_id = %(customer_id)s)
    LIMIT %(limit)s
)

-- name: erase_some_event_ids
DELETE FROM event_ids
WHERE (customer_id, event_key) IN (
    SELECT customer_id, event_key FROM event_ids
    WHERE customer_id = %(customer_id)s AND EXISTS (SELECT FROM erasing WHERE customer_id = %(customer_id)s)
    LIMIT %(limit)s
)

-- name: is_unsettled
-- Whether a change of address waits that leads from the customer, or to it; or the address was given up meanwhile, or the
-- user id has an address by now.
SELECT EXISTS (
        SELECT FROM identities WHERE customer_id = %(customer_id)s::uuid AND owner <> %(customer_id)s::uuid
    ) OR EXISTS (
        SELECT FROM identities
        WHERE next_email IS NOT NULL AND account_id = %(account_id)s
          AND (owner = %(customer_id)s::uuid OR next_email = %(email)s::text)
    ) OR EXISTS (
        SELECT FROM identities
        WHERE late_emails <> '{}' AND account_id = %(account_id)s
          AND (owner = %(customer_id)s::uuid OR jsonb_exists(late_emails, %(email)s::text))
    )

-- name: erase_identities
-- User ids and given-up addresses have receipts of their own: events that come under them later are not stored either.
WITH gone AS (
    DELETE FROM identities WHERE owner = %(customer_id)s::uuid OR customer_id = %(customer_id)s::uuid
    RETURNING customer_id
), profiles AS (
    DELETE FROM profiles WHERE customer_id = %(customer_id)s::uuid OR customer_id IN (SELECT customer_id FROM gone)
), letters AS (
    DELETE FROM dead_letters WHERE customer_id IN (SELECT customer_id FROM gone)
), waited AS (
    DELETE FROM unresolved_events
    WHERE customer_id = %(customer_id)s::uuid OR customer_id IN (SELECT customer_id FROM gone)
    RETURNING lane
), moved AS (
    INSERT INTO ledger_moves (lane, counts)
    SELECT lane, jsonb_build_object('unresolved', -count(*), 'erased', count(*))
    FROM waited WHERE lane IS NOT NULL GROUP BY lane
), receipts AS (
    INSERT INTO erasures (customer_id, erased_at, account_id, events, event_ids, days, risks, dead_letters, live_position,
                          history_position)
    SELECT customer_id, clock_timestamp(), %(account_id)s, 0, 0, 0, 0, 0, %(live_position)s::bigint,
           %(history_position)s::bigint
    FROM gone
    WHERE customer_id <> %(customer_id)s::uuid
)
SELECT count(*) FROM waited

-- name: note_erasure
-- The receipt of a customer of another cell: earlier statements about its user ids may wait in this cell's buffer.
INSERT INTO erasures (customer_id, erased_at, account_id, events, event_ids, days, risks, dead_letters, live_position,
                      history_position)
VALUES (%(customer_id)s::uuid, clock_timestamp(), %(account_id)s, 0, 0, 0, 0, 0, %(live_position)s::bigint,
        %(history_position)s::bigint)

-- name: erase_user_of
-- A user id whose address was said before the erasure of the customer with that address, and is unknown still: it has
-- the same receipt, and its events that came before don't wait any longer.
WITH receipt AS (
    INSERT INTO erasures (customer_id, erased_at, account_id, events, event_ids, days, risks, dead_letters,
                          live_position, history_position)
    SELECT %(user)s::uuid, erased_at, account_id, 0, 0, 0, 0, 0, live_position, history_position
    FROM erasures
    WHERE customer_id = %(customer_id)s::uuid
      AND NOT EXISTS (SELECT FROM identities WHERE customer_id = %(user)s::uuid)
    ORDER BY erased_at DESC
    LIMIT 1
    ON CONFLICT DO NOTHING
    RETURNING erased_at
), profiles AS (
    DELETE FROM profiles USING receipt WHERE customer_id = %(user)s::uuid
), waited AS (
    DELETE FROM unresolved_events USING receipt
    WHERE customer_id = %(user)s::uuid AND received_at <= erased_at
    RETURNING lane
)
INSERT INTO ledger_moves (lane, counts)
SELECT lane, jsonb_build_object('unresolved', -count(*), 'erased', count(*))
FROM waited WHERE lane IS NOT NULL GROUP BY lane

-- name: lock_customer
-- A score that is being written holds the customer's row: this waits for it.
SELECT FROM customers WHERE customer_id = %(customer_id)s FOR UPDATE

-- name: erase_customer
WITH gone_search AS (
    DELETE FROM customer_search WHERE customer_id = %(customer_id)s
)
DELETE FROM customers WHERE customer_id = %(customer_id)s

-- name: erase_rebuild
-- As does this for risks that are being rebuilt.
DELETE FROM rebuilds WHERE customer_id = %(customer_id)s

-- name: erase_the_rest
WITH gone_events AS (
    DELETE FROM events WHERE customer_id = %(customer_id)s RETURNING 1
), gone_event_ids AS (
    DELETE FROM event_ids WHERE customer_id = %(customer_id)s RETURNING 1
), gone_days AS (
    DELETE FROM customer_days WHERE customer_id = %(customer_id)s RETURNING 1
), gone_earlier_days AS (
    DELETE FROM earlier_days WHERE customer_id = %(customer_id)s
), gone_fingerprints AS (
    DELETE FROM pruned WHERE customer_id = %(customer_id)s
), gone_arriving AS (
    DELETE FROM arriving WHERE customer_id = %(customer_id)s
), gone_news AS (
    DELETE FROM news WHERE customer_id = %(customer_id)s
), gone_risks AS (
    DELETE FROM risk_history WHERE customer_id = %(customer_id)s RETURNING 1
), gone_ahead AS (
    DELETE FROM scores_ahead WHERE customer_id = %(customer_id)s
), gone_departures AS (
    DELETE FROM departures WHERE customer_id = %(customer_id)s
), gone_flags AS (
    DELETE FROM flags WHERE customer_id = %(customer_id)s
), gone_restated AS (
    DELETE FROM risk_restated WHERE customer_id = %(customer_id)s
), gone_rebuilt AS (
    DELETE FROM risk_rebuilt WHERE customer_id = %(customer_id)s RETURNING 1
), gone_alerts AS (
    DELETE FROM alerts WHERE customer_id = %(customer_id)s
), gone_deliveries AS (
    DELETE FROM deliveries WHERE customer_id = %(customer_id)s
), gone_handlings AS (
    DELETE FROM handlings WHERE customer_id = %(customer_id)s
), gone_dead_letters AS (
    DELETE FROM dead_letters WHERE customer_id = %(customer_id)s RETURNING 1
)
INSERT INTO erasures (customer_id, erased_at, account_id, events, event_ids, days, risks, dead_letters, live_position,
                      history_position)
SELECT %(customer_id)s, clock_timestamp(), %(account_id)s, %(events)s + (SELECT count(*) FROM gone_events),
       %(event_ids)s + (SELECT count(*) FROM gone_event_ids), (SELECT count(*) FROM gone_days),
       (SELECT count(*) FROM gone_risks) + (SELECT count(*) FROM gone_rebuilt), (SELECT count(*) FROM gone_dead_letters),
       %(live_position)s::bigint, %(history_position)s::bigint
RETURNING erasure_id::text, erased_at, events, event_ids, days, risks, dead_letters

-- name: find_erasure
SELECT erasure_id::text, erased_at, events, event_ids, days, risks, dead_letters
FROM erasures WHERE erasure_id = %(erasure_id)s::uuid AND account_id = %(account_id)s

-- name: commit_later
-- The commits of this session don't wait for the disk.
SELECT set_config('windback.commit', current_setting('synchronous_commit'), false),
       set_config('synchronous_commit', 'off', false)

-- name: commit_now
-- As the session had it: the server's own setting may be off.
SELECT set_config('synchronous_commit', current_setting('windback.commit'), false)

-- name: flush_commits
-- A commit that waits for the disk, and so for all before it.
SELECT pg_logical_emit_message(true, 'windback', '')
