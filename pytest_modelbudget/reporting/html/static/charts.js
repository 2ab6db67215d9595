// Memory over the course of a call, and where modules stand by arithmetic intensity.

const axis = (title) => ({
  title: { text: title, font: { size: 12, color: css("muted") }, standoff: 8 },
  gridcolor: css("line"),
  linecolor: css("line"),
  zerolinecolor: css("line"),
  tickfont: { color: css("muted"), size: 11 },
  fixedrange: true,
});

// Round steps of binary units.
const byteTicks = (least, most) => {
  const span = Math.max(1, most - least);
  const unit = 1024 ** Math.max(0, Math.floor(Math.log2(span) / 10));
  const steps = [1, 2, 5, 10, 20, 50, 100, 200, 500].map((step) => step * (span < 5 * unit ? unit / 10 : unit));
  const step = steps.find((each) => span / each <= 6) ?? steps.at(-1);
  const values = [];
  for (let tick = Math.ceil(least / step) * step; tick <= least + span * 1.06; tick += step) values.push(tick);
  return { tickmode: "array", tickvals: values, ticktext: values.map((tick) => short(Math.round(tick), "byte")) };
};

const memoryChart = (course, peak, held, isAbove) => {
  const alive = course.alive.map(number);
  const top = alive.indexOf(Math.max(...alive));
  const most = alive[top];
  const at = course.births[top];
  const least = isAbove && held < most ? held : 0;
  const margin = Math.max(0.5, 0.02 * course.storages);
  const hasBackward = course.storages > course.forward;
  const shapes = [
    { type: "line", x0: at, x1: at, y0: least, y1: most, line: { color: css("over"), width: 1.5, dash: "dot" } },
  ];
  if (hasBackward) {
    const x = course.forward + 0.5;
    shapes.push({ type: "line", x0: x, x1: x, yref: "paper", y0: 0, y1: 1, line: { color: css("muted"), width: 1 } });
  }
  const side = at > course.storages / 2 ? "right" : "left";
  return {
    data: [
      {
        type: "scatter", mode: "lines", x: course.births, y: course.births.map(() => held), hoverinfo: "none",
        fill: "tozeroy", fillcolor: css("held"), line: { color: css("held-line"), width: 1 }, name: "held",
      },
      {
        type: "scatter", mode: course.births.length > 60 ? "lines" : "lines+markers", x: course.births, y: alive,
        fill: "tonexty", fillcolor: css("alive"), line: { color: css("accent"), width: 2, shape: "hv" },
        marker: { size: 5 }, hoverinfo: "none", name: "alive",
      },
      {
        type: "scatter", mode: "markers", x: [at], y: [most], hoverinfo: "none", name: "peak",
        marker: { size: 11, color: css("over"), symbol: "diamond", line: { color: css("surface"), width: 2 } },
      },
    ],
    layout: {
      margin: { l: 74, r: 16, t: 30, b: 44 },
      xaxis: { ...axis("allocations, in the order of the call"), range: [Math.min(0.5, 1 - margin), Math.max(2, course.storages + margin)] },
      yaxis: { ...axis(""), range: [least, least + (most - least) * 1.15], ...byteTicks(least, most) },
      shapes,
      annotations: [
        { x: at, y: most, text: `peak ${short(peak, "byte")}`, showarrow: false, xanchor: side, yanchor: "bottom", yshift: 6,
          font: { color: css("over"), size: 13 } },
        ...(hasBackward
          ? [["forward", "right", -6], ["backward", "left", 6]].map(([text, xanchor, xshift]) => ({
              x: course.forward + 0.5, y: 1, yref: "paper", yanchor: "bottom", text, xanchor, xshift, showarrow: false,
              font: { color: css("muted"), size: 11 },
            }))
          : []),
      ],
      hovermode: "x",
    },
  };
};

// Work against work for each byte moved: left of the machine's balance the memory is what a module waits for.
const intensityChart = (points, balance, colours) => {
  const traffic = Math.max(...points.map((point) => point.traffic));
  const xs = [balance, ...points.map((point) => point.intensity)];
  const low = Math.log10(Math.min(...xs)) - 0.3;
  const high = Math.log10(Math.max(...xs)) + 0.3;
  const works = points.map((point) => Math.log10(point.work));
  const range = [Math.min(...works) - 0.4, Math.max(...works) + 0.5];
  const side = (x0, x1, fillcolor) => ({
    type: "rect", x0: 10 ** x0, x1: 10 ** x1, yref: "paper", y0: 0, y1: 1, fillcolor, line: { width: 0 }, layer: "below",
  });
  const ticks = Array.from({ length: Math.ceil(range[1]) - Math.floor(range[0]) + 1 }, (_, i) => Math.floor(range[0]) + i);
  return {
    data: [
      {
        type: "scatter", mode: "markers", hoverinfo: "none", customdata: points.map((point) => point.place),
        x: points.map((point) => point.intensity), y: points.map((point) => point.work),
        marker: {
          size: points.map((point) => 6 + 26 * Math.sqrt(point.traffic / traffic)), color: colours, opacity: 0.85,
          line: { color: css("surface"), width: 1 },
        },
      },
    ],
    layout: {
      margin: { l: 70, r: 12, t: 26, b: 46 },
      xaxis: { ...axis("FLOPs for each byte moved"), type: "log", range: [low, high], dtick: 1 },
      yaxis: {
        ...axis("FLOPs"), type: "log", range, tickmode: "array", tickvals: ticks.map((tick) => 10 ** tick),
        ticktext: ticks.map((tick) => short(10 ** tick, "count")),
      },
      shapes: [
        side(low, Math.log10(balance), css("shade")),
        { type: "line", x0: balance, x1: balance, yref: "paper", y0: 0, y1: 1, line: { color: css("muted"), dash: "dot" } },
      ],
      // At the two ends, where there is room for them wherever the line stands.
      annotations: [["\u2190 memory-bound", 0, "left"], ["compute-bound \u2192", 1, "right"]].map(([text, x, xanchor]) => ({
        x, xref: "paper", y: 1, yref: "paper", yanchor: "bottom", text, xanchor, showarrow: false, font: { color: css("muted"), size: 12 },
      })),
    },
  };
};
