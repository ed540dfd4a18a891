"""From raw photographs, thousands of pixels wide, to square crops around the eyeball."""

from labkit.data.prepare.photographs import prepare

__all__ = ["prepare"]
