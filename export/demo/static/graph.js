// The scene graph as nodes and arrows. A node stands around a centre as its box does in the picture.

import {draw, element} from "./drawing.js";

// Distinct on photographs and for the colour-blind (Okabe and Ito 2008); dark enough for white letters.
const COLORS = ["#0072b2", "#b85000", "#007e5d", "#a8467b", "#2f6f95", "#8a6100"];
const LISTED = 50;
const RADIUS = 14, ROW = 13;

let current = null;

export function showGraph(parts, graph, size) {
  current = {parts, graph, size, pointed: null};
  const things = graph.entities.map((thing, number) => `${number + 1} ${thing.entity}`);
  parts.list.replaceChildren(...graph.relations.slice(0, LISTED).map(({subject, relation, object, score}) => {
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
  current.labels = element("g", {class: "labels"});
  current.nodes = graph.entities.map((thing, number) => node(thing, number, current.places[number]));
  svg.append(defs, current.arrows, ...current.nodes, current.labels);
  parts.nodes.replaceChildren(svg);
  point(null);
}

// Of each box [x, y, how far down of the centre].
function places(boxes, width, height) {
  const centres = boxes.map(([top, left, bottom, right]) => [(left + right) / 2, (top + bottom) / 2]);
  const mean = [0, 1].map((axis) => centres.reduce((sum, centre) => sum + centre[axis], 0) / (centres.length || 1));
  const angle = (number) => Math.atan2(centres[number][1] - mean[1], centres[number][0] - mean[0]);
  const order = centres.map((_, number) => number).sort((one, other) => angle(one) - angle(other));
  const result = [];
  order.forEach((number, rank) => {
    const turn = -Math.PI + (2 * Math.PI * (rank + 0.5)) / order.length;
    result[number] = [
      width / 2 + (width / 2 - 48) * Math.cos(turn), height / 2 + (height / 2 - 60) * Math.sin(turn), Math.sin(turn),
    ];
  });
  return result;
}

function node(thing, number, [x, y, outward]) {
  const name = `${number + 1} ${thing.entity}, ${thing.score.toFixed(2)}`;
  const group = element("g", {class: "node", tabindex: 0, role: "button", "aria-label": name});
  group.append(
    element("circle", {cx: x, cy: y, r: RADIUS, fill: COLORS[number % COLORS.length]}),
    element("text", {x, y, class: "number"}, number + 1),
  );
  const rows = lines(`${thing.entity} ${thing.score.toFixed(2)}`);
  // Outside, where no arrow goes.
  const first = outward < 0 ? y - RADIUS - 5 - ROW * (rows.length - 1) : y + RADIUS + ROW;
  rows.forEach((line, row) => group.append(element("text", {x, y: first + ROW * row}, line)));
  for (const event of ["mouseenter", "focus", "click"]) group.addEventListener(event, () => point(number));
  for (const event of ["mouseleave", "blur"]) group.addEventListener(event, pointAtTheFocused);
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

// Where the mouse is on no node, that of the keys counts, if they are on one.
function pointAtTheFocused() {
  const focused = current.nodes.indexOf(document.activeElement);
  point(focused < 0 ? null : focused);
}

// Shows one node with its relations and its box; null: of each node the most probable relation, and all boxes.
function point(number) {
  const {parts, graph, size, places: at, nodes, arrows, labels} = current;
  const partners = new Set();
  const relations = graph.relations.filter(({subject, object}) => {
    const pointed = subject === number || object === number;
    // Of each pair the more probable direction.
    const wanted = number === null ? !(partners.has(subject) && partners.has(object))
      : pointed && !partners.has(subject === number ? object : subject);
    if (wanted) for (const end of [subject, object]) if (end !== number) partners.add(end);
    return wanted;
  });
  arrows.replaceChildren(...relations.map((relation) => arrow(relation, at)));
  labels.replaceChildren(...relations.map((relation) => label(relation, at, number)));
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

function arrow({subject, object}, at) {
  const [[x0, y0], [x1, y1]] = [at[subject], at[object]];
  const length = Math.hypot(x1 - x0, y1 - y0) || 1;
  const [dx, dy] = [(x1 - x0) / length, (y1 - y0) / length].map((part) => part * (RADIUS + 3));
  return element("line", {x1: x0 + dx, y1: y0 + dy, x2: x1 - dx, y2: y1 - dy, "marker-end": "url(#arrow)"});
}

// Away from the node that is pointed at, where all arrows meet.
function label({subject, relation, object, score}, at, pointed) {
  const way = pointed === null ? 0.45 : pointed === subject ? 0.62 : 0.38;
  const [x, y] = [0, 1].map((axis) => at[subject][axis] + way * (at[object][axis] - at[subject][axis]));
  return element("text", {x, y: y + 4}, `${relation} ${score.toFixed(2)}`);
}
