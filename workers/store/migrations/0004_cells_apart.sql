-- What a cell keeps of an account doesn't point at home's tables, which may be on another server.
ALTER TABLE renewals DROP CONSTRAINT renewals_account_id_fkey;
ALTER TABLE levels_restated DROP CONSTRAINT levels_restated_account_id_fkey;
ALTER TABLE model_changes DROP CONSTRAINT model_changes_account_id_fkey;
ALTER TABLE track_records DROP CONSTRAINT track_records_account_id_fkey;
