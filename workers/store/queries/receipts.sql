-- The outcomes of entries that were stored and may still be in the buffer.

-- name: find_landed
SELECT entry_id, became
FROM unnest(%(ids)s::text[], %(beginnings)s::bytea[]) AS given (entry_id, beginning)
CROSS JOIN LATERAL (  -- OFFSET keeps it a look-up for each entry, however many have landed
    SELECT became FROM landed
    WHERE lane = %(lane)s AND landed.entry_id = given.entry_id AND landed.beginning = given.beginning OFFSET 0
) AS known

-- name: note_landed
INSERT INTO landed (lane, entry_id, beginning, became)
SELECT %(lane)s, given.*
FROM unnest(%(ids)s::text[], %(beginnings)s::bytea[], %(became)s::text[]::jsonb[]) AS given

-- name: old_landed
SELECT entry_id
FROM landed
WHERE lane = %(lane)s AND entry_id > %(after)s AND landed_at < now() - %(seconds)s * interval '1 second'
ORDER BY entry_id
LIMIT %(limit)s

-- name: delete_landed
DELETE FROM landed WHERE lane = %(lane)s AND entry_id = ANY(%(ids)s)
