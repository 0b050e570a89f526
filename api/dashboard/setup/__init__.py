"""Pages that set an account up, or show what is set: mappings, imports, settings, companies, money."""
