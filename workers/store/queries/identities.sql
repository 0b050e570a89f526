-- The owners of user ids, and the successors of given-up addresses. Two locks keep the order: a transaction that
-- stores holds that of storing together with others, one that moves a customer holds it alone. A
-- transaction that puts events of an unknown user id aside holds the one of identities together with others, one that
-- stores new identities holds it alone: either the events find the identity, or it finds the events.

-- name: any_given_up
SELECT EXISTS (SELECT FROM identities WHERE user_id IS NULL)

-- name: find_owners
SELECT replace(customer_id::text, '-', ''), email FROM identities WHERE customer_id = ANY (%(customer_ids)s::uuid[])

-- name: put_aside
WITH put AS (
    INSERT INTO unresolved_events (customer_id, occurred_at, event_key, account_id, user_id, event, properties, received_at,
                                   identified, lane)
    SELECT customer_id, 'epoch'::timestamptz + occurred_us * '1 microsecond'::interval, event_key, account_id, user_id, event,
           properties, 'epoch'::timestamptz + received_us * '1 microsecond'::interval, identified, %(lane)s
    FROM unnest(%(customer_id)s::uuid[], %(occurred_us)s::bigint[], %(event_key)s::bigint[], %(account_id)s::integer[],
                %(user_id)s::text[], %(event)s::text[], %(properties)s::text[], %(received_us)s::bigint[],
                %(identified)s::boolean[])
        AS sent (customer_id, occurred_us, event_key, account_id, user_id, event, properties, received_us, identified)
    ORDER BY customer_id, occurred_us, event_key
    ON CONFLICT DO NOTHING
    RETURNING 1
)
SELECT count(*) FROM put

-- name: find_identities
SELECT replace(customer_id::text, '-', ''), email, (extract(epoch FROM said_at) * 1000000)::bigint, next_email,
       (extract(epoch FROM next_said_at) * 1000000)::bigint, (extract(epoch FROM first_said_at) * 1000000)::bigint, late_emails
FROM identities WHERE customer_id = ANY (%(customer_ids)s::uuid[])

-- name: add_identity
WITH waiting AS MATERIALIZED (
    SELECT EXISTS (SELECT FROM unresolved_events WHERE customer_id = %(customer_id)s::uuid) AS has_waiting
)
INSERT INTO identities (customer_id, account_id, user_id, owner, email, said_at, first_said_at, has_waiting)
SELECT %(customer_id)s::uuid, %(account_id)s, %(user_id)s, %(owner)s::uuid, %(email)s,
       'epoch'::timestamptz + %(stated_us)s * '1 microsecond'::interval,
       'epoch'::timestamptz + %(stated_us)s * '1 microsecond'::interval, has_waiting
FROM waiting
ON CONFLICT (customer_id) DO NOTHING

-- name: confirm_identity
-- The same address came again: an older statement that arrives later is out of date.
UPDATE identities
SET said_at = 'epoch'::timestamptz + %(stated_us)s * '1 microsecond'::interval, next_email = NULL, next_said_at = NULL
WHERE customer_id = %(customer_id)s::uuid

-- name: announce_address
-- It is among the late ones as well, in case that a further address comes before the change to it is made.
UPDATE identities
SET next_email = %(email)s, next_said_at = 'epoch'::timestamptz + %(stated_us)s * '1 microsecond'::interval,
    late_emails = %(late)s::jsonb || late_emails
WHERE customer_id = %(customer_id)s::uuid

-- name: note_late_address
-- An address came that was stated shortly before the present one: a process that died had it. Its history is to follow.
UPDATE identities SET late_emails = %(late)s::jsonb || late_emails WHERE customer_id = %(customer_id)s::uuid AND NOT apart

-- name: is_late_address
-- An address whose history is still to come to the present one, as it was listed.
SELECT apart FROM identities
WHERE customer_id = %(customer_id)s::uuid AND email = %(next_email)s AND jsonb_exists(late_emails, %(email)s)

-- name: end_late_address
UPDATE identities SET late_emails = late_emails - %(email)s::text WHERE customer_id = %(customer_id)s::uuid

-- name: take_waiting
-- User ids whose address is known and whose events wait.
SELECT replace(customer_id::text, '-', '') FROM identities
WHERE has_waiting
ORDER BY customer_id
LIMIT %(limit)s
FOR UPDATE SKIP LOCKED

