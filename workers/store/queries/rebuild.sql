-- Risks as of past dates, for customers whose history arrived.

-- name: any_rebuild
SELECT EXISTS (SELECT FROM rebuilds)

-- name: take_rebuilds
-- Of customers whose row is free, and of those that are gone. Nobody scores them until this ends: the levels that both
-- count would be counted twice. The end: risks given from then on stand in risk_history.
WITH first AS MATERIALIZED (
    SELECT customer_id, since FROM rebuilds LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), taken AS MATERIALIZED (
    SELECT *, coalesce(
        (SELECT true FROM customers WHERE customers.customer_id = first.customer_id FOR UPDATE SKIP LOCKED),
        (SELECT false FROM customers WHERE customers.customer_id = first.customer_id)
    ) AS ours
    FROM first
)
SELECT taken.customer_id::text, customers.account_id, extract(epoch FROM taken.since)::float8, extract(epoch FROM
       coalesce((SELECT min(at) FROM risk_history WHERE risk_history.customer_id = taken.customer_id), now()))::float8
FROM taken LEFT JOIN customers USING (customer_id)
WHERE ours IS NOT FALSE

-- name: forget_rebuilt
DELETE FROM risk_rebuilt USING rebuilds
WHERE rebuilds.customer_id = ANY (%(customer_ids)s::uuid[])
  AND risk_rebuilt.customer_id = rebuilds.customer_id AND risk_rebuilt.at >= rebuilds.since

-- name: write_rebuilt
INSERT INTO risk_rebuilt (customer_id, at, probability, level, state, model)
SELECT customer_id, 'epoch'::timestamptz + at * interval '1 second', probability, level, state, %(model)s
FROM unnest(%(customer_id)s::uuid[], %(at)s::float8[], %(probability)s::real[], %(level)s::text[], %(state)s::text[])
     AS rebuilt (customer_id, at, probability, level, state)
ON CONFLICT DO NOTHING

-- name: end_rebuilds
-- With earlier days as they were kept before this history arrived.
WITH outdated AS (
    DELETE FROM earlier_days WHERE customer_id = ANY (%(customer_ids)s::uuid[])
)
DELETE FROM rebuilds WHERE customer_id = ANY (%(customer_ids)s::uuid[])
