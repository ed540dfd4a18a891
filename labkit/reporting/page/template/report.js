// Conveniences only: the page is complete without them.
(() => {
  document.documentElement.classList.add("js");
  const contents = document.querySelector("#toc details");
  const narrow = matchMedia("(max-width: 68rem)");

  if (contents) {
    contents.open = !narrow.matches;
    narrow.addEventListener("change", () => { contents.open = !narrow.matches; });
    // On a phone the list lies over the text: gone once it has been used.
    contents.addEventListener("click", event => {
      if (narrow.matches && event.target.closest("a")) contents.open = false;
    });
    contents.addEventListener("keydown", event => {
      if (event.key !== "Escape" || !narrow.matches) return;
      contents.open = false;
      contents.querySelector("summary").focus();
    });
  }

  // Mark the section being read in the contents.
  const links = new Map([...document.querySelectorAll("#toc a")].map(a => [decodeURIComponent(a.hash.slice(1)), a]));
  if (links.size) {
    const headings = [...links.keys()].map(id => document.getElementById(id)).filter(Boolean);
    const here = document.createElement("span");
    here.className = "here";
    contents.querySelector("summary").append(here);
    let now = null;
    const mark = () => {
      const edge = parseFloat(getComputedStyle(document.documentElement).scrollPaddingTop) + 20;
      const passed = headings.filter(h => h.getBoundingClientRect().top < edge);
      const atEnd = innerHeight + scrollY >= document.documentElement.scrollHeight - 2;
      const link = links.get((atEnd ? headings.at(-1) : passed.at(-1) || headings[0]).id);
      if (link === now) return;
      now?.removeAttribute("aria-current");
      link.setAttribute("aria-current", "location");
      here.textContent = passed.length ? " \u00b7 " + link.textContent : "";
      now = link;
      const nav = document.getElementById("toc");
      const { top, bottom } = link.getBoundingClientRect();
      if (!narrow.matches && (top < 0 || bottom > nav.clientHeight)) nav.scrollTop += top - nav.clientHeight / 2;
    };
    let waiting = false;
    addEventListener("scroll", () => {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => { waiting = false; mark(); });
    }, { passive: true });
    mark();
  }

  // What scrolls by itself can be reached and scrolled by keyboard, and says what it is.
  const name = box => {
    const caption = box.closest("figure")?.querySelector("figcaption");
    return caption ? caption.textContent.trim() : box.matches("pre.stdout") ? "Output" : box.matches("pre") ? "Code" : "Table";
  };
  const reach = () => document.querySelectorAll(".scroll, pre").forEach(box => {
    const scrolls = box.scrollWidth > box.clientWidth + 1 || box.scrollHeight > box.clientHeight + 1;
    for (const [key, value] of [["tabindex", "0"], ["role", "group"], ["aria-label", name(box)]]) {
      if (scrolls) box.setAttribute(key, value); else box.removeAttribute(key);
    }
  });
  reach();
  addEventListener("resize", reach);
  document.addEventListener("toggle", reach, true);

  // All code at once.
  const folds = [...document.querySelectorAll("details.code")];
  const header = document.querySelector("body > header");
  if (folds.length > 1 && header) {
    let row = header.querySelector(".links");
    if (!row) {
      row = document.createElement("div");
      row.className = "links";
      header.append(row);
    }
    const button = document.createElement("button");
    button.type = "button";
    const say = () => { button.textContent = folds.every(fold => fold.open) ? "Hide all code" : "Show all code"; };
    button.addEventListener("click", () => {
      const open = !folds.every(fold => fold.open);
      folds.forEach(fold => { fold.open = open; });
      say();
    });
    document.addEventListener("toggle", say, true);
    say();
    row.append(button);
  }

  // A link into the folded appendix unfolds it; on paper it is open.
  const appendix = document.querySelector("details.appendix");
  const unfold = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (appendix?.contains(target) && !appendix.open) { appendix.open = true; target.scrollIntoView(); }
  };
  addEventListener("hashchange", unfold);
  unfold();
  addEventListener("beforeprint", () => { if (appendix) appendix.open = true; });

  // Paper does not scroll: shrink the tables that are wider than an A4 column (178 mm = 673 px); where the text would be
  // smaller than 6.5 of its 8 points, cells wrap instead.
  addEventListener("beforeprint", () => {
    document.querySelectorAll(".scroll > table").forEach(table => {
      const columns = () => table.scrollWidth / 673;
      table.classList.toggle("tight", columns() > 1);
      table.classList.toggle("wrapped", columns() > 8 / 6.5);
      table.style.setProperty("--print-zoom", Math.min(1, Math.max(0.4, 1 / columns())));
    });
  });
})();
