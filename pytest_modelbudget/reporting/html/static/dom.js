// Elements, made from texts and never from markup.

const byId = (id) => document.getElementById(id);
const read = (id) => JSON.parse(byId(id).textContent);

const SVG = "http://www.w3.org/2000/svg";

const make = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, text] of Object.entries(value)) element.style.setProperty(key, text);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
};

// A name that somebody else chose: its direction ends where it ends.
const name = (text, attributes = {}) => make("bdi", attributes, visible(text));

// A dotted path or a node id may break after its separators.
const path = (text, attributes = {}) => {
  const element = make("bdi", { class: "path", ...attributes });
  for (const part of visible(text).split(/(?<=[./:_[])/u)) element.append(part, make("wbr"));
  return element;
};

const said = (text) => {
  byId("status").textContent = text;
};

const figure = (value, unit, attributes = {}) =>
  make("span", { class: "figure", title: exact(value), "data-exact": String(value), ...attributes }, short(value, unit));

// A control with what stands before and after it: they stay together where a line ends.
const field = (...parts) => make("span", { class: "field" }, ...parts);

const filtersForm = (...fields) => make("form", { class: "filters", onsubmit: (event) => event.preventDefault() }, ...fields);

// -- the tip beside the pointer

const showTip = (event, ...content) => {
  const tip = byId("tip");
  tip.replaceChildren(...content);
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  const x = Math.min(event.clientX + 14, window.innerWidth - width - 8);
  const y = event.clientY + 18 + height > window.innerHeight ? event.clientY - height - 12 : event.clientY + 18;
  tip.style.left = `${Math.max(8, x)}px`;
  tip.style.top = `${Math.max(8, y)}px`;
};

const hideTip = () => {
  byId("tip").hidden = true;
};

// -- what is drawn when it comes into view

const pending = new Map();
const watcher = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries) if (isIntersecting) draw(target);
  },
  { rootMargin: "300px" },
);

const draw = (element) => {
  const drawing = pending.get(element);
  if (!drawing) return;
  pending.delete(element);
  watcher.unobserve(element);
  drawing();
};

const whenSeen = (element, drawing) => {
  pending.set(element, drawing);
  watcher.observe(element);
};

// -- rows that come as they are asked for

const CHUNK = 200;

// Appends an element for each item, some at once, the rest by a button.
const appendChunked = (parent, after, items, element, noun, first = CHUNK) => {
  let shown = 0;
  const more = make("button", { type: "button", class: "more", onclick: () => next(CHUNK) });
  const next = (count) => {
    parent.append(...items.slice(shown, shown + count).map(element));
    shown = Math.min(items.length, shown + count);
    more.hidden = shown >= items.length;
    const left = items.length - shown;
    more.textContent = left > CHUNK ? `Show ${CHUNK} more of ${plural(left, noun)}` : `Show ${plural(left, `more ${noun}`)}`;
  };
  next(first);
  after.append(more);
};
