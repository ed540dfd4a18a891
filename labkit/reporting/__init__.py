"""What a reader sees: results -> figures, tables and sentences, one file a topic -> the cells of a notebook -> a page.

`results` reads the runs, `style`, `labels` and `frames` serve all topics, `show` displays, `page` renders. Nothing is
imported here, so that tables need no matplotlib.
"""
