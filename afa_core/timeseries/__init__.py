"""Models of real series: parameters fitted by maximum likelihood."""
