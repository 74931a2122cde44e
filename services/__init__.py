"""The services of Weir. Each is deployed on its own; they share messages, never code of one another."""
