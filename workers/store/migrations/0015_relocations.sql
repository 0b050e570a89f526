-- A customer's history on its way to another of several cells, see workers/identities/relocations.py: an outbox. owner:
-- the id of the customer it becomes. subject: the user id whose address has changed; kept: other user ids stay at the
-- address; followed: those whose the history is have left it.
CREATE TABLE relocations (
    customer_id uuid NOT NULL,
    relocation_id uuid NOT NULL,
    account_id integer NOT NULL,
    email text COLLATE "C" NOT NULL,
    owner uuid NOT NULL,
    next_email text COLLATE "C" NOT NULL,
    subject uuid,
    kept boolean NOT NULL,
    followed boolean NOT NULL DEFAULT false,
    left_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (customer_id, relocation_id)
);

CREATE TABLE relocated_rows (
    customer_id uuid NOT NULL,
    relocation_id uuid NOT NULL,
    relation text NOT NULL,
    part integer NOT NULL,
    rows text NOT NULL,
    PRIMARY KEY (customer_id, relocation_id, relation, part)
);

-- Which of them have come to this cell, and with how many events; until the other cell knows it.
CREATE TABLE arrived_relocations (
    relocation_id uuid PRIMARY KEY,
    events bigint NOT NULL
);
