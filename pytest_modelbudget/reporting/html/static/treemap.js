// The treemap: modules as areas. A click zooms; the table beside it does the same for the keyboard.

const MOST_NODES = 320;
const SMALLEST = 0.012; // a module with a smaller share of what is shown is not taken apart

// The script names no colour: which they are depends on the theme, and on whether the page is printed.
const css = (variable) => getComputedStyle(document.documentElement).getPropertyValue(`--${variable}`).trim();

let loading = null;

// Plotly takes longer to read than the rest of the page, so it waits for the first chart.
const plotly = () => {
  loading ??= (async () => {
    if (typeof DecompressionStream === "undefined") throw new Error("this browser cannot unpack the charts");
    const bytes = Uint8Array.from(atob(byId("charts").textContent), (character) => character.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = make("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
    return window.Plotly;
  })();
  return loading;
};

const CONFIG = { displayModeBar: false, responsive: true, showTips: false };
const charts = new Map(); // element -> how to draw it again

const plot = async (element, figureOf, listen = {}) => {
  const redraw = async () => {
    const Plotly = await plotly();
    if (!element.isConnected) return charts.delete(element);
    const { data, layout } = figureOf();
    const base = {
      margin: { l: 0, r: 0, t: 0, b: 0 },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: css("font"), size: 13, color: css("text") },
      showlegend: false,
      hovermode: "closest",
    };
    const isNew = !element.classList.contains("js-plotly-plot");
    // Told its size, Plotly follows it onto paper.
    const size = { width: element.clientWidth, height: element.clientHeight };
    await Plotly.react(element, data, { ...base, ...size, ...layout }, CONFIG);
    element.dataset.drawn = String(Number(element.dataset.drawn ?? 0) + 1);
    if (isNew) for (const [event, listener] of Object.entries(listen)) element.on(event, listener);
    return undefined;
  };
  charts.set(element, redraw);
  try {
    await redraw();
  } catch (error) {
    charts.delete(element);
    element.replaceChildren(make("p", { class: "notice" }, `No chart: ${error.message}. The tables say the same.`));
  }
};

const redrawAll = () => {
  for (const redraw of charts.values()) redraw();
};

const NEARLY_ALL = 0.97;

// Past modules that only wrap another one, to the one that says what they are.
const essence = (value, parts, place) => {
  for (;;) {
    const within = parts(place).find((part) => value(part) >= NEARLY_ALL * value(place));
    if (within === undefined || !value(place)) return place;
    place = within;
  }
};

// The modules below `root` that are worth an area: the largest are taken apart first.
const areas = (value, parts, own, root) => {
  const whole = value(root);
  const nodes = [{ place: root, parent: null, value: whole, isOpen: false }];
  const waiting = [nodes[0]];
  while (waiting.length && nodes.length < MOST_NODES) {
    waiting.sort((one, other) => other.value - one.value);
    const node = waiting.shift();
    const inner = node.place === root ? root : essence(value, parts, node.place);
    const below = parts(inner).filter((place) => value(place) > 0);
    if (!below.length || (node.value < SMALLEST * whole && node.place !== root)) continue;
    node.isOpen = true;
    for (const place of below) {
      const child = { place, parent: node.place, value: value(place), isOpen: false };
      nodes.push(child);
      waiting.push(child);
    }
    const rest = own(inner);
    if (rest > 0.004 * node.value) nodes.push({ place: inner, parent: node.place, value: rest, isRest: true });
  }
  return nodes;
};

const treemap = (nodes, { text, label: labelOf, colour, line }) => ({
  data: [
    {
      type: "treemap",
      branchvalues: "remainder",
      ids: nodes.map(({ place, isRest }) => (isRest ? `rest-${place}` : `${place}`)),
      parents: nodes.map(({ parent }) => (parent === null ? "" : `${parent}`)),
      labels: nodes.map((node) => inert(labelOf(node))),
      text: nodes.map((node) => inert(text(node))),
      // What is taken apart is as large as its parts.
      values: nodes.map(({ value, isOpen }) => (isOpen ? 0 : value)),
      customdata: nodes.map(({ place }) => place),
      marker: {
        colors: nodes.map(colour),
        line: { width: line ? nodes.map(line) : 1, color: css("surface") },
        pad: { t: 21, l: 2, r: 2, b: 2 },
        cornerradius: 3,
      },
      textinfo: "label+text",
      textfont: { color: css("text") },
      textposition: "middle center",
      hoverinfo: "none",
      pathbar: { visible: false },
      tiling: { packing: "squarify", pad: 2 },
      sort: true,
    },
  ],
  layout: { uniformtext: { minsize: 9, mode: "hide" } },
});
