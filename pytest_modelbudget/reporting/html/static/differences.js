// What changed: a table of figures, and for each model a treemap of what grew and what shrank.

const SIGNS = { grown: "\u25b2", shrunk: "\u25bc", new: "+", gone: "\u2212" };
const ORDER = ["grown", "new", "shrunk", "gone"];

const growth = ({ before, after }) => (before === null || after === null || !number(before) ? 0 : number(after) / number(before) - 1);

// What broke a rule before what grew before the rest, and of these what moved the most.
const byWeight = (one, other) => one.allowed - other.allowed || ORDER.indexOf(one.kind) - ORDER.indexOf(other.kind) || Math.abs(growth(other)) - Math.abs(growth(one));

// The tests in which one change is the same: they have one row.
const merged = (changes) => {
  const rows = new Map();
  for (const change of changes) {
    const key = JSON.stringify(["model", "metric", "per", "kind", "before", "after", "modules", "allowed"].map((part) => change[part]));
    if (!rows.has(key)) rows.set(key, { ...change, others: [] });
    else rows.get(key).others.push(change);
  }
  return [...rows.values()];
};

const changeLink = (change) =>
  change.difference === null ? path(change.test) : make("a", { href: route("difference", change.difference, { metric: change.metric }) }, path(change.test));

const changesTable = (changes, first) => {
  const rows = merged([...changes].sort(byWeight));
  const column = (key, title) => ({ key, title, isNumber: true, value: (change) => number(change[key]), cell: (change) => (change[key] === null ? "\u2013" : figure(change[key], unitOf(change.metric))) });
  const columns = [
    {
      key: "test", title: "Test", value: ({ test }) => test,
      cell: (change) => [
        make("span", { class: `sign ${change.kind}` }, make("span", { "aria-hidden": "true" }, SIGNS[change.kind]), make("span", { class: "hidden" }, change.kind)),
        changeLink(change),
        " ",
        !change.allowed && make("span", { class: "pill over" }, "not allowed"),
        make("span", { class: "type" }, visible(change.model)),
        change.others.length > 0 && make(
          "details",
          { class: "others" },
          make("summary", {}, `the same in ${plural(change.others.length, "more test")}`),
          make("ul", {}, change.others.map((other) => make("li", {}, changeLink(other)))),
        ),
      ],
    },
    { key: "metric", title: "Metric", value: ({ metric }) => metric, cell: metricText },
    column("before", "Before"),
    column("after", "After"),
    {
      key: "change", title: "Change", isNumber: true, value: growth,
      cell: (change) => (change.before === null || change.after === null ? change.kind : moved(change.before, change.after, unitOf(change.metric))),
    },
    { key: "where", title: "Where", value: ({ modules }) => modules.length, cell: ({ modules, metric }) => modules.slice(0, 3).map(({ path: text, delta }, index) => [index ? ", " : "", path(text || "the model itself"), " ", make("span", { class: "figure" }, signed(delta, unitOf(metric)))]).flat() },
  ];
  return sortable({ columns, rows, caption: "Changes", noun: "change", stacks: true, first, rowAttributes: ({ kind, allowed }) => ({ class: allowed ? kind : `${kind} broken` }) });
};

// `+72` and `(+94.7 %)`: a line may end between them.
const moved = (before, after, unit) => {
  const delta = number(after) - number(before);
  const direction = delta > 0 ? "grown" : delta < 0 ? "shrunk" : "";
  const share = number(before) ? delta / number(before) : null;
  // With as many digits as it takes to be no zero.
  let digits = 1;
  while (share && digits < 9 && !Number((100 * share).toFixed(digits))) digits += 1;
  return make(
    "span",
    { class: `delta ${direction}` },
    make("span", { class: "figure" }, signed(delta, unit)),
    share !== null && [" ", make("span", { class: "figure" }, `(${share > 0 ? "+" : ""}${(100 * share).toFixed(digits)} %)`)],
  );
};

const FIRST_CHANGES = 6;

