"""What a region is told of its factories, so that nothing of one or two of them shows."""
