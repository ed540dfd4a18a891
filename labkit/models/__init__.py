"""Networks: how each is defined, built, loaded and described."""
