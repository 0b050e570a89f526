CREATE TABLE rebuilds (
    customer_id uuid PRIMARY KEY,
    since timestamptz NOT NULL
);

CREATE TABLE risk_rebuilt (
    customer_id uuid NOT NULL,
    at timestamptz NOT NULL,
    probability real NOT NULL,
    level text NOT NULL,
    state text NOT NULL,
    model text NOT NULL,
    PRIMARY KEY (customer_id, at)
);
