// What the leaderboard's tab does in the browser: the page's address says what is looked at, and what is shown follows
// it. The page runs this once; tab.py's events call some of these.

window.leaderboard = {
  names: ["dataset", "protocol", "search", "rows", "columns", "axis"],
  defaults: {dataset: "all", protocol: "any", search: "", rows: "best", columns: "", axis: "latency_ms"},
  told: "",  // the address that is shown
  file: "",  // which file was asked for; empty for the rows of the sheet

  query() {
    return location.search;
  },

  // Puts an address of the tab into the browser's, and shows it. `typing` adds no step to the way back.
  go(query, typing = false) {
    const parts = query instanceof URLSearchParams ? query : new URLSearchParams(query);
    for (const [name, text] of new URLSearchParams(location.search)) {
      if (name.startsWith("__") && !parts.has(name)) parts.append(name, text);  // the page's own, such as its theme
    }
    const address = `?${parts}`;
    if (address === location.search) return;
    history[typing ? "replaceState" : "pushState"](null, "", address);
    this.remember();
    document.querySelector("#lb-go").click();
  },

  // The sheet may be written anew: which of its heads, or ways to other pages, has the focus.
  remember() {
    const head = document.activeElement?.closest(".lb-sheet th"), way = document.activeElement?.dataset.page;
    this.focus = head ? `.lb-sheet th:nth-child(${[...head.parentElement.children].indexOf(head) + 1}) a` : "";
    if (way) this.focus = `[data-page=${way}], .lb-pages a`;
  },

  // What of an address decides which rows stand in the sheet, in which order.
  sheetOf(query) {
    const parts = new URLSearchParams(query);
    for (const name of ["row", "other", "columns", "axis"]) parts.delete(name);
    return parts.toString();
  },

  // The address with another row open, or with none.
  opened(row, other = "") {
    const parts = new URLSearchParams(location.search);
    for (const [name, id] of [["row", row], ["other", other]]) if (id) parts.set(name, id); else parts.delete(name);
    return parts;
  },

  // Where a link leads. Heads and pages leave the row open that is, and Close the sheet as it is: their own addresses, the
  // same whichever that is, do not name it.
  keeping(link) {
    const parts = new URLSearchParams(link.getAttribute("href")), here = new URLSearchParams(location.search);
    if ("close" in link.dataset) return this.opened("");
    if ("dataset" in link.dataset) return parts;
    for (const name of ["row", "other"]) if (here.has(name)) parts.set(name, here.get(name));
    return parts;
  },

  // The filters were changed by hand: dataset, protocol, search, rows, columns, axis.
  choose(chosen) {
    const parts = new URLSearchParams(location.search);
    const dataset = parts.get("dataset") ?? this.defaults.dataset;
    parts.set("tab", "leaderboard");
    this.names.forEach((name, place) => {
      const text = Array.isArray(chosen[place]) ? chosen[place].join(",") : chosen[place] ?? "";
      if (text === this.defaults[name]) parts.delete(name); else parts.set(name, text);
    });
    if (this.sheetOf(parts) !== this.sheetOf(location.search)) parts.delete("page");
    if (chosen[0] !== dataset) for (const name of ["row", "other"]) parts.delete(name);
    this.go(parts);
  },

  // What is searched for has changed, by keys, by pasting or by a phone's keyboard.
  find(text) {
    const parts = new URLSearchParams(location.search);
    parts.set("tab", "leaderboard");
    parts.delete("page");
    if (text) parts.set("search", text); else parts.delete("search");
    this.go(parts, true);
  },

  // The server has answered. has: which address, and which panels the browser now has. Where the address has changed in
  // the meantime, answers may have come in another order, and the panels be of several: all are asked for anew.
  answered(has) {
    const late = has.split("\n")[0] !== location.search;
    setTimeout(() => late ? document.querySelector("#lb-go").click() : this.shown(), 50);
    return late ? "" : has;
  },

  // The server has shown what the address asks for: other rows begin at the top of the sheet; the open row is marked in
  // it; details that have just come are put into view, and who closes them is back at their row.
  shown() {
    const parts = new URLSearchParams(location.search), row = parts.get("row") ?? "", sheet = document.querySelector(".lb-sheet");
    if (sheet && this.sheetOf(location.search) !== this.sheetOf(this.told)) sheet.scrollTop = 0;
    if (this.focus) document.querySelector(this.focus)?.focus({preventScroll: true});
    const links = [...document.querySelectorAll("#lb-rows [data-row]")];
    const marked = [row, parts.get("other")].filter(Boolean);
    for (const link of links) link.closest("tr").classList.toggle("picked", marked.includes(link.dataset.row));
    const heading = document.querySelector("#lb-detail h3"), before = new URLSearchParams(this.told).get("row") ?? "";
    if (row && row !== before && heading) {
      document.querySelector("#lb-detail").scrollIntoView({block: "start"});
      heading.focus({preventScroll: true});
    } else if (!row && before && this.told) {
      links.find(link => link.dataset.row === before)?.focus();
    }
    this.focus = "";
    this.told = location.search;
  },

  // The address, and which file of it is asked for.
  asking() {
    const asked = `${location.search || "?"}&file=${this.file}`;
    this.file = "";
    return asked;
  },

  // Clicks the hidden button that holds the file, once gradio has given it its address.
  save() {
    setTimeout(() => document.querySelector("#lb-file").click(), 50);
  },

  tabs: () => [...document.querySelectorAll("button[role=tab]")],
  tabName: (tab) => tab.textContent.trim().toLowerCase(),

  // Opens the tab that the address names: the first one where it names none. Whether it is there already.
  openTab() {
    const wanted = new URLSearchParams(location.search).get("tab"), tabs = this.tabs();
    const tab = tabs.find(each => this.tabName(each) === wanted) ?? tabs[0];
    if (tab && tab.getAttribute("aria-selected") !== "true") tab.click();
    return Boolean(tab);
  },
};

