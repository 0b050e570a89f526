-- What the dashboard alone asks.

-- name: count_levels
SELECT CASE WHEN state = 'lapsed' THEN 'lapsed' ELSE level END AS level, count(*) AS customers
FROM customers WHERE account_id = %(account_id)s
GROUP BY 1
