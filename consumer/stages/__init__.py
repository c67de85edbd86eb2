"""Claims, runs and ends the stages of assets, and dispatches the effects of their commits."""
