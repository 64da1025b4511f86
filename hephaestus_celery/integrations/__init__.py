"""What works together with other libraries, each only where its extra is installed."""
