-- How often each of these events came on each day since.
-- name: daily_counts
SELECT event, day, sum(n)::bigint AS n
FROM customer_days JOIN customers USING (customer_id)
WHERE account_id = %(account_id)s AND day >= %(since)s AND day <= %(until)s AND event = ANY (%(events)s::text[])
GROUP BY event, day
