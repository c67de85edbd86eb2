"""Makes renditions and placeholders of decoded pixels."""
