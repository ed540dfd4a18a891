"""From raw photographs, thousands of pixels wide, to square crops around the eyeball."""
