"""Which layout a folder has, and its rows: `read` gives the image table of any of them."""

from labkit.data.readers.label_files import DataError
from labkit.data.readers.layouts import COURSE_FILES, COURSE_LISTS
from labkit.data.readers.read import READING, RELEASE, ImageData, read
from labkit.data.readers.release import with_release_index
