ALTER TABLE events SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.05);
ALTER TABLE event_ids SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.05);
ALTER TABLE risk_history SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.05);
ALTER TABLE pruned SET (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.05);
ALTER TABLE customers SET (autovacuum_vacuum_cost_limit = 2000);
ALTER TABLE customer_days SET (autovacuum_vacuum_cost_limit = 2000);
