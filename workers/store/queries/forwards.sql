-- What belongs to another cell, until it is in the buffer there: an outbox, see workers/identities/forwarding.py.

-- name: note_forward
INSERT INTO forwards (cell, lane, account_id, events, received_us, body)
VALUES (%(cell)s, %(lane)s, %(account_id)s, %(events)s, %(received_us)s, %(body)s)

-- name: take_forwards
DELETE FROM forwards
WHERE forward_id IN (
    SELECT forward_id FROM forwards WHERE cell = %(cell)s ORDER BY forward_id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
RETURNING forward_id::text, lane, account_id, events, received_us, body

-- name: list_forward_cells
SELECT DISTINCT cell FROM forwards ORDER BY cell

-- name: list_plain_columns
-- The columns of a table that are copied as they are: generated ones are made, and events are stored anew.
SELECT column_name
FROM information_schema.columns
WHERE table_schema = current_schema() AND table_name = %(table)s AND is_generated = 'NEVER'
  AND column_name <> 'stored_by'
ORDER BY ordinal_position
