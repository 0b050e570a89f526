-- Why a score is due, what was last recorded of a customer, and what is shown before history is in.

ALTER TABLE accounts ADD COLUMN generation integer NOT NULL DEFAULT 0;

ALTER TABLE customers
    ADD COLUMN due_because text,
    ADD COLUMN recorded_level text,
    ADD COLUMN recorded_state text,
    ADD COLUMN provisional boolean NOT NULL DEFAULT false,
    ADD COLUMN generation integer NOT NULL DEFAULT 0;

UPDATE customers SET recorded_level = level, recorded_state = state WHERE recorded_at IS NOT NULL;

CREATE INDEX customers_due_events ON customers (account_id, rescore_at) WHERE due_because = 'event';
CREATE INDEX customers_provisional ON customers (account_id) WHERE provisional;

ALTER TABLE risk_history ADD COLUMN because text NOT NULL DEFAULT 'silence';
