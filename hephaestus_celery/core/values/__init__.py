"""The values that everything is said in: contexts, instances, identities, retry policies, and what may be carried."""
