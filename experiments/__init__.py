"""One module per benchmark; run from a checkout with `python -m experiments.<name>`."""
