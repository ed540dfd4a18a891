"""The benchmark: this project's speed beside that of what people would use instead, measured in turn."""