const changesPanel = () => panel("changes", "Changes against the baseline", changesTable(overview.changes, FIRST_CHANGES));

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

// As the view of a model has them; others come last.
const inOrder = (metrics) => {
  const rank = (metric) => (TREEMAP_METRICS.includes(metric) ? TREEMAP_METRICS.indexOf(metric) : TREEMAP_METRICS.length);
  return [...metrics].sort((one, other) => rank(one) - rank(other));
};

// Where every parameter is trained, their count says it.
const tellsMore = (totals, metric) => metric !== "trainable_params" || String(totals.params) !== String(totals.trainable_params);

const compared = new Map();

const differencePage = (index, parameters) => {
  if (!compared.has(index)) compared.set(index, read(`difference-${index}`));
  const data = compared.get(index);
  const own = overview.changes.filter((change) => change.difference === index).sort(byWeight);
  const metrics = inOrder(Object.keys(data.totals)).filter((metric) => metric === parameters.metric || tellsMore(data.totals, metric));
  const state = { metric: metrics.includes(parameters.metric) ? parameters.metric : (own[0]?.metric ?? metrics[0]), place: 0 };
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
      make("dl", {}, [["before", now.before[place]], ["after", now.after[place]]].map(([title, value]) => [make("dt", {}, title), make("dd", {}, value === null || value === undefined ? "not there" : `${short(value, unit)} (${exact(value)})`)]).flat(), make("dt", {}, "change"), make("dd", {}, moved(now.before[place], now.after[place], unit))),
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
        caption: `Modules of ${visible(data.model)} that changed`, noun: "module", rows, stacks: true, sort: { key: "size", isDown: true },
        rowAttributes: (place) => ({ "data-path": modules.paths[place] }),
        columns: [
          { key: "module", title: "Module", value: (place) => place, cell: (place) => [make("span", { class: `sign ${delta(place) > 0 ? "grown" : "shrunk"}`, "aria-hidden": "true" }, delta(place) > 0 ? SIGNS.grown : SIGNS.shrunk), make("button", { type: "button", class: "link", onclick: () => zoom(place) }, path(modules.paths[place] || data.model))] },
          column("before", "Before", now.before),
          column("after", "After", now.after),
          { key: "size", title: "Change", isNumber: true, value: (place) => Math.abs(delta(place)), cell: (place) => moved(now.before[place], now.after[place], unit) },
        ],
      }),
    );
    charts.get(chart)?.();
  };

  const cards = make("div", { class: "cards", role: "group", "aria-label": "Metric" }, metrics.map((metric) => {
    const [before, after] = data.totals[metric];
    const isBroken = own.some((change) => change.metric === metric && !change.allowed);
    return make("button", { type: "button", class: `card ${isBroken ? "over" : ""}`, "data-metric": metric, onclick: () => { state.metric = metric; now = sides(); state.place = Math.min(state.place, now.modules.size - 1); keep(); update(); said(`${label(metric)} by module`); } },
      make("span", {}, label(metric)), figure(after, unitOf(metric)), moved(before, after, unitOf(metric)), isBroken && make("span", { class: "pill over" }, "not allowed"));
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
    panel("where", "Where it changed", crumbs, chart, make("div", { class: "legend" }, [["grown", "grew"], ["shrunk", "shrank"], ["other", "the same"]].map(([key, text]) => make("span", { class: "key" }, make("span", { class: "swatch", style: { background: `var(--${key})` } }), text)), make("span", {}, "The stronger the colour, the larger the part that changed. Areas: the larger of before and after. A click zooms, here and in the table."))),
    panel("modules", "Modules that changed", tableBox),
  ];
};

const blend = (from, to, share) => {
  const parts = (text) => [1, 3, 5].map((start) => parseInt(text.slice(start, start + 2), 16));
  const [a, b] = [parts(from), parts(to)];
  return `rgb(${a.map((each, index) => Math.round(each + share * (b[index] - each))).join(",")})`;
};
