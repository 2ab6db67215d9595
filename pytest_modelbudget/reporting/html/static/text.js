// Figures and names as people read them.

const COUNTS = ["", "K", "M", "G", "T", "P"];
const UNITS = {
  count: { prefixes: COUNTS, step: 1000, first: 1, name: "" },
  MAC: { prefixes: COUNTS, step: 1000, first: 1, name: "MACs" },
  FLOP: { prefixes: COUNTS, step: 1000, first: 1, name: "FLOPs" },
  byte: { prefixes: ["", "Ki", "Mi", "Gi", "Ti", "Pi"], step: 1024, first: 1, name: "B" },
  second: { prefixes: ["n", "\u00b5", "m", ""], step: 1000, first: 1e-9, name: "s" },
};
const LABELS = {
  params: "Parameters",
  trainable_params: "Trainable",
  size: "Size",
  macs: "MACs",
  flops: "FLOPs",
  elementwise_flops: "Other FLOPs",
  total_flops: "Total FLOPs",
  backward_flops: "Backward FLOPs",
  training_flops: "Training FLOPs",
  activations: "Activations",
  memory: "Peak memory",
  traffic: "Traffic",
  latency: "Latency",
};

const number = (figure) => {
  if (typeof figure !== "string") return figure ?? 0;
  const [above, below] = figure.split("/");
  return Number(above) / Number(below ?? 1);
};

// Every digit; figures beyond 2^53 come as texts, because a number would lose some.
const exact = (figure) => {
  if (typeof figure === "string") return figure.includes("/") ? figure : BigInt(figure).toLocaleString("en-US");
  return Number.isInteger(figure) ? figure.toLocaleString("en-US") : String(figure);
};

const rounded = (value, digits = 4) => {
  const whole = String(Math.trunc(Math.abs(value))).length;
  return Number(value.toFixed(Math.max(0, digits - whole))).toLocaleString("en-US", { maximumFractionDigits: digits });
};

// Four digits, as `quantity.format` writes them.
const short = (figure, unit) => {
  const { prefixes, step, first, name } = UNITS[unit] ?? UNITS.count;
  const value = number(figure);
  let index = value === 0 && unit === "second" ? prefixes.length - 1 : 0;
  while (index + 1 < prefixes.length && Math.abs(value) >= first * step ** (index + 1)) index += 1;
  let shown = value / (first * step ** index);
  if (index + 1 < prefixes.length && Math.abs(shown) >= step - 0.5 && Math.round(Math.abs(shown)) >= step) {
    index += 1;
    shown = value / (first * step ** index);
  }
  const suffix = unit === "byte" && index === 0 ? "bytes" : prefixes[index] + name;
  return `${rounded(shown)}${suffix ? ` ${suffix}` : ""}`;
};

const signed = (figure, unit) => `${number(figure) > 0 ? "+" : ""}${short(figure, unit)}`;

// What is there is never shown as nothing.
const percent = (share) => (share > 0 && share < 0.0005 ? "< 0.1 %" : `${(100 * share).toFixed(1)} %`);

const plural = (count, noun, nouns = `${noun}s`) => `${count.toLocaleString("en-US")} ${count === 1 ? noun : nouns}`;

// Controls, and characters that turn the direction of text around, as escapes: what is shown is what is there.
const visible = (text) =>
  String(text).replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, (character) => {
    const code = character.codePointAt(0).toString(16);
    return code.length > 4 ? `\\U${code.padStart(8, "0")}` : `\\u${code.padStart(4, "0")}`;
  });

// Plotly reads a subset of HTML in its labels.
const inert = (text) => visible(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

const label = (metric) => LABELS[metric] ?? metric.replaceAll("_", " ");
