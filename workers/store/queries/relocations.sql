-- Histories on their way to another cell, see workers/identities/relocations.py.

-- name: note_relocation
INSERT INTO relocations (customer_id, relocation_id, account_id, email, owner, next_email, subject, kept)
VALUES (%(customer_id)s, %(relocation_id)s, %(account_id)s, %(email)s, %(owner)s, %(next_email)s, %(subject)s, %(kept)s)

-- name: list_relocations
-- Those of a customer, or of a user id; of all, those that have waited for a while.
SELECT relocation_id::text FROM relocations
WHERE %(subject)s::uuid IN (customer_id, subject)
   OR (%(subject)s::uuid IS NULL AND left_at < now() - %(seconds)s * interval '1 second')
ORDER BY left_at, relocation_id

-- name: any_relocation
SELECT EXISTS (SELECT FROM relocations)

-- name: take_relocation
SELECT relocation_id::text, replace(customer_id::text, '-', ''), account_id, email, replace(owner::text, '-', ''), next_email,
       replace(subject::text, '-', ''), kept, followed
FROM relocations WHERE relocation_id = %(relocation_id)s::uuid FOR UPDATE

-- name: note_followed
UPDATE relocations SET followed = true, owner = %(owner)s, next_email = %(next_email)s
WHERE customer_id = %(customer_id)s AND relocation_id = %(relocation_id)s

-- name: read_relocated
SELECT relation, rows FROM relocated_rows
WHERE customer_id = %(customer_id)s::uuid AND relocation_id = %(relocation_id)s::uuid
ORDER BY relation, part

-- name: delete_relocation
WITH gone AS (
    DELETE FROM relocated_rows WHERE customer_id = %(customer_id)s::uuid AND relocation_id = %(relocation_id)s::uuid
)
DELETE FROM relocations WHERE customer_id = %(customer_id)s::uuid AND relocation_id = %(relocation_id)s::uuid

-- name: erase_relocations
-- Waits for one that is arriving.
WITH gone AS (
    DELETE FROM relocations WHERE customer_id = %(customer_id)s::uuid OR owner = %(customer_id)s::uuid
    RETURNING customer_id, relocation_id
)
DELETE FROM relocated_rows USING gone
WHERE relocated_rows.customer_id = gone.customer_id AND relocated_rows.relocation_id = gone.relocation_id

-- name: note_arrival
INSERT INTO arrived_relocations (relocation_id, events) VALUES (%(relocation_id)s::uuid, 0) ON CONFLICT DO NOTHING

-- name: note_arrived_events
UPDATE arrived_relocations SET events = %(events)s WHERE relocation_id = %(relocation_id)s::uuid

-- name: read_arrival
SELECT events FROM arrived_relocations WHERE relocation_id = %(relocation_id)s::uuid

-- name: forget_arrival
DELETE FROM arrived_relocations WHERE relocation_id = %(relocation_id)s::uuid

-- name: count_moved_events
SELECT count(*) FROM events WHERE customer_id = %(customer_id)s

-- name: list_plain_columns
-- The columns of a table that are copied as they are: generated ones are made, and events are stored anew.
SELECT column_name
FROM information_schema.columns
WHERE table_schema = current_schema() AND table_name = %(table)s AND is_generated = 'NEVER'
  AND column_name <> 'stored_by'
ORDER BY ordinal_position
