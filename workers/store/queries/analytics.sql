-- name: count_account_events
SELECT event, sum(n)::bigint AS count, count(*) AS customers, min(first_seen) AS first_seen, max(last_seen) AS last_seen
FROM (
    SELECT event, sum(days.n) AS n, min(days.last_at) AS first_seen, max(days.last_at) AS last_seen
    FROM customer_days AS days JOIN customers USING (customer_id)
    WHERE account_id = %(account_id)s
      AND (%(since)s::date IS NULL OR day >= %(since)s) AND (%(until)s::date IS NULL OR day <= %(until)s)
    GROUP BY event, days.customer_id
) AS by_customer
GROUP BY event
ORDER BY count DESC, event
