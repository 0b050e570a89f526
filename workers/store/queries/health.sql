-- Facts for the operator.

-- name: due
-- How many customers are due (at most %(limit)s are counted), and for how long the first of them has been.
SELECT count(*), coalesce(extract(epoch FROM now() - min(rescore_at)), 0)::float8
FROM (SELECT rescore_at FROM customers WHERE rescore_at <= now() ORDER BY rescore_at LIMIT %(limit)s) AS due

-- name: count_dead_letters
SELECT reason, count(*) FROM dead_letters GROUP BY reason ORDER BY count(*) DESC, reason

-- name: latest_training
SELECT trained_at, name, card ->> 'chosen' FROM trainings JOIN accounts USING (account_id) ORDER BY trained_at DESC LIMIT 1

-- name: read_server_facts
SELECT current_setting('server_version'), extract(epoch FROM clock_timestamp())::float8,
       current_setting('fsync')::boolean AND current_setting('full_page_writes')::boolean
