-- Where a customer stands among the levels: the level of the risk, or `lapsed`.
CREATE FUNCTION standing(state text, level text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN state = 'lapsed' THEN state ELSE level END;

-- A recount of the totals under way: the moment as of which it counts, the last customer that it has counted. Events of
-- another server's transactions still have their numbers from `foreign_from` on.
CREATE TABLE recounts (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    snapshot pg_snapshot NOT NULL,
    began_at timestamptz NOT NULL DEFAULT now(),
    after uuid NOT NULL,
    foreign_from bigint NOT NULL
);
