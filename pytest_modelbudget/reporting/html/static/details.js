// One model: where its figures come from, module by module.

const TREEMAP_METRICS = ["total_flops", "flops", "macs", "params", "memory", "traffic", "activations", "backward_flops", "size", "elementwise_flops", "trainable_params"];
const loaded = new Map();

const block = (index) => {
  if (!loaded.has(index)) {
    const data = read(`model-${index}`);
    loaded.set(index, { ...data, modules: new Modules(data) });
  }
  return loaded.get(index);
};

const colouring = (data, metric) => {
  const { modules } = data;
  const sums = new Map();
  modules.names.forEach((_, place) => {
    const type = data.types[place];
    if (modules.isLeaf(place)) sums.set(type, (sums.get(type) ?? 0) + modules.own(metric, place));
  });
  const ranked = [...sums].filter(([, sum]) => sum > 0).sort((one, other) => other[1] - one[1]).map(([type]) => type);
  const places = new Map(ranked.slice(0, 7).map((type, index) => [type, index]));
  const variable = (place) => {
    const index = modules.isLeaf(place) ? places.get(data.types[place]) : undefined;
    return index === undefined ? "other" : `type-${index}`;
  };
  const legend = [...places].map(([type]) => ({ name: data.type_names[type], place: modules.names.findIndex((_, place) => data.types[place] === type && modules.isLeaf(place)) }));
  return { of: (place) => css(variable(place)), variable, legend, hasOthers: ranked.length > 7 };
};

// Which colour is which type of layer.
const typeKeys = ({ legend, hasOthers, variable }) => {
  const key = (colour, text) => make("span", { class: "key" }, make("span", { class: "swatch", style: { background: `var(--${colour})` } }), text);
  return [...legend.map(({ name: text, place }) => key(variable(place), visible(text))), ...(hasOthers ? [key("other", "others")] : [])];
};

const moduleTip = (data, model, metric, place) => {
  const { modules } = data;
  const unit = unitOf(metric);
  const value = modules.value(metric, place);
  const above = modules.parents[place];
  const share = (whole) => (whole ? percent(value / whole) : "\u2013");
  const fact = (title, ...text) => [make("dt", {}, title), make("dd", {}, ...text)];
  return [
    make("p", { class: "tip-title" }, path(modules.paths[place] || model.model)),
    make("p", { class: "tip-type" }, visible(data.type_names[data.types[place]]), data.calls[place] > 1 ? `, called ${data.calls[place]} times` : ""),
    make(
      "dl",
      {},
      fact(label(metric), `${short(modules.raw(metric, place), unit)} (${exact(modules.raw(metric, place))})`),
      fact("of the model", share(modules.value(metric, 0))),
      above > 0 && fact("of what contains it", share(modules.value(metric, above))),
      data.shapes[data.inputs[place]] && fact("takes", data.shapes[data.inputs[place]]),
      data.shapes[data.outputs[place]] && fact("returns", data.shapes[data.outputs[place]]),
    ),
  ];
};

