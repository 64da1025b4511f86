"""What users call: the runtime, the class ``Workflow``, handles, and what these calls do."""
