ALTER TABLE events ADD COLUMN stored_by bigint NOT NULL DEFAULT 0;
ALTER TABLE events ALTER COLUMN stored_by SET DEFAULT pg_current_xact_id()::text::bigint;

CREATE TABLE tallied (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    snapshot pg_snapshot NOT NULL,
    at timestamptz NOT NULL,
    worked_seconds double precision NOT NULL
);

CREATE TABLE event_days (
    account_id integer NOT NULL,
    event text COLLATE "C" NOT NULL,
    day date NOT NULL,
    n bigint NOT NULL,
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    PRIMARY KEY (account_id, event, day)
);

CREATE TABLE event_returns (
    account_id integer NOT NULL,
    event text COLLATE "C" NOT NULL,
    day date NOT NULL,
    previous date NOT NULL,
    customers integer NOT NULL,
    PRIMARY KEY (account_id, event, day, previous)
);

CREATE INDEX event_returns_previous ON event_returns (account_id, previous, day);

CREATE TABLE event_hours (
    account_id integer NOT NULL,
    event text COLLATE "C" NOT NULL,
    hour timestamptz NOT NULL,
    n bigint NOT NULL,
    customers integer NOT NULL,
    PRIMARY KEY (account_id, event, hour)
);

CREATE TABLE recent_events (
    customer_id uuid NOT NULL,
    event text COLLATE "C" NOT NULL,
    hour timestamptz NOT NULL,
    account_id integer NOT NULL,
    PRIMARY KEY (customer_id, event, hour)
);

CREATE INDEX recent_events_latest ON recent_events (account_id, event, hour, customer_id);

CREATE TABLE erasing (
    customer_id uuid PRIMARY KEY
);

CREATE TABLE risk_moves (
    account_id integer NOT NULL,
    day date NOT NULL,
    level text NOT NULL,
    customers bigint NOT NULL
);

CREATE INDEX risk_moves_day ON risk_moves (account_id, day);
