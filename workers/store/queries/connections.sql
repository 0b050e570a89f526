-- The settings of a session, see workers/store/sessions.py.

-- name: set_up_session
-- The preferred settings give way to those of DATABASE_URL and PGOPTIONS, which are the client's. A commit that Postgres
-- may forget when it is killed is none: the events would have left the buffer.
WITH wanted AS (
    SELECT name, value FROM unnest(%(required)s::text[], %(required_values)s::text[]) AS required (name, value)
    UNION ALL
    SELECT name, value FROM unnest(%(preferred)s::text[], %(preferred_values)s::text[]) AS preferred (name, value)
    WHERE NOT EXISTS (
        SELECT FROM pg_settings WHERE lower(pg_settings.name) = preferred.name AND source = 'client'
    )
    UNION ALL
    SELECT 'synchronous_commit', 'on' WHERE current_setting('synchronous_commit') = 'off'
)
SELECT pg_backend_pid(), count(set_config(name, value, false)) FROM wanted

-- name: keep_memory
-- A backend's allocator (glibc's) gives back to the system what a statement has freed, and the next one takes a page fault
-- for each page; planning a list of several cells, some 300. After a piece of this size was freed, it keeps twice as much.
SELECT length(repeat(' ', 4194304))

-- name: lead_to_schema
-- The schemas to which the session was led before stay behind it: an extension's operators may be there.
-- `is_placing`: Citus is there, and may have placed the schema on another node.
SELECT set_config('search_path', quote_ident(%(schema)s) || ', ' || current_setting('search_path'), false),
       to_regclass('pg_dist_schema') IS NOT NULL AND to_regclass('pg_dist_local_group') IS NOT NULL AS is_placing

-- name: find_node
-- The node that holds a schema's tables, and true if the session leads to it. All nodes have this catalogue of Citus.
SELECT nodename, nodeport, groupid = (SELECT groupid FROM pg_dist_local_group) AS is_here
FROM pg_dist_schema
JOIN pg_dist_partition USING (colocationid)
JOIN pg_dist_shard USING (logicalrelid)
JOIN pg_dist_placement USING (shardid)
JOIN pg_dist_node USING (groupid)
WHERE schemaid = to_regnamespace(quote_ident(%(schema)s)) AND noderole = 'primary' AND shardstate = 1
LIMIT 1

-- name: is_placing
SELECT to_regclass('pg_dist_schema') IS NOT NULL AND to_regclass('pg_dist_local_group') IS NOT NULL

-- name: list_nodes
SELECT nodename, nodeport FROM pg_dist_node WHERE noderole = 'primary' AND isactive AND shouldhaveshards
ORDER BY groupid

-- name: place_schema
SELECT citus_schema_distribute(quote_ident(%(schema)s)::regnamespace)

-- name: move_unused_schema
SELECT citus_schema_move(quote_ident(%(schema)s)::regnamespace, %(host)s, %(port)s, 'block_writes')

-- name: move_schema
-- Some tables have no key, so their changes are found by whole rows.
SELECT citus_schema_move(quote_ident(%(schema)s)::regnamespace, %(host)s, %(port)s, 'force_logical')

-- name: find_write_fault
SELECT pg_is_in_recovery(), current_setting('transaction_read_only')::boolean

-- name: list_cells
SELECT number, installation_id::text FROM cells ORDER BY number

-- name: note_cell
INSERT INTO cells (number, installation_id) VALUES (%(number)s, %(installation_id)s)

-- name: forget_cells
DELETE FROM cells

-- name: list_cell_tables
SELECT relname
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE nspname = %(schema)s AND relkind IN ('r', 'p') AND NOT relispartition AND relname <> ALL (%(without)s::text[])
ORDER BY relname <> 'accounts', relname

-- name: list_partitions
SELECT relname
FROM pg_partition_tree(to_regclass(quote_ident(%(schema)s) || '.' || quote_ident(%(table)s))) AS part
     JOIN pg_class ON pg_class.oid = part.relid
WHERE part.level > 0

-- name: list_copied_columns
SELECT column_name
FROM information_schema.columns
WHERE table_schema = %(schema)s AND table_name = %(table)s AND is_generated = 'NEVER'
ORDER BY ordinal_position

-- name: adopt_installation
UPDATE installation SET installation_id = %(installation_id)s

-- name: fill_search
INSERT INTO customer_search (customer_id, account_id, email)
SELECT customer_id, account_id, email FROM customers ON CONFLICT DO NOTHING

-- name: has_schema
SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = %(schema)s)

-- name: holds_customers
SELECT EXISTS (SELECT FROM customers) OR EXISTS (SELECT FROM landed) OR EXISTS (SELECT FROM dead_letters)

-- name: find_installation
SELECT installation_id::text FROM installation

-- name: count_customers
SELECT count(*) FROM customers
