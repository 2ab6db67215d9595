// What changed: a table of figures, and for each model a treemap of what grew and what shrank.

const SIGNS = { grown: "\u25b2", shrunk: "\u25bc", new: "+", gone: "\u2212" };
const ORDER = ["grown", "new", "shrunk", "gone"];

const growth = ({ before, after }) => (before === null || after === null || !number(before) ? 0 : number(after) / number(before) - 1);

const changesTable = (changes) => {
  const ordered = [...changes].sort((one, other) => one.allowed - other.allowed || ORDER.indexOf(one.kind) - ORDER.indexOf(other.kind) || Math.abs(growth(other)) - Math.abs(growth(one)));
  const column = (key, title) => ({ key, title, isNumber: true, value: (change) => number(change[key]), cell: (change) => (change[key] === null ? "\u2013" : figure(change[key], unitOf(change.metric))) });
  const columns = [
    {
      key: "test", title: "Test", value: ({ test }) => test,
      cell: (change) => [
        make("span", { class: `sign ${change.kind}` }, make("span", { "aria-hidden": "true" }, SIGNS[change.kind]), make("span", { class: "hidden" }, change.kind)),
        change.difference === null ? path(change.test) : make("a", { href: route("difference", change.difference, { metric: change.metric }) }, path(change.test)),
        !change.allowed && make("span", { class: "pill over" }, "not allowed"),
        make("span", { class: "type" }, visible(change.model)),
      ],
    },
    { key: "metric", title: "Metric", value: ({ metric }) => metric, cell: metricText },
    column("before", "Before"),
    column("after", "After"),
    {
      key: "change", title: "Change", isNumber: true, value: growth,
      cell: (change) => (change.before === null || change.after === null ? change.kind : make("span", { class: `delta ${change.kind}` }, deltaText(change.before, change.after, unitOf(change.metric)))),
    },
    { key: "where", title: "Where", value: ({ modules }) => modules.length, cell: ({ modules, metric }) => modules.slice(0, 3).map(({ path: text, delta }, index) => [index ? ", " : "", path(text || "the model itself"), ` ${signed(delta, unitOf(metric))}`]).flat() },
  ];
  return sortable({ columns, rows: ordered, caption: "Changes", noun: "change", rowAttributes: ({ kind, allowed }) => ({ class: allowed ? kind : `${kind} broken` }) });
};

const deltaText = (before, after, unit) => {
  const delta = number(after) - number(before);
  return `${signed(delta, unit)}${number(before) ? ` (${delta > 0 ? "+" : ""}${percent(delta / number(before))})` : ""}`;
};

const changesPanel = () => panel("changes", "Changes against the baseline", changesTable(overview.changes));

const comparisonPage = () => {
  const { changes, unchanged, mixed } = overview;
  const count = (kind) => changes.filter((change) => change.kind === kind).length;
  const broken = changes.filter(({ allowed }) => !allowed).length;
  return [
    make("h1", { id: "title", tabindex: "-1", class: broken ? "over" : "" }, broken ? `${plural(broken, "figure")} grew more than is allowed` : changes.length ? `${plural(changes.length, "figure")} changed` : "Nothing changed"),
    make("div", { class: "stats" }, stat(count("grown"), "grown", count("grown") ? "over" : ""), stat(count("shrunk"), "shrunk", count("shrunk") ? "ok" : ""), stat(count("new"), "new"), stat(count("gone"), "gone"), stat(unchanged, "the same")),
    mixed > 0 && make("p", { class: "notice" }, `${plural(mixed, "figure")} count MACs differently on the two sides and cannot be compared.`),
    changes.length > 0 && panel("changes", "Changes", changesTable(changes)),
  ];
};

const compared = new Map();

