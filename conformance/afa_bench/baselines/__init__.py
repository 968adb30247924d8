"""What attention is compared with."""
