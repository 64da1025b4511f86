"""An operator's hour: a small shop is run, broken, mended and held up, and all that its operator types is recorded."""
