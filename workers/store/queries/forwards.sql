-- Notes for other cells, until they are in the buffer there: an outbox, see workers/identities/forwarding.py.

-- name: note_forward
INSERT INTO forwards (cell, lane, account_id, events, received_us, body)
VALUES (%(cell)s, %(lane)s, %(account_id)s, %(events)s,
        coalesce(%(received_us)s::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint), %(body)s)

-- name: take_forwards
DELETE FROM forwards
WHERE forward_id IN (
    SELECT forward_id FROM forwards WHERE cell = %(cell)s ORDER BY forward_id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
RETURNING forward_id::text, lane, account_id, events, received_us, body

-- name: list_forward_cells
SELECT DISTINCT cell FROM forwards ORDER BY cell
