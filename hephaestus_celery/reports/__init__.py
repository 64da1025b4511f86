"""What people are told of runs, workers and the store, in words and numbers: the command line and the dashboard show it."""
