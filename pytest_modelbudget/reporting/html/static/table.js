// Tables that sort by a click on their header.

// columns: [{ key, title, value(row) to sort by, cell(row) to show, isNumber, hint }]
// On a phone a table that `stacks` shows each row as a card, any other scrolls beside its first column. The roles are
// those that a table has of itself and that some browsers take from one that is laid out as anything else.
const sortable = ({ columns, rows, caption, sort, noun, stacks = false, first, rowAttributes = () => ({}) }) => {
  const state = { key: sort?.key ?? null, isDown: sort?.isDown ?? true };
  const body = make("tbody", { role: "rowgroup" });
  const foot = make("div", { class: "after-table" });
  const buttons = new Map();
  const head = make(
    "tr",
    { role: "row" },
    columns.map((column) => {
      const button = make("button", { type: "button", class: "sort", title: column.hint, onclick: () => order(column) }, column.title);
      const cell = make("th", { scope: "col", role: "columnheader", class: column.isNumber ? "number" : "", "data-key": column.key }, button);
      buttons.set(column.key, cell);
      return cell;
    }),
  );
  const order = (column) => {
    state.isDown = state.key === column.key ? !state.isDown : Boolean(column.isNumber);
    state.key = column.key;
    fill();
    said(`Sorted by ${column.title}, ${state.isDown ? "descending" : "ascending"}`);
  };
  const fill = () => {
    const column = columns.find(({ key }) => key === state.key);
    const sign = state.isDown ? -1 : 1;
    const values = new Map(column ? rows.map((row) => [row, column.value(row)]) : []);
    const ordered = column
      ? [...rows].sort((one, other) => {
          const [a, b] = [values.get(one), values.get(other)];
          return sign * (a < b ? -1 : a > b ? 1 : 0);
        })
      : rows;
    for (const [key, cell] of buttons) {
      if (key === state.key) cell.setAttribute("aria-sort", state.isDown ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    }
    body.replaceChildren();
    foot.replaceChildren();
    appendChunked(body, foot, ordered, (row) => {
      const cells = columns.map((each, index) =>
        index === 0
          ? make("th", { scope: "row", role: "rowheader" }, each.cell(row))
          : make("td", { role: "cell", class: each.isNumber ? "number" : "", "data-key": each.key, "data-title": each.title }, each.cell(row)),
      );
      return make("tr", { role: "row", ...rowAttributes(row) }, cells);
    }, noun, first);
  };
  fill();
  const table = make("table", { role: "table", class: stacks ? "stacks" : "" }, make("caption", { class: "hidden" }, caption), make("thead", { role: "rowgroup" }, head), body);
  return make("div", {}, make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, table), foot);
};

// A share as a bar with its figure.
const shareBar = (share, attributes = {}) =>
  make(
    "span",
    { class: "share", ...attributes },
    make("span", { class: "share-bar", "aria-hidden": "true", style: { "--share": `${Math.min(100, Math.max(0, 100 * share))}%` } }),
    make("span", { class: "share-text" }, percent(share)),
  );
