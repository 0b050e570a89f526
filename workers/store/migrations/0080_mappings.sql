-- What an account's own events mean, in one place: a name stands for a recognised event, counts as use or means churn.
ALTER TABLE accounts ADD COLUMN mappings jsonb NOT NULL DEFAULT '{}';

UPDATE accounts
SET mappings = coalesce((SELECT jsonb_object_agg(event, 'engagement') FROM unnest(engagement_events) AS event), '{}')
    || CASE WHEN churn_event IS NULL THEN '{}' ELSE jsonb_build_object(churn_event, 'churn') END;

ALTER TABLE accounts DROP COLUMN churn_event, DROP COLUMN engagement_events;
