"""Color profiles, and conversion to sRGB."""
