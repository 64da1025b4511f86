"""Where instances are kept: the port and its adapters."""
