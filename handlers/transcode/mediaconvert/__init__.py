"""The engine that hands jobs to AWS Elemental MediaConvert."""
