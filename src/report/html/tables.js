// Tables: sorted by a click on a column's name, filtered by words where there are many rows.
addEventListener("DOMContentLoaded", () => {
  const FILTERED_FROM = 13;

  // By the numbers where both cells have one, otherwise by the text; a cell without a number comes last.
  const compare = (column, sign) => (a, b) => {
    const [one, other] = [a.cells[column], b.cells[column]];
    const numbers = [one, other].map(cell => "value" in cell.dataset ? Number(cell.dataset.value) : NaN);
    const missing = numbers.map(Number.isNaN);
    if (!missing[0] && !missing[1]) return sign * (numbers[0] - numbers[1]);
    if (missing[0] !== missing[1]) return missing[0] ? 1 : -1;
    return sign * one.textContent.localeCompare(other.textContent, "en", { numeric: true });
  };

  const sortable = table => {
    const body = table.tBodies[0];
    const given = [...body.rows];
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      // Ascending, descending, as given.
      button.addEventListener("click", () => {
        const was = head.getAttribute("aria-sort");
        for (const other of heads) other.removeAttribute("aria-sort");
        if (was === "descending") return body.append(...given);
        const [order, sign] = was === "ascending" ? ["descending", -1] : ["ascending", 1];
        head.setAttribute("aria-sort", order);
        body.append(...[...given].sort(compare(column, sign)));
      });
    });
  };

  const filterable = (box, table) => {
    const rows = [...table.tBodies[0].rows];
    const label = document.createElement("label");
    const input = document.createElement("input");
    const found = document.createElement("output");
    input.type = "search";
    input.setAttribute("aria-label", "Filter the rows of " + box.getAttribute("aria-label"));
    label.className = "filter";
    label.append("Filter ", input, " ", found);
    box.before(label);
    const words = rows.map(row => row.textContent.toLowerCase());
    input.addEventListener("input", () => {
      const wanted = input.value.toLowerCase();
      rows.forEach((row, i) => { row.hidden = !words[i].includes(wanted); });
      found.textContent = wanted ? rows.filter(row => !row.hidden).length + " of " + rows.length + " rows" : "";
    });
  };

  for (const box of document.querySelectorAll(".scroll")) {
    const table = box.querySelector("table");
    if (!table.classList.contains("sorted")) continue;
    sortable(table);
    if (table.tBodies[0].rows.length >= FILTERED_FROM) filterable(box, table);
  }
});
