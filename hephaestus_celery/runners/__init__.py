"""What does the work that the engine asks for."""
