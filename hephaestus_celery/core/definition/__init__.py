"""What workflows are made of: steps, their graph, and the checks that a definition passes."""
