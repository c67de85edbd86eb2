"""Assets and stages in Postgres, the source of truth. All SQL about them stands in this package."""
