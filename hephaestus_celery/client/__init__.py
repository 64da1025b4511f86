"""What users call: the runtime, the facade of a workflow, handles, and what is behind their calls."""
