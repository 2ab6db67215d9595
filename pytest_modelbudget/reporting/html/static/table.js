// Tables that sort by a click on their header.

// columns: [{ key, title, value(row) to sort by, cell(row) to show, isNumber, hint }]
const sortable = ({ columns, rows, caption, sort, noun, rowAttributes = () => ({}) }) => {
  const state = { key: sort?.key ?? null, isDown: sort?.isDown ?? true };
  const body = make("tbody");
  const foot = make("div", { class: "after-table" });
  const buttons = new Map();
  const head = make(
    "tr",
    {},
    columns.map((column) => {
      const button = make("button", { type: "button", class: "sort", title: column.hint, onclick: () => order(column) }, column.title);
      const cell = make("th", { scope: "col", class: column.isNumber ? "number" : "", "data-key": column.key }, button);
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
          ? make("th", { scope: "row" }, each.cell(row))
          : make("td", { class: each.isNumber ? "number" : "", "data-key": each.key }, each.cell(row)),
      );
      return make("tr", rowAttributes(row), cells);
    }, noun);
  };
  fill();
  const table = make("table", {}, make("caption", { class: "hidden" }, caption), make("thead", {}, head), body);
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
