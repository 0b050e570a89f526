-- Departures with their outcome, flags with theirs, and churn by month. All of it is computed anew by the next job.
DROP TABLE departures, flags;

-- Customers who lapsed, with their risks 1, 2, 3 … days before, as of then; stayed_away is null while it is open whether
-- they come back within the horizon.
CREATE TABLE departures (
    customer_id uuid NOT NULL,
    left_at timestamptz NOT NULL,
    account_id integer NOT NULL,
    stayed_away boolean,
    risks real[] NOT NULL,
    PRIMARY KEY (customer_id, left_at)
);

CREATE INDEX departures_account ON departures (account_id, left_at, customer_id);

-- Customers whose risk was medium or higher on a weekly list of the past, as of then; has_left: the
-- product was not used within the horizon after it.
CREATE TABLE flags (
    customer_id uuid NOT NULL,
    at timestamptz NOT NULL,
    account_id integer NOT NULL,
    probability real NOT NULL,
    has_left boolean NOT NULL,
    PRIMARY KEY (customer_id, at)
);

CREATE INDEX flags_account ON flags (account_id, at);

-- How many customers an account had at the start of a month, and how many came, came back and lapsed in it.
CREATE TABLE churn_months (
    account_id integer NOT NULL,
    month date NOT NULL,
    customers integer NOT NULL,
    joined integer NOT NULL,
    came_back integer NOT NULL,
    lapsed integer NOT NULL,
    PRIMARY KEY (account_id, month)
);

UPDATE track_records SET due = true, computed_at = NULL;