const modelPage = (index, parameters) => {
  const model = overview.models[index];
  const data = block(index);
  const { modules } = data;
  const metrics = TREEMAP_METRICS.filter((metric) => modules.measures(metric) && modules.value(metric, 0) > 0);
  const state = {
    metric: metrics.includes(parameters.metric) ? parameters.metric : metrics[0],
    place: modules.places.get(parameters.zoom ?? "") ?? 0,
    share: Number(parameters.save) || 20,
    rows: parameters.rows ?? "parts",
    chosen: null,
  };
  const keep = () => history.replaceState(null, "", route("model", index, { metric: state.metric, zoom: modules.paths[state.place], save: state.share === 20 ? "" : state.share, rows: state.rows === "parts" ? "" : state.rows }));

  const own = overview.budgets.filter((budget) => budget.of === index).sort(byUse);
  const chart = make("div", { class: "chart treemap", id: "treemap", role: "img" });
  const crumbs = make("nav", { class: "crumbs", "aria-label": "Zoom" });
  const legend = make("div", { class: "legend" });
  const tableBox = make("div", { id: "modules-table" });
  const savings = make("div", { id: "savings" });
  const filter = make("input", { type: "search", id: "module-filter", placeholder: "name or type", autocomplete: "off", oninput: () => fillTable() });
  const rowsChoice = make(
    "select",
    { id: "rows", onchange: ({ target }) => { state.rows = target.value; keep(); fillTable(); } },
    [["parts", "parts of what is shown"], ["layers", "layers (the innermost)"], ["all", "all modules"]].map(([value, text]) => make("option", { value, selected: value === state.rows }, text)),
  );

  const save = (share) => {
    state.share = Math.min(100, Math.max(0.1, share || 20));
    keep();
    fillSavings();
  };
  const shareField = make("input", { type: "number", id: "share", min: "1", max: "100", step: "any", value: String(state.share), oninput: ({ target }) => save(Number(target.value)) });

  const zoom = (place) => {
    state.chosen = modules.isLeaf(place) && place !== 0 ? place : null;
    state.place = state.chosen === null ? place : Math.max(0, modules.parents[place]);
    keep();
    update();
    said(`Showing ${modules.paths[place] || model.model}`);
  };

  const figureOfTreemap = () => {
    const value = (place) => modules.value(state.metric, place);
    const nodes = areas(value, (place) => modules.parts(state.metric, place), (place) => modules.own(state.metric, place), state.place);
    const colours = colouring(data, state.metric);
    const kind = (place) => colours.of(essence(value, (each) => modules.parts(state.metric, each), place));
    const whole = value(0);
    return treemap(nodes, {
      label: ({ place, isRest }) => (isRest ? (place === 0 ? "itself, inputs" : "itself") : modules.names[place] || model.model),
      text: ({ value: each }) => (whole ? percent(each / whole) : ""),
      colour: ({ place, isRest, isOpen }) => (isOpen ? css(modules.depth(place) % 2 ? "open-odd" : "open-even") : isRest ? css("other") : kind(place)),
      line: ({ place, isRest }) => (!isRest && place === state.chosen ? 4 : 1),
    });
  };

  const fillTable = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const everything = state.rows === "parts" && !words.length ? modules.children[state.place] : modules.below(state.place).filter((place) => place !== 0);
    let places = everything.length ? everything : [state.place];
    if (state.rows === "layers") places = places.filter((place) => modules.isLeaf(place));
    if (words.length) {
      places = places.filter((place) => {
        const text = `${modules.paths[place]} ${data.type_names[data.types[place]]}`.toLowerCase();
        return words.every((word) => text.includes(word));
      });
    }
    const unit = unitOf(state.metric);
    const whole = modules.value(state.metric, 0);
    const prefix = state.place > 0 ? modules.paths[state.place].length + 1 : 0;
    const figureColumn = (metric) => ({
      key: metric, title: label(metric), isNumber: true, hint: overview.metrics[metric].definition,
      value: (place) => modules.value(metric, place),
      cell: (place) => figure(modules.raw(metric, place), unitOf(metric) === "byte" ? "byte" : "count"),
    });
    const intensity = (place) => (modules.value("traffic", place) ? modules.value("total_flops", place) / modules.value("traffic", place) : 0);
    const columns = [
      {
        key: "module", title: "Module", value: (place) => place,
        cell: (place) => [
          make("button", { type: "button", class: "link", onclick: () => zoom(place) }, path(modules.paths[place].slice(prefix) || modules.paths[place] || model.model)),
          make("span", { class: "type" }, visible(data.type_names[data.types[place]]), data.calls[place] > 1 ? ` \u00d7${data.calls[place]}` : "", data.same_as[place] ? ` same as ${visible(data.same_as[place])}` : ""),
        ],
      },
      {
        key: "share", title: label(state.metric), isNumber: true, hint: overview.metrics[state.metric].definition, value: (place) => modules.value(state.metric, place),
        cell: (place) => [figure(modules.raw(state.metric, place), unit), shareBar(whole ? modules.value(state.metric, place) / whole : 0)],
      },
      { key: "output", title: "Returns", value: (place) => data.outputs[place], cell: (place) => make("span", { class: "shape" }, data.shapes[data.outputs[place]] || "\u2013") },
      ...["params", "macs", "total_flops", "memory", "traffic", "activations"].filter((metric) => modules.measures(metric) && metric !== state.metric).map(figureColumn),
      modules.measures("traffic") && {
        key: "intensity", title: "FLOPs / byte", isNumber: true, hint: "arithmetic intensity: FLOPs in all for each byte moved, nothing fused", value: intensity,
        cell: (place) => make("span", { class: "figure" }, intensity(place) ? rounded(intensity(place), 3) : "\u2013"),
      },
    ].filter(Boolean);
    tableBox.replaceChildren(
      sortable({
        columns, rows: places, caption: `Modules of ${visible(model.model)}`, noun: "module",
        sort: state.rows === "all" ? { key: "module", isDown: false } : { key: "share", isDown: true },
        rowAttributes: (place) => ({ "data-path": modules.paths[place], class: place === state.chosen ? "chosen" : "" }),
      }),
    );
  };

  // What is over the limit the most, of the whole model and what is shown of it.
  const broken = () => own.find(({ failed, metric, module, per, used }) => failed && metric === state.metric && !module && per === "call" && used > 1 && metric !== "memory");
  const excess = ({ used }) => Math.ceil(1000 * (1 - 1 / used)) / 10;

  const fillSavings = () => {
    const { chosen, sum, total, enough } = heaviest(modules, state.metric, state.share / 100);
    const groups = alike(modules, chosen).sort((one, other) => other.value - one.value);
    const unit = unitOf(state.metric);
    const what = label(state.metric) === "Parameters" ? "parameters" : label(state.metric);
    const list = make("ol", { class: "cuts" });
    const after = make("div", { class: "after-table" });
    appendChunked(list, after, groups, ({ places, value, text }) =>
      make(
        "li",
        {},
        make("button", { type: "button", class: "link", onclick: () => { zoom(places[0]); chart.scrollIntoView({ block: "center" }); } }, path(text)),
        make("span", { class: "type" }, visible(data.type_names[data.types[places[0]]]), places.length > 1 ? ` \u00d7${places.length}` : "", modules.isLeaf(places[0]) ? "" : " itself"),
        figure(value, unit),
        shareBar(value / total),
      ), "group");
    savings.replaceChildren(
      make(
        "p",
        {},
        enough
          ? [make("strong", {}, plural(chosen.length, "layer")), ` of ${modules.names.filter((_, place) => modules.isLeaf(place)).length} ${chosen.length === 1 ? "holds" : "hold"} ${percent(sum / total)} of the ${what}. Without ${chosen.length === 1 ? "it" : "them"} the model is at ${short(total - sum, unit)}.`]
          : `No layers hold that much: ${percent(total ? sum / total : 0)} of the ${what} are in layers, the rest is elsewhere.`,
      ),
      broken() ? make(
        "p",
        { class: "facts" },
        `Its limit is ${broken().limit}: `,
        make("button", { type: "button", class: "link", id: "enough", onclick: () => { shareField.value = String(excess(broken())); save(excess(broken())); } }, `saving ${excess(broken())} % keeps it`),
      ) : "",
      list, after,
    );
  };

  const fillCrumbs = () => {
    const chain = modules.chain(state.place);
    crumbs.replaceChildren(
      make("ol", {}, chain.map((place, depth) =>
        make("li", {}, depth === chain.length - 1
          ? make("span", { "aria-current": "true" }, name(modules.names[place] || model.model))
          : make("button", { type: "button", class: "link", onclick: () => zoom(place) }, name(modules.names[place] || model.model))))),
      make("span", { class: "crumb-figure" }, figure(modules.raw(state.metric, state.place), unitOf(state.metric)), state.place ? ` \u00b7 ${percent(modules.value(state.metric, state.place) / (modules.value(state.metric, 0) || 1))}` : ""),
    );
  };

  const cards = make(
    "div",
    { class: "cards", role: "group", "aria-label": "Metric" },
    metrics.slice(0, 8).map((metric) =>
      make(
        "button",
        { type: "button", class: "card", "data-metric": metric, title: overview.metrics[metric].definition, onclick: () => { state.metric = metric; keep(); update(); said(`${label(metric)} by module`); } },
        make("span", {}, label(metric)), figure(model.figures[metric], unitOf(metric)),
      )),
  );

  const update = () => {
    for (const card of cards.children) card.setAttribute("aria-pressed", String(card.dataset.metric === state.metric));
    legend.replaceChildren(...typeKeys(colouring(data, state.metric)));
    chart.setAttribute("aria-label", `Treemap of ${label(state.metric)} by module, as the table of modules lists them`);
    fillCrumbs();
    fillTable();
    fillSavings();
    charts.get(chart)?.();
  };

  whenSeen(chart, () =>
    plot(chart, figureOfTreemap, {
      plotly_treemapclick: ({ points }) => {
        const place = points[0].customdata;
        zoom(place === state.place && place > 0 ? modules.parents[place] : place);
        return false; // Plotly's own zoom knows nothing of the table
      },
      plotly_hover: ({ points, event }) => showTip(event, ...moduleTip(data, model, state.metric, points[0].customdata)),
      plotly_unhover: hideTip,
    }));

  const page = [
    make("h1", { id: "title", tabindex: "-1" }, name(model.model)),
    make("p", { class: "facts" }, [model.outside ? calledWith(model) : model.inputs && `called with ${model.inputs}`, model.how && `${model.how === "abstract" ? "run abstractly" : `observed on ${model.device || "cpu"}`}`, model.calls > 1 && `${model.calls} calls together`, `a MAC is ${plural(model.flops_per_mac, "FLOP")}`].filter(Boolean).map(visible).join(" \u00b7 "), own.length > 0 && [" ", budgetsPill(own)]),
    ...[...data.notes.map(visible), ...Object.entries(data.uncounted).map(([operator, times]) => `${visible(operator)} ran ${plural(times, "time")} and its cost is unknown: figures leave it out.`)].map((text) => make("p", { class: "notice" }, text)),
    metrics.length ? cards : make("p", { class: "notice" }, "Nothing was measured of this model but what stands here."),
  ];
  const budgets = own.length > 0 && testsPanel(own, model);
  if (!metrics.length) page.push(budgets);
  else {
    page.push(
      make(
        "div",
        { class: "split" },
        panel("where", "Where it goes", crumbs, chart, legend, make("p", { class: "facts" }, "The larger an area, the more of it. A click looks inside, here and in the table below.")),
        panel(
          "save", "What to cut",
          filtersForm(field(make("label", { for: "share" }, "To save"), shareField, make("span", {}, "%, the fewest layers:"))),
          savings,
        ),
      ),
      budgets,
      panel("modules", "Modules", filtersForm(field(make("label", { for: "rows" }, "Show"), rowsChoice), field(make("label", { for: "module-filter" }, "Filter"), filter)), tableBox),
    );
    update();
  }
  if (data.operators.length) page.push(operatorsPanel(data));
  if (data.course && modules.value("memory", 0)) page.push(memoryPanel(data, modules));
  const balanced = balancePanel(data, model, zoom);
  if (balanced) page.push(balanced);
  return page;
};

