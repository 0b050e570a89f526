-- name: list_account_rules
SELECT account_id, name, mappings, horizon_chosen, horizon_learnt, holdout_percent, contact_event,
       time_zone
FROM accounts
WHERE (%(name)s::text IS NULL OR name = %(name)s)
  AND (%(account_id)s::integer IS NULL OR account_id = %(account_id)s)
ORDER BY account_id

-- name: choose_account_rules
UPDATE accounts
SET mappings = %(mappings)s::jsonb, horizon_chosen = %(horizon_chosen)s, generation = generation + 1
WHERE name = %(name)s
RETURNING account_id

-- name: map_events
UPDATE accounts SET mappings = %(mappings)s::jsonb, generation = generation + 1
WHERE account_id = %(account_id)s AND mappings <> %(mappings)s::jsonb
RETURNING account_id

-- name: account_mappings
SELECT mappings FROM accounts WHERE account_id = %(account_id)s FOR UPDATE

-- name: list_names_mapped_to
-- Whatever the account.
SELECT DISTINCT mapping.key
FROM accounts CROSS JOIN LATERAL jsonb_each_text(mappings) AS mapping
WHERE mapping.value = %(role)s

-- name: find_sent_names
SELECT name FROM unnest(%(names)s::text[]) AS name
WHERE EXISTS (SELECT FROM event_days WHERE account_id = %(account_id)s AND event = name)

-- name: find_generation
SELECT generation, scored_with FROM accounts WHERE account_id = %(account_id)s

-- name: adopt_settings
-- Where other settings than these held, all scores are out of date.
WITH before AS (
    SELECT account_id, scored_with FROM accounts WHERE scored_with IS DISTINCT FROM %(settings)s FOR UPDATE
)
UPDATE accounts
SET scored_with = %(settings)s, generation = generation + (before.scored_with IS NOT NULL)::integer
FROM before
WHERE accounts.account_id = before.account_id
RETURNING accounts.account_id, before.scored_with IS NOT NULL

-- name: set_generation
UPDATE accounts SET generation = %(generation)s WHERE account_id = %(account_id)s

-- name: raise_generation
UPDATE accounts SET generation = generation + 1 WHERE account_id = %(account_id)s

-- name: learn_horizon
UPDATE accounts SET horizon_learnt = %(horizon_days)s
WHERE account_id = %(account_id)s AND horizon_learnt IS DISTINCT FROM %(horizon_days)s

-- name: choose_acting
UPDATE accounts
SET holdout_percent = coalesce(%(holdout_percent)s, holdout_percent),
    contact_event = nullif(coalesce(%(contact_event)s, contact_event), '')
WHERE name = %(name)s

-- name: choose_time_zone
UPDATE accounts SET time_zone = %(time_zone)s WHERE account_id = %(account_id)s
