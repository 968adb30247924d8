"""What `python -m afa_core bench` is made of: settings, rivals, time, memory, accuracy, a page."""