document.addEventListener("click", event => {
  const tab = event.target.closest("button[role=tab]");
  if (tab) {
    const name = leaderboard.tabName(tab), parts = new URLSearchParams(location.search);
    if ((parts.get("tab") ?? leaderboard.tabName(leaderboard.tabs()[0])) === name) return;
    const theme = [...parts].filter(([part]) => part.startsWith("__"));
    const address = new URLSearchParams([...(tab === leaderboard.tabs()[0] ? [] : [["tab", name]]), ...theme]);
    history.pushState(null, "", `${location.pathname}${address.size ? `?${address}` : ""}`);
    return;
  }
  const file = event.target.closest("[data-lb-file]");
  if (file) {
    leaderboard.file = file.dataset.lbFile;
    document.querySelector("#lb-take").click();
    return;
  }
  const link = event.target.closest("a[data-lb]") ?? event.target.closest("#lb-rows tbody tr")?.querySelector("a[data-row]");
  if (!link || event.target.closest("a:not([data-lb])") || event.ctrlKey || event.metaKey || event.shiftKey) return;
  if (getSelection().toString()) return;  // text of a row was marked
  event.preventDefault();
  if ("row" in link.dataset) leaderboard.go(leaderboard.opened(link.dataset.row));
  else leaderboard.go(leaderboard.keeping(link));
}, true);

document.addEventListener("change", event => {
  if (!event.target.matches?.("[data-lb-other]")) return;
  leaderboard.go(leaderboard.opened(new URLSearchParams(location.search).get("row"), event.target.value));
});

// gradio's own event of a text field comes with keypresses alone: not when something is deleted or pasted
document.addEventListener("input", event => {
  if (event.target.closest?.("#lb-search")) leaderboard.find(event.target.value);
  if (!event.target.matches?.("[data-lb-search]")) return;
  const words = event.target.value.toLowerCase().split(/\s+/);
  for (const line of event.target.parentElement.querySelectorAll("tr:not(:first-child)")) {
    line.hidden = !words.every(word => line.textContent.toLowerCase().includes(word));
  }
});

window.addEventListener("popstate", () => {
  if (!leaderboard.openTab()) return;
  if (new URLSearchParams(location.search).get("tab") === "leaderboard") document.querySelector("#lb-back").click();
});

// gradio draws the tabs a little later than it runs this
if (new URLSearchParams(location.search).has("tab")) {
  const waiting = setInterval(() => leaderboard.openTab() && clearInterval(waiting), 100);
  setTimeout(() => clearInterval(waiting), 20000);
}
