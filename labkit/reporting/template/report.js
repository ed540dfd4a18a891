// Conveniences only: the page is complete without them.
(() => {
  const contents = document.querySelector("#toc details");
  if (contents && matchMedia("(max-width: 68rem)").matches) contents.open = false;

  // Mark the section being read in the contents.
  const links = new Map([...document.querySelectorAll("#toc a")].map(a => [decodeURIComponent(a.hash.slice(1)), a]));
  if (links.size && "IntersectionObserver" in window) {
    const headings = [...links.keys()].map(id => document.getElementById(id)).filter(Boolean);
    const mark = () => {
      const passed = headings.filter(h => h.getBoundingClientRect().top < 120);
      const now = (passed.at(-1) || headings[0]).id;
      links.forEach((a, id) => a.toggleAttribute("aria-current", id === now));
    };
    addEventListener("scroll", () => requestAnimationFrame(mark), { passive: true });
    mark();
  }

  // Paper does not scroll: shrink the tables that are wider than an A4 column (178 mm = 673 px).
  addEventListener("beforeprint", () => {
    document.querySelectorAll(".scroll > table").forEach(table => {
      table.classList.toggle("tight", table.scrollWidth > 673);
      const width = table.scrollWidth;
      table.style.setProperty("--print-zoom", width > 673 ? Math.max(0.4, 673 / width) : 1);
    });
  });
})();
