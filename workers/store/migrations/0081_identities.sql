-- The address of each user id, and the address that follows one that was given up. customer_id is a hash of the user id
-- or of the address that was given up; owner is the customer. An address that is said anew waits in next_email until the
-- customer is moved. has_waiting: events of this user id wait to be stored.
CREATE TABLE identities (
    customer_id uuid PRIMARY KEY,
    account_id integer NOT NULL,
    user_id text,
    owner uuid NOT NULL,
    email text COLLATE "C" NOT NULL,
    said_at timestamptz NOT NULL,
    next_email text COLLATE "C",
    next_said_at timestamptz,
    has_waiting boolean NOT NULL DEFAULT false
);

CREATE INDEX identities_owner ON identities (owner);
CREATE INDEX identities_given_up ON identities (account_id) WHERE user_id IS NULL;
CREATE INDEX identities_next ON identities (customer_id) WHERE next_email IS NOT NULL;
CREATE INDEX identities_waiting ON identities (customer_id) WHERE has_waiting;

-- Events of user ids whose address isn't known yet; customer_id is a hash of the user id. No lane: a replayed dead letter,
-- which the ledger counts as dead.
CREATE TABLE unresolved_events (
    customer_id uuid NOT NULL,
    occurred_at timestamptz NOT NULL,
    event_key bigint NOT NULL,
    account_id integer NOT NULL,
    user_id text NOT NULL,
    event text NOT NULL,
    properties text,
    received_at timestamptz NOT NULL,
    identified boolean NOT NULL,
    lane text,
    PRIMARY KEY (customer_id, occurred_at, event_key)
);

CREATE INDEX unresolved_events_received ON unresolved_events (received_at);

-- What was said of a customer: all traits, and when each of them was (microseconds since 1970), so that the latest wins
-- in whatever order they come. customer_id may be a hash of a user id whose address isn't known yet.
CREATE TABLE profiles (
    customer_id uuid PRIMARY KEY,
    account_id integer NOT NULL,
    traits jsonb NOT NULL,
    said_us jsonb NOT NULL
);

-- Events that went from one count of the ledger into another, until the ledger knows: an outbox, see
-- workers/identities/ledger_moves.py.
CREATE TABLE ledger_moves (
    move_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    lane text NOT NULL,
    counts jsonb NOT NULL
);