const panel = (id, title, ...children) =>
  make("section", { class: `panel ${id}`, "aria-labelledby": `${id}-title` }, make("h2", { id: `${id}-title` }, title), ...children);

const testsPanel = (own, model) => {
  const list = make("ul", { class: "budgets" });
  const after = make("div", { class: "after-table" });
  appendChunked(list, after, own, (budget) => budgetRow(budget, { withTest: model.tests.length > 1 }), "budget", 5);
  return panel("own-budgets", "Budgets", model.tests.length === 1 && make("p", { class: "facts" }, path(overview.tests[model.tests[0]].id)), list, after);
};

const operatorsPanel = (data) => {
  const rows = data.operators.map(([operator, ...figures]) => ({ operator, ...Object.fromEntries(data.operator_figures.map((key, index) => [key, figures[index]])) }));
  for (const row of rows) row.work = number(row.flops) + number(row.elementwise_flops) + number(row.backward_flops);
  const work = rows.reduce((sum, row) => sum + row.work, 0);
  const moved = (row) => number(row.read) + number(row.written);
  const runs = (row) => number(row.calls) + number(row.backward_calls);
  const hasBackward = rows.some((row) => number(row.backward_flops) > 0);
  const column = (key, title, hint, unit = "count") => ({ key, title, hint, isNumber: true, value: (row) => number(row[key]), cell: (row) => figure(row[key], unit) });
  const columns = [
    { key: "operator", title: "Operator", value: (row) => row.operator, cell: (row) => make("code", {}, path(row.operator)) },
    { key: "work", title: "FLOPs in all", isNumber: true, hint: "contractions and other work, forward and backward", value: (row) => row.work, cell: (row) => [figure(row.work, "FLOP"), shareBar(work ? row.work / work : 0)] },
    { key: "runs", title: "Runs", isNumber: true, value: runs, cell: (row) => figure(runs(row), "count") },
    column("macs", "MACs", "multiply-accumulates, forward"),
    column("elementwise_flops", "Other FLOPs", "what is no contraction, forward"),
    hasBackward && column("backward_flops", "Backward FLOPs", "contractions of the backward pass"),
    rows.some((row) => row.read !== null) && { key: "traffic", title: "Traffic", isNumber: true, hint: "bytes read and written, forward", value: moved, cell: (row) => figure(moved(row), "byte") },
    column("activations", "Activations", "elements produced by convolutions and matrix products"),
  ].filter(Boolean);
  return panel("operators", "Operators by cost", sortable({ columns, rows, caption: "Operators by cost", noun: "operator" }));
};

