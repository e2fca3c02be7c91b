"""The conversion as a workflow: contracts, the workflow itself, its activities."""
