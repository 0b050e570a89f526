-- Risks as of past dates, for customers of whom history arrived.

-- name: any_rebuild
SELECT EXISTS (SELECT FROM rebuilds)

-- name: take_rebuilds
-- Up to when: what was said from then on stands in risk_history.
WITH taken AS (
    SELECT customer_id, since FROM rebuilds LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
SELECT taken.customer_id::text, customers.account_id, extract(epoch FROM taken.since)::float8, extract(epoch FROM
       coalesce((SELECT min(at) FROM risk_history WHERE risk_history.customer_id = taken.customer_id), now()))::float8
FROM taken LEFT JOIN customers USING (customer_id)

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
DELETE FROM rebuilds WHERE customer_id = ANY (%(customer_ids)s::uuid[])
