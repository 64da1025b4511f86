"""The values that all other parts share: contexts, instances, identities, step states, retry policies."""
