"""What a reader sees: numbers -> sentences, tables and figures -> the cells of a notebook.

`numbers` formats, `sentences` words, `tables` arranges, `plots` draws and `show` displays; all of them take
plain arrays, dicts and DataFrames. Nothing is imported here, so that tables need no matplotlib.
"""
