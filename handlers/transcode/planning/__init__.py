"""Planning the renditions of a source. Pure."""
