// Which view is shown: the fragment of the address says, so that views can be linked and the browser's back works.

function route(view, index, parameters = {}) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== "" && value !== undefined && value !== null).map(([key, value]) => [key, String(value)]));
  return `#/${view}/${index}${query.size ? `?${query}` : ""}`;
}

const HOME = { run: overviewPage, comparison: comparisonPage, model: () => modelPage(0, {}) };

const parsed = () => {
  const [, view, index, query] = location.hash.match(/^#\/(model|difference)\/(\d+)(?:\?(.*))?$/) ?? [];
  return { view, index: Number(index), parameters: Object.fromEntries(new URLSearchParams(query ?? "")) };
};

let isFirst = true;

const show = () => {
  if (location.hash === "#main") return;
  const started = performance.now();
  const { view, index, parameters } = parsed();
  const pages = { model: [overview.models, modelPage], difference: [overview.differences, differencePage] };
  const [items, page] = pages[view] ?? [];
  hideTip();
  pending.clear();
  watcher.disconnect();
  charts.clear();
  const isInside = Boolean(items?.[index]);
  const content = isInside ? page(index, parameters) : HOME[overview.kind]();
  byId("main").replaceChildren(...content.flat().filter(Boolean));
  banner(isInside && overview.kind !== "model");
  const title = byId("title");
  document.title = isInside || overview.kind === "model" ? `${title.textContent} \u2013 model budgets` : title.textContent;
  if (!isFirst) {
    window.scrollTo(0, 0);
    title.focus({ preventScroll: true });
  }
  isFirst = false;
  document.documentElement.dataset.shown = (performance.now() - started).toFixed(1);
};

const banner = (canReturn) => {
  const run = overview.run ?? {};
  const facts = [run.torch && `torch ${run.torch}`, run.python && `Python ${run.python}`, run.platform, run.device && `device ${run.device}`];
  byId("banner").replaceChildren(
    canReturn ? make("a", { class: "back", href: "#/" }, "\u2190 All ", overview.kind === "run" ? "budgets" : "changes") : make("span", { class: "brand" }, "pytest-modelbudget"),
    make("span", { class: "run" }, facts.filter(Boolean).map(visible).join(" \u00b7 ")),
  );
};

window.addEventListener("hashchange", show);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => show());
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") hideTip();
});
// On paper everything is drawn, light.
window.addEventListener("beforeprint", () => {
  document.documentElement.classList.add("paper");
  for (const element of [...pending.keys()]) draw(element);
  redrawAll();
});
window.addEventListener("afterprint", () => {
  document.documentElement.classList.remove("paper");
  redrawAll();
});
show();
