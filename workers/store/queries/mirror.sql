-- A cell's copies of home's rows that it reads: accounts, models, outages, webhooks, templates.

-- name: fingerprint_home
-- Changes whenever a row of these tables does.
SELECT concat_ws(' ',
    (SELECT sum(hashtextextended(concat_ws(' ', xmin::text, ctid::text), 0)) FROM accounts),
    (SELECT sum(hashtextextended(concat_ws(' ', xmin::text, ctid::text), 0)) FROM models),
    (SELECT sum(hashtextextended(concat_ws(' ', xmin::text, ctid::text), 0)) FROM outages),
    (SELECT sum(hashtextextended(concat_ws(' ', xmin::text, ctid::text), 0)) FROM webhooks),
    (SELECT sum(hashtextextended(concat_ws(' ', xmin::text, ctid::text), 0)) FROM draft_templates)
)

-- name: read_home
SELECT coalesce((SELECT jsonb_agg(to_jsonb(accounts)) FROM accounts), '[]')::text AS accounts,
       coalesce((SELECT jsonb_agg(to_jsonb(models)) FROM models), '[]')::text AS models,
       coalesce((SELECT jsonb_agg(to_jsonb(outages)) FROM outages), '[]')::text AS outages,
       coalesce((SELECT jsonb_agg(to_jsonb(webhooks)) FROM webhooks), '[]')::text AS webhooks,
       coalesce((SELECT jsonb_agg(to_jsonb(draft_templates)) FROM draft_templates), '[]')::text AS draft_templates

-- name: mirror_accounts
-- Generation and scored_with are the cell's own, and the learnt horizon comes with a switch. Returns the accounts whose
-- rules have changed.
WITH before AS (
    SELECT account_id, mappings, horizon_chosen FROM accounts
), mirrored AS (
    INSERT INTO accounts AS kept (account_id, name, created_at, horizon_chosen, holdout_percent, contact_event, mappings)
    SELECT account_id, name, created_at, horizon_chosen, holdout_percent, contact_event, mappings
    FROM jsonb_populate_recordset(NULL::accounts, %(rows)s::jsonb)
    ON CONFLICT (account_id) DO UPDATE
    SET name = excluded.name, horizon_chosen = excluded.horizon_chosen, holdout_percent = excluded.holdout_percent,
        contact_event = excluded.contact_event, mappings = excluded.mappings,
        generation = kept.generation
            + (kept.mappings <> excluded.mappings OR kept.horizon_chosen IS DISTINCT FROM excluded.horizon_chosen)::integer
    RETURNING account_id, mappings, horizon_chosen
)
SELECT mirrored.account_id
FROM mirrored JOIN before USING (account_id)
WHERE mirrored.mappings <> before.mappings OR mirrored.horizon_chosen IS DISTINCT FROM before.horizon_chosen
ORDER BY 1

-- name: mirror_models
-- Which one is in use changes with a switch only.
INSERT INTO models (account_id, version, kind, weights, card, created_at, replaced)
SELECT account_id, version, kind, weights, card, created_at, replaced
FROM jsonb_populate_recordset(NULL::models, %(rows)s::jsonb)
ON CONFLICT (account_id, version) DO UPDATE SET replaced = excluded.replaced

-- name: list_switches
-- The accounts that home has switched and the cell has not: to which version, and to which learnt horizon.
SELECT home.account_id, home.version, home.horizon_learnt
FROM (
    SELECT account_id, horizon_learnt, (
        SELECT version FROM jsonb_populate_recordset(NULL::models, %(models)s::jsonb) AS model
        WHERE model.account_id = account.account_id AND in_use
    ) AS version
    FROM jsonb_populate_recordset(NULL::accounts, %(accounts)s::jsonb) AS account
) AS home
JOIN accounts USING (account_id)
LEFT JOIN models ON models.account_id = home.account_id AND models.in_use
WHERE home.version IS DISTINCT FROM models.version
   OR home.horizon_learnt IS NOT NULL AND home.horizon_learnt IS DISTINCT FROM accounts.horizon_learnt

-- name: is_switching
SELECT EXISTS (
    SELECT FROM renewals
    WHERE account_id = %(account_id)s AND switches AND version IS NOT DISTINCT FROM %(version)s
      AND horizon_learnt IS NOT DISTINCT FROM %(horizon_learnt)s
)

-- name: drop_ended_outages
DELETE FROM outages
WHERE NOT EXISTS (
    SELECT FROM jsonb_populate_recordset(NULL::outages, %(rows)s::jsonb) AS home
    WHERE home.account_id = outages.account_id AND home.began_at = outages.began_at
)

-- name: mirror_outages
INSERT INTO outages (account_id, began_at, ended_at)
SELECT account_id, began_at, ended_at FROM jsonb_populate_recordset(NULL::outages, %(rows)s::jsonb)
ON CONFLICT (account_id, began_at) DO UPDATE SET ended_at = excluded.ended_at

-- name: list_removed_webhooks
SELECT webhook_id::text FROM webhooks
WHERE webhook_id NOT IN (SELECT webhook_id FROM jsonb_populate_recordset(NULL::webhooks, %(rows)s::jsonb))

-- name: drop_webhook
DELETE FROM webhooks WHERE webhook_id = %(webhook_id)s::uuid

-- name: mirror_webhooks
-- The latest attempts are each cell's own.
INSERT INTO webhooks (webhook_id, account_id, url, format, min_level, description, enabled, secret, created_at)
SELECT webhook_id, account_id, url, format, min_level, description, enabled, secret, created_at
FROM jsonb_populate_recordset(NULL::webhooks, %(rows)s::jsonb)
ON CONFLICT (webhook_id) DO UPDATE
SET url = excluded.url, format = excluded.format, min_level = excluded.min_level,
    description = excluded.description, enabled = excluded.enabled, secret = excluded.secret

-- name: list_attempts
SELECT webhook_id::text, last_at, last_status, NOT enabled
FROM webhooks WHERE last_at IS NOT NULL

-- name: gather_attempts
-- The latest attempt of all cells; a webhook that answered 410 since is disabled everywhere.
UPDATE webhooks
SET last_at = attempts.last_at, last_status = attempts.last_status,
    enabled = webhooks.enabled AND NOT (attempts.is_disabled AND attempts.last_status = 410)
FROM unnest(%(webhook_id)s::uuid[], %(last_at)s::timestamptz[], %(last_status)s::integer[], %(is_disabled)s::boolean[])
     AS attempts (webhook_id, last_at, last_status, is_disabled)
WHERE webhooks.webhook_id = attempts.webhook_id AND attempts.last_at > coalesce(webhooks.last_at, '-infinity')

-- name: drop_other_templates
DELETE FROM draft_templates
WHERE NOT EXISTS (
    SELECT FROM jsonb_populate_recordset(NULL::draft_templates, %(rows)s::jsonb) AS home
    WHERE home.account_id = draft_templates.account_id AND home.strategy = draft_templates.strategy
)

-- name: mirror_templates
INSERT INTO draft_templates (account_id, strategy, subject, body_text, changed_at)
SELECT account_id, strategy, subject, body_text, changed_at
FROM jsonb_populate_recordset(NULL::draft_templates, %(rows)s::jsonb)
ON CONFLICT (account_id, strategy) DO UPDATE
SET subject = excluded.subject, body_text = excluded.body_text, changed_at = excluded.changed_at
