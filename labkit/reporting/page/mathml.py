"""Formulas of the exported page as MathML, which browsers draw without a script."""

import re

from bs4 import BeautifulSoup, Tag
from latex2mathml.converter import convert


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
