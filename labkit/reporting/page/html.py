"""The last pass over the exported page: headings, contents, tables, captions, formulas; nothing from a network."""

import re

from bs4 import BeautifulSoup, Tag
from latex2mathml.converter import convert

from labkit.reporting.page.tables import dress_tables, place_captions

HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")


def finish(html: str, parts: int = 1) -> str:
    """The finished page; `parts` is how many notebooks were joined in it."""
    soup = BeautifulSoup(html, "html.parser")
    math_to_mathml(soup)
    main = soup.find("main")
    if isinstance(main, Tag):
        keep_offline(soup)
        lift_summary(soup, main)
        number_headings(soup, main, single=parts == 1)
        add_contents(soup, main)
        dress_tables(soup, main)
        place_captions(soup, main)
        fold_appendix(soup, main)
        box, header = main.find("aside", class_="summary"), soup.find("header")
        if isinstance(box, Tag) and isinstance(header, Tag):
            header.insert_after(box.extract())
            if isinstance(facts := header.find("dl", class_="facts"), Tag):
                box.append(facts.extract())
    return str(soup)


def keep_offline(soup: BeautifulSoup) -> None:
    """Replace what would be loaded by a link to it (pictures) or drop it (scripts, frames, style sheets)."""
    for tag, name in what_it_loads(soup):
        if tag.name == "img":
            link = soup.new_tag("a", href=str(tag[name]))
            link.string = f"[picture not included: {tag.get('alt') or tag[name]}]"
            tag.replace_with(link)
        else:
            tag.decompose()


def what_it_loads(soup: BeautifulSoup) -> list[tuple[Tag, str]]:
    """Each tag that makes a browser load a file from outside the page, with the attribute that names it."""
    found = []
    for tag in soup.find_all(True):
        names = ("href",) if tag.name in ("link", "image", "use") else ("src", "srcset", "poster", "data")
        for name in names:
            if name in tag.attrs and not str(tag[name]).startswith(("data:", "#")):
                found.append((tag, name))
                break
    return found


def lift_summary(soup: BeautifulSoup, main: Tag) -> None:
    """Cells tagged `summary` into one box at the head of `main`, until everything there is dressed and numbered."""
    parts = main.select("[data-part=summary]")
    if not parts:
        return
    box = soup.new_tag("aside", attrs={"class": "summary", "aria-label": "Summary"})
    for part in parts:
        del part["data-part"]
        box.append(part.extract())
    if isinstance(heading := box.find(HEADINGS), Tag):
        heading.name, heading["id"], heading["class"] = "h2", heading.get_text(), "unnumbered"
    for fold in box.select("details.code"):
        box.append(fold.extract())
    main.insert(0, box)


def fold_appendix(soup: BeautifulSoup, main: Tag) -> None:
    """All that follows the heading "Appendix" can be folded, and is: a reader of the page comes for what is above."""
    heading = next((tag for tag in main.find_all("h2") if tag.get_text().strip() == "Appendix"), None)
    block = heading and heading.find_parent("div", class_="markdown")
    if not (isinstance(heading, Tag) and isinstance(block, Tag)):
        return
    rest = list(block.next_siblings)
    fold = soup.new_tag("details", attrs={"class": "appendix"})
    block.insert_after(fold)
    summary = soup.new_tag("summary")
    summary.append(heading.extract())
    fold.append(summary)
    fold.extend([*(child.extract() for child in list(block.children)), *(part.extract() for part in rest)])
    block.decompose()


def number_headings(soup: BeautifulSoup, main: Tag, single: bool) -> None:
    """One h1 (the page's title), no skipped level, and an id for each heading.

    Of a single notebook the leading H1 gives way to the title (it becomes the subtitle if there is none);
    of joined notebooks each H1 becomes a part (h2) and what is below it goes one down.
    Ids are JupyterLab's (text with dashes for blanks), so links between cells work in both.
    """
    header = soup.find("header")
    headings = [heading for heading in main.find_all(HEADINGS) if heading.find_parent("aside") is None]
    if single and headings and headings[0].name == "h1":
        lead = headings.pop(0)
        title = header.find("h1") if isinstance(header, Tag) else None
        same = title is not None and lead.get_text().strip() == title.get_text().strip()
        if isinstance(header, Tag) and not header.find(class_="subtitle") and not same and title is not None:
            lead.name, lead["class"] = "p", "subtitle"
            title.insert_after(lead.extract())
        else:
            lead.decompose()
    shift = 1 if any(h.name == "h1" for h in headings) else 0
    used = {str(tag["id"]) for tag in soup.find_all(id=True)}
    level = 1
    for heading in headings:
        level = min(int(heading.name[1]) + shift, level + 1, 6)
        heading.name = f"h{level}"
        anchor = base = re.sub(r"\s+", "-", heading.get_text().strip()) or "section"
        number = 2
        while anchor in used:
            anchor, number = f"{base}-{number}", number + 1
        used.add(anchor)
        heading["id"] = anchor


def add_contents(soup: BeautifulSoup, main: Tag) -> None:
    """Fill `nav#toc` with links to h2 and h3; drop it when there are fewer than two headings."""
    nav = soup.find("nav", id="toc")
    headings = [h for h in main.find_all(["h2", "h3"]) if h.get("id")]
    if not isinstance(nav, Tag):
        return
    if len(headings) < 2:
        nav.decompose()
        return
    top = soup.new_tag("ol")
    for heading in headings:
        entry = soup.new_tag("li", attrs={"class": "unnumbered"} if heading.get("class") == "unnumbered" else {})
        entry.append(soup.new_tag("a", href=f"#{heading['id']}", string=" ".join(heading.get_text().split())))
        above = top.find_all("li", recursive=False)
        if heading.name == "h2" or not above:
            top.append(entry)
        else:
            inner = above[-1].ol or soup.new_tag("ol")
            inner.append(entry)
            above[-1].append(inner)
    details = soup.new_tag("details", attrs={"open": ""})
    details.extend([soup.new_tag("summary", string="Contents"), top])
    nav.append(details)


def math_to_mathml(soup: BeautifulSoup) -> None:
    """Replace each `span.tex` (displayed if `data-display="block"`); TeX that cannot be converted stays, as code."""
    for span in soup.find_all("span", class_="tex"):
        tex = span.get_text().strip()
        display = span.get("data-display") == "block"
        if match := re.fullmatch(r"(\$\$?)(.*?)\1", tex, re.DOTALL):  # text/latex outputs bring their dollars
            display, tex = len(match[1]) == 2 or display, match[2]
        tex = re.sub(r"\\(begin|end)\{(equation|displaymath|math)\*?\}|\\displaystyle\b", "", tex).strip()
        tex = re.sub(r"\\(begin|end)\{(align|gather|eqnarray)\}", r"\\\1{\2*}", tex)  # no equation numbers
        tex = re.sub(r"\\label\{[^}]*\}|\\nonumber|\\notag", "", tex)
        try:
            mathml = convert(tex, display="block" if display else "inline")
        except Exception:  # latex2mathml raises many kinds; the reader is better served by the TeX itself
            span.name = "code"
            span.string = tex
            continue
        math = BeautifulSoup(mathml, "html.parser").find("math")
        if isinstance(math, Tag):
            math["alttext"] = tex
            span.replace_with(math)
