"""Images and labels: from files to the image table, its splits and the loaders."""
