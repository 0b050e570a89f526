-- How often each of these events came on each day since.
-- name: daily_counts
SELECT event, day, n
FROM event_days
WHERE account_id = %(account_id)s AND day >= %(since)s AND day <= %(until)s AND event = ANY (%(events)s::text[])

-- When the totals were last brought up to date.
-- name: counted_at
SELECT at FROM tallied
