// Tables that are sorted by a click on a heading; a second click turns the order round.
for (const table of document.querySelectorAll("table.sortable")) {
  const buttons = [...table.querySelectorAll("th button")], picker = document.querySelector(`select[data-table=${table.id}]`);
  const sort = (column, down) => {
    const body = table.tBodies[0], rows = [...body.rows];
    const key = row => column < 0 ? row.cells[0].textContent.trim() : row.cells[column + 1].dataset.sort;
    rows.sort((a, b) => {
      const x = key(a), y = key(b);
      if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);     // what is not known comes last
      return (column < 0 ? x.localeCompare(y, undefined, { numeric: true }) : x - y) * (down ? -1 : 1);
    });
    body.append(...rows);
    for (const button of buttons) {
      const here = Number(button.dataset.column) === column;
      button.parentElement.setAttribute("aria-sort", here ? down ? "descending" : "ascending" : "none");
    }
    picker.value = String(column);
  };
  for (const button of buttons) button.addEventListener("click", () => {
    sort(Number(button.dataset.column), button.parentElement.getAttribute("aria-sort") === "ascending");
  });
  picker.addEventListener("change", () => sort(Number(picker.value), false));
  const first = Number(table.dataset.sorted ?? -1);
  picker.value = String(first);
  if (first >= 0) buttons[first + 1].parentElement.setAttribute("aria-sort", "ascending");
}
