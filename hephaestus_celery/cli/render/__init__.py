"""What commands print: tables, colours, times and JSON, made safe for whatever terminal or pipe they go to."""
