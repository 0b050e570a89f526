-- Scoring an account anew before it switches to another model, and comparing like with like afterwards.

ALTER TABLE customers ADD COLUMN comparable_since timestamptz;

CREATE TABLE renewals (
    account_id integer PRIMARY KEY REFERENCES accounts,
    because text NOT NULL,
    switches boolean NOT NULL,
    version integer,
    horizon_learnt integer,
    generation integer NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT now(),
    touched_at timestamptz NOT NULL DEFAULT now(),
    after text COLLATE "C" NOT NULL DEFAULT '',
    round integer NOT NULL DEFAULT 0,
    found integer NOT NULL DEFAULT 0,
    scored integer NOT NULL DEFAULT 0,
    total integer NOT NULL DEFAULT 0,
    switched boolean NOT NULL DEFAULT false
);

CREATE TABLE scores_ahead (
    customer_id uuid PRIMARY KEY,
    generation integer NOT NULL,
    computed_at timestamptz NOT NULL,
    rescore_at timestamptz NOT NULL,
    probability real NOT NULL,
    level text NOT NULL,
    state text NOT NULL,
    low_confidence boolean NOT NULL,
    plan text,
    open_tickets integer NOT NULL,
    overdue_since timestamptz,
    nps integer,
    reasons jsonb NOT NULL,
    advice jsonb,
    horizon_days integer NOT NULL DEFAULT 30
);

CREATE TABLE risk_restated (
    customer_id uuid NOT NULL,
    generation integer NOT NULL,
    at timestamptz NOT NULL,
    probability real NOT NULL,
    level text NOT NULL,
    state text NOT NULL,
    PRIMARY KEY (customer_id, generation, at)
);

CREATE TABLE levels_restated (
    account_id integer NOT NULL REFERENCES accounts,
    at timestamptz NOT NULL,
    level text NOT NULL,
    customers bigint NOT NULL,
    PRIMARY KEY (account_id, at, level)
);

CREATE TABLE model_changes (
    account_id integer NOT NULL REFERENCES accounts,
    at timestamptz NOT NULL,
    because text NOT NULL,
    model text NOT NULL,
    model_before text NOT NULL,
    horizon_days integer NOT NULL,
    horizon_before integer NOT NULL,
    PRIMARY KEY (account_id, at)
);

CREATE FUNCTION risk_then(customer customers, moment timestamptz) RETURNS real LANGUAGE sql STABLE PARALLEL SAFE
RETURN (
    SELECT risks.probability
    FROM (
        SELECT history.at, history.probability FROM risk_history AS history
        WHERE history.customer_id = (customer).customer_id
          AND history.at >= coalesce((customer).comparable_since, '-infinity')
        UNION ALL
        SELECT rebuilt.at, rebuilt.probability FROM risk_rebuilt AS rebuilt
        WHERE rebuilt.customer_id = (customer).customer_id AND rebuilt.model = (customer).model
        UNION ALL
        SELECT restated.at, restated.probability FROM risk_restated AS restated
        WHERE restated.customer_id = (customer).customer_id AND restated.generation = (customer).generation
    ) AS risks
    WHERE risks.at <= moment
    ORDER BY risks.at DESC
    LIMIT 1
);