const KINDS = ["parameters", "buffers", "gradients", "inputs", "activations", "temporaries"];

// Where the model itself is nearly all, the course of the call shows only above it.
const MOSTLY_HELD = 0.75;

const memoryPanel = (data, modules) => {
  const kinds = KINDS.map((kind) => [kind, number(data.memory_by_kind[kind])]).filter(([, size]) => size > 0);
  const peak = modules.raw("memory", 0);
  const held = number(data.memory_by_kind.parameters) + number(data.memory_by_kind.buffers);
  const [where, operator] = data.memory_at ?? ["", ""];
  const chart = make("div", { class: "chart memory", role: "img", "aria-label": `Bytes alive over the course of the call; the peak is ${short(peak, "byte")}` });
  const { course } = data;
  const state = { isAbove: held > MOSTLY_HELD * number(peak) };
  const above = make("input", { type: "checkbox", id: "above", checked: state.isAbove, onchange: ({ target }) => { state.isAbove = target.checked; charts.get(chart)?.(); } });
  whenSeen(chart, () =>
    plot(chart, () => memoryChart(course, peak, held, state.isAbove), {
      plotly_hover: ({ points, event }) => {
        const index = course.births.indexOf(points.find(({ data: trace }) => trace.name === "alive")?.x ?? points[0].x);
        if (index < 0) return;
        showTip(event, make("p", { class: "tip-title" }, path(modules.paths[course.modules[index]] || "outside its modules")), make("p", {}, `${short(course.alive[index], "byte")} alive, allocation ${course.births[index]} of ${course.storages}`));
      },
      plotly_unhover: hideTip,
    }));
  return panel(
    "memory", "Memory over the call",
    make("p", {}, "The peak is ", make("strong", {}, figure(peak, "byte")), operator && [`, when ${visible(operator)} ran in `, where ? path(where) : "the model itself"], "."),
    make("div", { class: "stack", role: "img", "aria-label": kinds.map(([kind, size]) => `${kind} ${short(size, "byte")}`).join(", ") }, kinds.map(([kind, size]) => make("span", { class: `kind-${kind}`, style: { "flex-grow": String(size) }, title: `${kind}: ${short(size, "byte")}` }))),
    make("div", { class: "legend" }, kinds.map(([kind, size]) => make("span", { class: "key" }, make("span", { class: `swatch kind-${kind}` }), `${kind} ${short(size, "byte")}`))),
    held > 0 && filtersForm(field(above, make("label", { for: "above" }, `begin at the ${short(held, "byte")} that the model itself holds`))),
    chart,
    make("p", { class: "facts" }, `Bytes alive after each of ${plural(course.storages, "allocation")}${course.births.length < course.storages ? `, ${course.births.length} of them drawn` : ""}, in the order of the call. Below the thin line: what the model itself holds, parameters and buffers.`),
  );
};

