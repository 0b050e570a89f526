-- What an account has chosen for itself, and the horizon that was learnt for it. A score says over how many days it
-- looks: those of before looked over 30, unless WINDBACK_HORIZON_DAYS said otherwise.
ALTER TABLE accounts
    ADD COLUMN churn_event text,
    ADD COLUMN engagement_events text[] NOT NULL DEFAULT '{}',
    ADD COLUMN horizon_chosen integer,
    ADD COLUMN horizon_learnt integer;

ALTER TABLE customers ADD COLUMN horizon_days integer NOT NULL DEFAULT 30;

ALTER TABLE risk_history ADD COLUMN horizon_days integer NOT NULL DEFAULT 30;
