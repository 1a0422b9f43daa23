"""What a network's predictions say: plain functions and small tables on arrays."""
