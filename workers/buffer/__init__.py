"""The buffer in Redis: writes events to streams, reads them in batches, counts each of them in the ledger."""
