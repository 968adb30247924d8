"""What `python -m afa_core` is made of: series in and out, the two filters, a picture."""
