-- How customers move between the levels of risk: to the first one from nowhere, then from one to the next. A lapsed
-- customer stands at the level "lapsed".

-- name: move_risks
-- Adds the moves of these customers' risks; sign -1 takes them back. The last one that was recorded may be pruned.
WITH steps AS (
    SELECT customer_id, (at AT TIME ZONE 'UTC')::date AS day, level,
           lag(level) OVER (PARTITION BY customer_id ORDER BY at) AS before
    FROM (
        SELECT customer_id, at, standing(state, level) AS level
        FROM risk_history WHERE customer_id = ANY (%(customer_ids)s::uuid[])
        UNION ALL
        SELECT customer_id, at, standing(state, level)
        FROM risk_rebuilt WHERE customer_id = ANY (%(customer_ids)s::uuid[])
        UNION ALL
        SELECT customer_id, recorded_at, standing(recorded_state, recorded_level)
        FROM customers WHERE customer_id = ANY (%(customer_ids)s::uuid[]) AND recorded_at IS NOT NULL
    ) AS risks
), moved AS (
    SELECT day, level, 1 AS customers FROM steps
    UNION ALL
    SELECT day, before, -1 FROM steps WHERE before IS NOT NULL
)
INSERT INTO risk_moves (account_id, day, level, customers)
SELECT %(account_id)s, day, level, %(sign)s * sum(customers) FROM moved GROUP BY day, level HAVING sum(customers) <> 0

-- name: merge_moves
WITH many AS (
    SELECT account_id, day FROM risk_moves GROUP BY account_id, day HAVING count(*) > %(many)s
), gone AS (
    DELETE FROM risk_moves USING many
    WHERE risk_moves.account_id = many.account_id AND risk_moves.day = many.day
    RETURNING risk_moves.*
)
INSERT INTO risk_moves (account_id, day, level, customers)
SELECT account_id, day, level, sum(customers) FROM gone GROUP BY 1, 2, 3 HAVING sum(customers) <> 0

-- name: repair_levels
-- Where the moves miss the present state, because two wrote of the same customer at once, the rest is moved today.
WITH said AS (
    SELECT account_id, level, count(*) AS customers
    FROM (
        SELECT account_id, CASE WHEN recorded_at IS NULL THEN (
            SELECT standing(state, level) FROM risk_rebuilt
            WHERE risk_rebuilt.customer_id = customers.customer_id ORDER BY at DESC LIMIT 1
        ) ELSE standing(recorded_state, recorded_level) END AS level
        FROM customers
    ) AS recorded
    WHERE level IS NOT NULL
    GROUP BY 1, 2
), told AS (
    SELECT account_id, level, sum(customers) AS customers FROM risk_moves GROUP BY 1, 2
)
INSERT INTO risk_moves (account_id, day, level, customers)
SELECT account_id, (now() AT TIME ZONE 'UTC')::date, level, coalesce(said.customers, 0) - coalesce(told.customers, 0)
FROM said FULL JOIN told USING (account_id, level)
WHERE coalesce(said.customers, 0) <> coalesce(told.customers, 0)
