-- Scoring accounts anew: the wish and how far it is (by account), the scores computed ahead (by customer).

-- name: request_renewal
-- A later request begins anew; the target of a switch is kept through a change of rules.
INSERT INTO renewals AS kept (account_id, because, switches, version, horizon_learnt, generation)
VALUES (%(account_id)s, %(because)s, %(switches)s, %(version)s, %(horizon_learnt)s, -1)
ON CONFLICT (account_id) DO UPDATE
SET because = CASE WHEN kept.switches AND NOT kept.switched THEN kept.because ELSE excluded.because END,
    version = CASE WHEN excluded.switches THEN excluded.version ELSE kept.version END,
    horizon_learnt = CASE WHEN excluded.switches THEN excluded.horizon_learnt ELSE kept.horizon_learnt END,
    switches = excluded.switches OR kept.switches AND NOT kept.switched,
    generation = -1, requested_at = excluded.requested_at, touched_at = excluded.touched_at, after = '', round = 0, found = 0, scored = 0, total = 0,
    switched = false

-- name: renewal_progress
SELECT scored, total FROM renewals WHERE account_id = %(account_id)s

-- name: awaits_switch
-- True while an account is about to use another model.
SELECT EXISTS (SELECT FROM renewals WHERE account_id = %(account_id)s AND switches AND NOT switched)

-- name: any_renewal
SELECT EXISTS (SELECT FROM renewals)

-- name: take_renewal
-- The account that has waited for longest since its last turn.
SELECT account_id, because, switches, version, horizon_learnt, generation, extract(epoch FROM requested_at)::float8,
       after, round, found, scored, total, switched, extract(epoch FROM now())::float8
FROM renewals
WHERE %(account_id)s::integer IS NULL OR account_id = %(account_id)s
ORDER BY touched_at
LIMIT 1
FOR UPDATE SKIP LOCKED

-- name: note_renewal
UPDATE renewals
SET generation = %(generation)s, after = %(after)s, round = %(round)s, found = %(found)s, scored = %(scored)s,
    total = %(total)s, switched = %(switched)s, touched_at = now()
WHERE account_id = %(account_id)s

-- name: end_renewal
DELETE FROM renewals WHERE account_id = %(account_id)s

-- name: count_to_renew
SELECT count(*) FROM customers WHERE account_id = %(account_id)s AND scored_at IS NOT NULL

-- name: customers_to_renew
-- Those with no score ahead, or one from before their last score.
SELECT customer_id::text, account_id, extract(epoch FROM now())::float8, extract(epoch FROM first_seen)::float8,
       due_because, extract(epoch FROM scored_at)::float8, extract(epoch FROM recorded_at)::float8, recorded_level,
       recorded_state, model, customers.horizon_days, customers.generation, stale_input, provisional, NULL, email
FROM customers LEFT JOIN scores_ahead AS ahead USING (customer_id)
WHERE account_id = %(account_id)s AND email > %(after)s AND scored_at IS NOT NULL
  AND customers.generation <> %(generation)s
  AND (ahead.customer_id IS NULL OR ahead.generation <> %(generation)s OR scored_at > ahead.computed_at)
ORDER BY email
LIMIT %(limit)s

-- name: customers_left_over
-- After the switch: those that no score ahead is good for.
SELECT customer_id::text, account_id, extract(epoch FROM now())::float8, extract(epoch FROM first_seen)::float8,
       due_because, extract(epoch FROM scored_at)::float8, extract(epoch FROM recorded_at)::float8, recorded_level,
       recorded_state, model, horizon_days, generation, stale_input, provisional, NULL
FROM customers
WHERE account_id = %(account_id)s AND scored_at IS NOT NULL AND generation <> %(generation)s
ORDER BY customer_id
LIMIT %(limit)s
FOR UPDATE

-- name: make_left_over_due
UPDATE customers SET rescore_at = least(rescore_at, now()), due_because = coalesce(due_because, 'settings')
WHERE account_id = %(account_id)s AND scored_at IS NOT NULL AND generation <> %(generation)s

-- name: write_ahead
-- Times come in epoch seconds; NaN stands for an unknown one.
INSERT INTO scores_ahead AS kept
SELECT customer_id, %(generation)s, %(scored_at)s, to_timestamp(rescore_at), probability, level, state, low_confidence,
       plan, open_tickets, to_timestamp(nullif(overdue_since, 'NaN')), nullif(nps, 'NaN'), reasons::jsonb,
       advice::jsonb, horizon_days
FROM unnest(
    %(customer_id)s::uuid[], %(rescore_at)s::float8[], %(probability)s::real[], %(level)s::text[],
    %(state)s::text[], %(low_confidence)s::boolean[], %(plan)s::text[], %(open_tickets)s::integer[],
    %(overdue_since)s::float8[], %(nps)s::real[], %(reasons)s::text[], %(advice)s::text[], %(horizon_days)s::integer[]
) AS scored (customer_id, rescore_at, probability, level, state, low_confidence, plan, open_tickets, overdue_since,
             nps, reasons, advice, horizon_days)
ON CONFLICT (customer_id) DO UPDATE
SET generation = excluded.generation, computed_at = excluded.computed_at, rescore_at = excluded.rescore_at,
    probability = excluded.probability, level = excluded.level, state = excluded.state,
    low_confidence = excluded.low_confidence, plan = excluded.plan, open_tickets = excluded.open_tickets,
    overdue_since = excluded.overdue_since, nps = excluded.nps, reasons = excluded.reasons, advice = excluded.advice,
    horizon_days = excluded.horizon_days

