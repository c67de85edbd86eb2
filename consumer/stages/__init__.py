"""What becomes of an asset: its stages claimed, run and ended, and what was committed carried out."""
