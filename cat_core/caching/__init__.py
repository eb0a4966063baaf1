"""What a run remembers between steps: keys and values per layer, noise per token."""
