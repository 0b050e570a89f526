-- When an account's tracking was out. Hours are those since 1970.

-- name: list_account_ids
SELECT account_id FROM accounts ORDER BY account_id

-- name: list_outages
SELECT (extract(epoch FROM began_at) / 3600)::bigint, (extract(epoch FROM ended_at) / 3600)::bigint
FROM outages
WHERE account_id = %(account_id)s
ORDER BY began_at

-- name: find_open_outage
SELECT began_at FROM outages WHERE account_id = %(account_id)s AND ended_at IS NULL LIMIT 1

-- name: begin_outage
INSERT INTO outages (account_id, began_at)
VALUES (%(account_id)s, 'epoch'::timestamptz + %(first_hour)s * interval '1 hour')
ON CONFLICT (account_id, began_at) DO UPDATE SET ended_at = NULL

-- name: end_outage
-- One that turns out never to have been, because its events came late, goes.
WITH ending AS (
    SELECT 'epoch'::timestamptz + %(end_hour)s * interval '1 hour' AS ended_at
), never AS (
    DELETE FROM outages USING ending
    WHERE account_id = %(account_id)s AND outages.ended_at IS NULL AND began_at >= ending.ended_at
)
UPDATE outages SET ended_at = ending.ended_at
FROM ending
WHERE account_id = %(account_id)s AND outages.ended_at IS NULL AND began_at < ending.ended_at

-- name: make_stale_due
-- Whose score says that tracking works while it is out, or the other way round.
UPDATE customers SET rescore_at = now()
WHERE customer_id IN (
    SELECT customer_id FROM customers
    WHERE account_id = %(account_id)s AND rescore_at > now()
      AND stale_input <> %(is_out)s
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)

-- name: open_outages
SELECT account_id, began_at FROM outages WHERE ended_at IS NULL ORDER BY account_id
