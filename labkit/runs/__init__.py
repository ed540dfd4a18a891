"""The folder of one run: what it holds, and what makes it stale."""
