"""Learning: the loop, its checkpoint, and the one place where a trained model is run."""