-- name: take_unresolved
WITH these AS (
    SELECT customer_id, occurred_at, event_key FROM unresolved_events
    WHERE customer_id = ANY (%(customer_ids)s::uuid[])
    ORDER BY customer_id, occurred_at, event_key
    LIMIT %(limit)s
), taken AS (
    DELETE FROM unresolved_events AS gone USING these
    WHERE gone.customer_id = these.customer_id AND gone.occurred_at = these.occurred_at
      AND gone.event_key = these.event_key
    RETURNING gone.*
)
SELECT account_id, user_id, (extract(epoch FROM occurred_at) * 1000000)::bigint, event_key, event, properties,
       (extract(epoch FROM received_at) * 1000000)::bigint, identified, lane
FROM taken

-- name: end_waiting
UPDATE identities SET has_waiting = false WHERE customer_id = ANY (%(customer_ids)s::uuid[])

-- name: any_waiting
SELECT EXISTS (SELECT FROM identities WHERE has_waiting) OR EXISTS (SELECT FROM identities WHERE next_email IS NOT NULL)
    OR EXISTS (SELECT FROM identities WHERE late_emails <> '{}') OR EXISTS (SELECT FROM relocations)

-- name: expire_unresolved
WITH these AS (
    SELECT customer_id, occurred_at, event_key FROM unresolved_events
    WHERE received_at < now() - %(days)s * interval '1 day'
    LIMIT %(limit)s
), gone AS (
    DELETE FROM unresolved_events USING these
    WHERE unresolved_events.customer_id = these.customer_id AND unresolved_events.occurred_at = these.occurred_at
      AND unresolved_events.event_key = these.event_key
    RETURNING lane
), noted AS (
    INSERT INTO ledger_moves (lane, counts)
    SELECT lane, jsonb_build_object('unresolved', -count(*), 'dead:' || %(reason)s::text, count(*))
    FROM gone WHERE lane IS NOT NULL GROUP BY lane
)
SELECT count(*) FROM gone

-- name: note_ledger_move
INSERT INTO ledger_moves (lane, counts) VALUES (%(lane)s, %(counts)s::jsonb)

-- name: list_ledger_moves
SELECT move_id::text, lane, counts FROM ledger_moves LIMIT %(limit)s

-- name: delete_ledger_moves
DELETE FROM ledger_moves WHERE move_id = ANY (%(move_ids)s::uuid[])

-- name: count_unresolved
SELECT count(*) AS events, count(DISTINCT customer_id) AS users, min(received_at) AS since
FROM unresolved_events WHERE account_id = %(account_id)s

-- name: find_profiles
SELECT replace(customer_id::text, '-', ''), traits, said_us
FROM profiles WHERE customer_id = ANY (%(customer_ids)s::uuid[]) ORDER BY customer_id FOR UPDATE

-- name: save_profile
INSERT INTO profiles (customer_id, account_id, traits, said_us)
VALUES (%(customer_id)s, %(account_id)s, %(traits)s::jsonb, %(stated_us)s::jsonb)
ON CONFLICT (customer_id) DO UPDATE SET traits = excluded.traits, said_us = excluded.said_us

-- name: delete_profiles
DELETE FROM profiles WHERE customer_id = ANY (%(customer_ids)s::uuid[])

-- name: apply_profiles
-- The traits in use go into the customers' rows. A plan that came after the last event with one holds.
UPDATE customers
SET name = said.name, company = said.company, mrr = said.mrr, currency = said.currency,
    plan = coalesce(said.plan, customers.plan)
