"""Tables and captions of the exported page: scrolling frames, numbered captions."""

import re

from bs4 import BeautifulSoup, Tag

LONG_CELL = 30  # characters; a longer cell is a sentence or a path and may wrap, a shorter one reads better whole


def dress_tables(soup: BeautifulSoup, main: Tag) -> None:
    """Tables scroll inside their own frame; long cells may wrap; pandas' own style gives way to ours."""
    for style in soup.find_all("style"):
        if style.has_attr("scoped"):  # pandas' DataFrame style; no browser scopes it, so it leaks to the page
            style.decompose()
    for table in main.find_all("table"):
        del table["border"]
        for cell in table.select("td, tbody th"):
            if len(cell.get_text().strip()) > LONG_CELL:
                cell["class"] = " ".join([*(cell.get("class") or []), "long"])
        for cell in table.select("thead th"):
            if not cell.get_text().strip():  # pandas' corner above the index heads nothing
                cell.name = "td"
        table.wrap(soup.new_tag("figure", attrs={"class": "table"}))
        table.wrap(soup.new_tag("div", attrs={"class": "scroll"}))


def place_captions(soup: BeautifulSoup, main: Tag) -> None:
    """Captions into the figure they belong to, numbered "Figure 1." and "Table 1." unless they bring a number.

    labkit.reporting.show displays a figure's caption as the next output (`p.caption`), and a table's inside
    the table, where it would scroll away with it on a phone.
    """
    for paragraph in main.select("p.caption"):
        before = paragraph.find_previous(["figure", "p", "h2", "h3", "h4", "pre"])
        is_figure = before is not None and before.name == "figure" and before.find("table") is None
        if isinstance(before, Tag) and is_figure and before.find("figcaption") is None:
            holder = paragraph.parent
            paragraph.name = "figcaption"
            before.append(paragraph.extract())
            if holder is not None and not holder.get_text().strip() and not holder.find(True):
                holder.decompose()
    for caption in main.select("table caption"):
        frame = caption.find_parent("figure")
        if isinstance(frame, Tag):
            caption.name = "figcaption"
            frame.insert(0, caption.extract())
    numbers = {"Figure": 0, "Table": 0}
    for caption in main.select("figcaption, p.caption"):
        frame = caption.find_parent("figure")
        word = "Table" if frame is not None and "table" in (frame.get("class") or []) else "Figure"
        text = caption.get_text().strip()
        if not text or re.match(rf"{word}\s+\d", text):
            continue
        numbers[word] += 1
        label = soup.new_tag("strong")
        label.string = f"{word} {numbers[word]}."
        caption.insert(0, label, " ")
        # An id for the figure, to link to, and the caption as the name of its table.
        whole = caption if frame is None else frame
        whole["id"] = f"{word.lower()}-{numbers[word]}"
        if whole is not caption:
            caption["id"] = f"{whole['id']}-caption"
        if frame is not None and isinstance(table := frame.find("table"), Tag):
            table["aria-labelledby"] = caption["id"]
