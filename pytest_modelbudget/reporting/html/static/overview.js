// The first view: how many budgets hold, each as a bar, what failed first.

const overview = read("overview");
const unitOf = (metric) => overview.metrics[metric]?.unit ?? "count";

const STATES = { over: ["\u2715", "over budget"], warn: ["!", "warning"], ok: ["\u2713", "within"], none: ["?", "not measured"], expected: ["~", "over, as the test expects"] };

const stateOf = (budget) => {
  if (budget.failed) return budget.level === "warn" ? "warn" : "over";
  return { "not measured": "none", exceeded: "expected" }[budget.outcome] ?? "ok";
};

// Of a limit from afar that found nothing to measure; where it stands on the test itself, that is a failure.
const isUnmeasured = (budget) => stateOf(budget) === "none";
const isExpected = (budget) => stateOf(budget) === "expected";

const stateMark = (state, text = STATES[state][1]) =>
  make("span", { class: `mark ${state}`, title: text }, make("span", { "aria-hidden": "true" }, STATES[state][0]), make("span", { class: "hidden" }, text));

const metricText = (budget) =>
  [label(budget.metric), budget.per === "call" ? "" : `per ${budget.per}`, budget.relative ? "growth" : ""].filter(Boolean).join(" ");

// To a tenth, with more digits where it would be a hundred and is not.
const percentUsed = (used) => {
  let digits = 1;
  while (used !== 1 && digits < 9 && Number((100 * used).toFixed(digits)) === 100) digits += 1;
  return digits > 1 ? `${(100 * used).toFixed(digits)} %` : percent(used);
};

// Used, limit and baseline on one scale, which the limit ends where it holds.
const budgetBar = (budget) => {
  const { used } = budget;
  if (used === null) return make("span", { class: "bar-reason" }, visible(budget.reason || budget.outcome));
  const scale = Math.max(1, used) * (used > 1 ? 1.02 : 1);
  const at = (share) => `${Math.max(0, Math.min(100, (100 * share) / scale))}%`;
  const baseline = budget.baseline === null || !number(budget.bound) ? null : number(budget.baseline) / number(budget.bound);
  const text = `${percentUsed(used)} of the limit${baseline === null ? "" : `, baseline at ${percent(baseline)}`}`;
  return make(
    "span",
    { class: `bar ${stateOf(budget)}`, role: "img", "aria-label": text, title: text },
    make("span", { class: "bar-fill", style: { width: at(used) } }),
    make("span", { class: "bar-limit", style: { left: at(1) } }),
    baseline !== null && make("span", { class: "bar-baseline", style: { left: at(baseline) } }),
  );
};

const budgetRow = (budget, { withTest = true } = {}) => {
  const state = stateOf(budget);
  const test = overview.tests[budget.test];
  const target = budget.of === null ? null : route("model", budget.of, { metric: budget.metric, zoom: budget.module });
  const title = withTest ? path(test.id) : metricText(budget);
  return make(
    "li",
    { class: `budget ${state}`, "data-metric": budget.metric },
    stateMark(state),
    make(
      "span",
      { class: "budget-name" },
      target ? make("a", { href: target, class: "budget-link" }, title) : title,
      make(
        "span",
        { class: "budget-what" },
        withTest && make("span", { class: "metric-name" }, metricText(budget)),
        budget.module && path(budget.module, { class: "path module" }),
        make("span", { class: "source" }, visible(budget.source)),
      ),
    ),
    budgetBar(budget),
    make(
      "span",
      { class: "budget-figures" },
      make(
        "span",
        { class: "measure" },
        make("strong", { "data-exact": String(budget.figure), title: budget.figure === null ? "" : exact(budget.figure) }, budget.measured ?? "\u2013"),
        budget.limit !== null && make("span", {}, make("span", { "aria-hidden": "true" }, "/ "), make("span", { class: "hidden" }, "of "), budget.limit),
      ),
      make("span", { class: "used" }, budget.used === null ? "" : percentUsed(budget.used)),
    ),
  );
};

const modelName = (budget) => (budget.of === null ? budget.model : overview.models[budget.of].model) || "no model";

// Work of its parts and methods has the inputs of none of its calls.
const calledWith = (model) => (model.outside ? "outside a call of the model" : model.inputs);

