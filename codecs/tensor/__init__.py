"""Arrays of any type: bit for bit, or within an error that is asked for."""
