"""Pictures of the pages of documents."""