-- name: write_restated
INSERT INTO risk_restated (customer_id, generation, at, probability, level, state)
SELECT customer_id, %(generation)s, 'epoch'::timestamptz + at * interval '1 second', probability, level, state
FROM unnest(%(customer_id)s::uuid[], %(at)s::float8[], %(probability)s::real[], %(level)s::text[], %(state)s::text[])
     AS restated (customer_id, at, probability, level, state)
ON CONFLICT (customer_id, generation, at) DO UPDATE
SET probability = excluded.probability, level = excluded.level, state = excluded.state

-- name: customers_to_switch
SELECT customer_id::text, email FROM customers
WHERE account_id = %(account_id)s AND email > %(after)s
ORDER BY email
LIMIT %(limit)s

-- name: take_ahead
-- Scores of these customers that are as good as new, with the rows that they are for.
SELECT customer_id::text, account_id, extract(epoch FROM now())::float8, extract(epoch FROM first_seen)::float8,
       due_because, extract(epoch FROM scored_at)::float8, extract(epoch FROM recorded_at)::float8, recorded_level,
       recorded_state, customers.model, customers.horizon_days, customers.generation, stale_input, provisional, NULL,
       extract(epoch FROM ahead.rescore_at)::float8, ahead.probability, ahead.level, ahead.state,
       ahead.low_confidence, ahead.plan, ahead.open_tickets, extract(epoch FROM ahead.overdue_since)::float8,
       ahead.nps, convert_to(ahead.reasons::text, 'UTF8'), convert_to(ahead.advice::text, 'UTF8'),
       ahead.horizon_days
FROM customers JOIN scores_ahead AS ahead USING (customer_id)
WHERE customers.customer_id = ANY (%(customer_ids)s::uuid[]) AND customers.generation <> %(generation)s
  AND ahead.generation = %(generation)s AND scored_at <= ahead.computed_at
  AND customers.rescore_at > now() AND coalesce(due_because, '') NOT IN ('event', 'import')
ORDER BY customer_id
FOR UPDATE OF customers

-- name: drop_ahead
DELETE FROM scores_ahead WHERE customer_id = ANY (%(customer_ids)s::uuid[])

-- name: drop_account_ahead
DELETE FROM scores_ahead USING customers
WHERE customers.customer_id = scores_ahead.customer_id AND customers.account_id = %(account_id)s

-- name: drop_restated
DELETE FROM risk_restated USING customers
WHERE customers.customer_id = risk_restated.customer_id AND customers.account_id = %(account_id)s
  AND risk_restated.generation <> %(generation)s

-- name: forget_levels
DELETE FROM levels_restated WHERE account_id = %(account_id)s

-- name: restate_levels
-- How many customers the new model has at each level, in the weeks before the switch.
INSERT INTO levels_restated (account_id, at, level, customers)
SELECT account_id, at, standing(restated.state, restated.level), count(*)
FROM customers JOIN risk_restated AS restated USING (customer_id)
WHERE account_id = %(account_id)s AND restated.generation = %(generation)s AND NOT customers.provisional
GROUP BY 1, 2, 3

-- name: note_model_change
INSERT INTO model_changes (account_id, at, because, model, model_before, horizon_days, horizon_before)
VALUES (%(account_id)s, now(), %(because)s, %(model)s, %(model_before)s, %(horizon_days)s, %(horizon_before)s)
ON CONFLICT DO NOTHING

-- name: levels_then
-- How many customers were at each level at a moment, as the model in use has it: as counted then, or restated where the
-- model changed since. No row where the new model has no such past.
WITH changed AS (
    SELECT max(at) AS at FROM model_changes WHERE account_id = %(account_id)s
), restated AS (
    SELECT level, customers FROM levels_restated
    WHERE account_id = %(account_id)s AND at = (
        SELECT max(levels_restated.at) FROM levels_restated
        WHERE levels_restated.account_id = %(account_id)s AND levels_restated.at <= %(at)s
    )
), counted AS (
    SELECT level, sum(customers) AS customers FROM risk_moves
    WHERE account_id = %(account_id)s AND day <= (%(at)s::timestamptz AT TIME ZONE 'UTC')::date
    GROUP BY level
)
SELECT level, customers::bigint FROM restated, changed WHERE changed.at > %(at)s
UNION ALL
SELECT level, customers::bigint FROM counted, changed WHERE changed.at IS NULL OR changed.at <= %(at)s

-- name: list_model_changes
-- When the account changed to another model or horizon, or to another meaning of its events.
SELECT at, because, model, model_before, horizon_days, horizon_before
FROM model_changes WHERE account_id = %(account_id)s AND at >= %(since)s
ORDER BY at

-- name: renew_risk_before
-- The risk of 14 days ago as the new model has it.
UPDATE customers SET risk_before = (
    SELECT risks.probability
    FROM (
        SELECT history.at, history.probability FROM risk_history AS history
        WHERE history.customer_id = customers.customer_id
          AND history.at >= coalesce(customers.comparable_since, '-infinity')
        UNION ALL
        SELECT rebuilt.at, rebuilt.probability FROM risk_rebuilt AS rebuilt
        WHERE rebuilt.customer_id = customers.customer_id AND rebuilt.model = customers.model
        UNION ALL
        SELECT restated.at, restated.probability FROM risk_restated AS restated
        WHERE restated.customer_id = customers.customer_id AND restated.generation = customers.generation
    ) AS risks
    WHERE risks.at <= now() - interval '14 days'
    ORDER BY risks.at DESC
    LIMIT 1
)
WHERE customer_id = ANY (%(customer_ids)s::uuid[])

-- name: list_restated_levels
-- How many customers the model in use has at each level, in the weeks before it came.
SELECT at, level, customers FROM levels_restated WHERE account_id = %(account_id)s
