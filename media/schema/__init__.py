"""Apply and check the database's schema: `python -m media.schema apply|check|ensure|list|roles`."""