const differencePage = (index, parameters) => {
  if (!compared.has(index)) compared.set(index, read(`difference-${index}`));
  const data = compared.get(index);
  const metrics = Object.keys(data.totals);
  const state = { metric: metrics.includes(parameters.metric) ? parameters.metric : metrics[0], place: 0, rows: null };
  const sides = () => {
    const [before, after] = [data.before[state.metric], data.after[state.metric]];
    const larger = before.map((figureBefore, place) => (number(figureBefore) > number(after[place]) ? figureBefore : after[place]));
    return { before, after, modules: new Modules({ names: data.names, parents: data.parents, figures: { [state.metric]: larger } }) };
  };
  let now = sides();
  state.place = now.modules.places.get(parameters.zoom ?? "") ?? 0;
  const keep = () => history.replaceState(null, "", route("difference", index, { metric: state.metric, zoom: now.modules.paths[state.place] }));
  const delta = (place) => number(now.after[place]) - number(now.before[place]);
  const share = (place) => (number(now.before[place]) ? delta(place) / number(now.before[place]) : delta(place) ? 1 : 0);
  const chart = make("div", { class: "chart treemap", id: "treemap", role: "img" });
  const crumbs = make("nav", { class: "crumbs", "aria-label": "Zoom" });
  const tableBox = make("div", { id: "modules-table" });

  // The nearer to twice or nothing, the stronger the colour.
  const colour = (place) => {
    const strength = Math.min(1, Math.abs(share(place)));
    if (!delta(place)) return css("other");
    const [from, to] = delta(place) > 0 ? [css("grown-pale"), css("grown")] : [css("shrunk-pale"), css("shrunk")];
    return blend(from, to, Math.sqrt(strength));
  };

  const tip = (place) => {
    const unit = unitOf(state.metric);
    return [
      make("p", { class: "tip-title" }, path(now.modules.paths[place] || data.model)),
      make("dl", {}, [["before", now.before[place]], ["after", now.after[place]]].map(([title, value]) => [make("dt", {}, title), make("dd", {}, value === null || value === undefined ? "not there" : `${short(value, unit)} (${exact(value)})`)]).flat(), make("dt", {}, "change"), make("dd", {}, deltaText(now.before[place], now.after[place], unit))),
    ];
  };

  const zoom = (place) => {
    state.place = now.modules.isLeaf(place) && place ? now.modules.parents[place] : place;
    keep();
    update();
    said(`Showing ${now.modules.paths[place] || data.model}`);
  };

  const figureOfTreemap = () => {
    const { modules } = now;
    const nodes = areas((place) => modules.value(state.metric, place), (place) => modules.parts(state.metric, place), (place) => modules.own(state.metric, place), state.place);
    return treemap(nodes, {
      label: ({ place, isRest }) => (isRest ? "itself" : modules.names[place] || data.model),
      text: ({ place, isRest }) => (isRest || !delta(place) ? "" : `${delta(place) > 0 ? SIGNS.grown : SIGNS.shrunk} ${(now.before[place] ?? null) === null ? "new" : (now.after[place] ?? null) === null ? "gone" : signed(delta(place), unitOf(state.metric))}`),
      colour: ({ place, isOpen, isRest }) => (isOpen ? css(modules.depth(place) % 2 ? "open-odd" : "open-even") : isRest ? css("other") : colour(place)),
    });
  };

  const update = () => {
    const { modules } = now;
    const unit = unitOf(state.metric);
    for (const card of cards.children) card.setAttribute("aria-pressed", String(card.dataset.metric === state.metric));
    chart.setAttribute("aria-label", `Treemap of ${label(state.metric)}: what grew and what shrank, as the table lists it`);
    const chain = modules.chain(state.place);
    crumbs.replaceChildren(make("ol", {}, chain.map((place, depth) => make("li", {}, depth === chain.length - 1 ? make("span", { "aria-current": "true" }, name(modules.names[place] || data.model)) : make("button", { type: "button", class: "link", onclick: () => zoom(place) }, name(modules.names[place] || data.model))))));
    const rows = modules.below(state.place).filter((place) => delta(place) || (now.before[place] ?? null) === null !== ((now.after[place] ?? null) === null));
    const column = (key, title, side) => ({ key, title, isNumber: true, value: (place) => number(side[place]), cell: (place) => (side[place] === null ? "\u2013" : figure(side[place], unit)) });
    tableBox.replaceChildren(
      sortable({
        caption: `Modules of ${visible(data.model)} that changed`, noun: "module", rows, sort: { key: "size", isDown: true },
        rowAttributes: (place) => ({ "data-path": modules.paths[place] }),
        columns: [
          { key: "module", title: "Module", value: (place) => place, cell: (place) => [make("span", { class: `sign ${delta(place) > 0 ? "grown" : "shrunk"}`, "aria-hidden": "true" }, delta(place) > 0 ? SIGNS.grown : SIGNS.shrunk), make("button", { type: "button", class: "link", onclick: () => zoom(place) }, path(modules.paths[place] || data.model))] },
          column("before", "Before", now.before),
          column("after", "After", now.after),
          { key: "size", title: "Change", isNumber: true, value: (place) => Math.abs(delta(place)), cell: (place) => make("span", { class: `delta ${delta(place) > 0 ? "grown" : "shrunk"}` }, deltaText(now.before[place], now.after[place], unit)) },
        ],
      }),
    );
    charts.get(chart)?.();
  };

  const cards = make("div", { class: "cards", role: "group", "aria-label": "Metric" }, metrics.map((metric) => {
    const [before, after] = data.totals[metric];
    return make("button", { type: "button", class: "card", "data-metric": metric, onclick: () => { state.metric = metric; now = sides(); state.place = Math.min(state.place, now.modules.size - 1); keep(); update(); said(`${label(metric)} by module`); } },
      make("span", {}, label(metric)), figure(after, unitOf(metric)), make("span", { class: `delta ${number(after) > number(before) ? "grown" : "shrunk"}` }, deltaText(before, after, unitOf(metric))));
  }));
  whenSeen(chart, () =>
    plot(chart, figureOfTreemap, {
      plotly_treemapclick: ({ points: [point] }) => {
        zoom(point.customdata === state.place && point.customdata > 0 ? now.modules.parents[point.customdata] : point.customdata);
        return false;
      },
      plotly_hover: ({ points: [point], event }) => showTip(event, ...tip(point.customdata)),
      plotly_unhover: hideTip,
    }));
  update();
  return [
    make("h1", { id: "title", tabindex: "-1" }, name(data.model)),
    make("p", { class: "facts" }, path(data.test)),
    cards,
    panel("where", "Where it changed", crumbs, chart, make("div", { class: "legend" }, [["grown", "grew"], ["shrunk", "shrank"], ["other", "the same"]].map(([key, text]) => make("span", { class: "key" }, make("span", { class: "swatch", style: { background: `var(--${key})` } }), text)), make("span", { class: "key" }, "areas: the larger of before and after"))),
    panel("modules", "Modules that changed", tableBox),
  ];
};

const blend = (from, to, share) => {
  const parts = (text) => [1, 3, 5].map((start) => parseInt(text.slice(start, start + 2), 16));
  const [a, b] = [parts(from), parts(to)];
  return `rgb(${a.map((each, index) => Math.round(each + share * (b[index] - each))).join(",")})`;
};
