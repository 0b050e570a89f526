CREATE TABLE pruned (
    customer_id uuid NOT NULL,
    month date NOT NULL,
    keys bigint[] NOT NULL,
    PRIMARY KEY (customer_id, month)
);

DROP INDEX event_ids_received;
