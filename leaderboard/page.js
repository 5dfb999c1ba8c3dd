// What the leaderboard's tab does in the browser: the page's address says what is looked at, and what is shown follows
// it. The page runs this once; tab.py's events call some of these.

window.leaderboard = {
  names: ["dataset", "protocol", "search", "rows", "columns", "axis"],
  defaults: {dataset: "all", protocol: "any", search: "", rows: "best", columns: "", axis: "latency_ms"},
  opened: false,  // whether a row is being opened

  query() {
    return location.search;
  },

  // Puts an address of the tab into the browser's, and shows it. `typing` adds no step to the way back.
  go(query, typing = false) {
    const parts = new URLSearchParams(query);
    for (const [name, text] of new URLSearchParams(location.search)) {
      if (name.startsWith("__") && !parts.has(name)) parts.append(name, text);  // the page's own, such as its theme
    }
    const address = `?${parts}`;
    if (address === location.search) return;
    history[typing ? "replaceState" : "pushState"](null, "", address);
    this.remember();
    document.querySelector("#lb-go").click();
  },

  // The sheet is about to be written anew: where it is scrolled to, and which of its links has the focus.
  remember() {
    const sheet = document.querySelector(".lb-sheet"), link = document.activeElement, line = link?.closest("tr");
    this.before = {top: sheet?.scrollTop, left: sheet?.scrollLeft, focus: ""};
    if (!sheet?.contains(link) || !line) return;
    const cell = [...line.children].indexOf(link.closest("th, td")) + 1;
    const place = [...line.parentElement.children].indexOf(line) + 1;
    this.before.focus = `${line.parentElement.tagName} tr:nth-child(${place}) > :nth-child(${cell}) a`;
  },

  // The filters were changed by hand: dataset, protocol, search, rows, columns, axis.
  choose(chosen) {
    const parts = new URLSearchParams(location.search), before = parts.get("search") ?? "";
    const dataset = parts.get("dataset") ?? this.defaults.dataset;
    parts.set("tab", "leaderboard");
    this.names.forEach((name, place) => {
      const text = Array.isArray(chosen[place]) ? chosen[place].join(",") : chosen[place] ?? "";
      if (text === this.defaults[name]) parts.delete(name); else parts.set(name, text);
    });
    if (chosen[0] !== dataset) for (const name of ["row", "other", "length"]) parts.delete(name);
    this.go(`?${parts}`, chosen[2] !== before);
  },

  // The server has shown what was asked for: the sheet is put where it was, and a row that was opened, whose details lie
  // below, into view.
  shown() {
    const sheet = document.querySelector(".lb-sheet"), {top, left, focus} = this.before ?? {};
    if (sheet) sheet.scrollTo(left ?? 0, this.opened ? top ?? 0 : 0);
    if (sheet && focus) sheet.querySelector(focus)?.focus({preventScroll: true});
    if (this.opened) document.querySelector("#lb-detail").scrollIntoView({behavior: "smooth", block: "start"});
    this.opened = false;
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
  const link = event.target.closest("a[data-lb]") ?? event.target.closest("#lb-rows tbody tr")?.querySelector("a[data-row]");
  if (!link || event.target.closest("a:not([data-lb])") || event.ctrlKey || event.metaKey || event.shiftKey) return;
  if (getSelection().toString()) return;  // text of a row was marked
  event.preventDefault();
  leaderboard.opened = "row" in link.dataset;
  leaderboard.go(link.getAttribute("href"));
}, true);

document.addEventListener("change", event => {
  if (event.target.matches?.("[data-lb-other]")) leaderboard.go(event.target.value);
});

document.addEventListener("input", event => {
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
