// The scene graph as nodes and arrows. A node stands around a centre as its box does in the picture.

import {draw, element} from "./drawing.js";

// Distinct on photographs and for the colour-blind (Okabe and Ito 2008); dark enough for white letters.
const COLORS = ["#0072b2", "#b85000", "#007e5d", "#a8467b", "#2f6f95", "#8a6100"];
const ARROWS = 8;  // As long as no node is pointed at.
const RADIUS = 14;

let current = null;

export function showGraph(parts, graph, size) {
  current = {parts, graph, size, pointed: null};
  const things = graph.entities.map((thing, number) => `${number + 1} ${thing.entity}`);
  parts.list.replaceChildren(...graph.relations.map(({subject, relation, object, score}) => {
    const item = document.createElement("li");
    item.textContent = `${things[subject]} – ${relation} – ${things[object]} (${score.toFixed(2)})`;
    return item;
  }));
  layOut();
}

// Again, as for another width of the window.
export function layOut() {
  if (!current) return;
  const {parts, graph} = current;
  const width = Math.max(parts.nodes.clientWidth, 280), height = Math.min(Math.max(width * 0.72, 340), 460);
  const svg = element("svg", {viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": "Scene graph"});
  const defs = element("defs"), marker = element("marker", {
    id: "arrow", viewBox: "0 0 10 10", refX: 9, refY: 5, markerWidth: 8, markerHeight: 8, orient: "auto-start-reverse",
  });
  marker.append(element("path", {d: "M0 0 10 5 0 10z"}));
  defs.append(marker);
  current.places = places(graph.entities.map((thing) => thing.box), width, height);
  current.arrows = element("g");
  current.nodes = graph.entities.map((thing, number) => node(thing, number, current.places[number]));
  svg.append(defs, current.arrows, ...current.nodes);
  parts.nodes.replaceChildren(svg);
  point(null);
}

function places(boxes, width, height) {
  const centres = boxes.map(([top, left, bottom, right]) => [(left + right) / 2, (top + bottom) / 2]);
  const mean = [0, 1].map((axis) => centres.reduce((sum, centre) => sum + centre[axis], 0) / (centres.length || 1));
  const angle = (number) => Math.atan2(centres[number][1] - mean[1], centres[number][0] - mean[0]);
  const order = centres.map((_, number) => number).sort((one, other) => angle(one) - angle(other));
  const result = [];
  order.forEach((number, rank) => {
    const turn = -Math.PI + (2 * Math.PI * (rank + 0.5)) / order.length;
    result[number] = [
      width / 2 + (width / 2 - 48) * Math.cos(turn), height / 2 - 12 + (height / 2 - 40) * Math.sin(turn),
    ];
  });
  return result;
}

function node(thing, number, [x, y]) {
  const name = `${number + 1} ${thing.entity}, ${thing.score.toFixed(2)}`;
  const group = element("g", {class: "node", tabindex: 0, role: "button", "aria-label": name});
  group.append(
    element("circle", {cx: x, cy: y, r: RADIUS, fill: COLORS[number % COLORS.length]}),
    element("text", {x, y, class: "number"}, number + 1),
  );
  lines(`${thing.entity} ${thing.score.toFixed(2)}`).forEach((line, row) => {
    group.append(element("text", {x, y: y + RADIUS + 13 + 13 * row}, line));
  });
  for (const event of ["mouseenter", "focus", "click"]) group.addEventListener(event, () => point(number));
  for (const event of ["mouseleave", "blur"]) group.addEventListener(event, () => point(null));
  return group;
}

function lines(text) {
  const result = [""];
  for (const word of text.split(" ")) {
    const last = result[result.length - 1];
    if (last && last.length + word.length > 12) result.push(word);
    else result[result.length - 1] = last ? `${last} ${word}` : word;
  }
  return result;
}

// Shows one node with its relations and its box; null: the most probable relations and all boxes.
function point(number) {
  const {parts, graph, size, places: at, nodes, arrows} = current;
  const pairs = new Set();  // Of each pair the more probable direction.
  const relations = graph.relations.filter(({subject, object}) => {
    if (number !== null && subject !== number && object !== number) return false;
    const pair = [Math.min(subject, object), Math.max(subject, object)].join();
    return pairs.has(pair) ? false : pairs.add(pair);
  }).slice(0, number === null ? ARROWS : undefined);
  const partners = new Set(relations.flatMap(({subject, object}) => [subject, object]));
  arrows.replaceChildren(...relations.map((relation) => arrow(relation, at)));
  nodes.forEach((group, other) => {
    group.classList.toggle("shown", other === number);
    group.classList.toggle("faint", number !== null && other !== number && !partners.has(other));
  });
  draw(parts.view, size, graph.entities.map((thing, other) => ({
    box: thing.box,
    color: COLORS[other % COLORS.length],
    label: other === number ? `${other + 1} ${thing.entity} ${thing.score.toFixed(2)}` : `${other + 1}`,
    faint: number !== null && other !== number,
  })));
}

function arrow({subject, relation, object, score}, at) {
  const [[x0, y0], [x1, y1]] = [at[subject], at[object]];
  const length = Math.hypot(x1 - x0, y1 - y0) || 1;
  const [dx, dy] = [(x1 - x0) / length, (y1 - y0) / length].map((part) => part * (RADIUS + 3));
  const group = element("g");
  group.append(
    element("line", {x1: x0 + dx, y1: y0 + dy, x2: x1 - dx, y2: y1 - dy, "marker-end": "url(#arrow)"}),
    element("text", {x: x0 + 0.42 * (x1 - x0), y: y0 + 0.42 * (y1 - y0) + 4}, `${relation} ${score.toFixed(2)}`),
  );
  return group;
}
