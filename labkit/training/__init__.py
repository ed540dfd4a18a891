"""Training: the loop, one step, loss, optimizer, checkpoint; and prediction with a trained network."""
