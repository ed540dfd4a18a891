const dark = matchMedia("(prefers-color-scheme: dark)");
const shade = () => document.documentElement.classList.toggle("dark", dark.matches);
dark.addEventListener("change", shade);
shade();

new DataTable("table.runs", {
  paging: false,
  order: [],
  autoWidth: false,
  columnControl: ["order", "searchDropdown"],
  ordering: { indicators: false, handler: true },
  layout: {
    topStart: "search", topEnd: { buttons: [{ extend: "colvis", text: "Columns" }] },
    bottomStart: "info", bottomEnd: null,
  },
  columnDefs: [{ targets: 3, className: "dt-left" }],  // the curves
  language: { search: "Search", info: "_TOTAL_ of _MAX_ runs", infoFiltered: "", infoEmpty: "no run" },
});
// The filters of a column come without a name for who cannot see where they opened.
new MutationObserver(() => {
  for (const box of document.querySelectorAll(".dtcc-dropdown :is(input, select):not([aria-label])")) {
    box.setAttribute("aria-label", box.matches("select") ? "How to compare" : "Filter");
  }
}).observe(document.body, { childList: true, subtree: true });
for (const box of document.querySelectorAll(".dt-layout-table > .dt-layout-cell")) {
  box.classList.add("scroll");
  box.tabIndex = 0;
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", box.querySelector("table").getAttribute("aria-label"));
}
