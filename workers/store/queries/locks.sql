-- Advisory locks, see workers/store/locks.py.

-- name: lock_alone
SELECT pg_advisory_xact_lock(hashtextextended(%(name)s || coalesce(current_schema(), ''), 0))

-- name: lock_shared
SELECT pg_advisory_xact_lock_shared(hashtextextended(%(name)s || coalesce(current_schema(), ''), 0))

-- name: try_lock_shared
SELECT pg_try_advisory_xact_lock_shared(hashtextextended(%(name)s || coalesce(current_schema(), ''), 0))

-- name: lock_session
SELECT pg_advisory_lock(hashtextextended(%(name)s || coalesce(current_schema(), ''), 0))

-- name: try_lock_session
SELECT pg_try_advisory_lock(hashtextextended(%(name)s || coalesce(current_schema(), ''), 0))

-- name: unlock_session
SELECT pg_advisory_unlock(hashtextextended(%(name)s || coalesce(current_schema(), ''), 0))
