"use strict";
// What the server sends becomes text (textContent). Its drawings are parsed in a document of their own, in which no script
// runs, and only the svg element is taken out of it.

const at = (id) => document.getElementById(id);
const drawn = []; // the drawings as they were sent, of the figures that are shown

function make(name, text, style) {
  const e = document.createElement(name);
  if (text !== undefined) e.textContent = text;
  if (style) e.className = style;
  return e;
}

// say changes a text only where it is another one: it may be read out.
function say(id, text) {
  if (at(id).textContent !== text) at(id).textContent = text;
  at(id).hidden = text === "";
}

function fact(f) {
  const pair = make("div");
  pair.append(make("dt", f.name), make("dd", f.value));
  return pair;
}

function draw(figures) {
  const list = at("figures");
  while (list.children.length > figures.length) list.lastElementChild.remove();
  figures.forEach((f, i) => {
    if (i < list.children.length && drawn[i] === f.svg) return;
    const figure = make("figure"), svg = new DOMParser().parseFromString(f.svg, "text/html").querySelector("svg");
    if (svg) figure.append(document.adoptNode(svg));
    figure.append(make("figcaption", f.caption));
    if (i < list.children.length) list.children[i].replaceWith(figure); else list.append(figure);
    drawn[i] = f.svg;
  });
}

function list(s) {
  at("evaluations").hidden = s.rows.length === 0;
  at("heads").replaceChildren(...s.columns.map((name) => {
    const head = make("th", name);
    head.scope = "col";
    return head;
  }));
  at("rows").replaceChildren(...s.rows.map((cells) => {
    const row = make("tr");
    row.append(...cells.map((text) => make("td", text)));
    return row;
  }));
}

function show(s) {
  const share = s.steps > 0 ? Math.min(1, s.step / s.steps) : 0;
  document.title = (s.phase === "running" ? Math.floor(100 * share) + " % · " : "") + s.title;
  say("title", s.title);
  say("about", s.about);
  say("status", s.status);
  at("status").className = "status " + s.phase;
  say("fault", s.fault);
  at("along").hidden = s.steps === 0;
  at("progress").value = s.phase === "finished" ? 1 : share; // a run may stop early
  at("count").textContent = "step " + s.step.toLocaleString("en") + " of " + s.steps.toLocaleString("en");
  at("facts").replaceChildren(...s.facts.map(fact));
  draw(s.figures);
  list(s);
  say("note", s.note);
}

function ago(seconds) {
  if (seconds < 0) return "";
  if (seconds < 90) return "The log was last written " + seconds + " s ago.";
  if (seconds < 5400) return "The log was last written " + Math.round(seconds / 60) + " min ago.";
  return "The log was last written " + Math.round(seconds / 3600) + " h ago.";
}

let over = false; // the run has finished: nothing more will come
const source = new EventSource("events");
source.addEventListener("message", (event) => {
  const s = JSON.parse(event.data);
  show(s);
  over = s.phase === "finished";
});
source.addEventListener("age", (event) => {
  at("age").textContent = ago(Number(event.data));
  if (over) source.close();
});
source.addEventListener("error", () => {
  say("fault", source.readyState === EventSource.CLOSED ? "The server does not take more pages." : "The connection to deeplora watch is lost. The page tries again.");
});
source.addEventListener("open", () => say("fault", ""));
