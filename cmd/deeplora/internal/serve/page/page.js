"use strict";
// Whatever comes from the server or from whoever types becomes text (textContent), never HTML.

const at = (id) => document.getElementById(id);
let served = null; // what GET /info says
let asked = 0; // of several questions only the last is answered

function make(name, text, style) {
  const e = document.createElement(name);
  if (text !== undefined) e.textContent = text;
  if (style) e.className = style;
  return e;
}

function show(id, shown) { at(id).hidden = !shown; }

function complain(text) {
  at("fault").textContent = text;
  show("fault", text !== "");
}

function headers() {
  const given = { "Content-Type": "application/json" };
  if (at("token").value !== "") given.Authorization = "Bearer " + at("token").value;
  return given;
}

// said is the body of an answer, or an Error with what the server says is wrong.
async function said(response) {
  const text = await response.text();
  let body = null;
  try { body = JSON.parse(text); } catch { /* not from this server */ }
  if (response.ok && body !== null) return body;
  const fault = new Error(body && body.error ? body.error : "The server answered " + response.status + ".");
  fault.status = response.status;
  throw fault;
}

function chosen() { return served.adapters[at("adapter").selectedIndex]; }

async function open() {
  try {
    served = await said(await fetch("info", { headers: headers() }));
  } catch (fault) {
    if (fault.status === 401) {
      show("locked", true);
      at("about").textContent = "Give the token first.";
      if (at("token").value !== "") complain(fault.message);
      return;
    }
    complain(fault.status ? fault.message : "The server cannot be reached.");
    return;
  }
  complain("");
  at("about").textContent = served.model_id + " · " + served.model_dtype + " · " + served.backend + " · deeplora " + served.version;
  const list = at("adapter");
  list.replaceChildren(...served.adapters.map((a) => new Option(a.name, a.name)));
  list.value = served.default_adapter;
  choose();
}

// choose shows what the chosen adapter takes.
function choose() {
  if (!served) return;
  const a = chosen(), many = at("many").checked;
  const facts = [a.problem];
  if (a.task && a.task !== a.problem) facts.push(a.task);
  if (a.problem !== "regression") facts.push(a.labels.length + " labels");
  facts.push("up to " + a.max_input_length + " tokens");
  at("adapter-about").textContent = facts.join(" · ");
  show("pair-row", !many && a.pair !== false);
  show("pair-optional", a.pair !== true);
  at("text-label").textContent = many ? "Texts, a line each" : "Text";
  at("text").rows = many ? 8 : 3;
  at("text-hint").textContent = (many && a.pair !== false ? "A tab stands between a text and its pair, as in lines copied from a spreadsheet. " : "") + "Ctrl + Enter asks.";
}

// inputs are what was typed: a text, a pair, or a list of such, an item a line.
function inputs() {
  const text = at("text").value;
  if (at("many").checked) {
    return text.split(/\r?\n/).filter((line) => line.trim() !== "").map((line) => line.split("\t").slice(0, 2));
  }
  if (text.trim() === "") return [];
  const pair = at("pair").value;
  return !at("pair-row").hidden && (pair !== "" || chosen().pair === true) ? [text, pair] : [text];
}

async function ask(event) {
  event.preventDefault();
  if (!served) await open();
  if (!served) return;
  const list = inputs(), many = at("many").checked, adapter = chosen(), raw = at("raw").checked;
  if (list.length === 0) {
    complain("Type a text first.");
    at("text").focus();
    return;
  }
  const mine = ++asked;
  complain("");
  at("go").disabled = true;
  try {
    const began = performance.now();
    const answer = await predict(adapter, list, many);
    if (mine === asked) tell(adapter, list, answer, many, raw, performance.now() - began);
  } catch (fault) {
    if (mine !== asked) return;
    show("answer", false);
    if (fault.status === 401) show("locked", true);
    complain(fault.status ? fault.message : "The server cannot be reached.");
  } finally {
    if (mine === asked) at("go").disabled = false;
  }
}

// predict asks for as many inputs at a time as the server takes.
async function predict(adapter, list, many) {
  const one = async (part) => said(await fetch("adapters/" + encodeURIComponent(adapter.name) + "/predict", {
    method: "POST", headers: headers(),
    body: JSON.stringify({ inputs: part, truncate: at("truncate").checked, raw_scores: at("raw").checked }),
  }));
  if (!many) return one(list);
  const answers = [];
  for (let i = 0; i < list.length; i += served.max_client_batch_size) {
    answers.push(...await one(list.slice(i, i + served.max_client_batch_size)));
  }
  return answers;
}

function number(adapter, score, raw) {
  return raw || adapter.problem === "regression" ? score.toFixed(4) : (100 * score).toFixed(1) + " %";
}

function bar(share) {
  const rest = make("div", undefined, "bar"), part = make("i");
  rest.setAttribute("aria-hidden", "true"); // the number beside it says the same
  part.style.width = (100 * Math.min(1, Math.max(0, share))).toFixed(2) + "%";
  rest.append(part);
  return rest;
}

function tell(adapter, list, answer, many, raw, took) {
  const plain = raw || adapter.problem === "regression"; // numbers without a scale, which a bar would need
  at("took").textContent = (many ? answer.length + (answer.length === 1 ? " text in " : " texts in ") : "") + took.toFixed(0) + " ms";
  show("bars", !many);
  show("lines", many);
  if (many) tellLines(adapter, list, answer, raw, plain); else tellOne(adapter, answer, raw, plain);
  show("answer", true);
}

function tellOne(adapter, answer, raw, plain) {
  if (adapter.problem === "regression") {
    at("bars").replaceChildren(make("p", number(adapter, answer[0].score, raw), "value"));
    return;
  }
  const rows = answer.map((a, i) => {
    const row = make("li");
    row.append(make("span", a.label, i === 0 ? "name first" : "name"), plain ? make("span") : bar(a.score), make("span", number(adapter, a.score, raw), "number"));
    return row;
  });
  const bars = make("ul", undefined, "bars");
  bars.append(...rows);
  at("bars").replaceChildren(bars);
}

function tellLines(adapter, list, answer, raw, plain) {
  const pairs = list.some((texts) => texts.length > 1);
  show("pair-column", pairs);
  at("rows").replaceChildren(...answer.map((labels, i) => {
    const row = make("tr"), score = make("td", number(adapter, labels[0].score, raw), "number");
    if (!plain) score.append(bar(labels[0].score));
    row.append(make("td", list[i][0]));
    if (pairs) row.append(make("td", list[i].length > 1 ? list[i][1] : ""));
    row.append(make("td", labels[0].label), score);
    return row;
  }));
}

at("ask").addEventListener("submit", ask);
at("adapter").addEventListener("change", choose);
for (const id of ["one", "many"]) at(id).addEventListener("change", choose);
at("token").addEventListener("change", open);
for (const id of ["text", "pair"]) {
  at(id).addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) at("ask").requestSubmit();
  });
}
open();
