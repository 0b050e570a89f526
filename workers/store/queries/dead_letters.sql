-- Events that could not be stored.

-- name: group_dead_letters
SELECT fingerprint, reason, sqlstate, count(*) AS letters, min(received_at) AS first, max(received_at) AS last,
       (array_agg(dead_letter_id::text ORDER BY received_at DESC))[1] AS example
FROM dead_letters
GROUP BY fingerprint, reason, sqlstate
ORDER BY letters DESC, fingerprint

-- name: find_dead_letter
SELECT dead_letter_id::text, account_id, reason, sqlstate, received_at, died_at, lane, body
FROM dead_letters
WHERE dead_letter_id = %(dead_letter_id)s

-- name: list_dead_letters
SELECT dead_letter_id::text
FROM dead_letters
WHERE %(all)s OR dead_letter_id = ANY (%(dead_letter_ids)s::uuid[])
ORDER BY received_at, dead_letter_id

-- name: take_dead_letters
SELECT dead_letter_id::text, account_id, reason, sqlstate, received_at, died_at, lane, body
FROM dead_letters
WHERE dead_letter_id = ANY (%(dead_letter_ids)s::uuid[])
FOR UPDATE SKIP LOCKED

-- name: delete_dead_letters
DELETE FROM dead_letters
WHERE %(all)s OR dead_letter_id = ANY (%(dead_letter_ids)s::uuid[])