const balancePanel = (data, model, zoom) => {
  const { modules } = data;
  if (!modules.measures("traffic") || !modules.measures("total_flops")) return null;
  const points = modules.names
    .map((_, place) => ({ place, work: modules.value("total_flops", place), traffic: modules.value("traffic", place) }))
    .filter(({ place, work, traffic }) => modules.isLeaf(place) && work > 0 && traffic > 0)
    .map((point) => ({ ...point, intensity: point.work / point.traffic }))
    .sort((one, other) => other.traffic - one.traffic)
    .slice(0, 1500);
  if (!points.length) return null;
  const state = { balance: 50 };
  const summary = make("p", {});
  const chart = make("div", { class: "chart", id: "intensity", role: "img", "aria-label": "Layers by arithmetic intensity; the table of modules lists it as FLOPs / byte" });
  const tell = () => {
    const bound = points.filter(({ intensity }) => intensity < state.balance);
    const sum = (rows, key) => rows.reduce((total, row) => total + row[key], 0);
    summary.textContent = `${bound.length} of ${plural(points.length, "layer")} are memory-bound on such a machine, with ${percent(sum(bound, "traffic") / sum(points, "traffic"))} of the traffic and ${percent(sum(bound, "work") / sum(points, "work"))} of the FLOPs.`;
  };
  const colours = () => { const { of } = colouring(data, "total_flops"); return points.map(({ place }) => of(place)); };
  const legend = make("div", { class: "legend" });
  whenSeen(legend, () => legend.replaceChildren(...typeKeys(colouring(data, "total_flops"))));
  tell();
  whenSeen(chart, () =>
    plot(chart, () => intensityChart(points, state.balance, colours()), {
      plotly_hover: ({ points: [point], event }) => showTip(event, ...moduleTip(data, model, "total_flops", point.customdata), make("p", {}, `${rounded(point.x, 3)} FLOPs a byte`)),
      plotly_unhover: hideTip,
      plotly_click: ({ points: [point] }) => zoom(point.customdata),
    }));
  return panel(
    "balance", "Work against traffic",
    filtersForm(
      field(
        make("label", { for: "machine" }, "A machine that computes"),
        make("input", { type: "number", id: "machine", min: "0.1", step: "any", value: String(state.balance), oninput: ({ target }) => { if (Number(target.value) > 0) { state.balance = Number(target.value); tell(); charts.get(chart)?.(); } } })),
      make("span", {}, "FLOPs in the time in which it moves a byte (its peak FLOP/s divided by its bytes/s)")),
    summary, chart, legend,
    make("p", { class: "facts" }, "Each mark is a layer: the higher, the more FLOPs; the further right, the more FLOPs for each byte that it reads or writes, nothing fused; the larger, the more bytes. Left of the line a layer waits for its bytes, and fewer of them make it faster; right of it, fewer FLOPs do."),
  );
};
