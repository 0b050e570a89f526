-- The track record: of the customers who left, who had been flagged before; of those flagged, who left.

CREATE TABLE track_records (
    account_id integer PRIMARY KEY REFERENCES accounts,
    due boolean NOT NULL DEFAULT true,
    computed_at timestamptz,
    since timestamptz,
    horizon_days integer
);

CREATE TABLE departures (
    customer_id uuid NOT NULL,
    left_at timestamptz NOT NULL,
    account_id integer NOT NULL,
    risks real[] NOT NULL,
    PRIMARY KEY (customer_id, left_at)
);

CREATE INDEX departures_account ON departures (account_id, left_at, customer_id);

CREATE TABLE flags (
    customer_id uuid NOT NULL,
    at timestamptz NOT NULL,
    account_id integer NOT NULL,
    probability real NOT NULL,
    left_at timestamptz,
    PRIMARY KEY (customer_id, at)
);

CREATE INDEX flags_account ON flags (account_id, at);
