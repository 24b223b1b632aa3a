"""Drop-in replacements for the coders of other packages."""
