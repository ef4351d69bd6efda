"""Ways to turn a plan into machines."""
