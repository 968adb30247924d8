"""What `python -m afa_bench` is made of: settings, rivals, time, memory, accuracy, a page."""
