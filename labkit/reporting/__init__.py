"""What a reader sees: results -> figures, tables, sentences, one file per topic -> the cells of a notebook -> a page.

`results` reads the runs, `style`, `labels` and `frames` serve all topics, `show` displays, `page` renders. Nothing is
imported here, so that tables need no matplotlib.
"""
