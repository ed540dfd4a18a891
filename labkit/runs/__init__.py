"""What one run leaves behind, and what makes it stale."""
