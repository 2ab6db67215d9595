// A model's modules: parents, paths and figures, out of the columns that the page holds.

const STATE = new Set(["params", "trainable_params", "size"]);

class Modules {
  constructor({ names, parents, figures, same_as: sameAs = {} }) {
    this.names = names;
    this.parents = parents;
    this.columns = figures;
    this.sameAs = sameAs;
    this.size = names.length;
    this.children = names.map(() => []);
    parents.forEach((parent, place) => {
      if (parent >= 0) this.children[parent].push(place);
    });
    this.paths = [];
    names.forEach((part, place) => {
      const above = parents[place] > 0 ? `${this.paths[parents[place]]}.` : "";
      this.paths.push(parents[place] < 0 ? "" : above + part);
    });
    this.places = new Map(this.paths.map((text, place) => [text, place]));
    this.owns = new Map();
  }

  measures(metric) {
    return metric in this.columns;
  }

  raw(metric, place) {
    return this.columns[metric]?.[place] ?? 0;
  }

  value(metric, place) {
    return number(this.raw(metric, place));
  }

  // Parts that share their parameters with an earlier one hold nothing of their own.
  parts(metric, place) {
    return this.children[place].filter((child) => !(STATE.has(metric) && child in this.sameAs));
  }

  isLeaf(place) {
    return this.children[place].length === 0;
  }

  // What a module does itself, in none of its parts.
  own(metric, place) {
    if (!this.owns.has(metric)) {
      const own = this.names.map((_, each) => {
        const parts = this.parts(metric, each).reduce((sum, child) => sum + this.value(metric, child), 0);
        return Math.max(0, this.value(metric, each) - parts);
      });
      this.owns.set(metric, own);
    }
    return this.owns.get(metric)[place];
  }

  below(place) {
    const found = [place];
    for (const each of found) found.push(...this.children[each]);
    return found.sort((one, other) => one - other);
  }

  chain(place) {
    const found = [];
    for (let each = place; each >= 0; each = this.parents[each]) found.unshift(each);
    return found;
  }

  depth(place) {
    return this.chain(place).length - 1;
  }
}

// The fewest layers that together are at least `share` of the whole.
const heaviest = (modules, metric, share) => {
  const total = modules.value(metric, 0);
  const candidates = modules.names
    .map((_, place) => ({ place, value: modules.own(metric, place) }))
    .filter(({ place, value }) => value > 0 && place > 0)
    .sort((one, other) => other.value - one.value);
  const chosen = [];
  let sum = 0;
  for (const candidate of candidates) {
    if (sum >= share * total) break;
    chosen.push(candidate);
    sum += candidate.value;
  }
  return { chosen, sum, total, enough: sum >= share * total && total > 0 };
};

// `layers.0.up`, `layers.1.up` and `layers.5.up` as `layers.{0-1, 5}.up`.
const alike = (modules, chosen) => {
  const groups = new Map();
  for (const { place, value } of chosen) {
    const pattern = `${modules.paths[place].replace(/(?<=^|\.)\d+(?=\.|$)/g, "*")} ${value}`;
    if (!groups.has(pattern)) groups.set(pattern, []);
    groups.get(pattern).push({ place, value });
  }
  return [...groups.values()].map((members) => ({
    places: members.map(({ place }) => place),
    value: members.reduce((sum, member) => sum + member.value, 0),
    text: together(members.map(({ place }) => modules.paths[place])),
  }));
};

const together = (paths) => {
  if (paths.length === 1) return paths[0];
  const split = paths.map((text) => text.split("."));
  return split[0]
    .map((_, index) => {
      const parts = [...new Set(split.map((each) => each[index]))];
      return parts.length === 1 ? parts[0] : `{${ranges(parts.map(Number).sort((a, b) => a - b))}}`;
    })
    .join(".");
};

const ranges = (numbers) => {
  const found = [];
  for (const each of numbers) {
    const last = found.at(-1);
    if (last && last[1] === each - 1) last[1] = each;
    else found.push([each, each]);
  }
  return found.map(([from, to]) => (from === to ? from : `${from}${to === from + 1 ? ", " : "-"}${to}`)).join(", ");
};