const callCard = (model, index) => {
  const tests = model.tests.length;
  const metric = ["total_flops", "flops", "params"].find((each) => each in model.figures);
  return make(
    "a",
    { class: "call", href: route("model", index) },
    make("span", { class: "call-inputs" }, visible(calledWith(model) || "no call")),
    make(
      "span",
      { class: "call-facts" },
      [
        model.figures.params !== undefined && `${short(model.figures.params, "count")} parameters`,
        metric && metric !== "params" && short(model.figures[metric], "FLOP"),
        plural(model.size, "module"),
        tests > 1 && plural(tests, "test"),
      ].filter(Boolean).join(" \u00b7 "),
    ),
    tests === 1 && name(overview.tests[model.tests[0]].id.replace(/^.*?::/s, ""), { class: "call-test" }),
  );
};

const matches = (budget, { words, state, metric }) => {
  if (state === "failed" && !budget.failed) return false;
  if (state === "held" && (budget.failed || isUnmeasured(budget) || isExpected(budget))) return false;
  if (state === "unmeasured" && !isUnmeasured(budget)) return false;
  if (metric && budget.metric !== metric) return false;
  if (!words.length) return true;
  budget.haystack ??= `${overview.tests[budget.test].id} ${budget.model} ${budget.module} ${metricText(budget)} ${budget.source}`.toLowerCase();
  return words.every((word) => budget.haystack.includes(word));
};

const byUse = (one, other) => other.failed - one.failed || (other.used ?? 2) - (one.used ?? 2);

const groupsOf = (budgets, models) => {
  const groups = new Map();
  const group = (title) => {
    if (!groups.has(title)) groups.set(title, { title, budgets: [], models: [] });
    return groups.get(title);
  };
  for (const budget of budgets) group(modelName(budget)).budgets.push(budget);
  for (const index of models) group(overview.models[index].model).models.push(index);
  for (const each of groups.values()) {
    each.budgets.sort(byUse);
    each.failed = each.budgets.filter(({ failed }) => failed).length;
  }
  return [...groups.values()].sort(
    (one, other) => other.failed - one.failed || (other.budgets[0]?.used ?? 0) - (one.budgets[0]?.used ?? 0) || (one.title < other.title ? -1 : 1),
  );
};

const budgetsPill = (budgets) => {
  const count = budgets.length;
  const failed = budgets.filter((budget) => budget.failed).length;
  const unmeasured = budgets.filter(isUnmeasured).length;
  const expected = budgets.filter(isExpected).length;
  const kept = unmeasured + expected === count ? "" : `${plural(count - unmeasured - expected, "budget")} within`;
  const said = [
    failed ? `${failed} of ${plural(count, "budget")} over` : kept,
    unmeasured && `${unmeasured} not measured`,
    expected && `${expected} over, as expected`,
  ];
  return make("span", { class: `pill ${failed ? "over" : unmeasured || expected ? "none" : "ok"}` }, said.filter(Boolean).join(", "));
};

// A budget leads to its call, too.
const FIRST_CALLS = 4;

const groupSection = ({ title, budgets, models }) => {
  const list = make("ul", { class: "budgets" });
  const after = make("div", { class: "after-table" });
  const shown = [...new Set([...budgets.map(({ of }) => of).filter((of) => of !== null), ...models])];
  const calls = make("div", { class: "calls" });
  const afterCalls = make("div", { class: "after-table" });
  appendChunked(calls, afterCalls, shown, (index) => callCard(overview.models[index], index), "call", budgets.length ? FIRST_CALLS : CHUNK);
  if (budgets.length) appendChunked(list, after, budgets, (budget) => budgetRow(budget), "budget");
  return make(
    "section",
    { class: "panel group" },
    make(
      "h3",
      {},
      name(title),
      budgets.length > 0 && budgetsPill(budgets),
    ),
    list,
    after,
    shown.length > 0 && make("div", { class: "measured" }, make("p", { class: "measured-title" }, "Look inside"), calls),
    afterCalls,
  );
};

const barLegend = (budgets) => {
  const key = (...parts) => make("span", { class: "key" }, ...parts);
  const sample = (...marks) => make("span", { class: "bar sample", "aria-hidden": "true" }, ...marks);
  return make(
    "p",
    { class: "legend bars" },
    key(sample(make("span", { class: "bar-fill", style: { width: "70%" } })), "used"),
    key(sample(make("span", { class: "bar-limit", style: { left: "50%" } })), "the limit"),
    budgets.some(({ baseline }) => baseline !== null) && key(sample(make("span", { class: "bar-baseline", style: { left: "50%" } })), "the baseline"),
    make("span", {}, "A test or a call opens its model, module by module."),
  );
};

