"""Training: what the user sees (trainer), its data, its state, one fit, and checkpoints."""
