"""One file per benchmark: `get_config(variant)` gives every field its value."""