FROM (
    SELECT customer_id,
           CASE WHEN jsonb_typeof(traits -> 'name') = 'string'
                THEN nullif(btrim(left(traits ->> 'name', 200), E' \t\n\r'), '') END AS name,
           nullif(btrim(left(coalesce(
               traits -> 'company' ->> 'name',
               CASE WHEN jsonb_typeof(traits -> 'company') = 'string' THEN traits ->> 'company' END
           ), 200), E' \t\n\r'), '') AS company,
           CASE WHEN jsonb_typeof(traits -> 'mrr') = 'number' AND (traits ->> 'mrr')::numeric BETWEEN 0 AND 1e15
                     AND (traits ->> 'mrr')::numeric = trunc((traits ->> 'mrr')::numeric) THEN (traits ->> 'mrr')::numeric::bigint END AS mrr,
           CASE WHEN traits ->> 'currency' ~ '^[A-Za-z]{3}$' THEN upper(traits ->> 'currency') END AS currency,
           CASE WHEN jsonb_typeof(traits -> 'plan') = 'string' AND (said_us ->> 'plan')::bigint > coalesce((
                    SELECT extract(epoch FROM max(last_at)) * 1000000 FROM customer_days AS days
                    WHERE days.customer_id = profiles.customer_id AND days.plan IS NOT NULL
                ), -1) THEN left(traits ->> 'plan', 100) END AS plan
    FROM profiles WHERE customer_id = ANY (%(customer_ids)s::uuid[])
    OFFSET 0
) AS said
WHERE customers.customer_id = said.customer_id
  AND (customers.name, customers.company, customers.mrr, customers.currency, customers.plan)
      IS DISTINCT FROM (said.name, said.company, said.mrr, said.currency, coalesce(said.plan, customers.plan))

-- name: read_traits
SELECT traits::text AS traits FROM profiles WHERE customer_id = %(customer_id)s

-- name: list_user_ids
SELECT user_id FROM identities
WHERE owner = %(customer_id)s AND user_id IS NOT NULL ORDER BY user_id COLLATE "C" LIMIT %(limit)s

-- name: list_names
-- The user ids and given-up addresses of a customer, as ids.
SELECT replace(customer_id::text, '-', '') FROM identities WHERE owner = %(customer_id)s::uuid

-- name: tell_profile
-- Their next score takes the traits in; of customers without events, with their first one.
INSERT INTO news (customer_id, first_seen, last_seen)
SELECT customer_id, 'infinity', '-infinity' FROM customers WHERE customer_id = ANY (%(customer_ids)s::uuid[])

-- name: list_changes
-- Of all, or of an account's addresses. Late addresses first, see changes.in_order.
SELECT replace(customer_id::text, '-', ''), account_id, user_id, late_email, email,
       (extract(epoch FROM said_at) * 1000000)::bigint AS stated_us, true AS is_late, since_us::bigint
FROM identities CROSS JOIN jsonb_each_text(late_emails) AS late (late_email, since_us)
WHERE late_emails <> '{}' AND late_email IS DISTINCT FROM next_email
  AND (%(account_id)s::integer IS NULL
       OR account_id = %(account_id)s::integer AND ARRAY[late_email, email] && %(emails)s::text[])
UNION ALL
SELECT replace(customer_id::text, '-', ''), account_id, user_id, email, next_email,
       (extract(epoch FROM next_said_at) * 1000000)::bigint, false, NULL
FROM identities
WHERE next_email IS NOT NULL
  AND (%(account_id)s::integer IS NULL
       OR account_id = %(account_id)s::integer AND ARRAY[next_email, email] && %(emails)s::text[])
ORDER BY is_late DESC, stated_us
LIMIT %(limit)s

-- name: end_change
UPDATE identities
SET said_at = next_said_at, next_email = NULL, next_said_at = NULL, late_emails = late_emails - next_email
WHERE customer_id = %(customer_id)s::uuid AND email IN (%(email)s, %(next_email)s) AND next_email = %(next_email)s
RETURNING 1

-- name: are_shared
-- True if one of these addresses is another user id's.
SELECT EXISTS (
    SELECT FROM identities
    WHERE owner = ANY (%(owners)s::uuid[]) AND user_id IS NOT NULL AND customer_id <> %(customer_id)s::uuid
)

-- name: own_identity
UPDATE identities SET email = %(email)s, owner = %(owner)s::uuid, apart = %(apart)s
WHERE customer_id = %(customer_id)s::uuid

-- name: own_all_identities
UPDATE identities SET email = %(email)s, owner = %(owner)s::uuid, apart = false WHERE owner = %(customer_id)s::uuid

-- name: own_identities_along
-- The history of an address leaves it, and takes along those whose it is.
UPDATE identities SET email = %(email)s, owner = %(owner)s::uuid WHERE owner = %(customer_id)s::uuid AND NOT apart

-- name: stay_apart
-- Somebody else's history comes to this address.
UPDATE identities SET apart = true
WHERE owner = %(owner)s::uuid AND user_id IS NOT NULL AND customer_id <> %(customer_id)s::uuid

-- name: end_apart
-- The history has left their address: events from now on are theirs.
UPDATE identities SET apart = false WHERE owner = %(customer_id)s::uuid AND apart

