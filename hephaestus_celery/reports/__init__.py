"""What people are told of runs, workers and the store, in words and numbers: as the command line shows it."""
