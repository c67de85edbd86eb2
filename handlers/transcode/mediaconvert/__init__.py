"""The engine that submits jobs to AWS Elemental MediaConvert."""
