-- Locks on a cell's tables, and dividing and moving them, see workers/store/presence.py and workers/growth.py.

-- name: enter_cell
-- Held together with others until the session ends. A single cell has the schema that the session leads to.
SELECT pg_try_advisory_lock_shared(
    hashtextextended('windback ' || %(work)s::text || coalesce(%(schema)s::text, current_schema()), 0)
)

-- name: count_cells
-- At home; 0: there is a single one.
SELECT count(*)::integer FROM cells

-- name: find_numbers
SELECT current_schema() = %(schema)s, number, cells FROM installation

-- name: note_single
-- At home: its cells come of a single one.
UPDATE installation SET cells = 1

-- name: was_single
SELECT coalesce(cells = 1, false) FROM installation

-- name: note_numbers
UPDATE installation SET number = %(number)s, cells = %(cells)s

-- name: have_cell_alone
SELECT pg_try_advisory_lock(hashtextextended('windback ' || %(work)s::text || %(schema)s::text, 0))

-- name: end_sessions_of_cell
-- Sessions that work on these tables; they try again, and find them taken.
SELECT count(pg_terminate_backend(pid))
FROM pg_locks
WHERE locktype = 'advisory' AND mode = 'ShareLock' AND granted AND objsubid = 1 AND pid <> pg_backend_pid()
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND classid::bigint = (hashtextextended('windback ' || %(work)s::text || %(schema)s::text, 0) >> 32) & 4294967295
  AND objid::bigint = hashtextextended('windback ' || %(work)s::text || %(schema)s::text, 0) & 4294967295

-- name: begin_numbers
UPDATE installation SET number = %(number)s, cells = %(cells)s WHERE number IS NULL

-- name: forget_places
-- Places in the buffer are those of another cell's buffer by now: an erasure goes by its time.
UPDATE erasures SET live_position = NULL, history_position = NULL
WHERE live_position IS NOT NULL OR history_position IS NOT NULL
