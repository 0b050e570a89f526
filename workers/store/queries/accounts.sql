-- name: list_account_rules
SELECT account_id, name, churn_event, engagement_events, horizon_chosen, horizon_learnt
FROM accounts
WHERE (%(name)s::text IS NULL OR name = %(name)s)
  AND (%(account_id)s::integer IS NULL OR account_id = %(account_id)s)
ORDER BY account_id

-- name: choose_account_rules
UPDATE accounts
SET churn_event = %(churn_event)s, engagement_events = %(engagement_events)s::text[],
    horizon_chosen = %(horizon_chosen)s
WHERE name = %(name)s
RETURNING account_id

-- name: learn_horizon
UPDATE accounts SET horizon_learnt = %(horizon_days)s
WHERE account_id = %(account_id)s AND horizon_learnt IS DISTINCT FROM %(horizon_days)s
