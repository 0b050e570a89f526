"""Pages that set an account up or show its settings: mappings, imports, settings, companies, money."""
