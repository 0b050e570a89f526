-- Advisory locks, see workers/store/locks.py.

-- name: lock_alone
SELECT pg_advisory_xact_lock(hashtextextended(%(name)s || coalesce(current_schema(), ''), 0))

-- name: lock_shared
SELECT pg_advisory_xact_lock_shared(hashtextextended(%(name)s || coalesce(current_schema(), ''), 0))

-- name: lock_shared_to_store
-- As lock_shared. Plans hold for all batches: planning takes a fifth of Postgres's time for a few events. They outlive the
-- day on which there were so few rows that reading them all was the quickest. Citus can't carry out each of them without
-- the values, so with Citus Postgres chooses.
SELECT pg_advisory_xact_lock_shared(hashtextextended(%(name)s || coalesce(current_schema(), ''), 0)),
       set_config('plan_cache_mode', CASE WHEN to_regclass('pg_dist_schema') IS NULL THEN 'force_generic_plan' ELSE 'auto' END,
                  true),
       set_config('enable_seqscan', 'off', true)

-- name: try_lock_shared
SELECT pg_try_advisory_xact_lock_shared(hashtextextended(%(name)s || coalesce(current_schema(), ''), 0))

-- name: lock_session
SELECT pg_advisory_lock(hashtextextended(%(name)s || coalesce(current_schema(), ''), 0))

-- name: try_lock_session
SELECT pg_try_advisory_lock(hashtextextended(%(name)s || coalesce(current_schema(), ''), 0))

-- name: unlock_session
SELECT pg_advisory_unlock(hashtextextended(%(name)s || coalesce(current_schema(), ''), 0))
