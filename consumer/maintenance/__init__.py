"""Work beside the queues: stages that stand still, outputs that nobody needs, who is alive."""
