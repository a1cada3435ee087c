"""What asv repeats from commit to commit; names stay as they are, so that results remain comparable."""
