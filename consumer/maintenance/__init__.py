"""Work beside the queues: stages that stand still, orphaned outputs, paused queues, presence."""