-- name: is_apart
SELECT apart, (late_emails ->> next_email)::bigint FROM identities WHERE customer_id = %(customer_id)s::uuid

-- name: is_announced
-- A change of address that is still to be made, as it was listed, or of which only the end is missing.
SELECT email, apart, (late_emails ->> next_email)::bigint FROM identities
WHERE customer_id = %(customer_id)s::uuid AND email IN (%(email)s, %(next_email)s) AND next_email = %(next_email)s

-- name: has_apart
SELECT EXISTS (SELECT FROM identities WHERE owner = %(customer_id)s::uuid AND apart)

-- name: give_up_address
INSERT INTO identities (customer_id, account_id, user_id, owner, email, said_at)
VALUES (%(customer_id)s, %(account_id)s, NULL, %(owner)s, %(email)s, now())
ON CONFLICT (customer_id) DO UPDATE SET owner = excluded.owner, email = excluded.email, said_at = excluded.said_at

-- name: drop_given_up
DELETE FROM identities WHERE customer_id = %(customer_id)s::uuid AND user_id IS NULL

-- name: has_history
SELECT EXISTS (SELECT FROM customers WHERE customer_id = %(customer_id)s)
    OR EXISTS (SELECT FROM customer_days WHERE customer_id = %(customer_id)s)

-- name: has_history_before
-- Whether anything that is stored was received before a moment. What was pruned was.
SELECT EXISTS (
        SELECT FROM events
        WHERE customer_id = %(customer_id)s AND received_at < 'epoch'::timestamptz + %(since_us)s * '1 microsecond'::interval
    ) OR EXISTS (SELECT FROM pruned WHERE customer_id = %(customer_id)s)
    OR EXISTS (SELECT FROM customers WHERE customer_id = %(customer_id)s)
       AND NOT EXISTS (SELECT FROM events WHERE customer_id = %(customer_id)s)

-- name: readdress_customer
WITH found_by AS (
    INSERT INTO customer_search (customer_id, account_id, email)
    SELECT customer_id, account_id, %(email)s FROM customers WHERE customer_id = %(customer_id)s
    ON CONFLICT (customer_id) DO UPDATE SET email = excluded.email
)
UPDATE customers SET email = %(email)s, rescore_at = now(), due_because = 'settings' WHERE customer_id = %(customer_id)s

-- name: list_customer_tables
-- A table that is partitioned, without its partitions.
SELECT relname
FROM pg_class
JOIN pg_namespace ON pg_namespace.oid = relnamespace
JOIN pg_attribute ON attrelid = pg_class.oid AND attname = 'customer_id' AND NOT attisdropped
WHERE nspname = current_schema() AND relkind IN ('r', 'p') AND NOT relispartition
ORDER BY relname

-- name: lock_merged
SELECT FROM customers WHERE customer_id IN (%(source)s, %(target)s) ORDER BY customer_id FOR UPDATE

-- name: drop_repeated
-- Events that both customers sent are stored once. One of them may be pruned: then its fingerprint is left, see
-- prune_events.
WITH source AS MATERIALIZED (
    SELECT occurred_at, event_key, event, properties, received_at,
           event_key # (extract(epoch FROM occurred_at) * 1000000)::bigint AS fingerprint,
           date_trunc('month', occurred_at)::date AS month
    FROM events WHERE customer_id = %(source)s
), target AS MATERIALIZED (
    SELECT occurred_at, event_key, event, properties, received_at,
           event_key # (extract(epoch FROM occurred_at) * 1000000)::bigint AS fingerprint,
           date_trunc('month', occurred_at)::date AS month
    FROM events WHERE customer_id = %(target)s
), fingerprints AS MATERIALIZED (
    SELECT customer_id = %(source)s AS is_source, month, unnest(keys) AS fingerprint
    FROM pruned WHERE customer_id IN (%(source)s, %(target)s)
), repeated AS MATERIALIZED (
    SELECT occurred_at, event_key, event, properties, received_at FROM source
    WHERE (occurred_at, event_key) IN (SELECT occurred_at, event_key FROM target)
       OR (month, fingerprint) IN (SELECT month, fingerprint FROM fingerprints WHERE NOT is_source)
), gone AS (
    DELETE FROM events USING repeated
    WHERE events.customer_id = %(source)s AND events.occurred_at = repeated.occurred_at
      AND events.event_key = repeated.event_key
)
SELECT event, properties, (least(occurred_at, received_at) AT TIME ZONE 'UTC')::date AS day FROM repeated
UNION ALL
SELECT event, properties, (least(occurred_at, received_at) AT TIME ZONE 'UTC')::date FROM target
WHERE (month, fingerprint) IN (SELECT month, fingerprint FROM fingerprints WHERE is_source)