const stat = (value, text, state = "") => make("div", { class: `stat ${state}` }, make("strong", {}, value), make("span", {}, text));

const overviewPage = () => {
  const { budgets, tests, models, changes } = overview;
  const failed = budgets.filter((budget) => budget.failed).length;
  const unmeasured = budgets.filter(isUnmeasured).length;
  const expected = budgets.filter(isExpected).length;
  const grown = changes.filter(({ kind }) => kind === "grown").length;
  const broken = tests.filter(({ outcome }, index) => outcome === "failed" && !budgets.some((budget) => budget.test === index && budget.failed)).length;
  const filters = { words: [], state: "all", metric: "" };
  const count = make("p", { class: "count", role: "status" });
  const results = make("div", { class: "groups" });
  const fill = () => {
    const chosen = budgets.filter((budget) => matches(budget, filters));
    const unfiltered = !filters.metric && filters.state === "all";
    const others = models
      .map((_, index) => index)
      .filter((index) => unfiltered && filters.words.every((word) => `${models[index].model} ${models[index].tests.map((test) => overview.tests[test].id).join(" ")}`.toLowerCase().includes(word)));
    results.replaceChildren(...groupsOf(chosen, others).map(groupSection));
    count.textContent = chosen.length === budgets.length ? plural(budgets.length, "budget") : `${chosen.length} of ${plural(budgets.length, "budget")}`;
    if (!results.children.length) results.append(make("p", { class: "notice" }, "Nothing here is called that."));
  };
  const search = make("input", {
    type: "search", id: "search", placeholder: "test, model, module, metric", autocomplete: "off",
    oninput: ({ target }) => {
      filters.words = target.value.toLowerCase().split(/\s+/).filter(Boolean);
      fill();
    },
  });
  const choose = (id, key, options) =>
    make("select", { id, onchange: ({ target }) => { filters[key] = target.value; fill(); } }, options.map(([value, text]) => make("option", { value }, text)));
  const metrics = [...new Set(budgets.map(({ metric }) => metric))];
  fill();
  return [
    make("h1", { id: "title", tabindex: "-1", class: failed ? "over" : "" }, headline(failed, unmeasured, expected, budgets.length)),
    make(
      "div",
      { class: "stats" },
      stat(failed, "over budget", failed ? "over" : unmeasured || broken ? "" : "ok"),
      stat(budgets.length - failed - unmeasured - expected, "within"),
      expected > 0 && stat(expected, "over, as expected"),
      unmeasured > 0 && stat(unmeasured, "not measured"),
      stat(tests.length, tests.length === 1 ? "test measured" : "tests measured"),
      stat(new Set(models.map(({ model }) => model)).size, "models"),
      changes.length > 0 && stat(grown, "figures grown", grown ? "over" : ""),
    ),
    broken > 0 && make("p", { class: "notice" }, `${plural(broken, "test")} failed before ${broken === 1 ? "it was" : "they were"} judged.`),
    overview.unmeasured.map((complaint) => make("p", { class: "notice over" }, visible(complaint))),
    changes.length > 0 && changesPanel(),
    make(
      "section",
      { "aria-labelledby": "budgets-title" },
      make("h2", { id: "budgets-title" }, "Budgets by model"),
      make(
        "form",
        { class: "filters", role: "search", onsubmit: (event) => event.preventDefault() },
        field(make("label", { for: "search" }, "Search"), search),
        field(make("label", { for: "state" }, "Show"), choose("state", "state", [["all", "all"], ["failed", "over budget"], ["held", "within"], ["unmeasured", "not measured"]])),
        field(make("label", { for: "metric" }, "Metric"), choose("metric", "metric", [["", "all"], ...metrics.map((metric) => [metric, label(metric)])])),
        count,
      ),
      budgets.length > 0 && barLegend(budgets),
      results,
    ),
  ];
};

const headline = (failed, unmeasured, expected, count) => {
  if (!count) return overview.models.length ? "What the models cost" : "No model was measured";
  const others = [unmeasured && `, ${unmeasured} not measured`, expected && `, ${expected} over, as expected`].filter(Boolean).join("");
  if (failed) return `${failed} of ${plural(count, "budget")} not kept${others}`;
  if (others) return `${plural(count - unmeasured - expected, "budget")} kept${others}`;
  return count === 1 ? "The budget is kept" : `All ${count} budgets are kept`;
};
