"""Two secure channels over whatever radio works."""