-- name: drop_repeated_days
UPDATE customer_days SET n = n - %(n)s, value = greatest(value - %(value)s, 0)
WHERE customer_id = %(source)s AND day = %(day)s AND event = %(event)s AND detail = %(detail)s

-- name: drop_empty_days
DELETE FROM customer_days WHERE customer_id = %(source)s AND n <= 0

-- name: merge_events
-- Stored anew, by this transaction: so the totals count them under the customer that is left.
WITH source AS MATERIALIZED (
    SELECT occurred_at, event_key, event, properties, received_at FROM events WHERE customer_id = %(source)s
), merged AS (
    INSERT INTO events (customer_id, occurred_at, event_key, event, properties, received_at)
    SELECT %(target)s::uuid, occurred_at, event_key, event, properties, received_at FROM source
    ON CONFLICT DO NOTHING
    RETURNING 1
)
SELECT count(*) FROM merged

-- name: note_arriving
-- The counts of the rollup beyond the events: those that were pruned.
INSERT INTO arriving (customer_id, event, day, n, last_at)
SELECT %(target)s, event, day, sum(n), max(last_at)
FROM (
    SELECT event, day, n, last_at FROM customer_days WHERE customer_id = %(source)s
    UNION ALL
    SELECT event, (least(occurred_at, received_at) AT TIME ZONE 'UTC')::date, -1, NULL
    FROM events WHERE customer_id = %(source)s
) AS counted
GROUP BY event, day
HAVING sum(n) > 0

-- name: merge_event_ids
INSERT INTO event_ids (customer_id, event_key, occurred_at, received_at)
SELECT %(target)s, event_key, occurred_at, received_at FROM event_ids WHERE customer_id = %(source)s
ON CONFLICT DO NOTHING

-- name: merge_days
INSERT INTO customer_days AS kept (customer_id, day, event, detail, n, value, last_at, plan)
SELECT %(target)s, day, event, detail, n, value, last_at, plan FROM customer_days WHERE customer_id = %(source)s
ON CONFLICT (customer_id, day, event, detail) DO UPDATE
SET n = kept.n + excluded.n,
    value = kept.value + excluded.value,
    last_at = greatest(kept.last_at, excluded.last_at),
    plan = CASE WHEN excluded.last_at >= kept.last_at THEN coalesce(excluded.plan, kept.plan)
                ELSE coalesce(kept.plan, excluded.plan) END

-- name: merge_pruned
INSERT INTO pruned AS kept (customer_id, month, keys)
SELECT %(target)s, month, keys FROM pruned WHERE customer_id = %(source)s
ON CONFLICT (customer_id, month) DO UPDATE SET keys = kept.keys || excluded.keys

-- name: merge_customer
WITH source AS MATERIALIZED (
    SELECT account_id, first_seen, last_seen FROM customers WHERE customer_id = %(source)s
), found_by AS (
    INSERT INTO customer_search (customer_id, account_id, email)
    SELECT %(target)s::uuid, account_id, %(email)s FROM source
    ON CONFLICT DO NOTHING
)
INSERT INTO customers AS kept (customer_id, account_id, email, first_seen, last_seen, rescore_at)
SELECT %(target)s::uuid, account_id, %(email)s, first_seen, last_seen, now() FROM source
ON CONFLICT (customer_id) DO UPDATE
SET first_seen = least(kept.first_seen, excluded.first_seen),
    last_seen = greatest(kept.last_seen, excluded.last_seen),
    rescore_at = excluded.rescore_at, due_because = 'settings'

-- name: merge_rebuild
-- The past of both is computed anew.
INSERT INTO rebuilds AS kept (customer_id, since)
SELECT %(target)s, min(first_seen) FROM customers WHERE customer_id IN (%(source)s, %(target)s) HAVING count(*) > 0
ON CONFLICT (customer_id) DO UPDATE SET since = least(kept.since, excluded.since)

-- name: list_international_addresses
SELECT account_id, email FROM customers WHERE email ~ '[^ -~]' OR email LIKE '%xn--%'
