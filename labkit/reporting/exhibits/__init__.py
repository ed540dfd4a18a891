"""What a report shows, a file a topic."""
